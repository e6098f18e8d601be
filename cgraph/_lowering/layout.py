"""The layout of the samples of a batch: one at a time, or many side by side in lanes; the rule that chooses it."""

from __future__ import annotations

import sys
from collections.abc import Iterable
from typing import Literal, NamedTuple

from cgraph._lowering.cost import CACHE_BYTES, copy_cost, lane_cost, multiply_adds, sample_cost
from cgraph._lowering.fusion import foldable_relus
from cgraph._lowering.program import AroundPython, FusedGroup, Kind, Program, Work

LayoutName = Literal["auto", "lanes", "samples"]

# Where matrices dominate, this many lines lie side by side, so that each weight that was fetched is used as often.
MAX_LINES = 4
# Matrices dominate where they have this many times as many elements as all nodes: wide buffers then fit the cache.
DOMINANT_WEIGHTS = 24

NEVER = sys.maxsize  # as `min_samples`: no batch is large enough for lanes


class LayoutPlan(NamedTuple):
    """A layout for batches.

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
    per_sample : tuple of FusedGroup
        The groups that take one sample at a time, among others over lanes: Python nodes, what lies between them and,
        with `backward_at_once`, all that depends on them.
    backward_at_once : bool
        Whether the backward pass of each sample through `per_sample` directly follows its forward pass.
    """

    lanes: int
    lanes_per_line: int
    min_samples: int
    cost: float
    per_sample: tuple[FusedGroup, ...] = ()
    backward_at_once: bool = False


class Layouts(NamedTuple):
    """The layouts that a Graph has chosen: for passes with gradients, and for forward passes alone."""

    backward: LayoutPlan
    forward: LayoutPlan


def choose_layouts(program: Program, parts: AroundPython, layout: LayoutName) -> Layouts:
    """Chooses the layouts of a program; `parts` are its groups in front of Python nodes, among and behind them.

    Any class may rely on its `calcPartialDerivative` to follow `calcData` of the same sample. So in passes with
    gradients all that depends on a Python node takes one sample at a time, there and back. Where all of these classes
    are `_repeatable`, what lies behind them may work over lanes, too, and their `calcData` runs twice.
    """
    forward = choose_layout(program, layout, parts.among)
    if not parts.among:
        return Layouts(forward, forward)
    backward = choose_layout(program, layout, (*parts.among, *parts.behind))
    backward = backward._replace(backward_at_once=backward.lanes > 1)
    if forward.lanes > 1 and all(map(is_repeatable, parts.among)):
        # The forward pass of one sample more; a forward and a backward pass cost three times a forward pass.
        again = sum(sample_cost(group, multiply_adds(group)) for group in parts.among) / 3
        asked_for = layout == "lanes" and backward.lanes == 1
        if asked_for or forward.cost + again < backward.cost:
            backward = forward
    return Layouts(backward, forward)


def is_repeatable(group: FusedGroup) -> bool:
    """Returns whether a group may compute the data of one sample twice.

    A class says so by `_repeatable`, for the `calcData` that it defines or inherits, but not for one that a class
    derived from it defines.
    """
    if group.kind is not Kind.PYTHON:
        return True
    node = group.nodes[0]
    for namespace in (vars(node), *map(vars, type(node).__mro__)):
        if "_repeatable" in namespace:
            return bool(namespace["_repeatable"])
        if "calcData" in namespace:
            break
    return False


def choose_layout(
    program: Program, layout: LayoutName, per_sample: Iterable[FusedGroup] = ()
) -> LayoutPlan:
    """Returns the layout that was asked for, or the one whose estimated cost is lower.

    `per_sample` are the groups that take one sample at a time in any layout. Where no other groups have steps, all
    samples go one at a time.
    """
    groups, alone = program.groups, tuple(per_sample)
    macs = dict(zip(groups, map(multiply_adds, groups), strict=True))
    cost_by_sample = sum(sample_cost(group, macs[group]) for group in groups)
    by_sample = LayoutPlan(1, 1, NEVER, cost_by_sample)
    within = set(alone)
    over_lanes = [g for g in groups if g.kind is not Kind.LEAF and g not in within]
    if layout == "samples" or not over_lanes:
        return by_sample
    line = program.line_bytes // program.outputs[0].dtype.itemsize
    elements = sum(group.elements for group in groups)
    uncached = 2 * program.line_bytes * elements > CACHE_BYTES  # data and gradients
    folded = set(foldable_relus(program, within).values())
    cost_in_lanes = sum(
        lane_cost(g, macs[g], line, uncached) for g in over_lanes if g not in folded
    )
    cost_alone = sum(sample_cost(group, macs[group]) for group in alone)
    if alone:
        cost_alone += copy_cost(program, within)
    # A matrix has as many elements as its product with one sample has multiply-adds.
    weights = sum(macs[group] for group in over_lanes if group.op.work is Work.MATRIX)
    lanes = line * (MAX_LINES if weights >= DOMINANT_WEIGHTS * elements else 1)
    cost = cost_in_lanes + cost_alone
    if layout == "lanes":
        return LayoutPlan(lanes, line, 1, cost, alone)
    if cost >= cost_by_sample:
        return by_sample
    # A line takes the same time whatever the number of samples in it, but for groups that take one sample at a time.
    least = int(line * cost_in_lanes / (cost_by_sample - cost_alone)) + 1
    return LayoutPlan(lanes, line, least, cost, alone)
