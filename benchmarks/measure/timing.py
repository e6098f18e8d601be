"""Alternating measurements: every contender in turn, many rounds in one process.

Times are CPU times of the process where all contenders run on one thread: other work on the machine disturbs them less
than it does the clock. With more threads it is the clock that counts.
"""

import argparse
import os
import platform
import time
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from statistics import mean, median
from typing import Any, NamedTuple, Self

import numpy as np


class Effort(NamedTuple):
    """The length of a measurement: `rounds` chunks of calls for each contender, each of about `seconds`."""

    rounds: int
    seconds: float
    clock: Callable[[], float] = time.process_time

    def fewer(self, divisor: int) -> Self:
        """Fewer rounds, for contenders of which a single call takes longer than a chunk should."""
        return self._replace(rounds=max(self.rounds // divisor, 3))


QUICK = Effort(5, 0.003)


def asked_effort(description: str | None, thorough: Effort) -> Effort:
    """The effort that a command line asks for: `thorough`, or with --quick a glance."""
    parser = argparse.ArgumentParser(
        description=description, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--quick", action="store_true", help="few and short rounds")
    return QUICK if parser.parse_args().quick else thorough


class Work(NamedTuple):
    """A call, and the number of units of work that it does: samples, or nodes."""

    call: Callable[[], object]
    units: float = 1
    # What the calls so far have computed, as one vector, by which contenders are compared with each other.
    result: Callable[[], np.ndarray] | None = None


class Times(NamedTuple):
    """The microseconds of a unit of work, of all chunks: the median, for ratios; the mean of the fastest third, for
    shares of a peak; and the least."""

    median: float
    fastest: float
    least: float

    @classmethod
    def of(cls, chunks: Sequence[float]) -> Self:
        fastest = sorted(chunks)[: max(len(chunks) // 3, 1)]
        return cls(median(chunks), mean(fastest), fastest[0])


Contenders = Mapping[str, Work]


def microseconds(work: Callable[[], object], repeat: int, clock: Callable[[], float]) -> float:
    """Time of one call, the mean over `repeat` calls."""
    start = clock()
    for _ in range(repeat):
        work()
    return (clock() - start) / repeat * 1e6


def calls_in(effort: Effort, work: Callable[[], object]) -> int:
    """The number of calls that fill a chunk; finding it warms the work up."""
    repeat = 1
    while True:
        taken = microseconds(work, repeat, effort.clock) * repeat * 1e-6
        if taken > effort.seconds / 4:
            return max(round(repeat * effort.seconds / taken), 1)
        repeat *= 2


def alternate(contenders: Contenders, effort: Effort) -> dict[str, Times]:
    """The times of each contender; they take turns."""
    for work in contenders.values():
        work.call()
    repeats = {name: calls_in(effort, work.call) for name, work in contenders.items()}
    chunks: dict[Any, list[float]] = {name: [] for name in contenders}
    for _ in range(effort.rounds):
        for name, work in contenders.items():
            if effort.clock is not time.process_time:
                settle(work.call)
            taken = microseconds(work.call, repeats[name], effort.clock)
            chunks[name].append(taken / work.units)
    return {name: Times.of(own) for name, own in chunks.items()}


def settle(call: Callable[[], object]) -> None:
    """Lets the threads of the contender before go to sleep, and wakes those of this one up."""
    time.sleep(0.01)
    call()


def ratio(times: Mapping[str, Times], other: str) -> float:
    """Returns the time of another contender as a multiple of the first one's."""
    return times[other].median / next(iter(times.values())).median


def load() -> str:
    """The load average of the last minute."""
    return f"{os.getloadavg()[0]:.2f}" if hasattr(os, "getloadavg") else "unknown"


def machine() -> str:
    """Processor and Python, for the line under a table."""
    info = Path("/proc/cpuinfo")
    lines = info.read_text().splitlines() if info.exists() else []
    names = [line.partition(":")[2].strip() for line in lines if line.startswith("model name")]
    return f"{names[0] if names else platform.processor()}, Python {platform.python_version()}"
