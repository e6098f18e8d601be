"""How the time of a training step grows with the width and with the depth of a network."""

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import training
from mlp import network
from timing import Effort, alternate

WIDTHS = (8, 16, 32, 64, 128, 256, 512, 1024)
DEPTHS = (1, 2, 4, 8, 16, 32, 64)
CONTENDERS = {
    "PyTorch eager": (training.torch_step, "#d1495b", "s"),
    "jax.jit": (training.jax_step, "#8d6a9f", "^"),
    "cgraph, Graph.step": (training.graph_step, "#00798c", "o"),
}


def times(width: int, depth: int, effort: Effort) -> list[float]:
    """Microseconds of a step, by contender; `depth` hidden layers."""
    net = network(width, *[width] * depth, 10)
    contenders = {name: make(net, "float32") for name, (make, *_) in CONTENDERS.items()}
    return [own.median for own in alternate(contenders, effort).values()]


def plot(path: Path, effort: Effort) -> None:
    """Measures and draws."""
    import matplotlib as mpl

    mpl.use("Agg")
    from matplotlib import pyplot as plt

    plt.rcParams["svg.hashsalt"] = "cgraph"
    figure, axes = plt.subplots(1, 2, figsize=(10, 4.2), sharey=True, layout="constrained")
    by_width = [times(width, 2, effort) for width in WIDTHS]
    by_depth = [times(32, depth, effort) for depth in DEPTHS]
    curves(axes[0], WIDTHS, by_width, "width, with 2 hidden layers")
    curves(axes[1], DEPTHS, by_depth, "hidden layers, 32 wide")
    axes[0].set_ylabel("µs per sample")
    axes[0].legend(frameon=False)
    figure.suptitle("A training step on one sample, float32, one thread")
    figure.savefig(path, metadata={"Date": None})
    plt.close(figure)


def curves(axes: Any, sizes: Sequence[int], rows: list[list[float]], label: str) -> None:
    for (name, (_, colour, marker)), values in zip(
        CONTENDERS.items(), zip(*rows, strict=True), strict=True
    ):
        axes.plot(sizes, values, color=colour, marker=marker, markersize=5, label=name)
    axes.set_xscale("log", base=2)
    axes.set_yscale("log")
    axes.set_xticks(sizes, [f"{size:,}" for size in sizes])
    axes.set_xlabel(label)
    axes.grid(which="major", color="0.88", linewidth=0.8)
    axes.spines[["top", "right"]].set_visible(False)
