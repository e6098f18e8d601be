"""Batches of a Graph: which samples are computed in which thread."""

from __future__ import annotations

from itertools import pairwise

from cgraph._execution.executors import Executors
from cgraph._kernels.runtime import plan
from cgraph._kernels.runtime.plan import Request
from cgraph._kernels.runtime.thread_pool import run_together
from cgraph._kernels.runtime.uninterrupted import Snapshot

# In estimated nanoseconds: the least work for each thread; the work between two checks for signals such as Ctrl-C.
THREAD_NANOSECONDS = 60_000
SIGNAL_CHECK_NANOSECONDS = 2_000_000

NO_STEPS = plan.Steps([])


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
    """

    def __init__(self, executors: Executors, threads: int, calls_python: bool) -> None:
        self._executors = executors
        self._memory = executors.arena.memory
        self.threads = 1 if calls_python else threads
        # Whether gradient sums may count as 0 after an update, and so steps may use fused SGD.
        self.may_overwrite = not calls_python
        self._calls_python = calls_python
        self._samples_between_signal_checks = {
            backward: int(SIGNAL_CHECK_NANOSECONDS / self._time(backward)) + 1
            for backward in (False, True)
        }

    def is_uninterrupted(self, request: Request) -> bool:
        """Returns whether no exception can end the run halfway: one thread computes, and checks for no signal."""
        count = request.size
        if self._calls_python or count > self._samples_between_signal_checks[request.backward]:
            return False
        return self._uses_one_thread(request, min(request.batch or count, count))

    def run(
        self, request: Request, update_steps: plan.Steps, grads_before: Snapshot | None
    ) -> bool:
        """Runs all samples, and adds up their gradients, whatever the thread.

        `grads_before` holds the gradient sums with which a batch began, for the case that an exception ends it. Returns
        whether all samples have passed through the nodes' own arrays, which then hold the last one.
        """
        count = request.size
        batch_size = min(request.batch or count, count)
        one_thread = self._uses_one_thread(request, batch_size)
        one_by_one = one_thread and batch_size < self._executors.layout_of(request).min_samples
        if request.backward and not (one_by_one or request.parameters_only):
            # The gradients of leaves would not reach the nodes' own arrays.
            request = request.without_leaf_grads()
        if one_thread:
            bindings = self._executors.bind(request, batch_size)
            plan.run(self._prepare(request, bindings, update_steps, grads_before))
        else:
            self._run_in_threads(request, update_steps, batch_size)
        return one_by_one

    def _uses_one_thread(self, request: Request, batch_size: int) -> bool:
        """Returns whether the calling thread computes all samples."""
        return batch_size == 1 or self._thread_count(request, batch_size) == 1

    def _run_in_threads(self, request: Request, update_steps: plan.Steps, batch_size: int) -> None:
        """Runs all samples in several threads, with an update after each batch."""
        count = request.size
        for first in range(0, count, batch_size):
            self._share_among_threads(request.part(first, min(first + batch_size, count)))
            if request.batch:
                plan.apply_update(update_steps, self._memory, request.eta, True)
        if request.backward:
            self._memory.grads_are_zero = self._memory.grads_are_zero and request.batch > 0

    def _share_among_threads(self, request: Request) -> None:
        """Runs samples without an update in several threads, each of which has gradient sums of its own."""
        count = request.size
        threads = self._thread_count(request, count)
        runs = []
        for thread, (first, last) in enumerate(pairwise(self._share_bounds(request, threads))):
            part = request.part(first, last)
            bindings = self._executors.bind(part, count, thread)
            runs.append(self._prepare(part, bindings, NO_STEPS, first_thread=thread == 0))
        run_together(runs)
        if request.backward:
            self._executors.arena.accumulate_grads(threads)

    def _thread_count(self, request: Request, count: int) -> int:
        """Returns the number of threads for which `count` samples are work enough."""
        if self.threads == 1:
            return 1
        lines = -(-count // self._line_size(request, count))
        shares = int(count * self._time(request.backward) / THREAD_NANOSECONDS)
        return max(1, min(self.threads, lines, shares))

    def _time(self, backward: bool) -> float:
        """Estimates the nanoseconds of one sample."""
        layouts = self._executors.layouts
        return 1 + (3 * layouts.backward.cost if backward else layouts.forward.cost)

    def _share_bounds(self, request: Request, threads: int) -> list[int]:
        """Returns where the shares of the threads begin and end, in whole lines as far as possible."""
        count = request.size
        line = self._line_size(request, count)
        lines = -(-count // line)
        return [min(lines * i // threads * line, count) for i in range(threads + 1)]

    def _line_size(self, request: Request, count: int) -> int:
        """Returns the number of samples, of `count`, that take no longer than one of them."""
        layout_plan = self._executors.layout_of(request)
        return layout_plan.lanes_per_line if count >= layout_plan.min_samples else 1

    def _prepare(
        self,
        request: Request,
        bindings: tuple[plan.Binding, plan.Binding],
        update_steps: plan.Steps,
        grads_before: Snapshot | None = None,
        first_thread: bool = True,
    ) -> plan.Run:
        """Prepares the run of a request by the first thread, or by another one, whose gradient sums count as 0."""
        return plan.prepare(
            request,
            *bindings,
            self._executors.layout_of(request).min_samples,
            update_steps,
            self._samples_between_signal_checks[request.backward],
            not first_thread or self._memory.grads_are_zero,
            self.may_overwrite,
            grads_before,
        )
