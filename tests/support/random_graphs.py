"""Random graphs, drawn from a seed as a recipe: a list of steps in an order that can be run.

The graph of Nodes (`Recipe.nodes`) and the NumPy autodiff (random_reference.py) are two readings of
the same list.
"""

from __future__ import annotations

import math
from dataclasses import dataclass, field
from functools import partial
from typing import Any

import numpy as np
import reference as ref
import reference_cells as cells
import reference_functions as functions
import reference_losses as losses
from op_row import leaf_of
from own_nodes import Square as SquareNode
from reference_filters import (
    AveragePooling2d,
    Convolution2d,
    FilterGeometry,
    MaxPooling2d,
    ceil_div,
)

import cgraph as CG


@dataclass(frozen=True)
class Square:
    """The reference of the own node of the same name."""

    def forward(self, xs, params):
        return ref.wide(xs)[0] ** 2

    def backward(self, xs, params, g):
        return [2 * ref.wide(xs)[0] * g], []


@dataclass
class Step:
    """One node: `make(inputs, params)` builds it; `bound` is an upper bound of its |data|."""

    make: Any
    reference: Any
    inputs: list[int]
    shape: tuple[int, int]
    bound: float
    params: list = field(default_factory=list)


def least_size(m, k, s, before):
    """Returns the smallest output size whose windows reach the end of the domain, along one axis."""
    return max(ceil_div(m + before - k, s), 0) + 1


def plain(op, **options):
    """Returns a maker for an op that takes its inputs one by one."""
    return lambda inputs, params: op(*inputs, **options)


class Recipe:
    """Draws a graph of 5 to 60 nodes; `steps`, `leaves` and `ends` (indices) are the result."""

    def __init__(self, seed):
        self.rng = np.random.default_rng(seed)
        self.steps = []
        most = int(self.rng.integers(5, 61))
        for shape in self.leaf_shapes():
            self.append(Step(None, None, [], shape, 1.0))
        self.leaves = list(range(len(self.steps)))
        moves = [self.add_unary, self.add_unary, self.add_binary, self.add_binary, self.add_bank]
        moves += [self.add_pooling, self.add_reduction, self.add_concatenation, self.add_affine]
        moves += [self.add_part, self.add_layer_norm, self.add_cell]
        while len(self.steps) < most - 13:
            self.pick(moves)()
        self.ends = self.close()

    def nodes(self, dtype):
        """Builds the graph, one Node for each step."""
        built = []
        for step in self.steps:
            if step.make is None:
                built.append(leaf_of(step.shape, dtype))
            else:
                built.append(step.make([built[k] for k in step.inputs], step.params))
        return built

    # Choices

    def pick(self, options):
        return options[int(self.rng.integers(len(options)))]

    def leaf_shapes(self):
        usual = self.pick([(3, 3), (5, 4), (6, 7), (1, 9), (7, 1)])
        others = [(2, 3), (5, 1), (1, 1), (4, 4), usual, usual]
        return [usual] + [self.pick(others) for _ in range(int(self.rng.integers(0, 4)))]

    def append(self, step):
        self.steps.append(step)
        return len(self.steps) - 1

    def source(self, limit=20.0):
        """Draws any node, later ones more often; a sigmoid limits it first where its values may be large."""
        k = int(len(self.steps) * math.sqrt(self.rng.random()))
        return k if self.steps[k].bound <= limit else self.squash(k)

    def squash(self, k):
        op, reference = self.pick([(CG.Tanh, ref.Tanh()), (CG.Sigmoid, ref.Sigmoid())])
        return self.append(Step(plain(op), reference, [k], self.steps[k].shape, 1.0))

    def sources_like(self, k, most):
        """Draws up to `most` nodes of the shape of node k, with repetition."""
        alike = [i for i, s in enumerate(self.steps) if s.shape == self.steps[k].shape]
        alike = [i for i in alike if self.steps[i].bound <= 20.0] or [k]
        return [self.pick(alike) for _ in range(int(self.rng.integers(1, most + 1)))]

    def weights(self, shape):
        """Draws parameters that keep values of order 1 at order 1."""
        return self.rng.uniform(-1, 1, shape) / math.sqrt(math.prod(shape[:-1]) or 1)

    # Moves: each appends one node, or a few

    def add_unary(self):
        k = self.source()
        bound = self.steps[k].bound
        op, reference, bound = self.pick(self.unary_ops(bound))
        return self.append(Step(plain(op), reference, [k], self.steps[k].shape, bound))

    def unary_ops(self, bound):
        """(class, reference, bound of what it makes of data within `bound`) of ops to pick from."""
        return [
            (CG.ReLU, ref.ReLU(), bound),
            (CG.Softmax, ref.Softmax(), 1.0),
            (CG.LogSoftmax, losses.LogSoftmax(), 2 * bound + 6.0),
            (CG.Sigmoid, ref.Sigmoid(), 1.0),
            (CG.Tanh, ref.Tanh(), 1.0),
            (CG.SiLU, functions.SiLU(), bound),
            (CG.LeakyReLU, functions.LeakyReLU(), bound),
            (CG.Abs, functions.Abs(), bound),
            (SquareNode, Square(), bound**2),
        ]

    def add_binary(self):
        first = self.source()
        second = first if self.rng.random() < 0.2 else self.sources_like(first, 1)[0]
        bounds = self.steps[first].bound, self.steps[second].bound
        op, reference, bound = self.pick(
            [
                (CG.Add, ref.Add(), sum(bounds)),
                (CG.Sub, ref.Sub(), sum(bounds)),
                (CG.Mul, functions.Mul(), math.prod(bounds)),
                (CG.Maximum, functions.Maximum(), max(bounds)),
            ]
        )
        shape = self.steps[first].shape
        return self.append(Step(plain(op), reference, [first, second], shape, bound))

    def add_reduction(self):
        first = self.source(limit=5.0)
        second = first if self.rng.random() < 0.2 else self.sources_like(first, 1)[0]
        size = math.prod(self.steps[first].shape)
        largest = max(self.steps[first].bound, self.steps[second].bound)
        op, reference, inputs, bound = self.pick(
            [
                (CG.Dots, ref.Dots(), [first, second], size * largest**2),
                (CG.MSE, ref.MSE(), [first, second], 4 * largest**2),
                (CG.Norm2, ref.Norm2(), [first], math.sqrt(size) * largest),
                (CG.Sum, losses.Sum(), [first], size * largest),
                (CG.Mean, losses.Mean(), [first], largest),
                (CG.BCE, losses.BCE(), [first, second], largest**2 + largest + 0.7),
                (CG.Huber, losses.Huber(1.0), [first, second], 2 * largest),
            ]
        )
        return self.append(Step(plain(op), reference, inputs, (1, 1), bound))

    def add_concatenation(self, inputs=None):
        inputs = inputs or [self.source() for _ in range(int(self.rng.integers(1, 5)))]
        height = sum(math.prod(self.steps[k].shape) for k in inputs)
        bound = max(self.steps[k].bound for k in inputs)

        def make(nodes, params):
            return CG.Concatenation(nodes)

        return self.append(Step(make, ref.Concatenation(), inputs, (height, 1), bound))

    def add_part(self):
        """A part of a node, or a node of one element as often as a map has some."""
        k = self.source()
        size, bound = math.prod(self.steps[k].shape), self.steps[k].bound
        if size == 1:
            shape = self.pick([(3, 3), (7, 1), (1, 1)])
            op, reference = (
                partial(CG.Expand, height=shape[0], width=shape[1]),
                losses.Expand(*shape),
            )
        else:
            start = int(self.rng.integers(0, size))
            stop = int(self.rng.integers(start + 1, size + 1))
            shape = (stop - start, 1)
            op, reference = partial(CG.Slice, start=start, stop=stop), losses.Slice(start, stop)
        return self.append(Step(plain(op), reference, [k], shape, bound))

    def add_layer_norm(self):
        k = self.source()
        shape, size = self.steps[k].shape, math.prod(self.steps[k].shape)
        gain, bias = self.rng.uniform(-1, 1, (2, size))

        def make(nodes, params):
            return CG.LayerNorm(nodes[0], *params, eps=1)

        step = Step(make, losses.LayerNorm(1.0), [k], shape, math.sqrt(size) + 1, [gain, bias])
        return self.append(step)

    def add_cell(self):
        """A recurrent cell, which may read one node twice."""
        k, state = self.source(), self.source()
        op, reference, gates = CG.GRUCell, cells.GRUCell(), 3
        m, n = (math.prod(self.steps[i].shape) for i in (k, state))
        if n % 2 == 0 and self.rng.random() < 0.5:
            op, reference, gates, n = CG.LSTMCell, cells.LSTMCell(), 4, n // 2
        shapes = (gates * n, m), (gates * n, n), (gates * n,), (gates * n,)
        params = [self.rng.uniform(-1, 1, shape) / math.sqrt(m + n) for shape in shapes]

        def make(nodes, params):
            return op(*nodes, *params)

        height = math.prod(self.steps[state].shape)
        bound = max(1.0, self.steps[state].bound) + (gates == 4)
        return self.append(Step(make, reference, [k, state], (height, 1), bound, params))

    def add_affine(self, k=None):
        k = self.source() if k is None else k
        size, n = math.prod(self.steps[k].shape), int(self.rng.integers(1, 12))
        weight, bias = self.weights((size + 1, n)), self.pick([1.0, 1.0, -0.5, 0.0])
        bound = np.abs(weight).sum(axis=0).max() * max(self.steps[k].bound, 1.0)

        def make(nodes, params):
            return CG.Affine(nodes[0], params[0], bias)

        return self.append(Step(make, ref.Affine(bias), [k], (n, 1), bound, [weight]))

    def geometry(self, m):
        """(kernel, arguments after it, whether rows may stay unread, window) of a random filter on a domain."""
        k = [int(self.rng.integers(1, min(side, 3) + 1)) for side in m]
        s = int(self.rng.integers(1, 4))
        form = self.rng.random()
        crop = form < 0.2 or form > 0.7
        if form < 0.4:
            return k, (s,), crop, FilterGeometry.of(m, k, s, crop=crop)
        p, q = (int(n) for n in self.rng.integers(0, 3, 2))
        n = [least_size(m[0], k[0], s, p), least_size(m[1], k[1], s, q)]
        n[0] += int(self.rng.integers(0, 2))
        if crop:
            n[1] = max(n[1] - 1, 1)
        if self.rng.random() < 0.5:
            return k, (s, *n), crop, FilterGeometry.of(m, k, s, None, None, *n, crop=crop)
        return k, (s, p, q, *n), crop, FilterGeometry.of(m, k, s, p, q, *n)

    def add_pooling(self):
        k = self.source()
        size, args, crop, window = self.geometry(self.steps[k].shape)
        table = [(CG.MaxPooling2d, MaxPooling2d), (CG.AveragePooling2d, AveragePooling2d)]
        op, reference = self.pick(table)
        shape = (window.n_h, window.n_w)

        def make(nodes, params):
            return op(nodes[0], *size, *args, crop=crop)

        return self.append(Step(make, reference(window), [k], shape, self.steps[k].bound))

    def add_bank(self):
        """Sibling convolutions over one set of maps, each reading channels of its own choice."""
        first = self.source()
        maps = self.sources_like(first, 4)
        filter_geometry = self.geometry(self.steps[first].shape)
        for _ in range(int(self.rng.integers(1, 4))):
            channels = [self.pick(maps) for _ in range(int(self.rng.integers(1, len(maps) + 1)))]
            self.add_convolution(channels, *filter_geometry)

    def add_convolution(self, channels, k, args, crop, window):
        kernel = self.weights((len(channels), *k))
        bias = self.rng.uniform(-0.5, 0.5, 1)
        bound = max(self.steps[c].bound for c in channels) * np.abs(kernel).sum() + 0.5

        def make(nodes, params):
            return CG.Convolution2d(nodes, params[0], params[1].item(), *args, crop=crop)

        shape = (window.n_h, window.n_w)
        step = Step(make, Convolution2d(window), channels, shape, bound, [kernel, bias])
        return self.append(step)

    # The end: everything must lead to a loss, or its inputs would wait for it

    def close(self):
        used = {k for step in self.steps for k in step.inputs}
        open_ends = [k for k in range(len(self.steps)) if k not in used]
        self.rng.shuffle(open_ends)
        parts = [open_ends]
        if len(open_ends) > 3 and self.rng.random() < 0.3:
            parts = [open_ends[:2], open_ends[2:]]
        return [self.add_loss([int(k) for k in part]) for part in parts]

    def add_loss(self, part):
        scores = self.add_affine(self.add_concatenation(part))
        shape = self.steps[scores].shape
        squashed = self.squash(scores)
        if self.rng.random() < 0.5:
            return self.append(Step(plain(CG.Dots), ref.Dots(), [squashed] * 2, (1, 1), 1.0))
        if self.rng.random() < 0.5:
            pair = [scores, squashed] if self.steps[scores].bound <= 20.0 else [squashed] * 2
            op = plain(CG.SoftmaxCEE)
            return self.append(Step(op, losses.SoftmaxCEE(), pair, (1, 1), 1.0))
        prediction = self.append(Step(plain(CG.Softmax), ref.Softmax(), [squashed], shape, 1.0))
        inputs = [prediction, squashed]
        return self.append(Step(plain(CG.CEE), ref.CEE(), inputs, (1, 1), 1.0))


class CompiledRecipe(Recipe):
    """A recipe without own nodes, with which a Graph would take samples one by one."""

    def unary_ops(self, bound):
        return super().unary_ops(bound)[:-1]


def nodes_above(recipe, ends, dtype):
    """The nodes of the recipe that these ends are computed from, and the ends' numbers among them."""
    needed, pending = set(), list(ends)
    while pending:
        k = pending.pop()
        if k not in needed:
            needed.add(k)
            pending += recipe.steps[k].inputs
    built = {}
    for k in sorted(needed):
        step = recipe.steps[k]
        inputs = [built[i] for i in step.inputs]
        built[k] = step.make(inputs, step.params) if step.make else leaf_of(step.shape, dtype)
    return list(built.values()), [sorted(needed).index(end) for end in ends]
