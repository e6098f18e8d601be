"""Chains of one function, each link on what the last one returned: forward, or forward and backward.

The last value's gradient is that of a squared error with a distant target, so that it stays a normal number in all
links of Softmax, each of which makes it smaller by as much as there are elements.
"""

from collections.abc import Callable
from functools import partial
from typing import Any

import numpy as np

import cgraph as CG
from benchmarks.measure import one_core
from benchmarks.measure.peers import Makers
from benchmarks.measure.timing import Work
from benchmarks.networks.functions import Function

SAMPLES, SIZE = 256, 64
ELEMENTS = SAMPLES * SIZE
DISTANT = 1e15
EAGER, BY_HAND = PYTORCH = ("PyTorch eager", "PyTorch by hand, without autograd")


def contenders(function: Function, links: int, dtype: str, backward: bool) -> Makers:
    case = (function, links, dtype, backward)
    return {
        "Graph": partial(graph_chain, *case),
        EAGER: partial(torch_eager, *case),
        BY_HAND: partial(torch_by_hand, *case),
        "jax.jit": partial(jax_jit, *case),
        "NumPy by hand": partial(numpy_by_hand, *case),
    }


def arrays(dtype: str) -> tuple[np.ndarray, np.ndarray]:
    """Returns inputs and targets."""
    rng = np.random.default_rng(1)
    x, t = rng.normal(size=(2, SAMPLES, SIZE)).astype(dtype)
    return x, t * np.asarray(DISTANT, dtype)


def graph_chain(function: Function, links: int, dtype: str, backward: bool) -> Work:
    """A Graph with the loss behind the chain; the gradient of a batch's inputs is seen by one sample at a time."""
    inputs, targets = arrays(dtype)
    x = h = CG.Leaf1(SIZE, dtype=dtype)
    t = CG.Leaf1(SIZE, dtype=dtype)
    for _ in range(links):
        h = function.node(h)
    graph = CG.Graph(CG.MSE(h, t), leaf_grads=[x], threads=1)
    feed = {x: inputs, t: targets}

    def gradients() -> np.ndarray:
        graph.accumulate(feed)
        found = []
        for sample in range(SAMPLES):
            graph.sample(sample)
            found.append(x.grad.ravel().copy())
        return np.concatenate(found)

    if backward:
        return Work(lambda: graph.accumulate(feed), ELEMENTS, gradients)
    predict = partial(graph.predict, {x: inputs}, h)
    return Work(predict, ELEMENTS, lambda: predict().ravel())


def torch_eager(function: Function, links: int, dtype: str, backward: bool) -> Work:
    """PyTorch makes new tensors; forward in inference_mode, backward by autograd."""
    torch = one_core.torch_module()
    x, t = map(torch.from_numpy, arrays(dtype))
    compute = partial(getattr(torch, function.name), **function.options)

    def chain() -> Any:
        h = x
        for _ in range(links):
            h = compute(h)
        return h

    def passes() -> Any:
        loss = torch.nn.functional.mse_loss(chain(), t, reduction="sum") / SIZE
        return torch.autograd.grad(loss, x)[0]

    if backward:
        x.requires_grad_()
    call = passes if backward else torch.inference_mode()(chain)
    return Work(call, ELEMENTS, lambda: call().numpy().ravel())


def torch_by_hand(function: Function, links: int, dtype: str, backward: bool) -> Work:
    """PyTorch computes into preallocated tensors, without autograd."""
    torch = one_core.torch_module()
    x, t = map(torch.from_numpy, arrays(dtype))
    compute = partial(getattr(torch, function.name), **function.options)
    gradient = function.torch_backward(torch.ops.aten)

    def last_gradient(y: Any, dy: Any) -> None:
        torch.sub(y, t, out=dy)
        dy.mul_(2 / SIZE)

    call, result = by_hand(
        lambda x, y: compute(x, out=y),
        gradient,
        last_gradient,
        [x, *(torch.empty_like(x) for _ in range(links if backward else 2))],
        links,
        backward,
    )
    return Work(torch.inference_mode()(call), ELEMENTS, lambda: result().numpy().ravel())


def numpy_by_hand(function: Function, links: int, dtype: str, backward: bool) -> Work:
    """NumPy computes into preallocated arrays."""
    x, t = arrays(dtype)

    def last_gradient(y: np.ndarray, dy: np.ndarray) -> None:
        np.subtract(y, t, out=dy)
        np.multiply(dy, 2 / SIZE, out=dy)

    call, result = by_hand(
        function.forward,
        function.backward,
        last_gradient,
        [x, *(np.empty_like(x) for _ in range(links if backward else 2))],
        links,
        backward,
    )
    return Work(call, ELEMENTS, lambda: result().ravel())


def by_hand(
    forward: Callable[..., object],
    gradient: Callable[..., object],
    last_gradient: Callable[..., object],
    values: list[Any],
    links: int,
    backward: bool,
) -> tuple[Callable[[], None], Callable[[], Any]]:
    """Returns the passes over the chain, and the array of their result: the last value or the input's gradient.

    Values are the input and an array for each link; or, without a backward pass, two that links take in turn.
    """
    x, *outputs = values
    ys = [outputs[link % len(outputs)] for link in range(links)]
    dy = x * 0

    def passes() -> None:
        for h, y in zip([x, *ys], ys, strict=False):
            forward(h, y)
        if backward:
            last_gradient(ys[-1], dy)
            for y in reversed(ys):
                gradient(y, dy, dy)

    return passes, lambda: dy if backward else ys[-1]


def jax_jit(function: Function, links: int, dtype: str, backward: bool) -> Work:
    """JAX makes one function of the chain, which may keep what lies between the links in registers."""
    jax = one_core.jax_module()
    x, t = map(jax.numpy.asarray, arrays(dtype))
    compute = getattr(jax.nn, function.name)

    def chain(x: Any) -> Any:
        for _ in range(links):
            x = compute(x)
        return x

    def loss(x: Any) -> Any:
        return ((chain(x) - t) ** 2).sum() / SIZE

    compiled = jax.jit(jax.grad(loss) if backward else chain)

    def call() -> Any:
        return compiled(x).block_until_ready()

    return Work(call, ELEMENTS, lambda: np.ravel(call()))
