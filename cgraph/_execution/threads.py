"""The number of threads that may share a batch, and a new thread pool for a forked child.

The threads themselves are in `_kernels/runtime/thread_pool.pyx`.
"""

from __future__ import annotations

import os

from cgraph._execution.quota import cpu_quota, openmp_threads
from cgraph._kernels.runtime import memory, thread_pool


def _renew() -> None:
    """Resets thread pool and memories in a forked child, which has none of the threads of its parent."""
    thread_pool.renew()
    memory.renew()


if hasattr(os, "register_at_fork"):
    os.register_at_fork(after_in_child=_renew)


def usable_cores() -> int:
    """Returns the number of cores that this process may use."""
    if hasattr(os, "sched_getaffinity"):
        return len(os.sched_getaffinity(0))
    return os.cpu_count() or 1


def default_threads() -> int:
    """Returns CGRAPH_NUM_THREADS, or the least of the usable cores, the CPU quota and OMP_NUM_THREADS.

    Raises
    ------
    ValueError
        CGRAPH_NUM_THREADS is not an integer of at least 1.
    """
    given = os.environ.get("CGRAPH_NUM_THREADS")
    if not given:
        return int(min(usable_cores(), cpu_quota(), openmp_threads()))
    if not (given.isascii() and given.isdigit() and len(given) < 10 and int(given) > 0):
        raise ValueError(f"CGRAPH_NUM_THREADS must be an integer of at least 1, got {given!r}")
    return int(given)
