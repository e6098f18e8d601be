"""How the samples of a batch lie, and what becomes of the time: the measurements behind cgraph/_lowering/layout.py.

python benchmarks/layouts.py

A training step, float32, on one core. `cut`: the convolutions one sample at a time, what is behind them side by side.
"""

import one_core  # noqa: F401  isort: skip
from collections.abc import Callable
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
from cgraph._lowering.layout import Choice
from cgraph.nodes.affine import Affine

EFFORT = Effort(12, 0.01)
LINE = 16  # samples


def broad(channels: int, columns: int) -> Network:
    """Two convolutions of 3 × 3 on 32 × 32, pooling, two matrices."""

    def nodes(dtype: str) -> Nodes:
        rng = np.random.default_rng(1)
        x = CG.Leaf2(32, 32, dtype=dtype)
        h: list[CG.Node] = [x]
        for _ in range(2):
            kernels = rng.normal(0, 0.1, (channels, len(h), 3, 3))
            h = [CG.ReLU(CG.Convolution2d(h, kernel, 0.0, 32, 32)) for kernel in kernels]
        h = [CG.MaxPooling2d(channel, 2, 2, 2) for channel in h]
        sizes = (channels * 256, columns, 10)
        return mlp.classifier_nodes([x], CG.Concatenation(h), sizes, dtype)

    return Network((1, 32, 32), 10, nodes, lambda: None, lambda _: (None, lambda *_: None))


def choices(net: Network) -> dict[str, Choice | None]:
    """What the rule is made to say; None for what it says."""
    units = CG.Graph(net.nodes("float32").loss)._program.units
    behind = next(i for i, unit in enumerate(units) if type(unit.nodes[0]) is Affine) - 1
    return {
        "samples": Choice(1, 1, 2**62, len(units), 1.0),
        "lanes of 16": Choice(LINE, LINE, 1, 0, 1.0),
        "lanes of up to 64": Choice(4 * LINE, LINE, 1, 0, 1.0),
        "cut": Choice(LINE, LINE, 1, behind, 1.0),
        "chosen": None,
    }


def step(net: Network, batch: int, choice: Choice | None) -> Work:
    """Graph.step with this choice."""
    real: Callable[..., Any] = executable.choose
    with mock.patch.object(executable, "choose", lambda *a: choice or real(*a)):
        graph, feed = training.graph_and_feed(net, "float32", batch)
    return Work(lambda: graph.step(feed, ETA), batch)


def main() -> None:
    nets = {
        "LeNet-5": LENET,
        "MLP 784-64-64-10": mlp.network(784, 64, 64, 10),
        "MLP 1024-1024-1024": mlp.network(1024, 1024, 1024),
        "VGG-like block": VGG,
        "2 × 16 channels, 4096-512-10": broad(16, 512),
        "2 × 32 channels, 8192-256-10": broad(32, 256),
    }
    rows = []
    for name, net in nets.items():
        for batch in (16, 32, 64):
            works = {key: step(net, batch, choice) for key, choice in choices(net).items()}
            times = alternate(works, EFFORT)
            rows.append([f"{name}, B = {batch}", *(number(own.median) for own in times.values())])
    print(table(["µs a sample", *choices(LENET)], rows))


if __name__ == "__main__":
    main()
