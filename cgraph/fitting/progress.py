"""How `fit` shows its progress: a bar of tqdm where that is installed, else a line for each epoch on a terminal."""

from __future__ import annotations

import sys
from collections.abc import Callable, Mapping
from contextlib import suppress
from importlib import import_module
from types import TracebackType
from typing import Any, Self

from cgraph._streams import is_terminal, say


class Bar:
    """What `fit` tells about its progress: a bar of tqdm that costs the bar alone when it fails, or nothing.

    A class derived from it says what is shown beside the bar; an object of it is given as ``fit(progress=…)``.
    """

    _bar: Any = None

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        self._with_bar(lambda bar: bar.close())

    def advance(self, count: int) -> None:
        """Moves the bar on by `count` samples."""
        self._with_bar(lambda bar: bar.update(count))

    def resume(self, name: str, epoch: int, size: int | None) -> None:
        """Tells that the checkpoint of this name goes on after an epoch of so many samples."""
        self._with_bar(lambda bar: bar.update(epoch * (size or 0)))

    def epoch(self, number: int, logs: Mapping[str, float]) -> None:
        """Tells the measurements of an epoch."""

    def _with_bar(self, act: Callable[[Any], object]) -> bool:
        """Calls `act` with the bar and returns whether it succeeded; a bar that raises is not used again."""
        if self._bar is None:
            return False
        try:
            act(self._bar)
        except Exception:
            self._bar = None
            return False
        return True


class Progress(Bar):
    """A bar or lines; outside of terminals and notebooks, and with `shown` False, nothing.

    Parameters
    ----------
    epochs : int
        The number of the last epoch.
    size : int or None
        The number of samples of an epoch, if it is known.
    shown : bool
        Whether anything is to be shown.
    """

    def __init__(self, epochs: int, size: int | None, shown: bool) -> None:
        self._epochs = epochs
        notebook = "ipykernel" in sys.modules
        self._has_lines = shown and (notebook or is_terminal(sys.stdout))
        if shown and (notebook or is_terminal(sys.stderr)):
            with suppress(Exception):  # tqdm is missing, or does not work with this stream
                total = None if size is None else epochs * size
                bar = import_module("tqdm").tqdm
                self._bar = bar(total=total, unit=" samples", unit_scale=True, dynamic_ncols=True)
                self._has_lines = False

    def resume(self, name: str, epoch: int, size: int | None) -> None:
        super().resume(name, epoch, size)
        self._line(f"{name}: goes on after epoch {epoch}")

    def epoch(self, number: int, logs: Mapping[str, float]) -> None:
        shown = {name: f"{value:.4g}" for name, value in logs.items() if name != "seconds"}
        self._with_bar(lambda bar: bar.set_description(f"epoch {number}/{self._epochs}", False))
        self._with_bar(lambda bar: bar.set_postfix(shown))
        numbers = "   ".join(f"{name} {value}" for name, value in shown.items())
        width = len(str(self._epochs))
        seconds = f"{logs['seconds']:.2f} s"
        self._line(f"epoch {number:>{width}}/{self._epochs}   {numbers}   {seconds}")

    def _line(self, text: str) -> None:
        if self._has_lines:
            say(text)
