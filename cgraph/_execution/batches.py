"""Batches of a Graph: which samples are computed in which thread."""

from __future__ import annotations

from collections.abc import Callable
from itertools import pairwise

from cgraph._execution.executors import Executors
from cgraph._kernels.runtime import plan
from cgraph._kernels.runtime.plan import Schedule
from cgraph._kernels.runtime.request import Request
from cgraph._kernels.runtime.thread_pool import run_together
from cgraph._kernels.runtime.uninterrupted import Snapshot

# In estimated nanoseconds: the least work for each thread; the work between two checks for signals such as Ctrl-C.
THREAD_NANOSECONDS = 60_000
SIGNAL_CHECK_NANOSECONDS = 2_000_000

NO_STEPS = plan.Steps([])
MAX_REMEMBERED = 8  # schedules

Bind = Callable[[Request, int], tuple[list[plan.Binding], bytes]]


class Batches:
    """Runs requests: distributes their samples over threads.

    Parameters
    ----------
    executors : Executors
        The executors of the Graph.
    threads : int
        The largest number of threads that may share a batch.
    calls_python : bool
        Whether some step calls Python; all samples are then computed in the calling thread.

    Attributes
    ----------
    schedules : list of Schedule
        Those of the last requests; `add_schedule` makes one that is missing.
    calls_python : bool
    patience : dict of bool to int
        The number of samples between two checks for signals, with gradients and without.
    """

    def __init__(self, executors: Executors, threads: int, calls_python: bool) -> None:
        self._executors = executors
        self._memory = executors.arena.memory
        self.threads = 1 if calls_python else threads
        # Whether gradient sums may count as 0 after an update, and so steps may use fused SGD.
        self.may_overwrite = not calls_python
        self.calls_python = calls_python
        self.schedules: list[Schedule] = []
        self.patience = {
            backward: int(SIGNAL_CHECK_NANOSECONDS / self._time(backward)) + 1
            for backward in (False, True)
        }

    def add_schedule(self, request: Request) -> Schedule:
        """Decides how requests like this one are computed, and remembers it.

        Raises
        ------
        ValueError
            A leaf on which the request depends is not fed, and was never given data.
        """
        self._require_data(request)
        count, extras = request.size, request.extras
        batch_size = min(request.batch or count, count)
        patience = self.patience[request.backward]
        if batch_size == 1 or self._thread_count(request, batch_size) == 1:
            schedule = Schedule(
                request,
                *self._executors.bind(request),
                patience,
                one_by_one=batch_size < self._executors.layout_of(request).min_samples,
                is_uninterrupted=not (
                    self.calls_python or count > patience or (extras and extras.check_loss)
                ),
            )
        else:
            schedule = Schedule(request, [], bytes(1), patience)
        if len(self.schedules) == MAX_REMEMBERED:
            self.schedules.clear()
        self.schedules.append(schedule)
        return schedule

    def _require_data(self, request: Request) -> None:
        """Refuses a request that depends on a leaf without data; from now on the leaves that it feeds have some."""
        leaves, program = request.feeds.leaves, self._executors.samples.program
        needed = program.leaves if request.backward else program.leaves_above(request.node)
        for leaf in needed:
            if not (leaf._is_given or leaf in leaves):
                raise ValueError(f"Graph: {leaf!r} must be fed, since it was never given data")
        for leaf in leaves:
            leaf._is_given = True

    def run(
        self,
        request: Request,
        schedule: Schedule,
        update_steps: plan.Steps,
        fuse: bool,
        grads_before: Snapshot | None,
    ) -> None:
        """Runs all samples, and adds up their gradients, whatever the thread.

        The last samples of a batch may descend at once, without an update, if `fuse`. `grads_before` holds the gradient
        sums with which a batch began, for the case that an exception ends it.
        """
        if not schedule.bindings:
            self._run_in_threads(request, update_steps)
        else:
            zero = self._memory.grads_are_zero
            run = plan.prepare(
                request, schedule, update_steps, zero, self.may_overwrite, fuse, grads_before
            )
            plan.run(run)

    def _run_in_threads(self, request: Request, update_steps: plan.Steps) -> None:
        """Runs all samples in several threads, with an update after each batch."""
        count = request.size
        batch_size = min(request.batch or count, count)
        for first in range(0, count, batch_size):
            last = min(first + batch_size, count)
            self._share_among_threads(request.part(first, last))
            if request.batch:
                plan.apply_update(update_steps, self._memory, request.eta, True, last)
        if request.backward and not request.batch:
            self._memory.accumulated(count)

    def _share_among_threads(self, request: Request) -> None:
        """Runs samples without an update in several threads, each of which has gradient sums of its own."""
        threads = self.share(request, self._executors.bind)
        if request.backward:
            self._executors.arena.accumulate_grads(threads)
            self._memory.samples += request.size

    def share(self, request: Request, bind: Bind) -> int:
        """Runs samples without an update in some threads, and returns their number.

        `bind` returns for the samples of one thread, and its number, the arguments `bindings` and `choice` of a
        Schedule. The gradient sums of each thread are its own.
        """
        count = request.size
        threads = self._thread_count(request, count)
        patience = self.patience[request.backward]
        runs = []
        for thread, (first, last) in enumerate(pairwise(self._share_bounds(request, threads))):
            part = request.part(first, last)
            schedule = Schedule(part, *bind(part, thread), patience)
            # The gradient sums of the other threads count as 0.
            zero = thread > 0 or self._memory.grads_are_zero
            runs.append(plan.prepare(part, schedule, NO_STEPS, zero, self.may_overwrite))
        run_together(runs)
        return threads

    def _thread_count(self, request: Request, count: int) -> int:
        """Returns the number of threads for which `count` samples are work enough."""
        if self.threads == 1:
            return 1
        units = -(-count // self._share_unit(request, count))
        shares = int(count * self._time(request.backward) / THREAD_NANOSECONDS)
        return max(1, min(self.threads, units, shares))

    def _time(self, backward: bool) -> float:
        """Estimates the nanoseconds of one sample."""
        layouts = self._executors.layouts
        return 1 + (3 * layouts.backward.cost if backward else layouts.forward.cost)

    def _share_bounds(self, request: Request, threads: int) -> list[int]:
        """Returns where the shares of the threads begin and end, in whole blocks as far as possible."""
        count = request.size
        unit = self._share_unit(request, count)
        units = -(-count // unit)
        return [min(units * i // threads * unit, count) for i in range(threads + 1)]

    def _share_unit(self, request: Request, count: int) -> int:
        """Returns the number of samples, of `count`, that no border between the shares of two threads divides."""
        layout_plan = self._executors.layout_of(request)
        return layout_plan.smallest_block if count >= layout_plan.min_samples else 1
