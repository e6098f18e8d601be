"""Functions that keep the shape of what they are given, in the words of each framework."""

from collections.abc import Callable, Mapping
from types import MappingProxyType
from typing import Any, NamedTuple

import numpy as np

import cgraph as CG

Arrays = Callable[..., object]


class Function(NamedTuple):
    """A function in cgraph and NumPy, and its name in PyTorch and JAX, where it takes the last dimension.

    `forward(x, y)` writes y, which may be x. The gradients, `backward(y, dy, dx)` and that of PyTorch's compiled
    operations, write dx, which may be dy; NumPy's may spoil y, which saves it an array.
    """

    node: Callable[[CG.Node], CG.Node]
    name: str
    forward: Arrays
    backward: Arrays
    torch_backward: Callable[[Any], Arrays]  # of torch.ops.aten
    options: Mapping[str, int] = MappingProxyType({})  # of PyTorch


def relu(x: np.ndarray, y: np.ndarray) -> None:
    np.maximum(x, 0, out=y)


def relu_backward(y: np.ndarray, dy: np.ndarray, dx: np.ndarray) -> None:
    np.multiply(dy, y > 0, out=dx)


def tanh_backward(y: np.ndarray, dy: np.ndarray, dx: np.ndarray) -> None:
    """dx = dy (1 − y²)."""
    np.multiply(y, y, out=y)
    np.subtract(1, y, out=y)
    np.multiply(dy, y, out=dx)


def sigmoid(x: np.ndarray, y: np.ndarray) -> None:
    """y = 1 / (1 + exp(−x))."""
    np.negative(x, out=y)
    np.exp(y, out=y)
    np.add(y, 1, out=y)
    np.reciprocal(y, out=y)


def sigmoid_backward(y: np.ndarray, dy: np.ndarray, dx: np.ndarray) -> None:
    """dx = dy y (1 − y)."""
    np.multiply(dy, y, out=dx)
    np.subtract(1, y, out=y)
    np.multiply(dx, y, out=dx)


def softmax(x: np.ndarray, y: np.ndarray) -> None:
    """y_i = exp(x_i − max x) / Σ exp(x_j − max x)."""
    np.subtract(x, x.max(-1, keepdims=True), out=y)
    np.exp(y, out=y)
    np.divide(y, y.sum(-1, keepdims=True), out=y)


def softmax_backward(y: np.ndarray, dy: np.ndarray, dx: np.ndarray) -> None:
    """dx_i = y_i (dy_i − Σ dy_j y_j)."""
    np.subtract(dy, np.einsum("ij,ij->i", dy, y)[:, None], out=dx)
    np.multiply(dx, y, out=dx)


RELU = Function(
    CG.ReLU,
    "relu",
    relu,
    relu_backward,
    lambda aten: lambda y, dy, dx: aten.threshold_backward.grad_input(dy, y, 0, grad_input=dx),
)
TANH = Function(
    CG.Tanh,
    "tanh",
    np.tanh,
    tanh_backward,
    lambda aten: lambda y, dy, dx: aten.tanh_backward.grad_input(dy, y, grad_input=dx),
)
SIGMOID = Function(
    CG.Sigmoid,
    "sigmoid",
    sigmoid,
    sigmoid_backward,
    lambda aten: lambda y, dy, dx: aten.sigmoid_backward.grad_input(dy, y, grad_input=dx),
)
SOFTMAX = Function(
    CG.Softmax,
    "softmax",
    softmax,
    softmax_backward,
    lambda aten: (
        lambda y, dy, dx: aten._softmax_backward_data.out(dy, y, -1, y.dtype, grad_input=dx)
    ),
    MappingProxyType({"dim": -1}),
)
