"""The rows of the op table, and the functions that build nodes from them."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any, NamedTuple

import numpy as np
from arrays import assert_within

import cgraph as CG


def normal(rng, shape):
    return rng.standard_normal(shape)


def positive(rng, shape):
    """Draws positive numbers away from 0, where the logarithm of CEE is steep."""
    return rng.uniform(0.2, 2.0, shape)


def target(rng, shape):
    """Draws the weights of a distribution, with exact zeros among them."""
    return rng.uniform(0.1, 1.0, shape) * (rng.random(shape) < 0.7)


def apart(rng, shape):
    """Draws distinct values of both signs, well apart from each other and from 0: no ties, no kinks."""
    size = int(np.prod(shape))
    steps = np.arange(size) - size // 2 + 0.5
    return rng.permutation(steps * (4.0 / size)).reshape(shape)


@dataclass(frozen=True)
class Case:
    """One shape variant: `make(inputs, params, dtype)` builds the node on inputs of `shapes`.

    What is not `usual` stands between its neighbours in the table, and runs under `pytest -m full` alone.
    """

    shapes: tuple[tuple[int, int], ...]
    make: Callable[[list, list, str], CG.Node]
    reference: Any
    params: tuple[tuple[int, ...], ...] = ()
    usual: bool = True


def tolerances(float64=1e-12, float32=2e-5):
    return {"float64": float64, "float32": float32}


@dataclass(frozen=True)
class Row:
    """`draws` make the inputs' values, one for each input (the last one serves all others)."""

    op: type
    cases: dict[str, Case]
    draws: tuple[Callable, ...] = (normal,)
    tolerance: dict[str, float] = field(default_factory=tolerances)
    is_linear: bool = True  # in its parameters, so that their gradients do not depend on them
    computes: bool = True  # False: leaves and abstract classes, whose calcData does nothing

    def draw(self, case, rng):
        last = len(self.draws) - 1
        return [self.draws[min(k, last)](rng, shape) for k, shape in enumerate(case.shapes)]


def unary(op, reference, shapes=((7, 1), (1, 1), (3, 5), (1, 33), (130, 1))):
    return {
        f"{h}x{w}": Case(((h, w),), lambda inputs, params, dtype: op(*inputs), reference)
        for h, w in shapes
    }


def binary(op, reference, shapes=((6, 1), (1, 1), (4, 5), (2, 35), (129, 1))):
    return {
        f"{h}x{w}": Case(((h, w), (h, w)), lambda inputs, params, dtype: op(*inputs), reference)
        for h, w in shapes
    }


class Built(NamedTuple):
    """A node on leaves of its own, with the values that everything was built from."""

    node: CG.Node
    leaves: list
    xs: list
    params: list


def leaf_of(shape, dtype):
    """Returns a leaf of this shape: Leaf1 for a column, else Leaf2."""
    height, width = shape
    if width == 1:
        return CG.Leaf1(height, dtype=dtype)
    return CG.Leaf2(height, width, dtype=dtype)


def build(row, case, dtype, seed=0):
    """Draws inputs and parameters, and builds the case's node on leaves that hold them."""
    rng = np.random.default_rng(seed)
    xs = [x.astype(dtype) for x in row.draw(case, rng)]
    params = [(0.5 * rng.standard_normal(shape)).astype(dtype) for shape in case.params]
    leaves = [leaf_of(shape, dtype) for shape in case.shapes]
    for x, node in zip(xs, leaves, strict=True):
        node.getInput(x.ravel())
    return Built(case.make(leaves, params, dtype), leaves, xs, params)


def network_of(row, case, dtype):
    """The case's node under a Dots with fixed weights, so that every element has a slope of its own."""
    built = build(row, case, dtype)
    slopes = np.random.default_rng(7).uniform(0.5, 1.5, built.node.size)
    weights = CG.Leaf2(built.node.height, built.node.width, dtype=dtype)
    weights.getInput(slopes)
    return [*built.leaves, built.node, weights, CG.Dots(built.node, weights)]


def parameter_arrays(node):
    """Returns the parameter arrays of this node alone."""
    return [p.value for p in CG.parameters(node) if p.node is node]


def gradient_sums(node):
    """Returns the gradient sums of this node alone."""
    return [p.grad for p in CG.parameters(node) if p.node is node]


def assert_close(actual, expected, tolerance):
    """Asserts equality up to rounding, relative to the element and to the largest element of the array."""
    expected = np.asarray(expected, dtype=np.float64)
    finite = np.abs(expected[np.isfinite(expected)])
    scale = max(1.0, finite.max(initial=0.0))
    actual = np.reshape(np.asarray(actual, dtype=np.float64), expected.shape)
    assert_within(actual, expected, tolerance, tolerance * scale)


def some_indices(size, most, rng):
    """Returns all indices of a small array; of a large one the first, the last and `most` drawn ones."""
    if size <= most:
        return np.arange(size)
    return np.unique([0, size - 1, *rng.integers(0, size, most)])
