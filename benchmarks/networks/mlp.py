"""Affine layers with ReLU between them, Softmax, CEE."""

from collections.abc import Callable, Sequence
from functools import partial
from itertools import pairwise
from typing import Any

import numpy as np

import cgraph as CG
from benchmarks.measure import one_core
from benchmarks.networks.network import Network, Nodes


def weights(sizes: Sequence[int], dtype: str) -> list[tuple[np.ndarray, np.ndarray]]:
    """Returns the matrix and the biases of each layer."""
    rng = np.random.default_rng(1)
    return [
        (rng.normal(0, m**-0.5, (m, n)).astype(dtype), np.zeros(n, dtype))
        for m, n in pairwise(sizes)
    ]


def classifier_nodes(x: list[CG.Node], h: CG.Node, sizes: Sequence[int], dtype: str) -> Nodes:
    """Builds the layers from node h, which is computed from the leaves x, to the loss."""
    t = CG.Leaf1(sizes[-1], dtype=dtype)
    *hidden, last = map(np.vstack, weights(sizes, dtype))
    for weight in hidden:
        h = CG.ReLU(CG.Affine(h, weight))
    y = CG.Softmax(CG.Affine(h, last))
    return Nodes(x, t, y, CG.CEE(y, t))


def nodes(sizes: Sequence[int], dtype: str) -> Nodes:
    x = CG.Leaf1(sizes[0], dtype=dtype)
    return classifier_nodes([x], x, sizes, dtype)


def torch_model(sizes: Sequence[int]) -> Any:
    nn = one_core.torch_module().nn
    layers = [layer for m, n in pairwise(sizes) for layer in (nn.Linear(m, n), nn.ReLU())]
    return nn.Sequential(nn.Flatten(), *layers[:-1])


def jax_model(sizes: Sequence[int], dtype: str) -> tuple[Any, Callable[[Any, Any], Any]]:
    jax = one_core.jax_module()

    def apply(parameters: Any, x: Any) -> Any:
        h = x.reshape(-1)
        *hidden, (weight, bias) = parameters
        for w, b in hidden:
            h = jax.nn.relu(h @ w + b)
        return h @ weight + bias

    return jax.tree.map(jax.numpy.asarray, weights(sizes, dtype)), apply


def network(*sizes: int) -> Network:
    return Network(
        (1, sizes[0]),
        sizes[-1],
        partial(nodes, sizes),
        partial(torch_model, sizes),
        partial(jax_model, sizes),
    )


MLP_SIZES = (784, 64, 64, 10)
MLP = network(*MLP_SIZES)
