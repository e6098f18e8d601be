"""Functions of as many elements as an image has: batches that two threads share give what the nodes give."""

import numpy as np
import pytest
from graph_twins import assert_same

import cgraph as CG

ELEMENTS, SAMPLES = 28 * 28, 100


def above_zero(x):
    """A node that is far enough from 0 for logarithms, roots and quotients."""
    return CG.Softplus(x) + 0.5


FUNCTIONS = {
    "Add": CG.Add,
    "Sub": CG.Sub,
    "Mul": CG.Mul,
    "Div": lambda x, y: CG.Div(x, above_zero(y)),
    "Maximum": CG.Maximum,
    "Minimum": CG.Minimum,
    "Exp": lambda x, _: CG.Exp(x),
    "Log": lambda x, _: CG.Log(above_zero(x)),
    "Sqrt": lambda x, _: CG.Sqrt(above_zero(x)),
    "Reciprocal": lambda x, _: 1 / above_zero(x),
    "Square": lambda x, _: CG.Square(x),
    "Abs": lambda x, _: CG.Abs(x),
    "Clip": lambda x, _: CG.Clip(x, -0.5, 0.5),
    "LeakyReLU": lambda x, _: CG.LeakyReLU(x),
    "ELU": lambda x, _: CG.ELU(x),
    "Softplus": lambda x, _: CG.Softplus(x),
    "SiLU": lambda x, _: CG.SiLU(x),
    "GELU": lambda x, _: CG.GELU(x),
    "tanh GELU": lambda x, _: CG.GELU(x, approximate=True),
    "LogSoftmax": lambda x, _: CG.LogSoftmax(x),
    "Slice": lambda x, y: CG.Concatenation([CG.Slice(x, 0, 391), CG.Slice(y, 391, ELEMENTS)]),
    "Mean": lambda x, y: y * CG.Mean(x),
    "Sum": lambda x, y: y * (CG.Sum(x) / ELEMENTS),
}


def network(function, dtype):
    """Returns the leaves, a layer that learns, and a loss with a function between them."""
    leaves = x, y, target = [CG.Leaf1(ELEMENTS, dtype=dtype) for _ in range(3)]
    learning = CG.LayerNorm(x)
    return leaves, learning, CG.MSE(function(learning, y), target)


@pytest.mark.parametrize("dtype", ["float64", "float32"])
@pytest.mark.parametrize("layout", ["lanes", "samples"])
@pytest.mark.parametrize("name", FUNCTIONS)
def test_batches_of_images_give_the_losses_and_the_sums_of_the_nodes(name, layout, dtype):
    rows = np.random.default_rng(0).normal(size=(3, SAMPLES, ELEMENTS)).astype(dtype)
    (leaves, learning, loss), (own_leaves, own_learning, own_loss) = (
        network(FUNCTIONS[name], dtype) for _ in range(2)
    )
    graph = CG.Graph(loss, layout=layout, threads=2)
    feed = {leaf: row for leaf, row in zip(leaves, rows, strict=True) if leaf.forward}
    losses = graph.accumulate(feed)
    expected = []
    for sample in rows.swapaxes(0, 1):
        for leaf, row in zip(own_leaves, sample, strict=True):
            if leaf.forward:
                leaf.getInput(row)
                leaf.forwardPropagation()
        own_loss.backwardPropagation()
        expected.append(own_loss.data[0])
    tolerance = {"float64": 1e-12, "float32": 2e-5}[dtype]
    assert_same(losses, expected, tolerance)
    assert_same(learning.gradGain, own_learning.gradGain, tolerance)
    assert_same(learning.gradBias, own_learning.gradBias, tolerance)
