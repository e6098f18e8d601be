"""How many threads work together; and that a child process starts its own (`_kernels/crew.pyx` has what they do)."""

from __future__ import annotations

import os

from cgraph._kernels import crew, plan
from cgraph._quota import cpu_quota, openmp_threads


def _renew() -> None:
    """In a child process, which has none of its parent's threads."""
    crew.renew()
    plan.renew()


if hasattr(os, "register_at_fork"):
    os.register_at_fork(after_in_child=_renew)


def usable_cores() -> int:
    """The cores that this process may use."""
    if hasattr(os, "sched_getaffinity"):
        return len(os.sched_getaffinity(0))
    return os.cpu_count() or 1


def default_threads() -> int:
    """CGRAPH_NUM_THREADS, or the cores that this process may use, within its CPU quota and OMP_NUM_THREADS.

    Raises
    ------
    ValueError
        The environment variable is not an integer of at least 1.
    """
    given = os.environ.get("CGRAPH_NUM_THREADS")
    if not given:
        return int(min(usable_cores(), cpu_quota(), openmp_threads()))
    if not (given.isascii() and given.isdigit() and len(given) < 10 and int(given) > 0):
        raise ValueError(f"CGRAPH_NUM_THREADS must be an integer of at least 1, got {given!r}")
    return int(given)
