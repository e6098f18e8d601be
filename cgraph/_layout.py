"""How the samples of a batch lie: one at a time, or side by side; the rule, and what it estimates."""

from __future__ import annotations

import sys
from typing import Literal, NamedTuple

from cgraph._array import DType
from cgraph._steps import multiply_adds
from cgraph.lowering import Kind, Program, Unit

LayoutName = Literal["auto", "lanes", "samples"]

BLOCK_BYTES = 64  # of samples side by side


class Choice(NamedTuple):
    """What a Graph does with batches.

    lanes: samples side by side, 1 for one at a time; least: fewer samples than these go one at a time;
    cost: nanoseconds, about, that a sample takes forward.
    """

    lanes: int
    least: int
    cost: float


def choose(program: Program, layout: LayoutName, calls_python: bool) -> Choice:
    """The rule, unless a layout is asked for; a node's own methods know one sample alone."""
    dtype = program.outputs[0].dtype
    lanes = BLOCK_BYTES // dtype.itemsize
    units = [unit for unit in program.units if unit.kind is not Kind.LEAF]
    one_by_one = sum(sample_cost(unit, dtype) for unit in units)
    side_by_side = sum(lane_cost(unit, dtype) for unit in units)
    if calls_python or layout == "samples" or layout == "auto" and one_by_one < side_by_side:
        return Choice(1, sys.maxsize, one_by_one)
    # A block takes the same time however many samples there are in it.
    least = 1 if layout == "lanes" else int(lanes * side_by_side / (one_by_one + 1)) + 2
    return Choice(lanes, least, side_by_side)


def sample_cost(unit: Unit, dtype: DType) -> float:
    """Nanoseconds, about, of a forward pass of one sample, on a core with 32-byte vectors."""
    return multiply_adds(unit) * dtype.itemsize * 0.006


def lane_cost(unit: Unit, dtype: DType) -> float:
    """The same where samples lie side by side."""
    return multiply_adds(unit) * dtype.itemsize * 0.007 + 1
