"""The pictures: a curve for each contender, on logarithmic axes."""

from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from benchmarks.contenders.training import GRAPH_STEP, GRAPH_TRAIN

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
    "cgraph": ("#00798c", "o", "cgraph"),
}
Row = Mapping[str, float]  # microseconds by contender


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


def common_legend(axes: Any) -> None:
    """One legend below all panels, with every curve that is in one of them."""
    shown = {
        label: line
        for own in axes.flat
        for line, label in zip(*own.get_legend_handles_labels(), strict=True)
    }
    axes.flat[0].figure.legend(
        shown.values(), shown, loc="outside lower center", ncols=4, frameon=False
    )
