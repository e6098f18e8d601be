"""How the time per sample falls as batches grow: LeNet-5 and an MLP."""

from pathlib import Path
from typing import Any

from batch_contenders import CGRAPH, CGRAPH_MANY, PYTORCH, image_contenders, mlp_contenders
from lenet import LENET
from scaling import STYLES, Row, curves, two_panels
from timing import Effort, alternate

BATCHES = (1, 2, 4, 8, 16, 32, 64, 128, 256)


def lenet_times(batch: int, effort: Effort) -> Row:
    """Microseconds of a sample; of PyTorch's memory formats the faster."""
    times = alternate(image_contenders(LENET, "float32", batch), effort)
    pytorch = min(times[name].median for name in PYTORCH if name in times)
    return {
        "PyTorch eager": pytorch,
        "jax.jit": times["jax.jit"].median,
        "cgraph, Graph.step": times[CGRAPH].median,
    }


def mlp_times(batch: int, effort: Effort) -> Row:
    times = alternate(mlp_contenders(batch), effort)
    ours = {"cgraph, Graph.train": CGRAPH_MANY, "cgraph, Graph.step": CGRAPH}
    names = {name: name for name in STYLES} | ours
    return {name: times[own].median for name, own in names.items()}


def plot(path: Path, effort: Effort) -> None:
    """Measures and draws."""
    effort = effort.fewer(4)
    panels = {
        "LeNet-5: samples in a batch": lenet_times,
        "MLP 784-64-64-10: samples in a batch": mlp_times,
    }
    rows = {
        label: [measure(batch, effort) for batch in BATCHES] for label, measure in panels.items()
    }
    with two_panels(path, "Training on batches, float32, one thread", sharey=False) as axes:
        for own, (label, by_batch) in zip(axes, rows.items(), strict=True):
            curves(own, BATCHES, by_batch, label)
            round_ticks(own.yaxis)
            own.legend(frameon=False)


def round_ticks(axis: Any) -> None:
    """Where a panel spans hardly more than one power of ten, these alone say too little."""
    from matplotlib.ticker import LogLocator, NullLocator

    axis.set_major_locator(LogLocator(subs=(1, 2, 5)))
    axis.set_major_formatter("{x:,.0f}")
    axis.set_minor_locator(NullLocator())
