"""Batches of a Graph: which samples are computed in which thread."""

from __future__ import annotations

from collections.abc import Callable
from itertools import pairwise
from typing import Protocol

from cgraph._execution.choice import Executors
from cgraph._kernels.runtime import plan
from cgraph._kernels.runtime.plan import Schedule
from cgraph._kernels.runtime.request import Request
from cgraph._kernels.runtime.thread_pool import run_together
from cgraph._kernels.runtime.uninterrupted import Snapshot
from cgraph._lowering.layout import NEVER
from cgraph._lowering.program import NO_CARRY

# In estimated nanoseconds: the least work for each thread; the work between two checks for signals such as Ctrl-C.
THREAD_NANOSECONDS = 60_000
SIGNAL_CHECK_NANOSECONDS = 2_000_000

NO_STEPS = plan.Steps([])
MAX_REMEMBERED = 8  # schedules


class Runner(Protocol):
    """What runs all samples of a request."""

    def run(
        self,
        request: Request,
        schedule: Schedule,
        update_steps: plan.Steps,
        fuse: bool,
        grads_before: Snapshot | None,
    ) -> None: ...


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
        self.require_data(request)
        count, carry = request.size, request.carry
        batch_size = min(request.batch or count, count)
        patience = self.patience[request.backward]
        may_fail = self.calls_python or bool(request.extras and request.extras.check_loss)
        least, span = self._executors.layout_of(request).min_samples, 1
        if carry is not None:
            # Only those samples pass through the nodes' own arrays, whatever their number, that have no streams.
            least = 0 if carry.streams else NEVER
            # What may fail at any sample fails at a time step at which the states of all streams count.
            span = 1 if may_fail or not carry.streams else patience // carry.streams + 1
        shared = min(batch_size, span * carry.streams) if carry else batch_size
        if batch_size == 1 or self._thread_count(request, shared) == 1:
            schedule = Schedule(
                request,
                *self._executors.bind(request),
                patience,
                one_by_one=batch_size < least,
                is_uninterrupted=not (may_fail or count > patience),
                span=span,
            )
        else:
            schedule = Schedule(request, [], bytes(1), patience, span=span)
        if len(self.schedules) == MAX_REMEMBERED:
            self.schedules.clear()
        self.schedules.append(schedule)
        return schedule

    def require_data(self, request: Request) -> None:
        """Refuses a request that depends on a leaf without data; from now on the leaves that it feeds have some."""
        program, extras = self._executors.samples.program, request.extras
        leaves, carried = request.feeds.leaves, program.carried if request.carry else NO_CARRY
        asked = [request.node, *(extras.nodes if extras else ()), *carried.values()]
        needed = program.leaves if request.backward else program.leaves_above(asked)
        for leaf in needed:
            if not (leaf._is_given or leaf in leaves or leaf in carried):
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
            self._run_in_threads(request, schedule, update_steps)
        else:
            zero = self._memory.grads_are_zero
            run = plan.prepare(
                request, schedule, update_steps, zero, self.may_overwrite, fuse, grads_before
            )
            plan.run(run)

    def _run_in_threads(
        self, request: Request, schedule: Schedule, update_steps: plan.Steps
    ) -> None:
        """Runs all samples in several threads, with an update after each batch."""
        count, carry = request.size, request.carry
        batch_size = min(request.batch or count, count)
        # The samples up to a moment at which the states of all streams count.
        part = batch_size if carry is None else schedule.span * carry.streams
        for first in range(0, count, batch_size):
            last = min(first + batch_size, count)
            for begin in range(first, last, part):
                end = min(begin + part, last)
                self._share_among_threads(request.part(begin, end), begin == first)
                if carry is not None and not (request.batch and end == last):
                    carry.commit()
            if request.backward:
                self._memory.samples += last - first
            if request.batch:
                arguments = update_steps, self._memory, request.eta, True, last
                plan.apply_update(*arguments, carry)
        if request.backward and not request.batch:
            self._memory.accumulated(count)

    def _share_among_threads(self, request: Request, begins: bool) -> None:
        """Runs samples without an update in several threads, each of which has gradient sums of its own."""
        threads = self.share(request, self._executors.bind, begins)
        if request.backward:
            self._executors.arena.accumulate_grads(threads)

    def share(self, request: Request, bind: Bind, begins: bool = True) -> int:
        """Runs samples without an update in some threads, and returns their number.

        `bind` returns for the samples of one thread, and its number, the arguments `bindings` and `choice` of a
        Schedule. The gradient sums of each thread are its own; `begins` tells whether the batch begins with these
        samples, so that those of this thread may count as 0.
        """
        threads = self._thread_count(request, request.size)
        patience = self.patience[request.backward]
        runs = []
        for thread, (first, last) in enumerate(pairwise(self._share_bounds(request, threads))):
            # The gradient sums of the other threads count as 0.
            zero = thread > 0 or (begins and self._memory.grads_are_zero)
            if request.carry is None:
                part, streams = request.part(first, last), (0, 0)
                bound = bind(part, thread)
            else:
                part, streams = request, (first, last - first)
                bound = self._executors.bind(part, thread, last - first)
            schedule = Schedule(part, *bound, patience, span=request.size)
            options = zero, self.may_overwrite, True, None, *streams
            run = plan.prepare(part, schedule, NO_STEPS, *options)
            runs.append(run)
        run_together(runs)
        return threads

    def _thread_count(self, request: Request, count: int) -> int:
        """Returns the number of threads for which `count` samples are work enough."""
        if self.threads == 1 or (request.carry and not request.carry.streams):
            return 1
        units = -(-self._shared(request, count) // self._share_unit(request, count))
        shares = int(count * self._time(request.backward) / THREAD_NANOSECONDS)
        return max(1, min(self.threads, units, shares))

    def _time(self, backward: bool) -> float:
        """Estimates the nanoseconds of one sample."""
        layouts = self._executors.layouts
        return 1 + (3 * layouts.backward.cost if backward else layouts.forward.cost)

    def _share_bounds(self, request: Request, threads: int) -> list[int]:
        """Returns where the shares of the threads begin and end, in whole blocks as far as possible."""
        unit = self._share_unit(request, request.size)
        count = self._shared(request, request.size)
        units = -(-count // unit)
        return [min(units * i // threads * unit, count) for i in range(threads + 1)]

    def _share_unit(self, request: Request, count: int) -> int:
        """Returns the number of samples, of `count`, that no border between the shares of two threads divides."""
        layout_plan = self._executors.layout_of(request)
        shared = self._shared(request, count)
        return layout_plan.smallest_block if shared >= layout_plan.min_samples else 1

    def _shared(self, request: Request, count: int) -> int:
        """Returns what threads share: the number of streams or, without streams, of the samples."""
        return request.carry.streams if request.carry else count
