"""Alternating measurements: every contender in turn, many rounds in one process, medians."""

import platform
import time
from collections.abc import Callable, Mapping
from pathlib import Path
from statistics import median


def microseconds(work: Callable[[], object], repeat: int) -> float:
    """Time of one call, the mean over `repeat` calls."""
    start = time.perf_counter()
    for _ in range(repeat):
        work()
    return (time.perf_counter() - start) / repeat * 1e6


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
