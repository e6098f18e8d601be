"""Functions of elements that a Graph runs as one step, tile by tile, and the same functions as steps of their own."""

from collections.abc import Callable
from contextlib import nullcontext
from functools import partial
from typing import NamedTuple

import numpy as np

import cgraph as CG
from benchmarks.measure.internals import single_steps
from benchmarks.measure.peers import Makers
from benchmarks.measure.timing import Work

SINGLE, JOINED = "steps of their own", "one step"


def gelu(x: CG.Node) -> CG.Node:
    return 0.5 * x * (1 + CG.Tanh(0.79788456 * (x + 0.044715 * (x * x * x))))


def log_probability(x: CG.Node, mean: CG.Node, deviation: CG.Node) -> CG.Node:
    return -0.5 * CG.Square((x - mean) / deviation) - CG.Log(deviation)


def clipped_objective(new: CG.Node, old: CG.Node, advantage: CG.Node) -> CG.Node:
    ratio = CG.Exp(new - old)
    return CG.Minimum(ratio * advantage, CG.Clip(ratio, 0.8, 1.2) * advantage)


STRETCHES: dict[str, tuple[Callable[..., CG.Node], int]] = {
    "GELU of parts": (gelu, 1),
    "Gaussian log-probability": (log_probability, 3),
    "PPO's clipped objective": (clipped_objective, 3),
}


class Stretch(NamedTuple):
    """A stretch on samples of `size` elements, `batch` of them side by side or one at a time, in float32."""

    name: str
    batch: int
    size: int
    backward: bool

    @property
    def makers(self) -> Makers:
        return {SINGLE: partial(work, self, True), JOINED: partial(work, self, False)}


def work(stretch: Stretch, single: bool) -> Work:
    """Of one sample at a time there are 256 in a call, which takes time of its own."""
    function, inputs = STRETCHES[stretch.name]
    samples, layout = (256, "samples") if stretch.batch == 1 else (stretch.batch, "auto")
    leaves = [CG.Leaf1(stretch.size, dtype="float32") for _ in range(inputs)]
    h = function(*leaves)
    rng = np.random.default_rng(1)
    feed = {x: rng.uniform(0.5, 1.5, (samples, x.size)).astype(np.float32) for x in leaves}
    with single_steps() if single else nullcontext():
        graph = CG.Graph(CG.Sum(h), leaf_grads=leaves, threads=1, layout=layout)
        call = partial(graph.accumulate, feed)
        if not stretch.backward:
            call = partial(graph.predict, feed, h)
        call()  # which makes steps over lanes
    return Work(call, samples * stretch.size, lambda: np.ravel(call()))
