"""How a Graph takes many samples: which way they go, and which thread takes which of them."""

from __future__ import annotations

from collections.abc import Callable
from itertools import pairwise
from typing import NamedTuple

from cgraph._execution.executors import Lanes, Samples
from cgraph._execution.feeds import Feeds
from cgraph._kernels.runtime import plan
from cgraph._kernels.runtime.thread_pool import run_together
from cgraph._kernels.runtime.uninterrupted import Snapshot
from cgraph._lowering.layout import NEVER, Choice
from cgraph._validation import Array
from cgraph.node import Node

SHARE = 60_000  # nanoseconds of work, about, that are worth another thread
PATIENCE = 2_000_000  # nanoseconds, about, until Ctrl-C is listened to again

NOTHING = plan.Steps([])


class Task(NamedTuple):
    """Samples on their way to a node, or to the loss (None), and what they leave there, a row each."""

    target: Node | None
    feeds: Feeds
    out: Array
    backward: bool = False
    lean: bool = False
    batch: int = 0  # samples until the next update; none, if 0
    eta: float = 0.0

    def part(self, first: int, last: int) -> Task:
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
        samples: Samples,
        make_lanes: Callable[[int], Lanes],
        choice: Choice,
        threads: int,
        calls_python: bool,
    ) -> None:
        self._samples = samples
        self._memory = samples.arena.memory
        self._make_lanes = make_lanes
        self._lanes: dict[int, Lanes] = {}
        self.choice = choice
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

    def is_short(self, task: Task) -> bool:
        """Whether all samples are run in one stretch: by this thread alone, and before Ctrl-C is listened to."""
        count = task.feeds.size
        short = not self._calls_python and count <= self._patience[task.backward]
        return short and self._is_alone(task, min(task.batch or count, count))

    def run(self, task: Task, learners: plan.Steps, before: Snapshot | None) -> bool:
        """Runs all samples; the gradient sums are those of all of them, whichever thread had them.

        `before` holds the sums with which a batch began, for the case that an exception ends it. Returns whether all
        samples have passed through the nodes' own arrays, which hold the last one.
        """
        count = task.feeds.size
        together = min(task.batch or count, count)
        alone = self._is_alone(task, together)
        if alone and together < self.choice.least:
            route = self._samples.route(task.target, task.feeds.leaves)
            plan.run(self._prepare(task, (route, route), learners, before))
            return True
        if task.backward and not task.lean:
            task = task._replace(lean=True)  # the gradients of leaves could not be seen
        if alone:
            plan.run(self._prepare(task, self._routes(task, together), learners, before))
            return False
        self._run_together(task, learners, together)
        return False

    def _is_alone(self, task: Task, together: int) -> bool:
        """Whether this thread works alone."""
        return together == 1 or self._worth(task, together) == 1

    def _run_together(self, task: Task, learners: plan.Steps, together: int) -> None:
        """In several threads, with an update after each batch."""
        count = task.feeds.size
        for first in range(0, count, together):
            self._share(task.part(first, min(first + together, count)))
            if task.batch:
                plan.learn(learners, self._memory, task.eta, True)
        if task.backward:
            self._memory.fresh = self._memory.fresh and task.batch > 0

    def _share(self, task: Task) -> None:
        """Samples without an update, by several threads, each with gradient sums of its own."""
        count = task.feeds.size
        threads = self._worth(task, count)
        runs = []
        for thread, (first, last) in enumerate(pairwise(self._bounds(count, threads))):
            part = task.part(first, last)
            runs.append(
                self._prepare(part, self._routes(part, count, thread), NOTHING, first=thread == 0)
            )
        run_together(runs)
        if task.backward:
            self._samples.arena.add_sums(threads)

    def _worth(self, task: Task, count: int) -> int:
        """How many threads so many samples are worth."""
        if self.threads == 1:
            return 1
        lines = -(-count // self._line_for(count))
        return max(1, min(self.threads, lines, int(count * self._time(task.backward) / SHARE)))

    def _time(self, backward: bool) -> float:
        """Nanoseconds, about, of one sample."""
        return 1 + self.choice.cost * (3 if backward else 1)

    def _bounds(self, count: int, threads: int) -> list[int]:
        """Where the shares begin and end; whole lines as far as possible."""
        line = self._line_for(count)
        lines = -(-count // line)
        return [min(lines * i // threads * line, count) for i in range(threads + 1)]

    def _line_for(self, count: int) -> int:
        """How many samples take no longer than one."""
        return self.choice.line if count >= self.choice.least else 1

    def _lanes_for(self, together: int, share: int) -> Lanes | None:
        """The way side by side, if so many samples take it; in blocks no wider than a share fills, or nearly so."""
        if together < self.choice.least:
            return None
        width = self.choice.line
        while width < min(share, self.choice.lanes):
            width *= 2
        lanes = self._lanes.get(width)
        if lanes is None:
            lanes = self._lanes[width] = self._make_lanes(width)
        return lanes

    def _routes(self, task: Task, together: int, thread: int = 0) -> tuple[plan.Route, plan.Route]:
        """The routes of whole blocks and of what is left over, in the memory of a thread."""
        leaves = task.feeds.leaves
        lanes = self._lanes_for(together, min(together, task.feeds.size))
        if lanes and not lanes.reaches(task.target):
            lanes = None
        if lanes is None or not self._leaves_some(task, together, lanes.lanes):
            only = (lanes or self._samples).route(task.target, leaves, thread)
            return only, only
        return (
            lanes.route(task.target, leaves, thread),
            self._samples.route(task.target, leaves, thread),
        )

    def _leaves_some(self, task: Task, together: int, lanes: int) -> bool:
        """Whether there are samples, before some update, that are too few to lie side by side."""
        least = self.choice.least
        return 0 < together % lanes < least or 0 < task.feeds.size % together % lanes < least

    def _prepare(
        self,
        task: Task,
        routes: tuple[plan.Route, plan.Route],
        learners: plan.Steps,
        before: Snapshot | None = None,
        first: bool = True,
    ) -> plan.Run:
        """A run by the first thread, or by another one, whose gradient sums count as 0."""
        _, feeds, out, backward, lean, batch, eta = task
        return plan.prepare(
            *routes, self.choice.least, learners, feeds.arrays, out, feeds.size, self._patience[backward],
            backward, lean, not first or self._memory.fresh, batch, eta, not self._calls_python, before,
        )  # fmt: skip
