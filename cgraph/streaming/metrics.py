"""Metrics of prequential evaluation: running means of what predictions were worth before the graph learnt."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from functools import partial
from typing import Any

import numpy as np

from cgraph._validation import Array, as_metrics, as_number

Metric = Callable[[Array, Array], float]


def accuracy(output: Array, target: Array) -> float:
    """Returns 1 if the largest elements are at the same place, else 0."""
    return float(output.argmax() == target.argmax())


def accuracy_of_each(output: Array, target: Array, threshold: float) -> float:
    """Returns the part of the elements that are above the threshold where the target is above 0.5, and nowhere else."""
    if output.size == 1:  # which is a third of the time of means
        return float((output[0] > threshold) == (target[0] > 0.5))
    return float(((output > threshold) == (target > 0.5)).mean(dtype=float))


def mean_absolute_error(output: Array, target: Array) -> float:
    """Returns the mean of the distances of the elements."""
    return float(np.abs(output - target).mean(dtype=float))


def mean_squared_error(output: Array, target: Array) -> float:
    """Returns the mean of the squared distances of the elements."""
    return float(np.square(output - target).mean(dtype=float))


METRICS: dict[str, Metric] = {
    "accuracy": accuracy,
    "mae": mean_absolute_error,
    "mean_absolute_error": mean_absolute_error,
    "mse": mean_squared_error,
    "mean_squared_error": mean_squared_error,
}


def functions_of(owner: str, metrics: Any, threshold: float | None) -> dict[str, Metric]:
    """Returns metrics, given by name or as functions, as functions by their names, or refuses them.

    `threshold` is that of `accuracy_of_each`; None where the largest of several elements counts.
    """
    known = dict(METRICS)
    if threshold is not None:
        known["accuracy"] = partial(accuracy_of_each, threshold=threshold)
    named = as_metrics(owner, metrics, known, "loss".__eq__)
    return {name: known[name] if function is None else function for name, function in named.items()}


class RunningMetrics(Mapping[str, float]):
    """The metrics of a `Learner` so far: a read-only mapping of names to running means, which always is up to date.

    ``"loss"`` comes first, then the metrics that were asked for. Before the first sample all are NaN; a value that is
    not finite makes its mean so until `reset`.

    Attributes
    ----------
    samples : int
        The number of samples since the last `reset`.
    """

    def __init__(self, owner: str, functions: Mapping[str, Metric], fading: float) -> None:
        self._owner, self._fading = owner, fading
        self._names = ("loss", *functions)
        self._functions = tuple(functions.items())
        self.reset()

    def reset(self) -> None:
        """Begins anew, with no samples."""
        # The number of samples, the sum of their weights, and a weighted sum for each name. One object, so that a
        # signal finds either all of a sample or nothing of it.
        self._state = 0, 0.0, (0.0,) * len(self._names)

    def add(self, losses: Array, output: Array, target: Array) -> None:
        """Counts a sample, whose loss is the only element of an array. A metric that raises leaves all as they were."""
        loss = losses.item()
        fading = self._fading
        samples, weights, sums = self._state
        if not self._functions:
            self._state = samples + 1, fading * weights + 1, (fading * sums[0] + loss,)
            return
        values = [loss]
        for name, function in self._functions:
            values.append(as_number(f"{self._owner}: {name}", "result", function(output, target)))
        added = tuple([fading * x + value for x, value in zip(sums, values, strict=True)])
        self._state = samples + 1, fading * weights + 1, added

    @property
    def samples(self) -> int:
        """The number of samples since the last `reset`."""
        return self._state[0]

    def __getitem__(self, name: str) -> float:
        _, weights, sums = self._state
        number = self._names.index(name) if name in self._names else None
        if number is None:
            raise KeyError(name)
        return sums[number] / weights if weights else float("nan")

    def __iter__(self) -> Iterator[str]:
        return iter(self._names)

    def __len__(self) -> int:
        return len(self._names)

    def __repr__(self) -> str:
        shown = ", ".join(f"{name}={self[name]:.6g}" for name in self)
        return f"<{self.samples} samples: {shown}>"
