"""Affine 1024→1024 on a batch: forward, and the gradients of the inputs and of the weights."""

import numpy as np
import one_core
from affine import SIZE, arrays
from timing import Work

import cgraph as CG


def flop() -> int:
    """Of one sample."""
    return 3 * 2 * SIZE**2


def graph_passes(batch: int, overwrite: bool = False) -> Work:
    """Graph.accumulate, which adds to the gradient sums; or overwrites them, as after an update."""
    inputs, targets, weight = arrays(batch)
    x, t = CG.Leaf1(SIZE, dtype="float32"), CG.Leaf1(SIZE, dtype="float32")
    y = CG.Affine(x, np.vstack([weight, np.zeros(SIZE)]))
    graph = CG.Graph(CG.MSE(y, t), leaf_grads=[x], threads=1)
    feed = {x: inputs, t: targets}

    def passes() -> None:
        if overwrite:
            graph._arena.fresh = True
        graph.accumulate(feed)

    return Work(passes, batch)


def torch_by_hand(batch: int) -> Work:
    """Without autograd, into arrays that are there."""
    torch = one_core.torch_module()
    x, t, weight = map(torch.from_numpy, arrays(batch))
    y, g, dx, dweight = (torch.empty_like(array) for array in (t, t, x, weight))
    bias, dbias = torch.zeros(2, SIZE)

    @torch.inference_mode()
    def passes() -> None:
        torch.addmm(bias, x, weight, out=y)
        torch.sub(y, t, out=g)
        torch.mm(g, weight.T, out=dx)
        torch.mm(x.T, g, out=dweight)
        torch.sum(g, 0, out=dbias)

    return Work(passes, batch)


def numpy_by_hand(batch: int) -> Work:
    x, t, weight = arrays(batch)
    y, g, dx, dweight = (np.empty_like(array) for array in (t, t, x, weight))
    bias, dbias = np.zeros((2, SIZE), np.float32)

    def passes() -> None:
        np.matmul(x, weight, out=y)
        np.add(y, bias, out=y)
        np.subtract(y, t, out=g)
        np.matmul(g, weight.T, out=dx)
        np.matmul(x.T, g, out=dweight)
        np.sum(g, 0, out=dbias)

    return Work(passes, batch)
