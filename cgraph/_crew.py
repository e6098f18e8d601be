"""Threads that work together: plain Python threads that wait for work, which runs without the GIL."""

from __future__ import annotations

import os
import threading
from collections.abc import Callable, Sequence
from contextlib import suppress
from queue import SimpleQueue


class Job:
    """A piece of work that whoever comes first does: another thread, or the one that waits for it."""

    def __init__(self, work: Callable[[], None]) -> None:
        self._work = [work]
        self._error: BaseException | None = None
        self._running = threading.Lock()
        self._running.acquire()
        self.ended = False

    def run(self) -> None:
        """Does the work, unless somebody has taken it."""
        try:
            work = self._work.pop()
        except IndexError:
            return
        try:
            work()
        except BaseException as error:
            self._error = error
        finally:
            self.ended = True
            self._running.release()

    def wait(self) -> None:
        """Returns when the work has ended; Ctrl-C may end the waiting before."""
        self.run()
        if not self.ended:
            self._running.acquire()

    def drop(self) -> None:
        """Waits, whatever is pressed; but what nobody has begun is not done at all."""
        self.ended = self.ended or bool(self._work and self._work.pop())
        while not self.ended:
            with suppress(BaseException):
                self._running.acquire()

    def check(self) -> None:
        """Raises what the work has raised."""
        if self._error is not None:
            raise self._error


class Crew:
    """Threads that take jobs from one queue. They end with the process, and do not hold it up."""

    def __init__(self) -> None:
        self._jobs: SimpleQueue[Job] = SimpleQueue()
        self._count = 0
        self._growing = threading.Lock()

    def submit(self, job: Job, at_least: int) -> None:
        """Hands a job to one of at least so many threads, as far as there can be so many."""
        with self._growing, suppress(RuntimeError):  # as at the end of the interpreter
            while self._count < at_least:
                name = f"cgraph-{self._count + 1}"
                threading.Thread(target=serve, args=(self._jobs,), name=name, daemon=True).start()
                self._count += 1
        self._jobs.put(job)


def serve(jobs: SimpleQueue[Job]) -> None:
    """What a thread does, forever."""
    while True:
        jobs.get().run()


crew = Crew()


def _renew() -> None:
    """In a child process, which has none of its parent's threads."""
    global crew
    crew = Crew()


if hasattr(os, "register_at_fork"):
    os.register_at_fork(after_in_child=_renew)


def run_together(work: Sequence[Callable[[], None]], stop: Callable[[], None]) -> None:
    """Does the first piece of work here and the others in other threads, at the same time.

    When this returns or raises, all of them have ended; where one raises, `stop` is called to end the others early.
    """
    jobs = [Job(each) for each in work[1:]]
    try:
        for job in jobs:
            crew.submit(job, len(jobs))
        work[0]()
        for job in jobs:
            job.wait()
            job.check()
    except BaseException:
        stop()
        for job in jobs:
            job.drop()
        raise


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
    if not given.isascii() or not given.isdigit() or int(given) < 1:
        raise ValueError(f"CGRAPH_NUM_THREADS must be an integer of at least 1, got {given!r}")
    return int(given)
