"""The curves of a training as PNG, drawn by matplotlib where that is installed."""

from __future__ import annotations

import os
import warnings
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from importlib import import_module
from io import BytesIO
from pathlib import Path
from types import ModuleType
from typing import Any

import numpy as np

from cgraph._streams import note
from cgraph.cli.terminal import in_one_line, measured, optional_module
from cgraph.fitting.history import History


def write_curves(path: Path, history: History, labels: Mapping[str, str], title: str) -> bool:
    """Draws losses and what else is labelled over the epochs; where that fails, prints a line and returns False."""
    # Figure without pyplot: no display is needed, and no backend is chosen for the process.
    with _without_backend():
        module = optional_module("matplotlib.figure", "no loss curve")
    if module is None:
        return False
    try:
        path.write_bytes(_drawn(module, history, labels, title))
    # Any exception: matplotlib runs with the user's settings, fonts and plugins, and the training must not be lost.
    except Exception as error:
        note(f"no loss curve: {in_one_line(error)}")
        return False
    return True


@contextmanager
def _without_backend() -> Iterator[None]:
    """Hides MPLBACKEND, in which a notebook names a backend that only its own environment has."""
    backend = os.environ.pop("MPLBACKEND", None)
    try:
        yield
    finally:
        if backend is not None:
            os.environ["MPLBACKEND"] = backend


def _drawn(module: ModuleType, history: History, labels: Mapping[str, str], title: str) -> bytes:
    """Returns the curves as the bytes of a PNG file."""
    file = BytesIO()
    # The title is not LaTeX; and warnings, of characters that the font lacks for one, are not the user's concern.
    with import_module("matplotlib").rc_context({"text.usetex": False}), warnings.catch_warnings():
        warnings.simplefilter("ignore")
        figure = module.Figure(figsize=(9, 3.8), layout="constrained")
        # The name of a folder is not a formula, and its bytes may not be valid text.
        text = title.encode("utf-8", "backslashreplace").decode("utf-8")
        figure.suptitle(text, parse_math=False)
        losses, metrics = figure.subplots(1, 2)
        _draw_losses(losses, history, labels)
        _draw_metric(metrics, history, labels)
        for axes in (losses, metrics):
            axes.set_xlabel("epoch")
            axes.xaxis.get_major_locator().set_params(integer=True)
            axes.grid(alpha=0.3)
            axes.spines[["top", "right"]].set_visible(False)
        figure.savefig(file, format="png", dpi=150)
    return file.getvalue()


def _draw_losses(axes: Any, history: History, labels: Mapping[str, str]) -> None:
    """Draws the losses of training and of the samples that are measured after each epoch."""
    axes.set_title("mean loss", fontsize="medium")
    # With a single class of images every loss is 0, which a logarithmic axis cannot show.
    if max(history["loss"].max(), history["val_loss"].max()) > 0:
        axes.set_yscale("log")
    axes.yaxis.set_major_formatter("{x:g}")
    numbers = np.arange(1, len(history["loss"]) + 1)
    axes.plot(numbers, history["loss"], "C0.-", label="training")
    axes.plot(numbers, history["val_loss"], "C1.-", label=labels["val_loss"].removesuffix(" loss"))
    if history.best_epoch:
        kept = f"kept: epoch {history.best_epoch}"
        axes.axvline(history.best_epoch, color="0.6", linestyle="--", label=kept)
    axes.legend(frameon=False)


def _draw_metric(axes: Any, history: History, labels: Mapping[str, str]) -> None:
    """Draws the measurement beside the loss, accuracies in percent."""
    name, label = [*labels.items()][-1]
    values = history[name]
    kept = history.best_epoch or len(values)
    where = f"in epoch {kept}, which is kept" if history.best_epoch else "at the end"
    axes.set_title(
        f"{label}: {measured(name, values[kept - 1]).strip()} {where}", fontsize="medium"
    )
    is_share = name == "val_accuracy"
    # The points at 100 % are drawn whole, although the axis ends there.
    axes.plot(
        np.arange(1, len(values) + 1), values * (100 if is_share else 1), "C1.-", clip_on=False
    )
    if is_share:
        axes.set_ylim(top=100)
        axes.yaxis.set_major_formatter("{x:g} %")
