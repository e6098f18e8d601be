"""Graphs in which a stretch of fused groups runs one lane at a time, by the steps for one sample."""

from cgraph._execution import executors
from cgraph._execution.executors import LaneExecutor
from cgraph._kernels.lanes.per_sample import LAYOUT_COPY, PerSampleStep
from cgraph._kernels.runtime import plan
from cgraph._kernels.runtime.structs import structs
from cgraph._lowering.program import Kind


def copies_of(buffers, builder):
    """Returns a LayoutCopy for each buffer."""
    ordered = sorted(buffers, key=lambda buffer: buffer.offset)
    return structs(
        LAYOUT_COPY,
        len(ordered),
        lanes_offset=[builder.offsets[b] for b in ordered],
        offset=[b.offset for b in ordered],
        channels=[len(b.nodes) for b in ordered],
        size=[b.nodes[0].size for b in ordered],
        pitch=[b.pitch for b in ordered],
    )


def per_sample_step(samples, builder, groups, guard):
    """Returns a step that runs these fused groups one lane at a time, with copies of the buffers at both ends."""
    program = samples.program
    reads = {group: {program.channel_of[x][0] for x in group.inputs} for group in program.groups}
    made = {group.buffer for group in groups}
    above = set().union(*(reads[group] for group in groups)) - made
    others = [reads[group] for group in program.groups if group not in groups]
    read = made & set().union(*others, {program.channel_of[x][0] for x in program.outputs})
    steps = [samples.steps[group] for group in groups] + [samples.seed_step(made - read)]
    (data, grad, scratch), stride = guard.apart(builder.scratch, samples.allocators, builder.lanes)
    offsets = data, stride, grad - data, scratch - data
    copies = copies_of(above, builder), copies_of(read, builder)
    return PerSampleStep(
        plan.Steps(steps), builder.lanes, builder.dtype.itemsize, *offsets, *copies
    )


def stretch(monkeypatch, guard, first, last):
    """Graphs that are built from now on run these fused groups one lane at a time in each block of lanes."""

    class Stretched(LaneExecutor):
        def __init__(self, lowered, samples, sample_builder, lanes):
            super().__init__(lowered, samples, sample_builder, lanes)
            groups = [g for g in self.program.groups[first:last] if g.kind is not Kind.LEAF]
            step = per_sample_step(samples, self._builder, groups, guard)
            self.steps.update(dict.fromkeys(groups, step))

    monkeypatch.setattr(executors, "foldable_relus", lambda *_: {})
    monkeypatch.setattr(executors, "LaneExecutor", Stretched)
