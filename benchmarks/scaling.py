"""How the time of a training step grows with the width and with the depth of a network."""

from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import training
from mlp import network
from timing import Effort, alternate

WIDTHS = (8, 16, 32, 64, 128, 256, 512, 1024)
DEPTHS = (1, 2, 4, 8, 16, 32, 64)
CONTENDERS = {
    "PyTorch eager": training.torch_step,
    "jax.jit": training.jax_step,
    "cgraph, Graph.step": training.graph_step,
}
# Of each contender, in this and in other plots: colour and marker
STYLES = {
    "PyTorch eager": ("#d1495b", "s"),
    "jax.jit": ("#8d6a9f", "^"),
    "jax.lax.scan": ("#b79ac8", "v"),
    "NumPy by hand": ("#6c757d", "D"),
    "scikit-learn": ("#edae49", "X"),
    "cgraph, Graph.train": ("#7cc4cf", "P"),
    "cgraph, Graph.step": ("#00798c", "o"),
}
Row = Mapping[str, float]  # microseconds by contender


def times(width: int, depth: int, effort: Effort) -> Row:
    """Of a step; `depth` hidden layers."""
    net = network(width, *[width] * depth, 10)
    contenders = {name: make(net, "float32") for name, make in CONTENDERS.items()}
    return {name: own.median for name, own in alternate(contenders, effort).items()}


def plot(path: Path, effort: Effort) -> None:
    """Measures and draws."""
    by_width = [times(width, 2, effort) for width in WIDTHS]
    by_depth = [times(32, depth, effort) for depth in DEPTHS]
    title = "A training step on one sample, float32, one thread"
    with two_panels(path, title, sharey=True) as (left, right):
        curves(left, WIDTHS, by_width, "width, with 2 hidden layers")
        curves(right, DEPTHS, by_depth, "hidden layers, 32 wide")
        left.legend(frameon=False)


@contextmanager
def two_panels(path: Path, title: str, sharey: bool) -> Iterator[Any]:
    """Two axes to draw into; the picture is written when that is done."""
    import matplotlib as mpl

    mpl.use("Agg")
    from matplotlib import pyplot as plt

    plt.rcParams["svg.hashsalt"] = "cgraph"
    figure, axes = plt.subplots(1, 2, figsize=(10, 4.2), sharey=sharey, layout="constrained")
    yield axes
    axes[0].set_ylabel("µs per sample")
    figure.suptitle(title)
    figure.savefig(path, metadata={"Date": None} if path.suffix == ".svg" else None)
    plt.close(figure)


def curves(axes: Any, sizes: Sequence[int], rows: Sequence[Row], label: str) -> None:
    """A curve for each contender, over sizes."""
    for name, (colour, marker) in STYLES.items():
        if name in rows[0]:
            values = [row[name] for row in rows]
            axes.plot(sizes, values, color=colour, marker=marker, markersize=5, label=name)
    axes.set_xscale("log", base=2)
    axes.set_yscale("log")
    axes.set_xticks(sizes, [f"{size:,}" for size in sizes])
    axes.set_xlabel(label)
    axes.grid(which="major", color="0.88", linewidth=0.8)
    axes.spines[["top", "right"]].set_visible(False)
