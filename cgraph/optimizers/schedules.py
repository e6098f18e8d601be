"""Schedules of learning rates: functions of the number of updates so far, which go where ``lr`` goes.

Any function of one integer is a schedule; these are the usual ones. Rates must be finite numbers of at least 0, and
numbers of updates integers of at least 1; all functions raise TypeError or ValueError otherwise.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from math import cos, pi
from typing import Any

from cgraph._validation import as_number, as_size, describe, is_iterable

Schedule = Callable[[int], float]

__all__ = [
    "constant",
    "cosine",
    "exponential",
    "linear",
    "one_cycle",
    "piecewise",
    "step",
    "warmup",
]


class Planned:
    """A schedule of this module: a function of the number of updates so far that knows the arguments it was made of.

    So it can be saved, copied and pickled, and printed as the call that makes it.

    Attributes
    ----------
    name : str
        The name of the function that has made it.
    arguments : dict of str to object
        The arguments of that function.
    """

    def __init__(self, name: str, arguments: Mapping[str, Any], rate: Schedule) -> None:
        self.name, self.arguments = name, dict(arguments)
        self._rate = rate

    def __call__(self, update: int) -> float:
        return self._rate(update)

    def __repr__(self) -> str:
        arguments = ", ".join(f"{name}={value!r}" for name, value in self.arguments.items())
        return f"schedules.{self.name}({arguments})"

    def __reduce__(self) -> tuple[object, ...]:
        return planned, (self.name, self.arguments)


def planned(name: str, arguments: Mapping[str, Any]) -> Schedule:
    """Returns the schedule that a function of this module makes of arguments; other functions are refused."""
    if name not in __all__:
        raise ValueError(
            f"schedules: name must be one of {', '.join(__all__)}, got {describe(name)}"
        )
    schedule: Schedule = globals()[name](**arguments)
    return schedule


def constant(lr: float) -> Schedule:
    """Returns the schedule  lr."""
    rate = _as_rate("constant", "lr", lr)
    return Planned("constant", {"lr": rate}, lambda update: rate)


def linear(start: float, end: float, updates: int) -> Schedule:
    """Returns the schedule that goes from `start` to `end` in a line within so many updates, and stays there."""
    first, last = _as_rate("linear", "start", start), _as_rate("linear", "end", end)
    count = as_size("schedules.linear", "updates", updates)
    return Planned(
        "linear",
        {"start": first, "end": last, "updates": count},
        lambda update: first + (last - first) * min(update / count, 1),
    )


def exponential(lr: float, factor: float) -> Schedule:
    """Returns the schedule  lr · factorᵏ  for k updates so far."""
    rate, base = _as_rate("exponential", "lr", lr), _as_rate("exponential", "factor", factor)
    return Planned("exponential", {"lr": rate, "factor": base}, lambda update: rate * base**update)


def step(lr: float, factor: float, updates: int) -> Schedule:
    """Returns the schedule that is multiplied by `factor` after each so many updates."""
    rate, base = _as_rate("step", "lr", lr), _as_rate("step", "factor", factor)
    count = as_size("schedules.step", "updates", updates)
    return Planned(
        "step",
        {"lr": rate, "factor": base, "updates": count},
        lambda update: rate * base ** (update // count),
    )


def cosine(lr: float, updates: int, end: float = 0) -> Schedule:
    """Returns the schedule that goes from `lr` to `end` on half a wave of the cosine (Loshchilov and Hutter, 2017)."""
    first, last = _as_rate("cosine", "lr", lr), _as_rate("cosine", "end", end)
    count = as_size("schedules.cosine", "updates", updates)
    return Planned(
        "cosine",
        {"lr": first, "updates": count, "end": last},
        lambda update: last + (first - last) * (1 + cos(pi * min(update / count, 1))) / 2,
    )


def warmup(updates: int, schedule: float | Schedule) -> Schedule:
    """Returns the schedule that rises in a line to the beginning of another one, which follows after so many updates.

    The first update has a part of 1 / (updates + 1) of it.
    """
    count = as_size("schedules.warmup", "updates", updates)
    after = schedule if callable(schedule) else constant(schedule)

    def rising(update: int) -> float:
        if update < count:
            return after(0) * (update + 1) / (count + 1)
        return after(update - count)

    return Planned("warmup", {"updates": count, "schedule": after}, rising)


def one_cycle(lr: float, updates: int, rise: float = 0.3, start: float = 1 / 25) -> Schedule:
    """Returns the schedule of one cycle (Smith and Topin, 2019): a rise by the cosine to `lr`, and a fall to 0.

    Parameters
    ----------
    lr : float
        The largest rate.
    updates : int
        The length of the cycle.
    rise : float
        The part of the cycle that rises, between 0 and 1.
    start : float
        The first rate, as a factor of `lr`.
    """
    rate, first = _as_rate("one_cycle", "lr", lr), _as_rate("one_cycle", "start", start)
    count = as_size("schedules.one_cycle", "updates", updates)
    part = as_number("schedules.one_cycle", "rise", rise)
    if not 0 < part < 1:
        raise ValueError(f"schedules.one_cycle: rise must be between 0 and 1, got {describe(rise)}")
    top = part * count

    def cycle(update: int) -> float:
        if update < top:
            return rate * (1 + (first - 1) * (1 + cos(pi * update / top)) / 2)
        return rate * (1 + cos(pi * min((update - top) / (count - top), 1))) / 2

    given = {"lr": rate, "updates": count, "rise": part, "start": first}
    return Planned("one_cycle", given, cycle)


def piecewise(bounds: Sequence[int], lrs: Sequence[float]) -> Schedule:
    """Returns the schedule with a rate for each stretch: one more than there are bounds between stretches.

    Parameters
    ----------
    bounds : sequence of int
        The numbers of updates at which the next rate begins, in increasing order.
    lrs : sequence of float
        The rates.
    """
    owner = "schedules.piecewise"
    if not (is_iterable(bounds) and is_iterable(lrs)):
        raise TypeError(
            f"{owner}: bounds and lrs must be sequences, got {describe(bounds)} and {describe(lrs)}"
        )
    edges = [as_size(owner, "bounds", bound, minimum=0) for bound in bounds]
    rates = [_as_rate("piecewise", "lrs", lr) for lr in lrs]
    if sorted(set(edges)) != edges or len(rates) != len(edges) + 1:
        raise ValueError(
            f"{owner}: needs increasing bounds and one rate more, got {edges} and {rates}"
        )
    return Planned(
        "piecewise",
        {"bounds": edges, "lrs": rates},
        lambda update: rates[sum(bound <= update for bound in edges)],
    )


def _as_rate(owner: str, name: str, value: object) -> float:
    """Returns a finite number of at least 0, or refuses the value."""
    rate = as_number(f"schedules.{owner}", name, value)
    if not 0 <= rate < float("inf"):
        raise ValueError(
            f"schedules.{owner}: {name} must be at least 0 and finite, got {describe(value)}"
        )
    return rate
