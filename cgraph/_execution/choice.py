"""All executors of a Graph, and which of them serve a request."""

from __future__ import annotations

from cgraph._execution.executors import Executor, LaneExecutor, SampleExecutor
from cgraph._execution.goals import goal_of
from cgraph._execution.learning import Learning
from cgraph._kernels.runtime import plan
from cgraph._kernels.runtime.request import Request
from cgraph._lowering.layout import LayoutPlan
from cgraph._lowering.pipeline import Lowered
from cgraph._lowering.sample_steps import SampleBuilder


class Executors:
    """All executors of a Graph: one for a sample at a time, and those over lanes, which are made when first needed.

    Parameters
    ----------
    lowered : Lowered
        The program of the Graph, its buffers and its layout.
    samples : SampleExecutor
        The executor for one sample at a time.
    builder : SampleBuilder
        The builder of its steps, which knows the places of the parameters.
    """

    def __init__(self, lowered: Lowered, samples: SampleExecutor, builder: SampleBuilder) -> None:
        self.samples = samples
        self.lane_type: type[LaneExecutor] = LaneExecutor
        self.arena = samples.arena
        self.layouts = lowered.layouts
        self.lowered = lowered
        self.builder = builder
        # The executors over lanes, by their number of lanes, for each layout: for passes with gradients, and without.
        self._lanes: dict[bool, dict[int, LaneExecutor]] = {True: {}, False: {}}
        if self.layouts.backward.has_steps_of(self.layouts.forward):
            self._lanes[False] = self._lanes[True]
        self._choices: dict[tuple[bool, frozenset[int]], tuple[list[Executor], bytes]] = {}
        self._learning: Learning | None = None

    def tell(self, learning: Learning) -> None:
        """Tells the steps of all executors, also of those that are made later, which parameters learn."""
        self._learning = learning
        for executor in (self.samples, *self.lanes):
            learning.tell(executor.steps)

    @property
    def lanes(self) -> list[LaneExecutor]:
        """The executors over lanes that have been made so far."""
        with_gradients, without = self._lanes[True], self._lanes[False]
        more = () if with_gradients is without else without.values()
        return [*with_gradients.values(), *more]

    def layout_of(self, request: Request) -> LayoutPlan:
        """Returns the layout that serves a request."""
        return self._layout(request.backward)

    @property
    def nbytes(self) -> int:
        """The bytes of memory that each thread needs, whatever the number of samples."""
        return sum(executor.nbytes for executor in self._all())

    @property
    def table_bytes(self) -> tuple[int, int]:
        """The bytes of the tables of the steps, which all threads share: for one sample at a time, and over lanes."""
        over_lanes = [executor for executor in self._all() if executor is not self.samples]
        return self.samples.table_bytes, sum(executor.table_bytes for executor in over_lanes)

    def _all(self) -> list[Executor]:
        """Returns the executors for all blocks, or that for single samples, with gradients and without."""
        found = (
            self._executor(backward, lanes)
            for backward in (True, False)
            for lanes in sorted(set(self._layout(backward).blocks) - {1}) or [1]
        )
        return list(dict.fromkeys(found))

    def bind(
        self, request: Request, thread: int = 0, width: int = 0
    ) -> tuple[list[plan.Binding], bytes]:
        """Returns the bindings of a request in the memory of a thread, and the choice of them that a Schedule needs.

        Of streams, the thread has `width`, if that is not 0.
        """
        goal, leaves = goal_of(request), request.feeds.leaves
        executors, choice = self.chosen(request, width)
        if not executors[0].has_buffers_for(goal):
            executors, choice = [self.samples], bytes(1)
        return [executor.binding(goal, leaves, thread) for executor in executors], choice

    def chosen(self, request: Request, width: int = 0) -> tuple[list[Executor], bytes]:
        """Returns the executors for the blocks of a request, widest first, and which takes how many samples."""
        carry, layout_plan = request.carry, self.layout_of(request)
        if carry is not None:
            # Samples that follow each other in time never lie side by side, but those of streams do.
            used = layout_plan.used(width or carry.streams) if carry.streams else {1}
        else:
            batch_size = min(request.batch or request.size, request.size)
            used = layout_plan.used(batch_size) | layout_plan.used(request.size % batch_size)
        key = request.backward, frozenset(used)
        found = self._choices.get(key)
        if found is None:
            sizes = sorted(used, reverse=True)
            executors = [self._executor(request.backward, lanes) for lanes in sizes]
            choice = bytes(sizes.index(n) if n in used else 0 for n in layout_plan.blocks)
            found = self._choices[key] = executors, choice
        return found

    def _layout(self, backward: bool) -> LayoutPlan:
        return self.layouts.backward if backward else self.layouts.forward

    def _executor(self, backward: bool, lanes: int) -> Executor:
        """Returns the executor for blocks of so many lanes; it is made when it is first needed."""
        if lanes == 1:
            return self.samples
        executor = self._lanes[backward].get(lanes)
        if executor is None:
            layout_plan = self._layout(backward)
            lowered, samples, builder = self.lowered, self.samples, self.builder
            executor = self.lane_type(lowered, layout_plan, samples, builder, lanes)
            if self._learning is not None:
                self._learning.tell(executor.steps)
            self._lanes[backward][lanes] = executor
        return executor
