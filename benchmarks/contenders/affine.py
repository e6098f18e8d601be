"""Affine 1024→1024 on one sample or a batch: forward, and the gradients of the inputs and of the parameters."""

from functools import partial

import numpy as np

import cgraph as CG
from benchmarks.measure import one_core
from benchmarks.measure.peers import Makers
from benchmarks.measure.timing import Work

SIZE = 1024
FLOP = 3 * 2 * SIZE**2  # for one sample
OVERWRITING, ADDING = OURS = ("Graph, overwriting the sums", "Graph, adding to the sums")
AUTOGRAD, BY_HAND = PYTORCH = ("PyTorch autograd", "PyTorch by hand, without autograd")


def contenders(batch: int) -> Makers:
    """The contenders; a Graph adds to its gradient sums unless an update came before, the peers overwrite theirs."""
    return {
        OVERWRITING: partial(graph_passes, batch, overwrite=True),
        ADDING: partial(graph_passes, batch),
        AUTOGRAD: partial(torch_autograd, batch),
        BY_HAND: partial(torch_by_hand, batch),
        "jax.jit": partial(jax_jit, batch),
        "NumPy by hand": partial(numpy_by_hand, batch),
    }


def arrays(batch: int) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Returns inputs, targets and the weights; each loss is Σ (y - t)² / 2 or as cheap."""
    rng = np.random.default_rng(1)
    x, t = rng.normal(size=(2, batch, SIZE)).astype(np.float32)
    return x, t, rng.normal(0, SIZE**-0.5, (SIZE, SIZE)).astype(np.float32)


def graph_passes(batch: int, overwrite: bool = False) -> Work:
    """Graph.accumulate adds to the gradient sums; or overwrites them, as after an update."""
    inputs, targets, weight = arrays(batch)
    x, t = CG.Leaf1(SIZE, dtype="float32"), CG.Leaf1(SIZE, dtype="float32")
    y = CG.Affine(x, np.vstack([weight, np.zeros(SIZE)]))
    graph = CG.Graph(CG.MSE(y, t), leaf_grads=[x], threads=1)
    feed = {x: inputs, t: targets}

    if not overwrite:
        return Work(lambda: graph.accumulate(feed), batch)
    from benchmarks.measure.internals import (
        overwrite_sums,  # imported here, since all else in this file is public
    )

    def passes() -> None:
        overwrite_sums(graph)
        graph.accumulate(feed)

    return Work(passes, batch)


def torch_autograd(batch: int) -> Work:
    torch = one_core.torch_module()
    x, t, weight = map(torch.from_numpy, arrays(batch))
    bias = torch.zeros(SIZE)
    inputs = [tensor.requires_grad_() for tensor in (x, weight, bias)]

    def passes() -> None:
        for tensor in inputs:
            tensor.grad = None
        torch.nn.functional.mse_loss(torch.nn.functional.linear(x, weight, bias), t).backward()

    return Work(passes, batch)


def torch_by_hand(batch: int) -> Work:
    """PyTorch computes into preallocated tensors, without autograd."""
    torch = one_core.torch_module()
    x, t, weight = map(torch.from_numpy, arrays(batch))
    y, dy, dx, dweight = (torch.empty_like(array) for array in (t, t, x, weight))
    bias, dbias = torch.zeros(2, SIZE)

    @torch.inference_mode()
    def passes() -> None:
        torch.addmm(bias, x, weight, out=y)
        torch.sub(y, t, out=dy)
        torch.mm(dy, weight.T, out=dx)
        torch.mm(x.T, dy, out=dweight)
        torch.sum(dy, 0, out=dbias)

    return Work(passes, batch)


def numpy_by_hand(batch: int) -> Work:
    """NumPy computes into preallocated arrays."""
    x, t, weight = arrays(batch)
    y, dy, dx, dweight = (np.empty_like(array) for array in (t, t, x, weight))
    bias, dbias = np.zeros((2, SIZE), np.float32)
    outer = np.multiply if batch == 1 else np.matmul  # of a column and a row, the faster one

    def passes() -> None:
        np.matmul(x, weight, out=y)
        np.add(y, bias, out=y)
        np.subtract(y, t, out=dy)
        np.matmul(dy, weight.T, out=dx)
        outer(x.T, dy, out=dweight)
        np.sum(dy, 0, out=dbias)

    return Work(passes, batch)


def jax_jit(batch: int) -> Work:
    jax = one_core.jax_module()
    x, t, weight = map(jax.numpy.asarray, arrays(batch))
    bias = jax.numpy.zeros(SIZE, "float32")

    def loss(x, weight, bias):
        return ((x @ weight + bias - t) ** 2).sum() / 2

    compiled = jax.jit(jax.value_and_grad(loss, (0, 1, 2)))
    return Work(lambda: jax.block_until_ready(compiled(x, weight, bias)), batch)
