"""How the samples of a batch lie: one at a time, or many side by side; the rule, and what it estimates."""

from __future__ import annotations

import sys
from typing import Literal, NamedTuple

from cgraph._lowering.cost import FAR_BYTES, lane_cost, multiply_adds, sample_cost
from cgraph._lowering.fusion import rectifiers
from cgraph._lowering.program import Program
from cgraph.nodes.affine import Affine

LayoutName = Literal["auto", "lanes", "samples"]

LINE_BYTES = 64  # a cache line of samples: steps take as many as there are, in whole lines
WIDE = 4  # lines side by side where matrices outweigh all else: so often is a weight used that has been fetched
OUTWEIGHED = 24  # elements by weights, so that wide blocks of them still fit into the cache


NEVER = sys.maxsize  # samples


class LayoutPlan(NamedTuple):
    """What a Graph does with batches.

    Attributes
    ----------
    lanes : int
        How many samples lie side by side.
    lanes_per_line : int
        How many of them fill a cache line.
    min_samples : int
        Fewer samples than these go one at a time.
    cost : float
        Nanoseconds, about, of a sample forward.
    """

    lanes: int
    lanes_per_line: int
    min_samples: int
    cost: float


def choose_layout(program: Program, layout: LayoutName, calls_python: bool) -> LayoutPlan:
    """The rule, unless a layout is asked for; a node's own methods know one sample alone."""
    groups = program.groups
    works = list(map(multiply_adds, groups))
    alone = sum(map(sample_cost, groups, works))
    by_sample = LayoutPlan(1, 1, NEVER, alone)
    if calls_python or layout == "samples":
        return by_sample
    line = LINE_BYTES // program.outputs[0].dtype.itemsize
    written = sum(group.elements for group in groups)
    far = 2 * LINE_BYTES * written > FAR_BYTES  # data and gradients
    folded = set(rectifiers(program, groups).values())
    together = sum(
        0.0 if group in folded else lane_cost(group, work, line, far)
        for group, work in zip(groups, works, strict=True)
    )
    # Whether matrices have many more elements than all nodes.
    matrices = sum(w for u, w in zip(groups, works, strict=True) if isinstance(u.nodes[0], Affine))
    wide = line * (WIDE if matrices >= OUTWEIGHED * written else 1)
    if layout == "lanes":
        return LayoutPlan(wide, line, 1, together)
    if together >= alone:
        return by_sample
    # A line takes the same time however many samples there are in it.
    return LayoutPlan(wide, line, int(line * together / alone) + 1, together)
