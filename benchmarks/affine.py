"""Affine 1024→1024: forward, and the gradients of input and weights; of one sample, and what is alike for many."""

import numpy as np
import one_core
from timing import Work

import cgraph as CG

SIZE = 1024


def arrays(*batch: int) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """An input, a target, or a batch of them, and the weights; each loss is Σ (y - t)² / 2 or as cheap."""
    rng = np.random.default_rng(1)
    x, t = rng.normal(size=(2, *batch, SIZE)).astype(np.float32)
    return x, t, rng.normal(0, SIZE**-0.5, (SIZE, SIZE)).astype(np.float32)


def graph_passes(overwrite: bool = False) -> Work:
    """Graph.forward and Graph.backward, which adds to the gradient sums; or overwrites them, as after an update."""
    inputs, target, weight = arrays()
    x, t = CG.Leaf1(SIZE, dtype="float32"), CG.Leaf1(SIZE, dtype="float32")
    x.getInput(inputs)
    t.getInput(target)
    y = CG.Affine(x, np.vstack([weight, np.zeros(SIZE)]))
    graph = CG.Graph(CG.MSE(y, t), leaf_grads=[x])

    def passes() -> None:
        graph.forward()
        if overwrite:
            graph._arena.fresh = True
        graph.backward()

    return Work(passes)


def torch_autograd(*batch: int) -> Work:
    torch = one_core.torch_module()
    x, t, weight = map(torch.from_numpy, arrays(*batch))
    bias = torch.zeros(SIZE)
    inputs = [tensor.requires_grad_() for tensor in (x, weight, bias)]

    def passes() -> None:
        for tensor in inputs:
            tensor.grad = None
        torch.nn.functional.mse_loss(torch.nn.functional.linear(x, weight, bias), t).backward()

    return Work(passes, *batch)


def torch_by_hand() -> Work:
    """Without autograd, into arrays that are there."""
    torch = one_core.torch_module()
    x, t, weight = map(torch.from_numpy, arrays())
    y, bias, dx, dweight = (torch.empty_like(array) for array in (t, t, x, weight))
    transposed = weight.T

    @torch.inference_mode()
    def passes() -> None:
        torch.addmv(bias, weight, x, out=y)
        g = y - t
        torch.mv(transposed, g, out=dx)
        torch.outer(g, x, out=dweight)

    return Work(passes)


def numpy_by_hand() -> Work:
    x, t, weight = arrays()
    y, bias, dx, dweight = (np.zeros_like(array) for array in (t, t, x, weight))

    def passes() -> None:
        np.matmul(x, weight, out=y)
        g = y + bias - t
        np.matmul(weight, g, out=dx)
        np.multiply.outer(x, g, out=dweight)

    return Work(passes)


def jax_jit(*batch: int) -> Work:
    jax = one_core.jax_module()
    x, t, weight = map(jax.numpy.asarray, arrays(*batch))
    bias = jax.numpy.zeros(SIZE, "float32")

    def loss(x, weight, bias):
        return ((x @ weight + bias - t) ** 2).sum() / 2

    compiled = jax.jit(jax.value_and_grad(loss, (0, 1, 2)))
    return Work(lambda: jax.block_until_ready(compiled(x, weight, bias)), *batch)
