"""Graphs in which several nodes have the same parameters, and random graphs that get such nodes."""

import itertools

import numpy as np
from graph_networks import Maker
from own_nodes import Scale
from random_graphs import Recipe, nodes_above

import cgraph as CG
from cgraph._subclassing.rebuilding import built, plan_of
from cgraph._subclassing.sharing import share_parameters


class OwnScale(Scale):
    """Scale, which can be built anew with other weights."""

    def __init__(self, node, weight=None):
        super().__init__(node, np.ones(node.size) if weight is None else weight)

    def _config(self):
        return {"weight": None}


class Exchanging(OwnScale):
    """An own node that sets new arrays instead of changing the ones it has."""

    def calcPartialDerivative(self):
        x = self.backward[0]
        x.grad[...] += self.weight * self.grad
        self.gradWeight = self.gradWeight + x.data * self.grad

    def updateParameters(self, eta):
        self.weight = self.weight - eta * self.gradWeight
        self.gradWeight = np.zeros_like(self.weight)


class LoudAffine(CG.Affine):
    """An Affine whose methods are Python, and whose parameters are those of Affine."""

    def calcData(self):
        super().calcData()


def again(node, *inputs):
    """Returns a node with the same parameters on other inputs."""
    return node.share(*inputs)


def apart(node, *inputs):
    """Returns a node with parameters of its own, which begin alike."""
    inputs = inputs[0] if isinstance(inputs[0], (list, tuple)) else inputs
    return built(plan_of(node), list(inputs))


def siamese(make, join):
    one, two = make.vector(6), make.vector(6)
    hidden = CG.Tanh(make.affine(one, 5))
    first = make.affine(hidden, 3)
    second = join(first, CG.Tanh(join(hidden.backward[0], two)))
    return CG.MSE(first, second)


def unrolled(steps):
    """Returns a maker of a recurrent net by hand: h' = tanh(W (x; h))."""

    def maker(make, join):
        h, cell = CG.Leaf1(4, dtype=make.dtype), None
        for _ in range(steps):
            joined = CG.Concatenation([make.vector(2), h])
            cell = make.affine(joined, 4) if cell is None else join(cell, joined)
            h = CG.Tanh(cell)
        return CG.MSE(h, make.vector(4))

    return maker


def autoencoder(make, join):
    """Two layers of the encoder, which the second half reads again."""
    x = make.vector(5)
    encode = make.affine(x, 5)
    code = join(encode, CG.Tanh(encode))
    back = join(encode, CG.Tanh(code))
    return CG.MSE(back, x)


def three_on_a_path(make, join):
    first = make.affine(make.vector(4), 4)
    second = join(first, CG.ReLU(first))
    return CG.Norm2(join(first, CG.ReLU(second)))


def recurrent(make, join):
    """A GRU and an LSTM behind it, each over four time steps."""
    h, state, first, second = make.vector(5), make.vector(6), None, None
    for _ in range(4):
        x = make.vector(3)
        h = join(first, x, h) if first else make.cell(CG.GRUCell, x, h)
        first = first or h
        state = join(second, h, state) if second else make.cell(CG.LSTMCell, h, state)
        second = second or state
    return CG.Norm2(CG.Concatenation([h, state]))


def normalised(make, join):
    first = CG.LayerNorm(make.affine(make.vector(4), 6))
    second = join(first, CG.Tanh(first))
    return CG.Norm2(CG.Add(join(first, CG.Sigmoid(second)), second))


def convolved(make, join, both=(0, 1, 2), order=(0, 1, 2), channels=2):
    """Sibling convolutions on two images; those of `both` are shared, in this order."""
    one = [make.image(7, 6) for _ in range(channels)]
    two = [make.image(7, 6) for _ in range(channels)]
    hidden = make.each(CG.ReLU, make.bank(one, 3, 3))
    others = [
        join(hidden[k].backward[0], two) if k in both else make.convolution(two, 3) for k in order
    ]
    more = make.bank(make.each(CG.Tanh, others), 3, 2)
    again_more = [join(c, hidden) for c in more]
    ends = [CG.Norm2(x) for x in (*more, *again_more)]
    return CG.Sum(CG.Concatenation(ends))


def convolved_partly(make, join):
    return convolved(make, join, both=(0, 2))


def convolved_in_another_order(make, join):
    return convolved(make, join, order=(2, 0, 1))


def convolved_twice_in_a_group(make, join):
    """One kernel at two channels of one group."""
    images = [make.image(6, 6)]
    bank = make.bank(images, 3, 3)
    bank += [join(bank[1], images)]
    bank = make.bank(make.each(CG.ReLU, bank), 2, 2)
    return CG.Sum(CG.Concatenation([CG.Norm2(x) for x in bank]))


def convolved_beside_a_new_kernel(make, join):
    """A group whose first kernel has not been before and comes again, and whose second one has."""
    one, two, three = (make.image(6, 6) for _ in range(3))
    known = make.convolution([one], 3)
    new = make.convolution([two], 3)
    bank = [known, new, join(known, [two]), join(new, [three])]
    return CG.Sum(CG.Concatenation([CG.Norm2(x) for x in bank]))


def of_own_class(make, join, own=OwnScale):
    x = make.vector(4)
    first = own(make.affine(x, 4), np.linspace(0.5, 1, 4))
    second = join(first, CG.Tanh(make.affine(first, 4)))
    return CG.Norm2(CG.Add(join(first, second), make.affine(second, 4)))


def of_exchanging_class(make, join):
    return of_own_class(make, join, Exchanging)


def of_derived_class(make, join):
    x = make.vector(4)
    first = LoudAffine(x, make.rng.uniform(-1, 1, (5, 4)))
    second = join(first, CG.Tanh(first))
    return CG.Norm2(join(first, CG.ReLU(second)))


def frozen(make, join):
    loss = siamese(make, join)
    for p in CG.parameters(loss):
        if p.shape == (6, 3):
            p.trainable = False
    return loss


MAKERS = {
    "siamese": siamese,
    "unrolled once": unrolled(1),
    "unrolled 7 times": unrolled(7),
    "unrolled 50 times": unrolled(50),
    "autoencoder": autoencoder,
    "three on a path": three_on_a_path,
    "recurrent cells": recurrent,
    "layer norm": normalised,
    "convolutions": convolved,
    "convolutions of one channel": lambda make, join: convolved(make, join, channels=1),
    "some convolutions": convolved_partly,
    "convolutions in another order": convolved_in_another_order,
    "a kernel twice in a group": convolved_twice_in_a_group,
    "a kernel beside a new one": convolved_beside_a_new_kernel,
    "own class": of_own_class,
    "own class with new arrays": of_exchanging_class,
    "derived class": of_derived_class,
    "frozen": frozen,
}


def nodes_of(name, dtype, join=again):
    """Returns the nodes of a graph, inputs before their consumers."""
    return CG.ancestors(MAKERS[name](Maker(dtype), join))


def random_nodes(seed, dtype):
    """Returns the nodes above the first end of a random graph, some with the parameters of others, and its end."""
    recipe, rng = Recipe(seed), np.random.default_rng(seed)
    nodes, ends = nodes_above(recipe, recipe.ends[:1], dtype)
    alike = {}
    for node in nodes:
        if node._parameters:
            shapes = tuple(np.shape(node._peek(name)) for name, _ in node._parameters)
            alike.setdefault((type(node), shapes), []).append(node)
    for group in alike.values():
        order = [group[k] for k in rng.permutation(len(group))]
        for one, other in itertools.pairwise(order):
            if rng.random() < 0.7 and other._sharing is None:
                share_parameters(one, other)
    return nodes, ends


def difference():
    """A network of two matrices that learn alike, so that its output is 0 unless one of them is older."""
    x, t = CG.Leaf1(8), CG.Leaf1(1)
    one = CG.Affine(x, np.ones((9, 24)))
    other = CG.Affine(x, np.ones((9, 24)))
    y = CG.Sum(CG.Sub(one, other))
    loss = CG.MSE(CG.Add(CG.Sum(one), CG.Sum(other)), t)
    return x, y, t, loss
