"""A block like VGG's on 3×32×32: 32@3×3 twice, pooling, 64@3×3 twice, pooling; 4096-10, Softmax, CEE.

Padding 1, and ReLU after each convolution.
"""

from collections.abc import Callable
from itertools import pairwise
from typing import Any

import numpy as np

import cgraph as CG
from benchmarks.measure import one_core
from benchmarks.networks.lenet import jax_convolution, jax_pooling
from benchmarks.networks.mlp import Layers
from benchmarks.networks.network import Network, Nodes

CHANNELS = (3, 32, 32, 64, 64)
POOLED = (False, True, False, True)  # after each convolution
AFFINES = Layers((4096, 10))


def kernels() -> list[np.ndarray]:
    """Returns the kernels of each layer, of shape (outputs, inputs, height, width)."""
    rng = np.random.default_rng(1)
    return [rng.normal(0, (9 * m) ** -0.5, (n, m, 3, 3)) for m, n in pairwise(CHANNELS)]


def nodes(dtype: str) -> Nodes:
    x = [CG.Leaf2(32, 32, dtype=dtype) for _ in range(CHANNELS[0])]
    h: list[CG.Node] = list(x)
    size = 32
    for layer, pooled in zip(kernels(), POOLED, strict=True):
        h = [CG.ReLU(CG.Convolution2d(h, kernel, 0.0, size, size)) for kernel in layer]
        if pooled:
            h = [CG.MaxPooling2d(channel, 2, 2, 2) for channel in h]
            size //= 2
    return AFFINES.nodes_on(x, CG.Concatenation(h), dtype)


def torch_model() -> Any:
    nn = one_core.torch_module().nn
    layers = []
    for (m, n), pooled in zip(pairwise(CHANNELS), POOLED, strict=True):
        layers += [nn.Conv2d(m, n, 3, padding=1), nn.ReLU(), *([nn.MaxPool2d(2)] * pooled)]
    return nn.Sequential(*layers, nn.Flatten(), *AFFINES.torch_layers())


def jax_model(dtype: str) -> tuple[Any, Callable[[Any, Any], Any]]:
    jax = one_core.jax_module()
    filters = [(kernel.astype(dtype), np.zeros(len(kernel), dtype)) for kernel in kernels()]
    affines, apply_affines = AFFINES.jax_model(dtype)

    def apply(parameters: Any, x: Any) -> Any:
        h = x[None]
        for layer, pooled in zip(parameters[0], POOLED, strict=True):
            h = jax_convolution(h, *layer, 1)
            h = jax_pooling(h) if pooled else h
        return apply_affines(parameters[1], h)

    return jax.tree.map(jax.numpy.asarray, (filters, affines)), apply


VGG = Network((3, 32, 32), 10, nodes, torch_model, jax_model)
