"""Chains of LayerNorm, whose gains and biases learn: forward, or forward and backward, as in elements.py."""

from functools import partial
from typing import Any, NamedTuple

import numpy as np

import cgraph as CG
from benchmarks.contenders.elements import BY_HAND, EAGER, graph_work
from benchmarks.measure import one_core
from benchmarks.measure.peers import Makers
from benchmarks.measure.timing import Work

EPS = 1e-5


class NormChain(NamedTuple):
    """`links` LayerNorms, on `samples` samples of `size` elements in float32."""

    samples: int
    size: int
    backward: bool
    links: int

    @property
    def name(self) -> str:
        return "LayerNorm"

    @property
    def makers(self) -> Makers:
        return {
            "Graph": partial(graph_chain, self),
            EAGER: partial(torch_eager, self),
            BY_HAND: partial(torch_by_hand, self),
        }

    @property
    def elements(self) -> int:
        return self.samples * self.size

    def arrays(self) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
        """Returns inputs, targets, and a gain and a bias for each link."""
        rng = np.random.default_rng(1)
        x, t = rng.normal(size=(2, self.samples, self.size)).astype(np.float32)
        parameters = rng.uniform(0.9, 1.1, (self.links, 2, self.size)).astype(np.float32)
        return x, t, parameters


def graph_chain(chain: NormChain) -> Work:
    inputs, targets, parameters = chain.arrays()
    x, t = (CG.Leaf1(chain.size, dtype="float32") for _ in range(2))
    h: CG.Node = x
    for gain, bias in parameters:
        h = CG.LayerNorm(h, gain, bias, EPS)
    return graph_work(chain, x, t, h, {x: inputs, t: targets})


def torch_eager(chain: NormChain) -> Work:
    """PyTorch makes new tensors; forward in inference_mode, backward by autograd."""
    torch = one_core.torch_module()
    x, t, parameters = map(torch.from_numpy, chain.arrays())
    learning = [vector.clone() for vector in parameters.flatten(0, 1)]

    def forward() -> tuple[Any]:
        h = x
        for gain, bias in zip(learning[::2], learning[1::2], strict=True):
            h = torch.nn.functional.layer_norm(h, (chain.size,), gain, bias, EPS)
        return (h,)

    def passes() -> tuple[Any, ...]:
        loss = torch.nn.functional.mse_loss(*forward(), t, reduction="sum") / chain.size
        return tuple(torch.autograd.grad(loss, [*learning, x]))

    if chain.backward:
        for tensor in (x, *learning):
            tensor.requires_grad_()
    call = passes if chain.backward else torch.inference_mode()(forward)
    return Work(call, chain.elements, lambda: torch.cat([each.ravel() for each in call()]).numpy())


def torch_by_hand(chain: NormChain) -> Work:
    """PyTorch's fused operation and its fused derivative, without autograd; both return new tensors."""
    torch = one_core.torch_module()
    aten, shape = torch.ops.aten, [chain.size]
    x, t, parameters = map(torch.from_numpy, chain.arrays())
    pairs = [(gain, bias) for gain, bias in parameters]

    def passes() -> tuple[Any, ...]:
        h, links, gradients = x, [], []
        for gain, bias in pairs:
            y, *moments = aten.native_layer_norm(h, shape, gain, bias, EPS)
            links.append((h, shape, *moments, gain, bias))
            h = y
        if not chain.backward:
            return (h,)
        dy = torch.sub(h, t).mul_(2 / chain.size)
        for link in reversed(links):
            dy, *found = aten.native_layer_norm_backward(dy, *link, [True, True, True])
            gradients.extend(reversed(found))
        return (*reversed(gradients), dy)

    call = torch.inference_mode()(passes)
    return Work(call, chain.elements, lambda: torch.cat([each.ravel() for each in call()]).numpy())
