"""The numbers of the samples of a call, for the nodes whose masks depend on them.

Each function does no harm when a signal interrupts it and it is called again.
"""

from __future__ import annotations

from collections.abc import Iterable
from typing import NamedTuple

from cgraph._kernels.runtime.step import SampleCounter

NUMBERS = 2**64  # of samples, which are counted modulo this number


class Samples(NamedTuple):
    """The samples of a call as one node sees them: the number of the first, and whether the call was active."""

    counter: SampleCounter
    first: int
    active: bool


def begin_samples(counters: Iterable[SampleCounter], active: bool) -> list[Samples]:
    """Begins a call of a Graph, of which the next sample is the first."""
    for counter in counters:
        if not counter.held:
            counter.base = counter.number = int(counter.array[0])
            counter.active = active
    return [Samples(counter, counter.base, active) for counter in counters]


def end_samples(counters: Iterable[SampleCounter], counted: int, size: int) -> None:
    """Ends a call of `size` samples, of which the first ones count."""
    for counter in counters:
        if not counter.held:
            counter.array[0] = (counter.base + counted) % NUMBERS
            counter.number = (counter.base + size - 1) % NUMBERS


def show_sample(samples: Iterable[Samples], number: int) -> None:
    """Begins a pass for one sample of a call."""
    for counter, first, active in samples:
        counter.base = counter.number = (first + number) % NUMBERS
        counter.active = active
