"""How the samples of a batch lie, and what becomes of the time: the measurements behind cgraph/_lowering/layout.py.

python benchmarks/layouts.py

A training step, float32, on one core: the median of BUILDS graphs, each with memory of its own, since the same steps
take up to a third longer where that memory lies badly.
"""

import one_core  # noqa: F401  isort: skip
from collections.abc import Callable
from statistics import median
from typing import Any
from unittest import mock

import mlp
import numpy as np
import training
from lenet import LENET
from network import ETA, Network, Nodes
from tables import number, table
from timing import Effort, Work, alternate
from vgg import VGG

import cgraph as CG
from cgraph._execution import executable
from cgraph._lowering.layout import NEVER, Choice

EFFORT = Effort(5, 0.01)
BUILDS = 5
LINE = 16  # samples


def broad(channels: int, columns: int, side: int = 32) -> Network:
    """Two convolutions of 3 × 3 on a square image, pooling, two matrices."""

    def nodes(dtype: str) -> Nodes:
        rng = np.random.default_rng(1)
        x = CG.Leaf2(side, side, dtype=dtype)
        h: list[CG.Node] = [x]
        for _ in range(2):
            kernels = rng.normal(0, 0.1, (channels, len(h), 3, 3))
            h = [CG.ReLU(CG.Convolution2d(h, kernel, 0.0, side, side)) for kernel in kernels]
        h = [CG.MaxPooling2d(channel, 2, 2, 2) for channel in h]
        sizes = (channels * side**2 // 4, columns, 10)
        return mlp.classifier_nodes([x], CG.Concatenation(h), sizes, dtype)

    return Network((1, side, side), 10, nodes, lambda: None, lambda _: (None, lambda *_: None))


# What the rule is made to say; None for what it says.
CHOICES = {
    "samples": Choice(1, 1, NEVER, 1.0),
    "lanes of 16": Choice(LINE, LINE, 1, 1.0),
    "lanes of up to 64": Choice(4 * LINE, LINE, 1, 1.0),
    "chosen": None,
}


def step(net: Network, batch: int, choice: Choice | None) -> Work:
    """Graph.step with this choice."""
    real: Callable[..., Any] = executable.choose
    with mock.patch.object(executable, "choose", lambda *a: choice or real(*a)):
        graph, feed = training.graph_and_feed(net, "float32", batch)
    return Work(lambda: graph.step(feed, ETA), batch)


def measured(net: Network, batch: int) -> list[float]:
    """Microseconds of a sample with each choice; in each round of builds, another one comes first."""
    found: dict[str, list[float]] = {key: [] for key in CHOICES}
    for first in range(BUILDS):
        keys = [*CHOICES][first % len(CHOICES) :] + [*CHOICES][: first % len(CHOICES)]
        times = alternate({key: step(net, batch, CHOICES[key]) for key in keys}, EFFORT)
        for key, own in times.items():
            found[key].append(own.median)
    return [median(times) for times in found.values()]


def main() -> None:
    nets = {
        "LeNet-5": LENET,
        "MLP 784-64-64-10": mlp.network(784, 64, 64, 10),
        "MLP 1024-1024-1024": mlp.network(1024, 1024, 1024),
        "VGG-like block": VGG,
        "2 × 16 channels, 4096-512-10": broad(16, 512),
        "2 × 32 channels, 8192-256-10": broad(32, 256),
        "2 × 32 channels of 64 × 64, 32768-128-10": broad(32, 128, 64),
        "2 × 64 channels, 16384-64-10": broad(64, 64),
        "2 × 64 channels, 16384-512-10": broad(64, 512),
    }
    rows = [
        [f"{name}, B = {batch}", *map(number, measured(net, batch))]
        for name, net in nets.items()
        for batch in (16, 32, 64)
    ]
    print(table(["µs a sample", *CHOICES], rows))


if __name__ == "__main__":
    main()
