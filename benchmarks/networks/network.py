"""A network in the words of each framework, and the least cost of one of its training steps."""

from collections.abc import Callable
from typing import Any, NamedTuple

import numpy as np

import cgraph as CG
from benchmarks.networks.losses import CROSS_ENTROPY, Loss

ETA = 0.01


class Nodes(NamedTuple):
    """The nodes of a network that are fed, asked for or trained on."""

    x: list[CG.Node]  # one for each channel
    t: CG.Node
    y: CG.Node  # the prediction
    loss: CG.Node

    def feed(self, inputs: np.ndarray) -> dict[CG.Node, np.ndarray]:
        """Returns the feed of a Graph without the targets: for each channel its samples."""
        return {x: np.ascontiguousarray(inputs[:, c]) for c, x in enumerate(self.x)}


class Network(NamedTuple):
    """A network with random parameters; the models of PyTorch and JAX end with the last layer, in front of the loss."""

    shape: tuple[int, ...]  # the shape of one input, channels first
    outputs: int
    nodes: Callable[[str], Nodes]
    torch_model: Callable[[], Any]
    # Returns the parameters, and the function of these and of one input with channels last.
    jax_model: Callable[[str], tuple[Any, Callable[[Any, Any], Any]]]
    loss: Loss = CROSS_ENTROPY

    def samples(self, count: int, dtype: str) -> tuple[np.ndarray, np.ndarray]:
        """Returns random inputs and their targets, as PyTorch and JAX take these."""
        rng = np.random.default_rng(0)
        inputs = rng.normal(size=(count, *self.shape)).astype(dtype)
        return inputs, self.loss.targets(rng, count, self.outputs, dtype)

    def rows(self, targets: np.ndarray, dtype: str) -> np.ndarray:
        """Returns the targets as cgraph and NumPy take them."""
        return self.loss.rows(targets, self.outputs, dtype)

    def torch_inputs(self, inputs: np.ndarray) -> np.ndarray:
        """Returns images with their channels, but vectors without."""
        return inputs if len(self.shape) > 2 else inputs[:, 0]


def training_flop(network: Network, batch: int = 1) -> float:
    """FLOP of one sample: 2 for each multiply-add of the forward pass, of the weight gradients, of the input gradients
    that lead to parameters, and of the sample's share of the update."""
    learns: dict[CG.Node, bool] = {}
    count = 0
    for node in CG.ancestors(network.nodes("float32").loss):
        inputs_learn = any(learns[x] for x in node.backward)
        own = forward_multiply_adds(node)
        learns[node] = own > 0 or inputs_learn
        count += own * (2 + inputs_learn)
    return 2 * (count + sum(p.value.size for p in CG.parameters(node)) / batch)


def forward_flop(network: Network) -> int:
    """FLOP of a forward pass: 2 for each multiply-add."""
    return 2 * sum(map(forward_multiply_adds, CG.ancestors(network.nodes("float32").loss)))


def forward_multiply_adds(node: CG.Node) -> int:
    if isinstance(node, CG.Affine):
        return node.weight.size
    if isinstance(node, CG.Convolution2d):
        return node.size * node.kernel.size
    return 0
