"""Batches of a Graph: which executor computes which of the samples, and in which thread."""

from __future__ import annotations

from collections.abc import Callable
from itertools import pairwise
from typing import NamedTuple

from cgraph._execution.executors import LaneExecutor, SampleExecutor
from cgraph._execution.feeds import Feeds
from cgraph._kernels.runtime import plan
from cgraph._kernels.runtime.thread_pool import run_together
from cgraph._kernels.runtime.uninterrupted import Snapshot
from cgraph._lowering.layout import NEVER, LayoutPlan
from cgraph._validation import Array
from cgraph.node import Node

# In estimated nanoseconds: the least work for each thread; the work between two checks for signals such as Ctrl-C.
THREAD_NANOSECONDS = 60_000
SIGNAL_CHECK_NANOSECONDS = 2_000_000

NO_STEPS = plan.Steps([])


class Request(NamedTuple):
    """One call with a feed: the node to compute, or the loss (None), and the array that gets the results."""

    node: Node | None
    feeds: Feeds
    out: Array
    backward: bool = False
    parameters_only: bool = False
    batch: int = 0  # samples to an update; 0 for no update
    eta: float = 0.0

    def part(self, first: int, last: int) -> Request:
        """Returns the request for some of the samples, without an update."""
        arrays = [array[first:last] for array in self.feeds.arrays]
        feeds = Feeds(self.feeds.leaves, arrays, last - first)
        return self._replace(feeds=feeds, out=self.out[first:last], batch=0)


class Batches:
    """Runs requests: distributes their samples over executors and threads.

    Parameters
    ----------
    samples : SampleExecutor
        The executor for one sample at a time.
    make_lanes : callable
        Makes the executor over a given number of lanes, when it is first needed.
    layout_plan : LayoutPlan
        The layout of the Graph.
    threads : int
        The largest number of threads that may share a batch.
    calls_python : bool
        Whether some step calls Python; all samples are then computed in the calling thread.
    """

    def __init__(
        self,
        samples: SampleExecutor,
        make_lanes: Callable[[int], LaneExecutor],
        layout_plan: LayoutPlan,
        threads: int,
        calls_python: bool,
    ) -> None:
        self._samples = samples
        self._memory = samples.arena.memory
        self._make_lanes = make_lanes
        self._lane_executors: dict[int, LaneExecutor] = {}  # by their number of lanes
        self.layout_plan = layout_plan
        self.threads = 1 if calls_python else threads
        self._calls_python = calls_python
        self._samples_between_signal_checks = {
            backward: int(SIGNAL_CHECK_NANOSECONDS / self._time(backward)) + 1
            for backward in (False, True)
        }

    @property
    def nbytes(self) -> int:
        """The bytes of memory that each thread needs, whatever the number of samples."""
        lanes = self._lane_executor_for(NEVER - 1, NEVER)
        return (lanes or self._samples).nbytes

    @property
    def table_bytes(self) -> tuple[int, int]:
        """The bytes of the tables of the steps, which all threads share: for one sample at a time, and over lanes."""
        lanes = self._lane_executor_for(NEVER - 1, NEVER)
        return self._samples.table_bytes, lanes.table_bytes if lanes else 0

    def is_uninterrupted(self, request: Request) -> bool:
        """Returns whether no exception can end the run halfway: one thread computes, and checks for no signal."""
        count = request.feeds.size
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
        count = request.feeds.size
        batch_size = min(request.batch or count, count)
        one_thread = self._uses_one_thread(request, batch_size)
        if one_thread and batch_size < self.layout_plan.min_samples:
            binding = self._samples.binding(request.node, request.feeds.leaves)
            plan.run(self._prepare(request, (binding, binding), update_steps, grads_before))
            return True
        if request.backward and not request.parameters_only:
            # The gradients of leaves would not reach the nodes' own arrays.
            request = request._replace(parameters_only=True)
        if one_thread:
            bindings = self._bindings(request, batch_size)
            plan.run(self._prepare(request, bindings, update_steps, grads_before))
            return False
        self._run_in_threads(request, update_steps, batch_size)
        return False

    def _uses_one_thread(self, request: Request, batch_size: int) -> bool:
        """Returns whether the calling thread computes all samples."""
        return batch_size == 1 or self._thread_count(request, batch_size) == 1

    def _run_in_threads(self, request: Request, update_steps: plan.Steps, batch_size: int) -> None:
        """Runs all samples in several threads, with an update after each batch."""
        count = request.feeds.size
        for first in range(0, count, batch_size):
            self._share_among_threads(request.part(first, min(first + batch_size, count)))
            if request.batch:
                plan.apply_update(update_steps, self._memory, request.eta, True)
        if request.backward:
            self._memory.grads_are_zero = self._memory.grads_are_zero and request.batch > 0

    def _share_among_threads(self, request: Request) -> None:
        """Runs samples without an update in several threads, each of which has gradient sums of its own."""
        count = request.feeds.size
        threads = self._thread_count(request, count)
        runs = []
        for thread, (first, last) in enumerate(pairwise(self._share_bounds(count, threads))):
            part = request.part(first, last)
            bindings = self._bindings(part, count, thread)
            runs.append(self._prepare(part, bindings, NO_STEPS, first_thread=thread == 0))
        run_together(runs)
        if request.backward:
            self._samples.arena.accumulate_grads(threads)

    def _thread_count(self, request: Request, count: int) -> int:
        """Returns the number of threads for which `count` samples are work enough."""
        if self.threads == 1:
            return 1
        lines = -(-count // self._line_size(count))
        shares = int(count * self._time(request.backward) / THREAD_NANOSECONDS)
        return max(1, min(self.threads, lines, shares))

    def _time(self, backward: bool) -> float:
        """Estimates the nanoseconds of one sample."""
        return 1 + self.layout_plan.cost * (3 if backward else 1)

    def _share_bounds(self, count: int, threads: int) -> list[int]:
        """Returns where the shares of the threads begin and end, in whole lines as far as possible."""
        line = self._line_size(count)
        lines = -(-count // line)
        return [min(lines * i // threads * line, count) for i in range(threads + 1)]

    def _line_size(self, count: int) -> int:
        """Returns the number of samples that take no longer than one of them."""
        return self.layout_plan.lanes_per_line if count >= self.layout_plan.min_samples else 1

    def _lane_executor_for(self, batch_size: int, share: int) -> LaneExecutor | None:
        """Returns the executor over lanes for a thread's share of a batch; None for a batch with too few samples.

        It has no more lanes than the share fills, rounded up to one, two or four lines.
        """
        if batch_size < self.layout_plan.min_samples:
            return None
        lanes = self.layout_plan.lanes_per_line
        while lanes < min(share, self.layout_plan.lanes):
            lanes *= 2
        executor = self._lane_executors.get(lanes)
        if executor is None:
            executor = self._lane_executors[lanes] = self._make_lanes(lanes)
        return executor

    def _bindings(
        self, request: Request, batch_size: int, thread: int = 0
    ) -> tuple[plan.Binding, plan.Binding]:
        """Returns the bindings for full lanes and for the samples that remain, in the memory of a thread."""
        leaves = request.feeds.leaves
        lanes = self._lane_executor_for(batch_size, min(batch_size, request.feeds.size))
        if lanes and not lanes.has_buffer_of(request.node):
            lanes = None
        if lanes is None or not self._has_remainder(request, batch_size, lanes.lanes):
            binding = (lanes or self._samples).binding(request.node, leaves, thread)
            return binding, binding
        return (
            lanes.binding(request.node, leaves, thread),
            self._samples.binding(request.node, leaves, thread),
        )

    def _has_remainder(self, request: Request, batch_size: int, lanes: int) -> bool:
        """Returns whether samples remain at the end of some batch that are too few for lanes."""
        min_samples = self.layout_plan.min_samples
        return (
            0 < batch_size % lanes < min_samples
            or 0 < request.feeds.size % batch_size % lanes < min_samples
        )

    def _prepare(
        self,
        request: Request,
        bindings: tuple[plan.Binding, plan.Binding],
        update_steps: plan.Steps,
        grads_before: Snapshot | None = None,
        first_thread: bool = True,
    ) -> plan.Run:
        """Prepares the run of a request by the first thread, or by another one, whose gradient sums count as 0."""
        _, feeds, out, backward, parameters_only, batch, eta = request
        # Arguments by position: keywords would take a twentieth of a small call.
        return plan.prepare(
            *bindings,
            self.layout_plan.min_samples,
            update_steps,
            feeds.arrays,
            out,
            feeds.size,
            self._samples_between_signal_checks[backward],
            backward,
            parameters_only,
            not first_thread or self._memory.grads_are_zero,
            batch,
            eta,
            not self._calls_python,
            grads_before,
        )
