"""The output of the command line: progress, digits as text, the curves of a training as PNG.

tqdm and matplotlib are optional, and are imported only when they are needed.
"""

from __future__ import annotations

import os
import shutil
import sys
import warnings
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from importlib import import_module
from io import BytesIO
from pathlib import Path
from types import ModuleType
from typing import Any

import numpy as np
from numpy.typing import NDArray

from cgraph._streams import encodable, is_open, is_terminal, note, say
from cgraph.fitting.progress import Bar
from cgraph.training.engine import EngineName
from cgraph.training.loop import Epoch

_SHADES = np.array(list(" .:-=+*#%@"))
_GAP = 3


def optional_module(name: str, instead: str) -> ModuleType | None:
    """Imports a module of the extra `demo`; prints `instead` and returns None where it is missing or broken."""
    package = name.partition(".")[0]
    try:
        import_module(package)
        return import_module(name)
    except Exception as error:
        if isinstance(error, ModuleNotFoundError) and error.name == package:
            note(f'{package} is not installed: {instead}; pip install ".[demo]"')
        else:
            note(f"{instead}: {package} does not work here ({_in_one_line(error)})")
        return None


def _in_one_line(error: Exception) -> str:
    """Returns the class and the message of an error in one line, shortened to 160 characters."""
    text = " ".join(f"{type(error).__name__}: {error}".split())
    return text if len(text) <= 160 else f"{text[:157]}..."


class Progress(Bar):
    """Shows a progress bar where there is tqdm and a terminal, and lines alone elsewhere."""

    def __init__(self, total: int) -> None:
        tqdm = optional_module("tqdm", "plain lines")
        if tqdm is not None and is_terminal(sys.stderr):
            try:
                self._bar = tqdm.tqdm(total=total, unit=" images", leave=False, dynamic_ncols=True)
            except Exception as error:
                note(f"plain lines: tqdm does not work here ({_in_one_line(error)})")

    def line(self, text: str) -> None:
        """Prints a line above the bar."""
        stream = sys.stdout
        if not is_open(stream):
            return
        if not self._with_bar(lambda bar: bar.write(encodable(text, stream), file=stream)):
            say(text)


def epoch_line(epoch: Epoch, epochs: int) -> str:
    """Returns the line that reports an epoch."""
    return (
        f"epoch {epoch.number:>{len(str(epochs))}}/{epochs}   loss {epoch.train_loss:.4f}   "
        f"test loss {epoch.test_loss:.4f}   test accuracy {percent(epoch.test_accuracy):>7}   "
        f"{epoch.seconds:.2f} s"
    )


def speed_line(speeds: Mapping[EngineName, float], engine: EngineName) -> str:
    """Returns the line that compares the speed of the chosen engine with that of the other one."""
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
    """Returns a fraction as a percentage: 0.981 as 98.1 %."""
    return f"{100 * share:.1f} %"


def image_rows(
    images: NDArray[np.uint8], captions: Sequence[str], levels: int, columns: int | None = None
) -> Iterator[str]:
    """Yields lines of text that show images side by side, each with its caption below.

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
        row = slice(first, first + per_row)
        for parts in (*zip(*pictures[row], strict=True), captions[row]):
            yield "".join(part.ljust(cell) for part in parts).rstrip()
        yield ""


def _as_text(image: NDArray[np.uint8], levels: int, columns: int) -> list[str]:
    """Returns an image as lines of characters, which are about twice as high as wide.

    A pixel of a narrow image is two characters; in a wide one, a character stands for two rows.
    """
    width = image.shape[1]
    if width <= 16:
        image = image.repeat(2, axis=1)
    else:
        factor = -(-width // columns)
        image = _shrink(_shrink(image, 2 * factor, axis=0), factor, axis=1)
    # Unsigned bytes would overflow in the multiplication.
    shades = _SHADES[image.astype(np.intp) * (len(_SHADES) - 1) // levels]
    return ["".join(row) for row in shades]


def _shrink(image: NDArray[np.uint8], factor: int, axis: int) -> NDArray[np.uint8]:
    """Returns the maximum of each `factor` pixels along an axis, so that thin strokes stay visible."""
    shrunk: NDArray[np.uint8] = np.maximum.reduceat(
        image, range(0, image.shape[axis], factor), axis=axis
    )
    return shrunk


def write_curves(path: Path, epochs: Sequence[Epoch], title: str) -> bool:
    """Draws loss and accuracy over the epochs; prints a line on stderr and returns False where that fails."""
    # Figure without pyplot: no display is needed, and no backend is chosen for the process.
    with _without_backend():
        module = optional_module("matplotlib.figure", "no loss curve")
    if module is None:
        return False
    try:
        path.write_bytes(_drawn(module, epochs, title))
    # Any exception: matplotlib runs with the user's settings, fonts and plugins, and the training must not be lost.
    except Exception as error:
        note(f"no loss curve: {_in_one_line(error)}")
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


def _drawn(module: ModuleType, epochs: Sequence[Epoch], title: str) -> bytes:
    """Returns the curves as the bytes of a PNG file."""
    file = BytesIO()
    # The title is not LaTeX; and warnings, of characters that the font lacks for one, are not the user's concern.
    with import_module("matplotlib").rc_context({"text.usetex": False}), warnings.catch_warnings():
        warnings.simplefilter("ignore")
        figure = module.Figure(figsize=(9, 3.8), layout="constrained")
        # The name of a folder is not a formula, and its bytes may not be valid text.
        text = title.encode("utf-8", "backslashreplace").decode("utf-8")
        figure.suptitle(text, parse_math=False)
        losses, accuracies = figure.subplots(1, 2)
        _draw_losses(losses, epochs)
        _draw_accuracies(accuracies, epochs)
        for axes in (losses, accuracies):
            axes.set_xlabel("epoch")
            axes.xaxis.get_major_locator().set_params(integer=True)
            axes.grid(alpha=0.3)
            axes.spines[["top", "right"]].set_visible(False)
        figure.savefig(file, format="png", dpi=150)
    return file.getvalue()


def _draw_losses(axes: Any, epochs: Sequence[Epoch]) -> None:
    numbers = [epoch.number for epoch in epochs]
    axes.set_title("mean cross-entropy", fontsize="medium")
    # With a single class of images every loss is 0, which a logarithmic axis cannot show.
    if any(e.train_loss > 0 or e.test_loss > 0 for e in epochs):
        axes.set_yscale("log")
    axes.yaxis.set_major_formatter("{x:g}")
    axes.plot(numbers, [e.train_loss for e in epochs], "C0.-", label="training")
    axes.plot(numbers, [e.test_loss for e in epochs], "C1.-", label="held out")
    axes.legend(frameon=False)


def _draw_accuracies(axes: Any, epochs: Sequence[Epoch]) -> None:
    last = percent(epochs[-1].test_accuracy)
    axes.set_title(f"accuracy on held-out images: {last} at the end", fontsize="medium")
    numbers, accuracies = zip(*((e.number, 100 * e.test_accuracy) for e in epochs), strict=True)
    # The points at 100 % are drawn whole, although the axis ends there.
    axes.plot(numbers, accuracies, "C1.-", clip_on=False)
    axes.set_ylim(top=100)
    axes.yaxis.set_major_formatter("{x:g} %")
