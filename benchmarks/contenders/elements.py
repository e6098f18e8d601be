"""Chains of one function of elements: forward, or forward and backward.

A function of two arrays takes what the last link returned, and an array that all links share; both get gradients. The
last value's gradient is that of a squared error with a distant target, as in functions.py.
"""

from functools import partial
from typing import Any, NamedTuple

import numpy as np

import cgraph as CG
from benchmarks.contenders.functions import DISTANT
from benchmarks.measure import one_core
from benchmarks.measure.peers import Makers
from benchmarks.measure.timing import Work
from benchmarks.networks.elements import ElementFunction

EAGER, BY_HAND = "PyTorch eager", "PyTorch by hand, without autograd"


class Chain(NamedTuple):
    """`links` links of a function, on `samples` samples of `size` elements in float32."""

    function: ElementFunction
    samples: int
    size: int
    backward: bool
    links: int

    @property
    def name(self) -> str:
        return self.function.name

    @property
    def makers(self) -> Makers:
        makers = {"Graph": partial(graph_chain, self), EAGER: partial(torch_eager, self)}
        if self.function.aten is not None or not self.backward:
            makers[BY_HAND] = partial(torch_by_hand, self)
        return makers

    @property
    def elements(self) -> int:
        return self.samples * self.size

    def arrays(self) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
        """Returns inputs, targets, and what all links of a function of two arrays share."""
        rng = np.random.default_rng(1)
        x, t = rng.normal(size=(2, self.samples, self.size)).astype(np.float32)
        shared = rng.uniform(0.9, 1.1, x.shape).astype(np.float32)
        return x, t * np.float32(DISTANT), shared


def graph_chain(chain: Chain) -> Work:
    inputs, targets, shared = chain.arrays()
    x, c, t = (CG.Leaf1(chain.size, dtype="float32") for _ in range(3))
    h, others = x, [c] * (chain.function.inputs - 1)
    for _ in range(chain.links):
        h = chain.function.node(h, *others, *chain.function.options)
    feed = {x: inputs, t: targets} | dict.fromkeys(others, shared)
    return graph_work(chain, x, t, h, feed)


def graph_work(
    chain: Any, x: CG.Node, t: CG.Node, h: CG.Node, feed: dict[CG.Node, np.ndarray]
) -> Work:
    """Returns the passes of a Graph through a chain from x to h, and what they compute; t is the leaf of the targets.

    The gradient of a batch's inputs is seen by one sample at a time; those of parameters come first.
    """
    leaves = [leaf for leaf in feed if leaf is not t]
    graph = CG.Graph(CG.MSE(h, t), leaf_grads=leaves, threads=1)

    def gradients() -> np.ndarray:
        graph.zero_grad()
        graph.accumulate(feed)
        found = [p.grad.copy() for p in graph.parameters]
        for sample in range(chain.samples):
            graph.sample(sample)
            found.append(x.grad.copy())
        return np.concatenate(found)

    if chain.backward:
        return Work(lambda: graph.accumulate(feed), chain.elements, gradients)
    del feed[t]
    predict = partial(graph.predict, feed, h)
    return Work(predict, chain.elements, lambda: predict().ravel())


def torch_function(function: ElementFunction) -> Any:
    torch = one_core.torch_module()
    found = getattr(torch, function.torch_name, None)
    return found or getattr(torch.nn.functional, function.torch_name)


def torch_eager(chain: Chain) -> Work:
    """PyTorch makes new tensors; forward in inference_mode, backward by autograd."""
    torch = one_core.torch_module()
    x, t, shared = map(torch.from_numpy, chain.arrays())
    compute, others = torch_function(chain.function), [shared] * (chain.function.inputs - 1)

    def forward() -> Any:
        h = x
        for _ in range(chain.links):
            h = compute(h, *others, *chain.function.torch_options)
        return h

    def passes() -> Any:
        loss = torch.nn.functional.mse_loss(forward(), t, reduction="sum") / chain.size
        return torch.autograd.grad(loss, [x, *others])[0]

    if chain.backward:
        x.requires_grad_()
        shared.requires_grad_()
    call = passes if chain.backward else torch.inference_mode()(forward)
    return Work(call, chain.elements, lambda: call().numpy().ravel())


def torch_by_hand(chain: Chain) -> Work:
    """PyTorch computes into tensors that were made before, without autograd."""
    torch = one_core.torch_module()
    x, t, shared = map(torch.from_numpy, chain.arrays())
    others = [shared] * (chain.function.inputs - 1)
    compute, aten = forward_into(chain.function), chain.function.aten
    values = [torch.empty_like(x) for _ in range(chain.links if chain.backward else 2)]
    ys = [values[link % len(values)] for link in range(chain.links)]
    dy = torch.empty_like(x)

    def passes() -> None:
        h = x
        for y in ys:
            compute(h, *others, y)
            h = y
        if chain.backward and aten is not None:
            torch.sub(h, t, out=dy).mul_(2 / chain.size)
            for h in (*ys[-2::-1], x):
                aten(torch.ops.aten, h, dy, dy)

    result = dy if chain.backward else ys[-1]
    return Work(
        torch.inference_mode()(passes), chain.elements, lambda: result.numpy().ravel().copy()
    )


def forward_into(function: ElementFunction) -> Any:
    """Returns a call that writes a function of the first arrays into the last one."""
    torch = one_core.torch_module()
    operation = getattr(torch.ops.aten, function.torch_name).out

    return lambda *arrays: operation(*arrays[:-1], out=arrays[-1])
