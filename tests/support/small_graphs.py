"""Small graphs with which many tests begin, and functions that these tests share."""

import numpy as np

import cgraph as CG

SHIFTED = "two different forward passes of one leaf"
STUCK = "still waiting in a backward pass"


def vector(*values, dtype=None):
    """Returns a Leaf1 that holds these values."""
    node = CG.Leaf1(len(values), dtype=dtype)
    node.getInput(values)
    return node


def counters(*nodes):
    return [(node.b_count, node.f_count) for node in nodes]


def affine_graph(dtype=None, **options):
    """Returns a Graph of MSE over Affine, and its input, target and prediction."""
    x, t = CG.Leaf1(3, dtype=dtype), CG.Leaf1(2, dtype=dtype)
    y = CG.Affine(x, np.linspace(-1, 1, 8).reshape(4, 2))
    return CG.Graph(CG.MSE(y, t), **options), x, t, y


def line(weight=1.0):
    """Returns input, target, prediction and loss of a straight line."""
    x, t = CG.Leaf1(1), CG.Leaf1(1)
    y = CG.Affine(x, [[weight], [0.0]])
    return x, t, y, CG.MSE(y, t)


def show(leaves, values):
    for leaf, value in zip(leaves, values, strict=True):
        leaf.getInput(np.full(leaf.size, value))
        leaf.forwardPropagation()


def warned_of(call, *args):
    """Returns the mistake of which a call warns; the warning is made an error, so that the call changes nothing."""
    try:
        call(*args)
    except RuntimeWarning as warning:
        return SHIFTED if SHIFTED in str(warning) else STUCK
    return None
