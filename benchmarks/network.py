"""A classifier in the words of each framework, and what one of its training steps costs at least."""

from collections.abc import Callable
from typing import Any, NamedTuple

import numpy as np

import cgraph as CG

ETA = 0.01


class Nodes(NamedTuple):
    """The nodes that the outside needs."""

    x: CG.Node
    t: CG.Node
    y: CG.Node  # Softmax
    loss: CG.Node


class Network(NamedTuple):
    """Random parameters each time; the models of PyTorch and JAX end with the input of Softmax."""

    shape: tuple[int, ...]  # of one input
    classes: int
    nodes: Callable[[str], Nodes]
    torch_model: Callable[[], Any]  # for inputs of shape (1, 1, *shape)
    jax_model: Callable[[str], tuple[Any, Callable[[Any, Any], Any]]]  # parameters, apply

    def samples(self, count: int, dtype: str) -> tuple[np.ndarray, np.ndarray]:
        """Inputs and their classes."""
        rng = np.random.default_rng(0)
        inputs = rng.normal(size=(count, *self.shape)).astype(dtype)
        return inputs, rng.integers(self.classes, size=count)

    def one_hot(self, labels: np.ndarray, dtype: str) -> np.ndarray:
        return np.eye(self.classes, dtype=dtype)[labels]


def training_flop(network: Network) -> int:
    """2 for each multiply-add of forward, of weight gradients, of the input gradients that lead to what learns, and
    of the update."""
    learns: dict[CG.Node, bool] = {}
    count = 0
    for node in CG.ancestors(network.nodes("float32").loss):
        inputs_learn = any(learns[x] for x in node.backward)
        own = forward_multiply_adds(node)
        learns[node] = own > 0 or inputs_learn
        count += own * (2 + inputs_learn)
    return 2 * (count + sum(p.value.size for p in CG.parameters(node)))


def forward_flop(network: Network) -> int:
    """2 for each multiply-add of a forward pass."""
    return 2 * sum(map(forward_multiply_adds, CG.ancestors(network.nodes("float32").loss)))


def forward_multiply_adds(node: CG.Node) -> int:
    if isinstance(node, CG.Affine):
        return node.weight.size
    if isinstance(node, CG.Convolution2d):
        return node.size * node.kernel.size
    return 0
