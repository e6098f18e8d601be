"""The layouts of the samples of a batch and their times: the measurements behind the choice that a Graph makes.

python -m benchmarks.layouts [--quick]

A training step, float32, on one core. `cut`: the convolutions one sample at a time, what is behind them side by side.
"""

from benchmarks.measure import one_core  # noqa: F401  isort: skip
import numpy as np

import cgraph as CG
from benchmarks.contenders import training
from benchmarks.measure.internals import chosen_layout, layout_choices
from benchmarks.measure.tables import number, table
from benchmarks.measure.timing import Effort, Times, Work, alternate, asked_effort
from benchmarks.networks import mlp
from benchmarks.networks.lenet import LENET
from benchmarks.networks.network import Network, Nodes
from benchmarks.networks.vgg import VGG

THOROUGH = Effort(12, 0.01)
LINE = 16  # samples


def broad(channels: int, columns: int) -> Network:
    """A network of two 3×3 convolutions on 32×32 images, pooling and two matrices."""

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


NETWORKS = {
    "LeNet-5": LENET,
    "MLP 784-64-64-10": mlp.MLP,
    "MLP 1024-1024-1024": mlp.network(1024, 1024, 1024),
    "VGG-like block": VGG,
    "2 × 16 channels, 4096-512-10": broad(16, 512),
    "2 × 32 channels, 8192-256-10": broad(32, 256),
}


def layout_times(net: Network, batch: int, effort: Effort) -> dict[str, Times]:
    """Times Graph.step in each layout."""
    works: dict[str, Work] = {}
    for name, choice in layout_choices(CG.Graph(net.nodes("float32").loss), LINE).items():
        with chosen_layout(choice):
            works[name] = training.graph_step(net, "float32", batch)
    return alternate(works, effort)


def main() -> None:
    effort = asked_effort(__doc__, THOROUGH)
    rows, header = [], [""]
    for name, net in NETWORKS.items():
        for batch in (LINE, 2 * LINE, 4 * LINE):
            times = layout_times(net, batch, effort)
            header = ["µs a sample", *times]
            rows.append([f"{name}, B = {batch}", *(number(own.median) for own in times.values())])
    print(table(header, rows))


if __name__ == "__main__":
    main()
