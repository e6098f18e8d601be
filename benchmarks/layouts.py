"""The layouts of the samples of a batch and their times: the measurements behind the choice that a Graph makes.

python -m benchmarks.layouts [--quick]

A training step, float32, on one core: the median of five graphs, or one with --quick, since the same steps
take up to a third longer where the memory of a graph lies badly.
"""

from benchmarks.measure import one_core  # noqa: F401  isort: skip
from statistics import median

import numpy as np

import cgraph as CG
from benchmarks.contenders import training
from benchmarks.measure.internals import chosen_layout, layout_choices
from benchmarks.measure.tables import number, table
from benchmarks.measure.timing import Effort, Work, alternate, asked_effort
from benchmarks.networks.lenet import LENET
from benchmarks.networks.mlp import MLP, Layers
from benchmarks.networks.network import Network, Nodes
from benchmarks.networks.vgg import VGG

THOROUGH = Effort(5, 0.01)
BUILDS = 5
LINE = 16  # samples


def broad(channels: int, columns: int, side: int = 32) -> Network:
    """A network of two 3×3 convolutions on square images, pooling and two matrices."""

    def nodes(dtype: str) -> Nodes:
        rng = np.random.default_rng(1)
        x = CG.Leaf2(side, side, dtype=dtype)
        h: list[CG.Node] = [x]
        for _ in range(2):
            kernels = rng.normal(0, 0.1, (channels, len(h), 3, 3))
            h = [CG.ReLU(CG.Convolution2d(h, kernel, 0.0, side, side)) for kernel in kernels]
        h = [CG.MaxPooling2d(channel, 2, 2, 2) for channel in h]
        sizes = (channels * side**2 // 4, columns, 10)
        return Layers(sizes).nodes_on([x], CG.Concatenation(h), dtype)

    return Network((1, side, side), 10, nodes, lambda: None, lambda _: (None, lambda *_: None))


NETWORKS = {
    "LeNet-5": LENET,
    "MLP 784-64-64-10": MLP,
    "MLP 1024-1024-1024": Layers((1024, 1024, 1024)).network,
    "VGG-like block": VGG,
    "2 × 16 channels, 4096-512-10": broad(16, 512),
    "2 × 32 channels, 8192-256-10": broad(32, 256),
    "2 × 32 channels of 64 × 64, 32768-128-10": broad(32, 128, 64),
    "2 × 64 channels, 16384-64-10": broad(64, 64),
    "2 × 64 channels, 16384-512-10": broad(64, 512),
}


def layout_times(net: Network, batch: int, effort: Effort, builds: int) -> dict[str, float]:
    """Microseconds of a sample of Graph.step in each layout; in each round of builds, another one comes first."""
    choices = layout_choices(LINE)
    found: dict[str, list[float]] = {name: [] for name in choices}
    for first in range(builds):
        names = [*choices][first % len(choices) :] + [*choices][: first % len(choices)]
        works: dict[str, Work] = {}
        for name in names:
            with chosen_layout(choices[name]):
                works[name] = training.graph_step(net, "float32", batch)
        for name, times in alternate(works, effort).items():
            found[name].append(times.median)
    return {name: median(medians) for name, medians in found.items()}


def main() -> None:
    effort = asked_effort(__doc__, THOROUGH)
    builds = BUILDS if effort == THOROUGH else 1
    rows, header = [], [""]
    for name, net in NETWORKS.items():
        for batch in (LINE, 2 * LINE, 4 * LINE):
            times = layout_times(net, batch, effort, builds)
            header = ["µs a sample", *times]
            rows.append([f"{name}, B = {batch}", *map(number, times.values())])
    print(table(header, rows))


if __name__ == "__main__":
    main()
