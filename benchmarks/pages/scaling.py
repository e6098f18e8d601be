"""The pictures: how the time of a sample grows with the width and the depth of a network, and falls with the batch."""

from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from functools import partial
from pathlib import Path
from typing import Any

from benchmarks.contenders import training
from benchmarks.contenders.training import GRAPH_STEP, GRAPH_TRAIN, PYTORCH
from benchmarks.measure.peers import Makers, built
from benchmarks.measure.timing import Effort, alternate
from benchmarks.networks.lenet import LENET
from benchmarks.networks.mlp import Layers

WIDTHS = (8, 16, 32, 64, 128, 256, 512, 1024)
DEPTHS = (1, 2, 4, 8, 16, 32, 64)
BATCHES = (1, 2, 4, 8, 16, 32, 64, 128, 256)
# The contenders that are drawn: colour, marker and label.
STYLES = {
    "PyTorch eager": ("#d1495b", "s", "PyTorch eager"),
    "jax.jit": ("#8d6a9f", "^", "jax.jit"),
    "jax.lax.scan": ("#b79ac8", "v", "jax.lax.scan"),
    "NumPy by hand": ("#6c757d", "D", "NumPy by hand"),
    "PyTorch by hand, without autograd": ("#e8936b", "<", "PyTorch by hand"),
    "scikit-learn": ("#edae49", "X", "scikit-learn"),
    GRAPH_TRAIN: ("#7cc4cf", "P", "cgraph, Graph.train"),
    GRAPH_STEP: ("#00798c", "o", "cgraph, Graph.step"),
}
Row = Mapping[str, float]  # microseconds by contender


def medians(makers: Makers, effort: Effort) -> Row:
    """The medians of the contenders; of PyTorch's memory formats, that of the faster one."""
    row = {name: own.median for name, own in alternate(built(makers), effort).items()}
    formats = [row[name] for name in PYTORCH if name in row]
    return {**row, PYTORCH[0]: min(formats)} if formats else row


def plot_sizes(path: Path, effort: Effort) -> None:
    """Measures and draws the training of MLPs on one sample, over their width and depth."""

    def row(width: int, depth: int) -> Row:
        net = Layers((width, *[width] * depth, 10)).network
        ours = {GRAPH_STEP: partial(training.graph_step, net, "float32")}
        return medians({**ours, **training.peer_contenders(net, "float32", 1)}, effort)

    by_width = [row(width, 2) for width in WIDTHS]
    by_depth = [row(32, depth) for depth in DEPTHS]
    heading = "A training step on one sample, float32, one thread"
    with panels(path, heading, sharey=True) as (left, right):
        curves(left, WIDTHS, by_width, "width, with 2 hidden layers")
        curves(right, DEPTHS, by_depth, "hidden layers, 32 wide")
        left.legend(frameon=False)


def plot_batches(path: Path, effort: Effort) -> None:
    """Measures and draws the training of LeNet-5 and of the MLP, over the size of a batch."""
    effort = effort.fewer(4)
    panels: dict[str, Callable[[int], Makers]] = {
        "LeNet-5: samples in a batch": partial(training.image_contenders, LENET, "float32"),
        "MLP 784-64-64-10: samples in a batch": training.mlp_contenders,
    }
    rows = {
        label: [medians(contenders(batch), effort) for batch in BATCHES]
        for label, contenders in panels.items()
    }
    heading = "Training on batches, float32, one thread"
    with panels(path, heading) as axes:
        for own, (label, by_batch) in zip(axes, rows.items(), strict=True):
            curves(own, BATCHES, by_batch, label)
            round_ticks(own.yaxis)
            own.legend(frameon=False)


@contextmanager
def panels(
    path: Path,
    heading: str,
    shape: tuple[int, int] = (1, 2),
    inches: tuple[float, float] = (10, 4.2),
    sharey: bool = False,
) -> Iterator[Any]:
    """Rows and columns of axes to draw into; the picture is written when that is done."""
    import matplotlib as mpl

    mpl.use("Agg")
    from matplotlib import pyplot as plt

    plt.rcParams["svg.hashsalt"] = "cgraph"
    figure, axes = plt.subplots(*shape, figsize=inches, sharey=sharey, layout="constrained")
    yield axes
    for first in axes.reshape(shape)[:, 0]:
        first.set_ylabel("µs per sample")
    figure.suptitle(heading)
    figure.savefig(path, metadata={"Date": None} if path.suffix == ".svg" else None)
    plt.close(figure)


def curves(
    axes: Any,
    sizes: Sequence[int],
    rows: Sequence[Row],
    label: str,
    ticks: Sequence[int] | None = None,
) -> None:
    """A curve for each contender, through the sizes at which it was measured, if these are several."""
    for name, (colour, marker, legend) in STYLES.items():
        points = {size: row[name] for size, row in zip(sizes, rows, strict=True) if name in row}
        if len(points) > 1:
            line = axes.plot(*zip(*points.items(), strict=True), color=colour, label=legend)
            line[0].set(marker=marker, markersize=5 if len(points) < 10 else 3.5)
    axes.set_xscale("log", base=2)
    axes.set_yscale("log")
    ticks = sizes if ticks is None else ticks
    axes.set_xticks(ticks, [f"{size:,}" for size in ticks])
    axes.set_xlabel(label)
    axes.grid(which="major", color="0.88", linewidth=0.8)
    axes.spines[["top", "right"]].set_visible(False)


def round_ticks(axis: Any) -> None:
    """Ticks at 1, 2 and 5 of each power of ten, for a panel that spans hardly more than one."""
    from matplotlib.ticker import LogLocator, NullLocator

    axis.set_major_locator(LogLocator(subs=(1, 2, 5)))
    axis.set_major_formatter("{x:,g}")
    axis.set_minor_locator(NullLocator())
