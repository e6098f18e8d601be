"""The crossing from lanes to single samples and back, around the groups that take one sample at a time."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from typing import TYPE_CHECKING

from cgraph._kernels.lanes.per_sample import LAYOUT_COPY, PerSampleEnd, PerSampleStep
from cgraph._kernels.runtime import plan
from cgraph._kernels.runtime.step import Step
from cgraph._kernels.runtime.structs import Structs, structs
from cgraph._lowering.lane_steps import LaneBuilder
from cgraph._lowering.program import Buffer, FusedGroup

if TYPE_CHECKING:
    from cgraph._execution.executors import SampleExecutor


class Crossing:
    """Makes the step that runs some groups one sample at a time, in the nodes' own arrays, among steps over lanes.

    Parameters
    ----------
    samples : SampleExecutor
        The steps for one sample.
    builder : LaneBuilder
        The offsets of buffers over lanes.
    groups : frozenset of FusedGroup
        The groups that take one sample at a time; they follow each other in the program.
    pass_by_pass : bool
        Whether the backward pass of each sample directly follows its forward pass. The groups are then the last ones.

    Attributes
    ----------
    inner_buffers : set of Buffer
        The buffers that have no place over lanes.
    overwritten_buffers : set of Buffer
        The buffers over lanes whose gradients the step overwrites.
    """

    def __init__(
        self,
        samples: SampleExecutor,
        builder: LaneBuilder,
        groups: frozenset[FusedGroup],
        pass_by_pass: bool,
    ) -> None:
        self._samples = samples
        self._builder = builder
        self._groups = groups
        self._pass_by_pass = pass_by_pass
        self._program = program = samples.program
        self.inner_buffers: set[Buffer] = set()
        self.overwritten_buffers: set[Buffer] = set()
        if pass_by_pass:
            outputs = {program.channel_of[node][0] for node in program.outputs}
            self.inner_buffers = {group.buffer for group in groups} - outputs
            self.overwritten_buffers = self._read_by(groups) - {g.buffer for g in groups}

    def insert(self, groups: Sequence[FusedGroup], steps: Mapping[FusedGroup, Step]) -> list[Step]:
        """Returns the steps over lanes that compute `groups`, with one step among them for those of the crossing."""
        alone = [group for group in groups if group in self._groups]
        result = [steps[group] for group in groups if group in steps]
        if alone:
            begin = groups.index(alone[0])
            before = sum(group in steps for group in groups[:begin])
            result.insert(before, self._step(alone))
        return result

    def _step(self, alone: Sequence[FusedGroup]) -> PerSampleStep:
        """Returns the step that runs these groups, and begins their backward pass."""
        made = dict.fromkeys(group.buffer for group in alone)
        read = self._read_by(alone) - made.keys()
        left = [b for b in made if b not in self.inner_buffers]
        zeroed = [*made, *read] if self._pass_by_pass else []
        step_class = PerSampleEnd if self._pass_by_pass else PerSampleStep
        steps = [self._samples.steps[group] for group in alone]
        return step_class(
            plan.Steps([*steps, self._samples.seed_step(zeroed)]),
            self._samples.arena.memory,
            self._builder.lanes,
            self._builder.dtype.itemsize,
            self._copies(read),
            self._copies(left),
        )

    def _read_by(self, groups: Iterable[FusedGroup]) -> set[Buffer]:
        """Returns the buffers that some groups read."""
        return set().union(*map(self._program.buffers_read_by, groups))

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
