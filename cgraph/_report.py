"""What the command line shows: progress, digits as text, the curves of a training as PNG.

tqdm and matplotlib are optional, and are looked for only when they are needed.
"""

from __future__ import annotations

import shutil
import sys
from collections.abc import Iterator, Mapping, Sequence
from importlib import import_module
from pathlib import Path
from types import ModuleType, TracebackType
from typing import Any

import numpy as np
from numpy.typing import NDArray

from cgraph._engines import EngineName
from cgraph.train import Epoch

_SHADES = np.array(list(" .:-=+*#%@"))
_GAP = 3


def optional_module(name: str, instead: str) -> ModuleType | None:
    """Import a module of the extra `demo`, or say what happens instead."""
    try:
        return import_module(name)
    except ImportError:
        package = name.partition(".")[0]
        note = f'{package} is not installed: {instead}; pip install ".[demo]"'
        print(note, file=sys.stderr, flush=True)
        return None


class Progress:
    """A bar where there is tqdm and a terminal, otherwise only the lines."""

    def __init__(self, total: int) -> None:
        tqdm = optional_module("tqdm", "plain lines")
        self._bar: Any = None
        if tqdm is not None and sys.stderr.isatty():
            self._bar = tqdm.tqdm(total=total, unit=" images", leave=False, dynamic_ncols=True)

    def __enter__(self) -> Progress:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        if self._bar is not None:
            self._bar.close()

    def advance(self, count: int) -> None:
        """Count `count` more images."""
        if self._bar is not None:
            self._bar.update(count)

    def line(self, text: str) -> None:
        """Print a line above the bar."""
        if self._bar is None:
            print(text, flush=True)
        else:
            self._bar.write(text, file=sys.stdout)


def epoch_line(epoch: Epoch, epochs: int) -> str:
    """One epoch as a line."""
    return (
        f"epoch {epoch.number:>{len(str(epochs))}}/{epochs}   loss {epoch.train_loss:.4f}   "
        f"test loss {epoch.test_loss:.4f}   test accuracy {percent(epoch.test_accuracy):>7}   "
        f"{epoch.seconds:.2f} s"
    )


def speed_line(speeds: Mapping[EngineName, float], engine: EngineName) -> str:
    """What the engine does in a second of CPU time, and how the other one compares."""
    other: EngineName = "node" if engine == "graph" else "graph"
    ours, theirs = speeds[engine], speeds[other]
    ratio = (
        f"{ours / theirs:.1f} times slower"
        if ours > theirs
        else f"{theirs / ours:.1f} times faster"
    )
    return (
        f"engine {engine}: {ours:,.0f} images per CPU second in training; "
        f"engine {other}: {theirs:,.0f}, {ratio}"
    )


def percent(share: float) -> str:
    """A share of 1 as a percentage: 98.1 %."""
    return f"{100 * share:.1f} %"


def image_rows(
    images: NDArray[np.uint8], captions: Sequence[str], levels: int, columns: int | None = None
) -> Iterator[str]:
    """Lines of text that show images side by side, each with its caption below.

    Parameters
    ----------
    images : numpy.ndarray, shape (n, height, width)
        Grey values from 0 (blank) to `levels`.
    captions : sequence of str
        One for each image.
    levels : int
        The darkest grey value.
    columns : int, optional
        Width of the text; by default that of the terminal.

    Yields
    ------
    str
        A line.
    """
    if columns is None:
        columns = shutil.get_terminal_size().columns
    pictures = [_as_text(image, levels, columns) for image in images]
    widths = [max(len(p[0]), len(c)) for p, c in zip(pictures, captions, strict=True)]
    cell = max(widths, default=1) + _GAP
    per_row = max(1, (columns + _GAP) // cell)
    for first in range(0, len(pictures), per_row):
        some = slice(first, first + per_row)
        for parts in (*zip(*pictures[some], strict=True), captions[some]):
            yield "".join(part.ljust(cell) for part in parts).rstrip()
        yield ""


def _as_text(image: NDArray[np.uint8], levels: int, columns: int) -> list[str]:
    """One character is about twice as high as wide: two for a pixel, or one for two rows."""
    width = image.shape[1]
    if width <= 16:
        image = image.repeat(2, axis=1)
    else:
        step = -(-width // columns)
        image = _shrink(_shrink(image, 2 * step, axis=0), step, axis=1)
    # Unsigned bytes would overflow in the product.
    shades = _SHADES[image.astype(np.intp) * (len(_SHADES) - 1) // levels]
    return ["".join(row) for row in shades]


def _shrink(image: NDArray[np.uint8], step: int, axis: int) -> NDArray[np.uint8]:
    """The largest of each `step` pixels, so that thin strokes stay."""
    shrunk: NDArray[np.uint8] = np.maximum.reduceat(
        image, range(0, image.shape[axis], step), axis=axis
    )
    return shrunk


def write_curves(path: Path, epochs: Sequence[Epoch], title: str) -> bool:
    """Draw loss and accuracy over the epochs; False where matplotlib is missing."""
    # Figure without pyplot: no display is needed, and no backend is chosen for the process.
    figure_module = optional_module("matplotlib.figure", "no loss curve")
    if figure_module is None:
        return False
    figure = figure_module.Figure(figsize=(9, 3.8), layout="constrained")
    figure.suptitle(title)
    numbers = [epoch.number for epoch in epochs]
    losses, accuracies = figure.subplots(1, 2)
    losses.set_title("mean cross-entropy", fontsize="medium")
    losses.set_yscale("log")
    losses.yaxis.set_major_formatter("{x:g}")
    losses.plot(numbers, [e.train_loss for e in epochs], "C0.-", label="training")
    losses.plot(numbers, [e.test_loss for e in epochs], "C1.-", label="held out")
    losses.legend(frameon=False)
    last = percent(epochs[-1].test_accuracy)
    accuracies.set_title(f"accuracy on held-out images: {last} at the end", fontsize="medium")
    accuracies.plot(numbers, [100 * e.test_accuracy for e in epochs], "C1.-")
    accuracies.yaxis.set_major_formatter("{x:g} %")
    for axes in (losses, accuracies):
        axes.set_xlabel("epoch")
        axes.xaxis.get_major_locator().set_params(integer=True)
        axes.grid(alpha=0.3)
        axes.spines[["top", "right"]].set_visible(False)
    figure.savefig(path, dpi=150)
    return True
