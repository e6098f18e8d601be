"""The settings of optimisers: their checks, and the attributes that hold them."""

from __future__ import annotations

from collections.abc import Callable
from math import inf, isfinite
from typing import TYPE_CHECKING, Any

from cgraph._kernels.runtime.optimizer_step import NONFINITE
from cgraph._validation import as_flag, as_number, describe, is_iterable

if TYPE_CHECKING:
    from cgraph.optimizers.optimizer import Optimizer

# A learning rate, or a function of the number of updates so far.
Rate = float | Callable[[int], float]

# A check takes owner, name and value, and returns the value or raises.
Check = Callable[[str, str, object], Any]


class Setting:
    """An attribute of an optimiser that is checked when it is set, and counts from the next update on."""

    def __init__(self, check: Check) -> None:
        self.check = check

    def __set_name__(self, owner: type, name: str) -> None:
        self._name = name

    def __get__(self, optimizer: Optimizer | None, owner: type) -> Any:
        return self if optimizer is None else optimizer._settings[self._name]

    def __set__(self, optimizer: Optimizer, value: object) -> None:
        checked = self.check(type(optimizer).__name__, self._name, value)
        optimizer._settings = {**optimizer._settings, self._name: checked}
        if self._name != "lr":  # which updates read anew at each call
            optimizer._version = object()


def number_from(low: float, below: float = inf) -> Check:
    """Returns the check of a number of at least `low` and less than `below`."""

    def check(owner: str, name: str, value: object) -> float:
        number = as_number(owner, name, value)
        if not low <= number < below:
            expected = f"at least {low}" if below == inf else f"in [{low}, {below})"
            finite = " and finite" if below == inf else ""
            raise ValueError(f"{owner}: {name} must be {expected}{finite}, got {describe(value)}")
        return number

    return check


def as_betas(owner: str, name: str, value: object) -> tuple[float, float]:
    """Returns the two factors of running means, or refuses them."""
    betas = tuple(value) if is_iterable(value) else ()
    if len(betas) != 2:
        raise ValueError(f"{owner}: {name} must be two numbers, got {describe(value)}")
    check = number_from(0, 1)
    return check(owner, name, betas[0]), check(owner, name, betas[1])


def as_lr(owner: str, name: str, value: Any) -> Rate:
    """Returns a learning rate, or a function of the number of updates, or refuses it."""
    if callable(value):
        schedule: Callable[[int], float] = value
        return schedule
    rate: float = number_from(0)(owner, name, value)
    return rate


def rate_at(owner: str, lr: Rate, update: int) -> float:
    """Returns the learning rate after so many updates, or refuses what a schedule has returned."""
    if not callable(lr):
        return lr
    rate = as_number(owner, f"lr({update})", lr(update))
    if not (rate >= 0 and isfinite(rate)):
        raise ValueError(f"{owner}: lr({update}) must be at least 0 and finite, got {rate}")
    return rate


def as_norm(owner: str, name: str, value: object) -> float | None:
    """Returns a norm that is larger than 0, or None, or refuses the value."""
    if value is None:
        return None
    norm = as_number(owner, name, value)
    if not (norm > 0 and isfinite(norm)):
        raise ValueError(f"{owner}: {name} must be finite and larger than 0, or None, got {norm}")
    return norm


def as_nonfinite(owner: str, name: str, value: object) -> str:
    """Returns what to do with gradients that are not finite, or refuses the value."""
    if not isinstance(value, str) or value not in NONFINITE:
        expected = ", ".join(f'"{name}"' for name in NONFINITE[:-1]) + f' or "{NONFINITE[-1]}"'
        raise ValueError(f"{owner}: {name} must be {expected}, got {describe(value)}")
    return value


factor = number_from(0, 1)  # of a running mean
amount = number_from(0)  # any finite number that is not negative
flag = as_flag
