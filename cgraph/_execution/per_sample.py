"""The steps that take one sample at a time, in the nodes' own arrays, among steps over lanes."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from typing import TYPE_CHECKING

from cgraph._kernels.lanes.per_sample import LAYOUT_COPY, PerSampleStep, PerSampleTail
from cgraph._kernels.runtime import plan
from cgraph._kernels.runtime.step import Step
from cgraph._kernels.runtime.structs import Structs, structs
from cgraph._lowering.lane_steps import LaneBuilder
from cgraph._lowering.layout import LayoutPlan
from cgraph._lowering.program import Buffer, FusedGroup
from cgraph.node import Node

if TYPE_CHECKING:
    from cgraph._execution.executors import SampleExecutor


class PerSampleBuilder:
    """Makes the step that runs some groups one sample at a time among steps over lanes.

    Parameters
    ----------
    samples : SampleExecutor
        The steps for one sample.
    builder : LaneBuilder
        The offsets of buffers over lanes.
    layout_plan : LayoutPlan
        The groups that take one sample at a time, which follow each other in the program.

    Attributes
    ----------
    inner_buffers : set of Buffer
        The buffers that these groups compute and no others read, which have no place over lanes.
    overwritten_buffers : set of Buffer
        The buffers over lanes whose gradients the step overwrites.
    """

    def __init__(
        self, samples: SampleExecutor, builder: LaneBuilder, layout_plan: LayoutPlan
    ) -> None:
        self._samples = samples
        self._builder = builder
        self._groups = frozenset(layout_plan.per_sample)
        self._backward_at_once = layout_plan.backward_at_once
        inputs, self._outputs = samples.program.buffers_around(self._groups)
        self.inner_buffers = {group.buffer for group in self._groups} - self._outputs
        self.overwritten_buffers = inputs if self._backward_at_once else set()

    def seeded_here(self, seeds: Sequence[Node]) -> list[Node]:
        """Returns those of some outputs whose backward pass begins within the step."""
        channel_of = self._samples.program.channel_of
        computed = {group.buffer for group in self._groups} if self._backward_at_once else set()
        return [node for node in seeds if channel_of[node][0] in computed]

    def insert(
        self,
        groups: Sequence[FusedGroup],
        join: Callable[[Sequence[FusedGroup]], list[Step]],
        seeds: Sequence[Node] | None,
    ) -> list[Step]:
        """Returns the steps over lanes that compute `groups`, with one among them for those that take one sample.

        `join` makes the steps over lanes of groups that follow each other. `seeds` are the outputs to whose gradients
        seeds are added; None for a loss.
        """
        own = [group for group in groups if group in self._groups]
        if not own:
            return join(groups)
        first = groups.index(own[0])
        return [*join(groups[:first]), self._step(own, seeds), *join(groups[first:])]

    def _step(self, groups: Sequence[FusedGroup], seeds: Sequence[Node] | None) -> PerSampleStep:
        """Returns the step that runs these groups, which begins their backward pass."""
        program, samples = self._samples.program, self._samples
        computed = dict.fromkeys(group.buffer for group in groups)
        read = set().union(*map(program.buffers_read_by, groups)) - computed.keys()
        outputs = self._outputs & computed.keys()
        first_written_here = [b for b in computed if b not in outputs]
        if self._backward_at_once:
            first_written_here = [*computed, *read]
        if seeds is not None:
            seeds = self.seeded_here(seeds)
            read |= {samples.seeds[node] for node in seeds}
        steps = [samples.steps[group] for group in groups]
        step_class = PerSampleTail if self._backward_at_once else PerSampleStep
        return step_class(
            plan.Steps([*steps, samples.seed_step(first_written_here, seeds)]),
            samples.arena.memory,
            self._builder.lanes,
            self._builder.dtype.itemsize,
            self._copies(read),
            self._copies(outputs),
        )

    def _copies(self, buffers: Iterable[Buffer]) -> Structs:
        """Returns the offsets of buffers in both layouts."""
        found = sorted(buffers, key=lambda buffer: buffer.offset)
        return structs(
            LAYOUT_COPY,
            len(found),
            lanes_offset=[self._builder.offsets[b] for b in found],
            offset=[b.offset for b in found],
            channels=[len(b.nodes) for b in found],
            size=[b.nodes[0].size for b in found],
            pitch=[b.pitch for b in found],
        )
