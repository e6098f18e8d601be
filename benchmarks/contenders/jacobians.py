"""The Jacobian of what a network returns by its inputs, for all points of a batch; it is the result, too."""

from functools import partial
from typing import Any

import numpy as np

import cgraph as CG
from benchmarks.measure import one_core
from benchmarks.measure.peers import Makers
from benchmarks.measure.timing import Work
from benchmarks.networks.mlp import Layers, weights

JACOBIAN, JACREV, JIT = "`Graph.jacobian`", "torch.func, vmap(jacrev)", "jax.jit, vmap(jacrev)"


def jacobians(layers: Layers, dtype: str, batch: int) -> Makers:
    makers = {JACOBIAN: graph_jacobian, JACREV: torch_jacobian, JIT: jax_jacobian}
    return {name: partial(make, layers, dtype, batch) for name, make in makers.items()}


def points(layers: Layers, dtype: str, batch: int) -> np.ndarray:
    return np.random.default_rng(0).normal(size=(batch, layers.sizes[0])).astype(dtype)


def graph_jacobian(layers: Layers, dtype: str, batch: int) -> Work:
    nodes = layers.nodes(dtype)
    (x,), graph = nodes.x, CG.Graph(nodes.y, threads=1)
    feed = {x: points(layers, dtype, batch)}
    return Work(
        lambda: graph.jacobian(feed, nodes.y, x),
        result=lambda: graph.jacobian(feed, nodes.y, x).ravel(),
    )


def torch_jacobian(layers: Layers, dtype: str, batch: int) -> Work:
    """Products and sums of tensors, which take 0.7 of the time that modules take in torch.func.functional_call."""
    torch = one_core.torch_module()
    function = getattr(torch, layers.function.name)
    *hidden, (weight, bias) = [
        tuple(map(torch.from_numpy, pair)) for pair in weights(layers.sizes, dtype)
    ]

    def apply(h: Any) -> Any:
        for w, b in hidden:
            h = function(h @ w + b)
        return h @ weight + bias

    jacobian = torch.func.vmap(torch.func.jacrev(apply))
    x = torch.from_numpy(points(layers, dtype, batch))
    return Work(lambda: jacobian(x), result=lambda: jacobian(x).numpy().ravel())


def jax_jacobian(layers: Layers, dtype: str, batch: int) -> Work:
    jax = one_core.jax_module()
    parameters, apply = layers.jax_model(dtype)
    jacobian = jax.jit(jax.vmap(jax.jacrev(apply, argnums=1), (None, 0)))
    x = jax.numpy.asarray(points(layers, dtype, batch))
    return Work(
        lambda: jacobian(parameters, x).block_until_ready(),
        result=lambda: np.asarray(jacobian(parameters, x)).ravel(),
    )
