"""How the samples of a batch lie, and what becomes of the time: the measurements behind cgraph/_layout.py.

python benchmarks/layouts.py

A training step, float32, on one core: the median of BUILDS graphs, each with memory of its own, since the same steps
take up to a third longer where that memory lies badly. `cut`: up to the last pooling one sample at a time, then blocks
of 16 samples; `wide cut`: then blocks of up to 64, which the rule does not know.
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
from cgraph import _compiled
from cgraph._layout import NEVER, Choice

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


def choices(net: Network) -> dict[str, Choice | None]:
    """What the rule is made to say; None for what it says."""
    units = CG.Graph(net.nodes("float32").loss)._program.units
    behind = 1 + max(
        i for i, unit in enumerate(units) if isinstance(unit.nodes[0], CG.MaxPooling2d)
    )
    return {
        "samples": Choice(1, 1, NEVER, len(units), 1.0),
        "lanes of 16": Choice(LINE, LINE, 1, 0, 1.0),
        "lanes of up to 64": Choice(4 * LINE, LINE, 1, 0, 1.0),
        "cut": Choice(LINE, LINE, 1, behind, 1.0),
        "wide cut": Choice(4 * LINE, LINE, 1, behind, 1.0),
        "chosen": None,
    }


def step(net: Network, batch: int, choice: Choice | None) -> Work:
    """Graph.step with this choice."""
    real: Callable[..., Any] = _compiled.choose
    with mock.patch.object(_compiled, "choose", lambda *a: choice or real(*a)):
        graph, feed = training.graph_and_feed(net, "float32", batch)
    return Work(lambda: graph.step(feed, ETA), batch)


def measured(net: Network, batch: int) -> list[float]:
    """Microseconds of a sample with each choice; in each round of builds, another one comes first."""
    contenders = choices(net)
    found: dict[str, list[float]] = {key: [] for key in contenders}
    for first in range(BUILDS):
        keys = [*contenders][first:] + [*contenders][:first]
        times = alternate({key: step(net, batch, contenders[key]) for key in keys}, EFFORT)
        for key, own in times.items():
            found[key].append(own.median)
    return [median(times) for times in found.values()]


def main() -> None:
    nets = {
        "LeNet-5": LENET,
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
    print(table(["µs a sample", *choices(LENET)], rows))


if __name__ == "__main__":
    main()
