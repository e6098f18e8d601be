"""The layout of the samples of a batch: one at a time, or many side by side in lanes; the rule that chooses it."""

from __future__ import annotations

import sys
from collections.abc import Collection, Iterable, Mapping, Sequence
from operator import itemgetter
from typing import Literal, NamedTuple

from cgraph._lowering.cost import (
    CACHE_BYTES,
    MATRICES,
    BlockCost,
    block_cost,
    copy_cost,
    multiply_adds,
    sample_cost,
    total_cost,
    update_cost,
)
from cgraph._lowering.fusion import foldable_relus
from cgraph._lowering.program import AroundPython, FusedGroup, Kind, Program
from cgraph._lowering.views import find_views

LayoutName = Literal["auto", "lanes", "samples"]

# This many lines may lie side by side; else one, or two vectors if these are more.
MAX_LINES = 4
# They do where matrices have this many times as many elements as all nodes: a weight that was fetched is used as often.
DOMINANT_WEIGHTS = 24
# And where the data and gradients of so many lines stay in a near cache: steps start less often.
NEAR_CACHE_BYTES = 1 << 18

# Rows of one sample side by side take this many times as long as estimated, beside samples side by side: the sample is
# copied to all lanes, and each pass begins with seeds of its own.
SEEDS_SLOWDOWN = 1.25

NEVER = sys.maxsize  # as `min_samples`: no batch is large enough for lanes
ONE_BY_ONE: tuple[int, ...] = (1, 1)  # as `blocks`


class LayoutPlan(NamedTuple):
    """A layout for batches.

    Attributes
    ----------
    blocks : tuple of int
        For each number of samples that are left of a batch, how many lanes the block has in which the next ones are
        computed: 1 for a sample alone. The last one counts for all larger numbers.
    cost : float
        The estimated nanoseconds of one sample in a pass.
    per_sample : tuple of FusedGroup
        The groups that take one sample at a time, among others over lanes: Python nodes, what lies between them and,
        with `backward_at_once`, all that depends on them.
    backward_at_once : bool
        Whether the backward pass of each sample through `per_sample` directly follows its forward pass.
    """

    blocks: tuple[int, ...]
    cost: float
    per_sample: tuple[FusedGroup, ...] = ()
    backward_at_once: bool = False

    def has_steps_of(self, other: LayoutPlan) -> bool:
        """Returns whether the same steps over lanes serve both layouts."""
        at_once = self.backward_at_once
        return self.per_sample == other.per_sample and at_once == other.backward_at_once

    @property
    def lanes(self) -> int:
        """The largest number of samples that lie side by side; 1 for one sample at a time."""
        return self.blocks[-1]

    @property
    def min_samples(self) -> int:
        """The least number of samples of which some are computed over lanes."""
        for count, lanes in enumerate(self.blocks):
            if lanes > 1:
                return count
        return NEVER

    @property
    def smallest_block(self) -> int:
        """The least number of samples that lie side by side; 1 for one sample at a time."""
        return self.blocks[min(self.min_samples, len(self.blocks) - 1)]

    def used(self, count: int) -> set[int]:
        """Returns the lanes of all blocks of a batch of `count` samples."""
        found, last = set(), len(self.blocks) - 1
        while count > 0:
            lanes = self.blocks[min(count, last)]
            found.add(lanes)
            # While more samples are left than `blocks` knows of, all blocks are alike.
            count -= lanes * max((count - last) // lanes, 1)
        return found


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
        return Layouts(choose_layout(program, layout, training=True), forward)
    alone = (*parts.among, *parts.behind)
    backward = choose_layout(program, layout, alone, training=True)
    backward = backward._replace(backward_at_once=backward.lanes > 1)
    repeated = choose_layout(program, layout, parts.among, training=True)
    if repeated.lanes > 1 and all(map(is_repeatable, parts.among)):
        # The forward pass of one sample more; a forward and a backward pass cost three times a forward pass.
        again = sum(sample_cost(group, multiply_adds(group)) for group in parts.among) / 3
        asked_for = layout == "lanes" and backward.lanes == 1
        if asked_for or repeated.cost + again < backward.cost:
            backward = repeated
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
    program: Program,
    layout: LayoutName,
    per_sample: Iterable[FusedGroup] = (),
    training: bool = False,
) -> LayoutPlan:
    """Returns the layout that was asked for, or the one whose estimated cost is lower.

    `per_sample` are the groups that take one sample at a time in any layout. Where no other groups have steps, all
    samples go one at a time.
    """
    groups, alone = program.groups, tuple(per_sample)
    macs = dict(zip(groups, map(multiply_adds, groups), strict=True))
    cost_by_sample = sum(sample_cost(group, macs[group], training) for group in groups)
    by_sample = LayoutPlan(ONE_BY_ONE, cost_by_sample)
    within = set(alone)
    over_lanes = [g for g in groups if g.kind is not Kind.LEAF and g not in within]
    if layout == "samples" or not over_lanes:
        return by_sample
    costs = costs_over_lanes(program, macs, within, training)
    lanes = max(costs)
    cost_alone = sum(sample_cost(group, macs[group], training) for group in alone)
    if alone:
        cost_alone += copy_cost(program, within)
    cost = costs[lanes].time(lanes) / lanes + cost_alone
    if layout == "auto":
        if cost >= cost_by_sample:
            return by_sample
        costs[1] = BlockCost(cost_by_sample - cost_alone)
    update = 0.0
    if training:
        matrices = matrix_elements(macs, over_lanes)
        update = update_cost(matrices, program.outputs[0].dtype.itemsize)
    return LayoutPlan(cheapest_blocks(costs, update), cost, alone)


def costs_over_lanes(
    program: Program,
    macs: Mapping[FusedGroup, int],
    per_sample: Collection[FusedGroup],
    training: bool,
) -> dict[int, BlockCost]:
    """Returns the estimated cost of a block for each number of lanes that a program may use.

    `macs` are the multiply-adds of all groups, of which those in `per_sample` do not work over lanes.
    """
    groups = program.groups
    over_lanes = [g for g in groups if g.kind is not Kind.LEAF and g not in per_sample]
    itemsize = program.outputs[0].dtype.itemsize
    line = program.kernels.line_bytes // itemsize
    elements = sum(group.elements for group in groups)
    line_bytes = 2 * program.kernels.line_bytes * elements  # data and gradients
    folded = foldable_relus(program, per_sample).values()
    without_step = {*folded, *find_views(program, per_sample).groups}
    steps = {group: macs[group] for group in over_lanes if group not in without_step}
    steps |= {group: 0 for group in groups if group.kind is Kind.LEAF}
    near = MAX_LINES * line_bytes <= NEAR_CACHE_BYTES
    # Tiles compute two vectors at a time.
    lanes = max(line, 2 * program.kernels.padded_bytes // itemsize)
    if near or matrix_elements(macs, over_lanes) >= DOMINANT_WEIGHTS * elements:
        lanes = line * MAX_LINES
    smallest, uncached = program.kernels.half_line_bytes // itemsize, line_bytes > CACHE_BYTES
    return block_costs(steps, smallest, lanes, uncached, training)


def matrix_elements(macs: Mapping[FusedGroup, int], groups: Iterable[FusedGroup]) -> int:
    """Returns the number of elements of the matrices of some groups.

    A matrix has as many as its product with one sample has multiply-adds.
    """
    return sum(macs[group] for group in groups if group.op.work in MATRICES)


def block_of_seeds(
    program: Program, seeds: int, by_samples: LayoutPlan, whatever: bool
) -> tuple[LayoutPlan, int] | None:
    """Returns a layout in which one sample fills all lanes, each of which has one of `seeds` backward passes.

    With it comes the largest number of samples for which it takes less time than `by_samples`, in which a forward and
    `seeds` backward passes follow each other; `whatever` the estimates, at least 1. None stands for 0.
    """
    macs = {group: multiply_adds(group) for group in program.groups}
    if not any(group.kind is not Kind.LEAF for group in program.groups):
        return None
    costs = costs_over_lanes(program, macs, (), False)
    times = {lanes: time_of_seeds(cost, lanes, seeds) for lanes, cost in costs.items()}
    lanes, time = min(times.items(), key=itemgetter(1))
    most = 0
    if by_samples.lanes == 1:
        most = NEVER if time < by_samples.cost * (1 + seeds) else 0
    else:
        costs[1] = BlockCost(sum(sample_cost(group, macs[group]) for group in program.groups))
        for count in range(1, len(by_samples.blocks)):
            if count * time < time_of_samples(costs, by_samples.blocks, count) * (1 + seeds):
                most = count
    if whatever:
        most = max(most, 1)
    return (LayoutPlan((lanes, lanes), time), most) if most else None


def time_of_seeds(cost: BlockCost, lanes: int, seeds: int) -> float:
    """Estimates the nanoseconds of all passes of one sample that fills all lanes, the forward pass among them.

    The forward pass computes as many lanes as the first backward pass.
    """
    counts = [min(lanes, seeds - first) for first in range(0, seeds, lanes)]
    return SEEDS_SLOWDOWN * sum(cost.time(count) for count in (counts[0], *counts))


def time_of_samples(costs: Mapping[int, BlockCost], blocks: Sequence[int], count: int) -> float:
    """Estimates the nanoseconds of a pass of `count` samples in the blocks of a LayoutPlan."""
    time = 0.0
    while count > 0:
        lanes = blocks[count]
        time += costs[lanes].time(min(lanes, count))
        count -= lanes
    return time


def block_costs(
    steps: dict[FusedGroup, int], smallest: int, largest: int, uncached: bool, training: bool
) -> dict[int, BlockCost]:
    """Returns the estimated cost of a block for each number of lanes, by doubling from the smallest.

    `steps` are the groups that work over lanes, with their multiply-adds.
    """
    costs, lanes = {}, smallest
    while lanes <= largest:
        costs[lanes] = total_cost(
            block_cost(group, m, lanes, uncached, training) for group, m in steps.items()
        )
        lanes *= 2
    return costs


def cheapest_blocks(costs: Mapping[int, BlockCost], update: float = 0.0) -> tuple[int, ...]:
    """Returns the `blocks` of a LayoutPlan in which any number of samples take the least time.

    `costs` has the cost of a block for each number of lanes; a single sample stays alone if 1 is one of them. `update`
    is the time of an update that follows a sample which is alone at the end of a batch; all other blocks learn while
    they are computed.
    """
    # Of blocks that take the same time together, the largest comes first.
    sizes = sorted(costs, reverse=True)
    least, blocks = [0.0], [1]
    for count in range(1, sizes[0] + 1):
        is_alone = count == 1 and 1 in costs
        possible = [1] if is_alone else sizes
        times = [
            round(costs[lanes].time(min(count, lanes)) + least[max(count - lanes, 0)], 3)
            for lanes in possible
        ]
        blocks.append(possible[times.index(min(times))])
        least.append(min(times) + (update if is_alone else 0.0))
    return tuple(blocks)
