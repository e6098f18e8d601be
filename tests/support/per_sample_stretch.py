"""Graphs some of whose steps over lanes run the steps of one sample, for each of the samples side by side."""

from cgraph._execution import executable, executors
from cgraph._kernels.lanes.per_sample import PerSampleStep
from cgraph._kernels.runtime import plan
from cgraph._lowering.program import Kind


def rows_of(blocks, builder):
    """The fields of LayoutCopy."""
    return [
        (builder.offsets[b], b.offset, len(b.nodes), b.nodes[0].size, b.pitch)
        for b in sorted(blocks, key=lambda block: block.offset)
    ]


def per_sample_step(samples, builder, units, guard):
    """The steps of these units for one sample, and what they read and leave."""
    program, arena = samples.program, samples.arena
    reads = {unit: {program.where[x][0] for x in unit.inputs} for unit in program.groups}
    made = {unit.buffer for unit in units}
    above = set().union(*(reads[unit] for unit in units)) - made
    others = [reads[unit] for unit in program.groups if unit not in units]
    read = made & set().union(*others, {program.where[x][0] for x in program.outputs})
    steps = [samples.steps[unit] for unit in units] + [arena.seed_step(made - read)]
    (data, grad, scratch), stride = guard.apart(builder.scratch, samples.allocators, builder.lanes)
    places = data, stride, grad - data, scratch - data
    copies = rows_of(above, builder), rows_of(read, builder)
    return PerSampleStep(plan.Steps(steps), builder.lanes, builder.dtype.itemsize, *places, *copies)


def stretch(monkeypatch, guard, first, last):
    """Graphs built from now on run these units one sample at a time in each block of samples."""

    class Stretched(executors.LaneExecutor):
        def __init__(self, samples, kernels, layout, lanes):
            super().__init__(samples, kernels, layout, lanes)
            units = [u for u in self.program.groups[first:last] if u.kind is not Kind.LEAF]
            step = per_sample_step(samples, self._builder, units, guard)
            self.steps.update(dict.fromkeys(units, step))

    monkeypatch.setattr(executors, "rectifiers", lambda *_: {})
    monkeypatch.setattr(executable, "LaneExecutor", Stretched)
