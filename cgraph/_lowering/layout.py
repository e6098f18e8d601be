"""How the samples of a batch lie: one at a time, or many side by side; the rule, and what it estimates."""

from __future__ import annotations

import sys
from itertools import accumulate
from typing import Literal, NamedTuple

from cgraph._lowering.cost import FAR_BYTES, lane_cost, multiply_adds, sample_cost
from cgraph._lowering.fusion import rectifiers
from cgraph._lowering.program import Kind, Program
from cgraph.nodes.affine import Affine

LayoutName = Literal["auto", "lanes", "samples"]

LINE_BYTES = 64  # a cache line of samples: steps take as many as there are, in whole lines
WIDE = 4  # lines side by side where matrices outweigh all else: so often is a weight used that has been fetched
OUTWEIGHED = 24  # elements by weights, so that wide blocks of them still fit into the cache

CROSSING = 2.0  # an element on its way from one layout into the other
APART = 1.1  # how much slower steps are whose samples each have a memory of their own

NEVER = sys.maxsize  # samples


class Choice(NamedTuple):
    """What a Graph does with batches.

    Attributes
    ----------
    lanes : int
        How many samples lie side by side.
    line : int
        How many of them fill a cache line.
    least : int
        Fewer samples than these go one at a time.
    first : int
        How many units, in order, take one sample at a time even then.
    cost : float
        Nanoseconds, about, of a sample forward.
    """

    lanes: int
    line: int
    least: int
    first: int
    cost: float


def choose(program: Program, layout: LayoutName, calls_python: bool) -> Choice:
    """The rule, unless a layout is asked for; a node's own methods know one sample alone."""
    units = program.units
    works = list(map(multiply_adds, units))
    alone = list(map(sample_cost, units, works))
    by_sample = Choice(1, 1, NEVER, len(units), sum(alone))
    if calls_python or layout == "samples":
        return by_sample
    line = LINE_BYTES // program.outputs[0].dtype.itemsize
    written = sum(unit.elements for unit in units)
    far = 2 * LINE_BYTES * written > FAR_BYTES  # data and gradients
    folded = set(rectifiers(program, units).values())
    together = [
        0.0 if unit in folded else lane_cost(unit, work, line, far)
        for unit, work in zip(units, works, strict=True)
    ]
    total = sum(together)
    # Whether matrices have many more elements than all nodes.
    matrices = sum(w for u, w in zip(units, works, strict=True) if isinstance(u.nodes[0], Affine))
    wide = line * (WIDE if matrices >= OUTWEIGHED * written else 1)
    if layout == "lanes":
        return Choice(wide, line, 1, 0, total)
    # Some units in front by sample, the others over lanes, and what lies between them crosses over.
    before = [APART * cost for cost in accumulate(alone, initial=0.0)]
    behind = [total - cost for cost in accumulate(together, initial=0.0)]
    costs = list(map(sum, zip(before, behind, crossings(program), strict=True)))[:-1]
    cost = min(costs)
    if cost >= by_sample.cost:
        return by_sample
    first = costs.index(cost)
    # A line takes the same time however many samples there are in it.
    least = int(line * cost / by_sample.cost) + 1
    return Choice(line if first else wide, line, least, first, cost)


def crossings(program: Program) -> list[float]:
    """For each number of units in front: nanoseconds to hand over what they read and what they leave."""
    units, where = program.units, program.where
    count = len(units)
    number = {unit.block: i for i, unit in enumerate(units)}
    # Of each unit, the first one that reads it, and the last.
    first, last = [count] * count, [count] * count
    for i, unit in enumerate(units):
        for x in unit.inputs:
            above = number[where[x][0]]
            first[above], last[above] = min(first[above], i), i
    change = [0.0] * (count + 1)
    for i, unit in enumerate(units):
        # Leaves lie side by side, and cross where a unit in front reads them; others, where one behind does.
        start, end = (first[i] + 1, count) if unit.kind is Kind.LEAF else (i + 1, last[i] + 1)
        change[min(start, count)] += CROSSING * unit.elements
        change[min(end, count)] -= CROSSING * unit.elements
    return list(accumulate(change))
