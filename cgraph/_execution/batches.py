"""How a Graph takes many samples: which way they go, and which thread takes which of them."""

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

SHARE = 60_000  # nanoseconds of work, about, that are worth another thread
PATIENCE = 2_000_000  # nanoseconds, about, until Ctrl-C is listened to again

NOTHING = plan.Steps([])


class Request(NamedTuple):
    """Samples on their way to a node, or to the loss (None), and what they leave there, a row each."""

    target: Node | None
    feeds: Feeds
    out: Array
    backward: bool = False
    parameters_only: bool = False
    batch: int = 0  # samples until the next update; none, if 0
    eta: float = 0.0

    def part(self, first: int, last: int) -> Request:
        """Some of the samples, without an update."""
        arrays = [array[first:last] for array in self.feeds.arrays]
        feeds = Feeds(self.feeds.leaves, arrays, last - first)
        return self._replace(feeds=feeds, out=self.out[first:last], batch=0)


class Batches:
    """Runs a plan over many samples.

    Parameters
    ----------
    samples : Samples
        The way of one sample at a time.
    make_lanes : callable
        Makes the other way, for blocks of so many samples, when it is first needed.
    choice : Choice
        Which of them is taken.
    threads : int
        The most that may work.
    calls_python : bool
        Whether steps call Python: then one thread works alone.
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
        self._lanes: dict[int, LaneExecutor] = {}
        self.layout_plan = layout_plan
        self.threads = 1 if calls_python else threads
        self._calls_python = calls_python
        self._patience = {b: int(PATIENCE / self._time(b)) + 1 for b in (False, True)}

    @property
    def nbytes(self) -> int:
        """What a thread needs, whatever the number of samples."""
        lanes = self._lanes_for(NEVER - 1, NEVER)
        return (lanes or self._samples).nbytes

    @property
    def table_bytes(self) -> tuple[int, int]:
        """The tables of the steps, however many threads there are: one sample at a time, and side by side."""
        lanes = self._lanes_for(NEVER - 1, NEVER)
        return self._samples.table_bytes, lanes.table_bytes if lanes else 0

    def is_short(self, request: Request) -> bool:
        """Whether all samples are run in one stretch: by this thread alone, and before Ctrl-C is listened to."""
        count = request.feeds.size
        short = not self._calls_python and count <= self._patience[request.backward]
        return short and self._is_alone(request, min(request.batch or count, count))

    def run(self, request: Request, update_steps: plan.Steps, before: Snapshot | None) -> bool:
        """Runs all samples; the gradient sums are those of all of them, whichever thread had them.

        `before` holds the sums with which a batch began, for the case that an exception ends it. Returns whether all
        samples have passed through the nodes' own arrays, which hold the last one.
        """
        count = request.feeds.size
        together = min(request.batch or count, count)
        alone = self._is_alone(request, together)
        if alone and together < self.layout_plan.min_samples:
            binding = self._samples.binding(request.target, request.feeds.leaves)
            plan.run(self._prepare(request, (binding, binding), update_steps, before))
            return True
        if request.backward and not request.parameters_only:
            request = request._replace(
                parameters_only=True
            )  # the gradients of leaves could not be seen
        if alone:
            plan.run(
                self._prepare(request, self._bindings(request, together), update_steps, before)
            )
            return False
        self._run_together(request, update_steps, together)
        return False

    def _is_alone(self, request: Request, together: int) -> bool:
        """Whether this thread works alone."""
        return together == 1 or self._worth(request, together) == 1

    def _run_together(self, request: Request, update_steps: plan.Steps, together: int) -> None:
        """In several threads, with an update after each batch."""
        count = request.feeds.size
        for first in range(0, count, together):
            self._share(request.part(first, min(first + together, count)))
            if request.batch:
                plan.apply_update(update_steps, self._memory, request.eta, True)
        if request.backward:
            self._memory.grads_are_zero = self._memory.grads_are_zero and request.batch > 0

    def _share(self, request: Request) -> None:
        """Samples without an update, by several threads, each with gradient sums of its own."""
        count = request.feeds.size
        threads = self._worth(request, count)
        runs = []
        for thread, (first, last) in enumerate(pairwise(self._bounds(count, threads))):
            part = request.part(first, last)
            runs.append(
                self._prepare(part, self._bindings(part, count, thread), NOTHING, first=thread == 0)
            )
        run_together(runs)
        if request.backward:
            self._samples.arena.accumulate_grads(threads)

    def _worth(self, request: Request, count: int) -> int:
        """How many threads so many samples are worth."""
        if self.threads == 1:
            return 1
        lines = -(-count // self._line_for(count))
        return max(1, min(self.threads, lines, int(count * self._time(request.backward) / SHARE)))

    def _time(self, backward: bool) -> float:
        """Nanoseconds, about, of one sample."""
        return 1 + self.layout_plan.cost * (3 if backward else 1)

    def _bounds(self, count: int, threads: int) -> list[int]:
        """Where the shares begin and end; whole lines as far as possible."""
        line = self._line_for(count)
        lines = -(-count // line)
        return [min(lines * i // threads * line, count) for i in range(threads + 1)]

    def _line_for(self, count: int) -> int:
        """How many samples take no longer than one."""
        return self.layout_plan.lanes_per_line if count >= self.layout_plan.min_samples else 1

    def _lanes_for(self, together: int, share: int) -> LaneExecutor | None:
        """The way side by side, if so many samples take it; in blocks no wider than a share fills, or nearly so."""
        if together < self.layout_plan.min_samples:
            return None
        width = self.layout_plan.lanes_per_line
        while width < min(share, self.layout_plan.lanes):
            width *= 2
        lanes = self._lanes.get(width)
        if lanes is None:
            lanes = self._lanes[width] = self._make_lanes(width)
        return lanes

    def _bindings(
        self, request: Request, together: int, thread: int = 0
    ) -> tuple[plan.Binding, plan.Binding]:
        """The routes of whole blocks and of what is left over, in the memory of a thread."""
        leaves = request.feeds.leaves
        lanes = self._lanes_for(together, min(together, request.feeds.size))
        if lanes and not lanes.reaches(request.target):
            lanes = None
        if lanes is None or not self._leaves_some(request, together, lanes.lanes):
            only = (lanes or self._samples).binding(request.target, leaves, thread)
            return only, only
        return (
            lanes.binding(request.target, leaves, thread),
            self._samples.binding(request.target, leaves, thread),
        )

    def _leaves_some(self, request: Request, together: int, lanes: int) -> bool:
        """Whether there are samples, before some update, that are too few to lie side by side."""
        min_samples = self.layout_plan.min_samples
        return (
            0 < together % lanes < min_samples
            or 0 < request.feeds.size % together % lanes < min_samples
        )

    def _prepare(
        self,
        request: Request,
        bindings: tuple[plan.Binding, plan.Binding],
        update_steps: plan.Steps,
        before: Snapshot | None = None,
        first: bool = True,
    ) -> plan.Run:
        """A run by the first thread, or by another one, whose gradient sums count as 0."""
        _, feeds, out, backward, parameters_only, batch, eta = request
        return plan.prepare(
            *bindings, self.layout_plan.min_samples, update_steps, feeds.arrays, out, feeds.size,
            self._patience[backward],
            backward, parameters_only, not first or self._memory.grads_are_zero, batch, eta,
            not self._calls_python, before,
        )  # fmt: skip
