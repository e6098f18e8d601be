"""The layout of the samples of a batch: one at a time, or many side by side in lanes; the rule that chooses it."""

from __future__ import annotations

import sys
from typing import Literal, NamedTuple

from cgraph._lowering.cost import CACHE_BYTES, lane_cost, multiply_adds, sample_cost
from cgraph._lowering.fusion import foldable_relus
from cgraph._lowering.program import Program, Work

LayoutName = Literal["auto", "lanes", "samples"]

# Where matrices dominate, this many lines lie side by side, so that each weight that was fetched is used as often.
MAX_LINES = 4
# Matrices dominate where they have this many times as many elements as all nodes: wide buffers then fit the cache.
DOMINANT_WEIGHTS = 24

NEVER = sys.maxsize  # as `min_samples`: no batch is large enough for lanes


class LayoutPlan(NamedTuple):
    """The layout that a Graph has chosen for batches.

    Attributes
    ----------
    lanes : int
        The number of samples that lie side by side; 1 for one sample at a time.
    lanes_per_line : int
        The number of samples that fill a cache line.
    min_samples : int
        The least number of samples that are computed over lanes; fewer are computed one at a time.
    cost : float
        The estimated nanoseconds of one sample in a forward pass.
    """

    lanes: int
    lanes_per_line: int
    min_samples: int
    cost: float


def choose_layout(program: Program, layout: LayoutName, calls_python: bool) -> LayoutPlan:
    """Returns the layout that was asked for, or the one whose estimated cost is lower.

    A program that calls Python nodes takes one sample at a time, since their methods compute one sample.
    """
    groups = program.groups
    macs = list(map(multiply_adds, groups))
    cost_by_sample = sum(map(sample_cost, groups, macs))
    by_sample = LayoutPlan(1, 1, NEVER, cost_by_sample)
    if calls_python or layout == "samples":
        return by_sample
    line = program.line_bytes // program.outputs[0].dtype.itemsize
    elements = sum(group.elements for group in groups)
    uncached = 2 * program.line_bytes * elements > CACHE_BYTES  # data and gradients
    folded = set(foldable_relus(program).values())
    cost_in_lanes = sum(
        0.0 if group in folded else lane_cost(group, count, line, uncached)
        for group, count in zip(groups, macs, strict=True)
    )
    # A matrix has as many elements as its product with one sample has multiply-adds.
    weights = sum(n for g, n in zip(groups, macs, strict=True) if g.op.work is Work.MATRIX)
    lanes = line * (MAX_LINES if weights >= DOMINANT_WEIGHTS * elements else 1)
    if layout == "lanes":
        return LayoutPlan(lanes, line, 1, cost_in_lanes)
    if cost_in_lanes >= cost_by_sample:
        return by_sample
    # A line takes the same time whatever the number of samples in it.
    return LayoutPlan(lanes, line, int(line * cost_in_lanes / cost_by_sample) + 1, cost_in_lanes)
