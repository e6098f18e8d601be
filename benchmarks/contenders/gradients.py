"""Gradients as one flat vector: of the sum of the losses of a batch, and of each sample's loss alone."""

from collections.abc import Callable, Iterable
from functools import partial
from typing import Any

import numpy as np

import cgraph as CG
from benchmarks.measure import one_core
from benchmarks.measure.peers import Makers
from benchmarks.measure.timing import Work
from benchmarks.networks.mlp import Layers, weights

GRAPH = "`CG.Graph`"
TORCH, JIT, JIT_FLAT = "torch.func", "jax.jit", "jax.jit, one array"


def contenders(layers: Layers, dtype: str, batch: int, single: bool) -> Makers:
    """The contenders for the gradients of all samples alone, with `single`, or else of the sum of the losses.

    The peers return a list of arrays; the last one joins them, as cgraph does.
    """
    makers: dict[str, Callable[..., Work]] = {
        GRAPH: graph_gradients,
        TORCH: torch_gradients,
        JIT: partial(jax_gradients, False),
        JIT_FLAT: partial(jax_gradients, True),
    }
    return {name: partial(make, layers, dtype, batch, single) for name, make in makers.items()}


def samples(layers: Layers, dtype: str, batch: int) -> tuple[np.ndarray, np.ndarray]:
    inputs, targets = layers.network.samples(batch, dtype)
    return inputs[:, 0], targets


def joined(arrays: Iterable[Any], rows: int) -> np.ndarray:
    """Returns the elements of all arrays as cgraph does, in rows for single samples."""
    return np.concatenate([np.asarray(array).reshape(rows, -1) for array in arrays], 1).ravel()


def graph_gradients(layers: Layers, dtype: str, batch: int, single: bool) -> Work:
    nodes = layers.nodes(dtype)
    (x,), t = nodes.x, nodes.t
    graph = CG.Graph(nodes.loss, threads=1)
    inputs, targets = samples(layers, dtype, batch)
    feed, v = {x: inputs, t: targets}, graph.get_vector()
    if single:
        return Work(
            lambda: graph.per_sample_gradients(feed),
            result=lambda: graph.per_sample_gradients(feed).ravel(),
        )
    return Work(
        lambda: graph.value_and_grad(feed, v), result=lambda: graph.value_and_grad(feed, v)[1]
    )


def torch_gradients(layers: Layers, dtype: str, batch: int, single: bool) -> Work:
    """Products and sums of tensors take less time than modules in torch.func.functional_call."""
    torch = one_core.torch_module()
    function = getattr(torch, layers.function.name)
    parameters = [
        torch.from_numpy(array) for pair in weights(layers.sizes, dtype) for array in pair
    ]
    x, t = map(torch.from_numpy, samples(layers, dtype, batch))

    def loss(values: Any, h: Any, target: Any) -> Any:
        *hidden, (weight, bias) = zip(values[::2], values[1::2], strict=True)
        for w, b in hidden:
            h = function(h @ w + b)
        return ((h @ weight + bias - target) ** 2).mean(-1).sum()

    if single:
        gradients = torch.func.vmap(torch.func.grad(loss), (None, 0, 0))
        call = partial(gradients, parameters, x, t)
        return Work(call, result=lambda: joined(call(), batch))
    for each in parameters:
        each.requires_grad_()

    def value_and_grad() -> Any:
        value = loss(parameters, x, t)
        return value, torch.autograd.grad(value, parameters)

    return Work(value_and_grad, result=lambda: joined(value_and_grad()[1], 1))


def jax_gradients(flat: bool, layers: Layers, dtype: str, batch: int, single: bool) -> Work:
    jax = one_core.jax_module()
    parameters, apply = layers.jax_model(dtype)
    x, t = map(jax.numpy.asarray, samples(layers, dtype, batch))

    def loss(values: Any, inputs: Any, targets: Any) -> Any:
        return ((apply(values, inputs) - targets) ** 2).mean()

    def sum_of_losses(values: Any, inputs: Any, targets: Any) -> Any:
        return jax.vmap(loss, (None, 0, 0))(values, inputs, targets).sum()

    rows = batch if single else 1
    function = (
        jax.vmap(jax.grad(loss), (None, 0, 0)) if single else jax.value_and_grad(sum_of_losses)
    )

    def in_one_array(*arguments: Any) -> Any:
        found = function(*arguments)
        leaves = jax.tree.leaves(found if single else found[1])
        array = jax.numpy.concatenate([leaf.reshape(rows, -1) for leaf in leaves], 1)
        return array if single else (found[0], array)

    compiled = jax.jit(in_one_array if flat else function)

    def call() -> Any:
        return jax.block_until_ready(compiled(parameters, x, t))

    def result() -> np.ndarray:
        found = call()
        return joined(jax.tree.leaves(found if single else found[1]), rows)

    return Work(call, result=result)
