"""Metrics: numbers that compare the outputs of many samples with their targets.

Metrics by name add up one chunk of samples after the other, in float64, and so keep no arrays.
"""

from __future__ import annotations

from collections.abc import Callable
from functools import partial
from typing import Any, Protocol

import numpy as np
from numpy.typing import NDArray

from cgraph._validation import as_metrics, as_number

Function = Callable[[NDArray[Any], NDArray[Any]], object]


class Metric(Protocol):
    """A metric of the samples that have been added."""

    def add(self, output: NDArray[Any], target: NDArray[Any]) -> None:
        """Adds samples: two arrays of shape (B, size)."""
        ...

    def result(self) -> float:
        """Returns the metric of all samples."""
        ...


class Accuracy:
    """The part of the samples whose class is right.

    The class of several elements is the index of the largest, the first one of equals. A single element, and each
    element where the loss is BCE, is a class of its own, which is present where a target is above 0.5 and an output
    above `threshold`; then the part of the elements counts.
    """

    def __init__(self, threshold: float | None) -> None:
        self._threshold = threshold
        self._right = self._all = 0

    def add(self, output: NDArray[Any], target: NDArray[Any]) -> None:
        if self._threshold is None:
            right = output.argmax(axis=1) == target.argmax(axis=1)
        else:
            right = (output > self._threshold) == (target > 0.5)
        self._right += int(right.sum())
        self._all += right.size

    def result(self) -> float:
        return self._right / self._all


class MeanError:
    """The mean of a function of output − target, `numpy.abs` or `numpy.square`, over samples and elements."""

    def __init__(self, function: np.ufunc) -> None:
        self._function = function
        self._sum, self._all = 0.0, 0

    def add(self, output: NDArray[Any], target: NDArray[Any]) -> None:
        self._sum += float(self._function(output - target).sum(dtype=np.float64))
        self._all += output.size

    def result(self) -> float:
        return self._sum / self._all


class R2:
    """The coefficient of determination, 1 − Σ (target − output)² / Σ (target − mean)², its mean over the elements.

    As in scikit-learn, an element whose targets are all equal counts as 1 if it is predicted exactly, else as 0.
    The sums of squares of chunks are joined by the formula of Chan, Golub and LeVeque (1979).
    """

    def __init__(self) -> None:
        self._all = 0
        self._residual = self._mean = self._total = np.zeros(1)

    def add(self, output: NDArray[Any], target: NDArray[Any]) -> None:
        y = target.astype(np.float64)
        count, mean = len(y), y.mean(axis=0)
        both = self._all + count
        shift = mean - self._mean
        self._residual = self._residual + ((y - output) ** 2).sum(axis=0)
        squares = ((y - mean) ** 2).sum(axis=0)
        self._total = self._total + squares + shift**2 * (self._all * count / both)
        self._mean = self._mean + shift * (count / both)
        self._all = both

    def result(self) -> float:
        constant = np.where(self._residual == 0, 1.0, 0.0)
        ratios = self._residual / np.where(self._total == 0, 1.0, self._total)
        return float(np.where(self._total == 0, constant, 1 - ratios).mean())


class OfAll:
    """A function of the outputs and the targets of all samples, which are kept until then."""

    def __init__(self, name: str, function: Function) -> None:
        self._name, self._function = name, function
        self._outputs: list[NDArray[Any]] = []
        self._targets: list[NDArray[Any]] = []

    def add(self, output: NDArray[Any], target: NDArray[Any]) -> None:
        self._outputs.append(output)
        self._targets.append(target)

    def result(self) -> float:
        output, target = np.concatenate(self._outputs), np.concatenate(self._targets)
        return as_number("fit", f"metric {self._name}", self._function(output, target))


_TAKEN = ("loss", "lr", "seconds")
NAMES = ("accuracy", "mae", "mean_absolute_error", "mse", "mean_squared_error", "r2")
Named = dict[str, Function | None]  # None stands for a metric that the name says


def as_named(metrics: Any) -> Named:
    """Returns metrics by name, or refuses the argument."""
    return as_metrics("fit", metrics, NAMES, lambda name: name in _TAKEN or name.startswith("val_"))


def makers_of(named: Named, threshold: float | None) -> dict[str, Callable[[], Metric]]:
    """Returns, for each name, a function that makes an object for the samples of an epoch.

    `threshold` is that of `Accuracy`.
    """
    makers: dict[str, Callable[[], Metric]] = {
        "accuracy": partial(Accuracy, threshold),
        "r2": R2,
        "mae": partial(MeanError, np.abs),
        "mean_absolute_error": partial(MeanError, np.abs),
        "mse": partial(MeanError, np.square),
        "mean_squared_error": partial(MeanError, np.square),
    }
    return {
        name: makers[name] if function is None else partial(OfAll, name, function)
        for name, function in named.items()
    }
