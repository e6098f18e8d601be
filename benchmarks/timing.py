"""Alternating measurements: every contender in turn, many rounds in one process, medians.

Times are CPU times of the process, since all contenders run on one thread: other work on the machine disturbs them less
than it does the clock.
"""

import platform
import time
from collections.abc import Callable, Mapping
from pathlib import Path
from statistics import median


def microseconds(work: Callable[[], object], repeat: int) -> float:
    """CPU time of one call, the mean over `repeat` calls."""
    start = time.process_time()
    for _ in range(repeat):
        work()
    return (time.process_time() - start) / repeat * 1e6


def alternate(
    contenders: Mapping[str, Callable[[], object]], rounds: int, repeat: int
) -> dict[str, float]:
    """The median time of a call in microseconds, by contender."""
    for work in contenders.values():
        microseconds(work, repeat)
    times: dict[str, list[float]] = {name: [] for name in contenders}
    for _ in range(rounds):
        for name, work in contenders.items():
            times[name].append(microseconds(work, repeat))
    return {name: median(values) for name, values in times.items()}


def machine() -> str:
    """Processor and Python, for the line under a table."""
    info = Path("/proc/cpuinfo")
    lines = info.read_text().splitlines() if info.exists() else []
    names = [line.partition(":")[2].strip() for line in lines if line.startswith("model name")]
    return f"{names[0] if names else platform.processor()}, Python {platform.python_version()}"
