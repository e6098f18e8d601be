"""Data and gradients in float64 are PyTorch's, at ties and kinks, too; without PyTorch these tests are skipped."""

import numpy as np
import pytest
from op_row import leaf_of

import cgraph as CG

torch = pytest.importorskip("torch")
F = torch.nn.functional

# The node and what PyTorch calls it. Its softplus is the identity from a threshold on, which is set out of reach.
UNARY = {
    "Exp": (CG.Exp, torch.exp),
    "Log": (CG.Log, torch.log),
    "Square": (CG.Square, torch.square),
    "Sqrt": (CG.Sqrt, torch.sqrt),
    "Reciprocal": (lambda x: CG.Reciprocal(x, 2.5), lambda x: 2.5 / x),
    "Scale": (lambda x: CG.Scale(x, -3, 0.5), lambda x: -3 * x + 0.5),
    "Abs": (CG.Abs, torch.abs),
    "Clip": (lambda x: CG.Clip(x, -1, 2), lambda x: torch.clamp(x, -1, 2)),
    "LeakyReLU": (CG.LeakyReLU, F.leaky_relu),
    "LeakyReLU of slope 0.3": (lambda x: CG.LeakyReLU(x, 0.3), lambda x: F.leaky_relu(x, 0.3)),
    "ELU": (CG.ELU, F.elu),
    "ELU of alpha 0.5": (lambda x: CG.ELU(x, 0.5), lambda x: F.elu(x, 0.5)),
    "Softplus": (CG.Softplus, lambda x: F.softplus(x, threshold=1e4)),
    "SiLU": (CG.SiLU, F.silu),
    "GELU": (CG.GELU, F.gelu),
    "GELU by tanh": (lambda x: CG.GELU(x, True), lambda x: F.gelu(x, approximate="tanh")),
    "minus": (lambda x: -x, lambda x: -x),
    "x / 3": (lambda x: x / 3, lambda x: x / 3),
    "1 - x": (lambda x: 1 - x, lambda x: 1 - x),
}
BINARY = {
    "Mul": (CG.Mul, torch.mul),
    "Div": (CG.Div, torch.div),
    "Maximum": (CG.Maximum, torch.maximum),
    "Minimum": (CG.Minimum, torch.minimum),
    "x * y - x / y": (lambda x, y: x * y - x / y, lambda x, y: x * y - x / y),
}
POSITIVE = ("Log", "Sqrt")
# Ties, kinks and bounds; the functions of positive numbers take their sizes.
SPECIAL = [0.0, -1.0, 2.0, 1.0, -0.5, 30.0, -30.0, 1e-8, -1e-8, 1e-300]


def numbers(rng):
    return np.concatenate([SPECIAL, rng.normal(0, 3, 200)])


def compare(make, torch_function, xs):
    g = np.linspace(-2, 2, xs[0].size)
    leaves = [leaf_of((x.size, 1), "float64") for x in xs]
    for leaf, x in zip(leaves, xs, strict=True):
        leaf.getInput(x)
    node = make(*leaves)
    seed = leaf_of((g.size, 1), "float64")
    seed.getInput(g)
    loss = CG.Dots(node, seed)
    for leaf in (*leaves, seed):
        leaf.forwardPropagation()
    loss.backwardPropagation()
    tensors = [torch.tensor(x, requires_grad=True) for x in xs]
    expected = torch_function(*tensors)
    expected.backward(torch.from_numpy(g))
    pairs = [
        (node.data, expected),
        *((x.grad, t.grad) for x, t in zip(leaves, tensors, strict=True)),
    ]
    for ours, theirs in pairs:
        np.testing.assert_allclose(ours, theirs.detach().numpy(), rtol=1e-10, atol=1e-10)


@pytest.mark.parametrize("name", UNARY)
def test_functions_of_one_node_are_those_of_pytorch(name, build_name):
    x = numbers(np.random.default_rng(0))
    x = np.abs(x[x != 0]) if name in POSITIVE else x[x != 0] if name == "Reciprocal" else x
    compare(*UNARY[name], [x])


@pytest.mark.parametrize("name", BINARY)
def test_functions_of_two_nodes_are_those_of_pytorch(name, build_name):
    rng = np.random.default_rng(1)
    x, y = numbers(rng), numbers(rng)
    y[12:20] = x[12:20]
    if "/" in name or name == "Div":
        x, y = x[y != 0], y[y != 0]
        y[np.abs(y) < 1e-3] = 1e-3
    compare(*BINARY[name], [x, y])
