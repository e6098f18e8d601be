"""The small graphs that many tests begin with, and what these tests look at."""

import numpy as np

import cgraph as CG

SHIFTED = "two different forward passes of one leaf"
STUCK = "still waiting in a backward pass"


def vector(*values, dtype=None):
    """A Leaf1 that holds these values."""
    node = CG.Leaf1(len(values), dtype=dtype)
    node.getInput(values)
    return node


def counters(*nodes):
    return [(node.b_count, node.f_count) for node in nodes]


def affine_graph(dtype=None, **options):
    """A Graph of MSE over Affine, its input, its target and its prediction."""
    x, t = CG.Leaf1(3, dtype=dtype), CG.Leaf1(2, dtype=dtype)
    y = CG.Affine(x, np.linspace(-1, 1, 8).reshape(4, 2))
    return CG.Graph(CG.MSE(y, t), **options), x, t, y


def line(weight=1.0):
    """Input, target, prediction and loss of a straight line."""
    x, t = CG.Leaf1(1), CG.Leaf1(1)
    y = CG.Affine(x, [[weight], [0.0]])
    return x, t, y, CG.MSE(y, t)


def show(leaves, values):
    for leaf, value in zip(leaves, values, strict=True):
        leaf.getInput(np.full(leaf.size, value))
        leaf.forwardPropagation()


def warned_of(call, *args):
    """Which of the two mistakes a call warns of as an error; that changes nothing."""
    try:
        call(*args)
    except RuntimeWarning as warning:
        return SHIFTED if SHIFTED in str(warning) else STUCK
    return None
