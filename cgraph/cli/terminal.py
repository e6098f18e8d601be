"""The output of the command line: progress, measurements, digits as text.

tqdm is optional, like matplotlib, and is imported only when it is needed.
"""

from __future__ import annotations

import shutil
import sys
from collections.abc import Iterator, Mapping, Sequence
from importlib import import_module
from types import ModuleType

import numpy as np
from numpy.typing import NDArray

from cgraph._streams import encodable, is_open, is_terminal, note, say
from cgraph.fitting.progress import Bar

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
            note(f"{instead}: {package} does not work here ({in_one_line(error)})")
        return None


def in_one_line(error: Exception) -> str:
    """Returns the class and the message of an error in one line, shortened to 160 characters."""
    text = " ".join(f"{type(error).__name__}: {error}".split())
    return text if len(text) <= 160 else f"{text[:157]}..."


class Progress(Bar):
    """A line for each epoch, above a bar where there is tqdm and a terminal.

    Parameters
    ----------
    epochs : int
        The number of the last epoch.
    size : int
        The number of samples of an epoch.
    labels : dict of str to str
        The measurements that are printed, and the words for them.
    """

    def __init__(self, epochs: int, size: int, labels: Mapping[str, str]) -> None:
        self._epochs, self._labels = epochs, labels
        tqdm = optional_module("tqdm", "plain lines")
        if tqdm is not None and is_terminal(sys.stderr):
            total = epochs * size
            try:
                self._bar = tqdm.tqdm(total=total, unit=" samples", leave=False, dynamic_ncols=True)
            except Exception as error:
                note(f"plain lines: tqdm does not work here ({in_one_line(error)})")

    def resume(self, name: str, epoch: int, size: int | None) -> None:
        super().resume(name, epoch, size)
        self._line(f"{name}: goes on after epoch {epoch}")

    def epoch(self, number: int, logs: Mapping[str, float]) -> None:
        told = [f"{label} {measured(name, logs[name])}" for name, label in self._labels.items()]
        first = f"epoch {number:>{len(str(self._epochs))}}/{self._epochs}"
        self._line("   ".join([first, *told, f"{logs['seconds']:.2f} s"]))

    def _line(self, text: str) -> None:
        """Prints a line above the bar."""
        stream = sys.stdout
        if not is_open(stream):
            return
        if not self._with_bar(lambda bar: bar.write(encodable(text, stream), file=stream)):
            say(text)


def measured(name: str, value: float) -> str:
    """Returns a measurement as a text of about the same width for all of its values."""
    if name == "val_accuracy":
        return f"{percent(value):>7}"
    return f"{value:.4f}" if 1e-3 <= abs(value) < 1e4 or not value else f"{value:.3e}"


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
