"""Threads that work together: plain Python threads that wait for work, which runs without the GIL."""

from __future__ import annotations

import os
import threading
from collections.abc import Callable, Sequence
from contextlib import suppress
from queue import SimpleQueue

from cgraph._kernels import plan

PATIENCE = 1.0  # seconds between two looks at whether a job has ended


class Job:
    """A piece of work for another thread."""

    def __init__(self, work: Callable[[], None]) -> None:
        self._work = [work]
        self._error: BaseException | None = None
        self._running = threading.Lock()
        self._running.acquire()
        self._ended = False

    def run(self) -> None:
        """Does the work, unless it has been dropped."""
        try:
            work = self._work.pop()
        except IndexError:
            return
        try:
            work()
        except BaseException as error:
            self._error = error
        finally:
            self._ended = True
            self._running.release()

    def wait(self) -> None:
        """Returns when the work has ended, and raises what it has raised; Ctrl-C may end the waiting before."""
        if not self._ended:
            self._running.acquire()
        if self._error is not None:
            raise self._error

    def drop(self) -> None:
        """Returns when nobody is at the work any more; what has not been begun will not be."""
        try:
            self._work.pop()
        except IndexError:
            while not self._ended:
                self._running.acquire(timeout=PATIENCE)


class Crew:
    """Threads that take jobs from one queue. They end with the process, and do not hold it up."""

    def __init__(self) -> None:
        self._jobs: SimpleQueue[Job] = SimpleQueue()
        self._count = 0
        self._growing = threading.Lock()

    def submit(self, jobs: Sequence[Job]) -> bool:
        """Hands out jobs to as many threads as there can be; False if there can be none."""
        with self._growing, suppress(RuntimeError):  # as at the end of the interpreter
            while self._count < len(jobs):
                name = f"cgraph-{self._count + 1}"
                threading.Thread(target=serve, args=(self._jobs,), name=name, daemon=True).start()
                self._count += 1
        for job in jobs if self._count else ():
            self._jobs.put(job)
        return self._count > 0


def serve(jobs: SimpleQueue[Job]) -> None:
    """What a thread does, forever."""
    while True:
        jobs.get().run()


crew = Crew()


def _renew() -> None:
    """In a child process, which has none of its parent's threads."""
    global crew
    crew = Crew()
    plan.renew()


if hasattr(os, "register_at_fork"):
    os.register_at_fork(after_in_child=_renew)


def run_together(work: Sequence[Callable[[], None]], jobs: list[Job]) -> None:
    """Does the first piece of work here and the others in other threads, at the same time.

    jobs: an empty list, which holds what may still be running when an exception ends this.
    """
    jobs += [Job(each) for each in work[1:]]
    handed_out = crew.submit(jobs)
    work[0]()
    for job in jobs:
        if not handed_out:
            job.run()
        job.wait()
    jobs.clear()


def usable_cores() -> int:
    """The cores that this process may use."""
    if hasattr(os, "sched_getaffinity"):
        return len(os.sched_getaffinity(0))
    return os.cpu_count() or 1


def default_threads() -> int:
    """CGRAPH_NUM_THREADS, or the cores that this process may use.

    Raises
    ------
    ValueError
        The environment variable is not an integer of at least 1.
    """
    given = os.environ.get("CGRAPH_NUM_THREADS")
    if not given:
        return usable_cores()
    if not (given.isascii() and given.isdigit() and len(given) < 10 and int(given) > 0):
        raise ValueError(f"CGRAPH_NUM_THREADS must be an integer of at least 1, got {given!r}")
    return int(given)
