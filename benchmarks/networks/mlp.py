"""Affine layers with a function between them, by default ReLU, and a loss, by default cross-entropy."""

from collections.abc import Callable, Sequence
from itertools import pairwise
from typing import Any, NamedTuple

import numpy as np

import cgraph as CG
from benchmarks.measure import one_core
from benchmarks.networks.functions import RELU, Function
from benchmarks.networks.losses import CROSS_ENTROPY, Loss
from benchmarks.networks.network import Network, Nodes


def weights(sizes: Sequence[int], dtype: str) -> list[tuple[np.ndarray, np.ndarray]]:
    """Returns the matrix and the biases of each layer."""
    rng = np.random.default_rng(1)
    return [
        (rng.normal(0, m**-0.5, (m, n)).astype(dtype), np.zeros(n, dtype))
        for m, n in pairwise(sizes)
    ]


class Layers(NamedTuple):
    """The layers, which stand alone or behind convolutions."""

    sizes: tuple[int, ...]
    function: Function = RELU
    loss: Loss = CROSS_ENTROPY

    def nodes_on(self, x: list[CG.Node], h: CG.Node, dtype: str) -> Nodes:
        """Builds the layers from node h, which is computed from the leaves x, to the loss."""
        t = CG.Leaf1(self.sizes[-1], dtype=dtype)
        *hidden, last = map(np.vstack, weights(self.sizes, dtype))
        for weight in hidden:
            h = self.function.node(CG.Affine(h, weight))
        return Nodes(x, t, *self.loss.nodes(CG.Affine(h, last), t))

    def nodes(self, dtype: str) -> Nodes:
        x = CG.Leaf1(self.sizes[0], dtype=dtype)
        return self.nodes_on([x], x, dtype)

    def torch_layers(self) -> list[Any]:
        """Returns modules with the parameters of PyTorch's own choice."""
        torch = one_core.torch_module()
        function = getattr(torch.nn, self.function.node.__name__)
        layers = [
            layer for m, n in pairwise(self.sizes) for layer in (torch.nn.Linear(m, n), function())
        ]
        return layers[:-1]

    def torch_model(self) -> Any:
        """Returns a model with the same parameters as the other frameworks', in float64."""
        torch = one_core.torch_module()
        layers = self.torch_layers()
        model = torch.nn.Sequential(*layers).double()
        for layer, values in zip(layers[::2], weights(self.sizes, "float64"), strict=True):
            layer.weight.data, layer.bias.data = (torch.from_numpy(v.T.copy()) for v in values)
        return model

    def jax_model(self, dtype: str) -> tuple[Any, Callable[[Any, Any], Any]]:
        jax = one_core.jax_module()
        function = getattr(jax.nn, self.function.name)

        def apply(parameters: Any, x: Any) -> Any:
            h = x.reshape(-1)
            *hidden, (weight, bias) = parameters
            for w, b in hidden:
                h = function(h @ w + b)
            return h @ weight + bias

        return jax.tree.map(jax.numpy.asarray, weights(self.sizes, dtype)), apply

    @property
    def network(self) -> Network:
        first, *_, last = self.sizes
        makers = (self.nodes, self.torch_model, self.jax_model)
        return Network((1, first), last, *makers, self.loss)


MLP_LAYERS = Layers((784, 64, 64, 10))
MLP = MLP_LAYERS.network
