"""The programs of Jacobians: the part of a program that computes one node, differentiated with respect to one leaf."""

from __future__ import annotations

from copy import copy
from typing import NamedTuple

from cgraph._lowering.buffers import uses
from cgraph._lowering.layout import LayoutPlan, Layouts, block_of_seeds, choose_layout
from cgraph._lowering.pipeline import Lowered
from cgraph._lowering.program import FusedGroup, Kind, Program
from cgraph.node import Node


class LoweredJacobian(NamedTuple):
    """The program of a Jacobian, ready for steps to be made of it.

    Attributes
    ----------
    lowered : Lowered
        The program; the data of its nodes have the offsets that they have in the program of the Graph.
    originals : dict of FusedGroup to FusedGroup
        For each of its groups the one of the Graph.
    seeds : LayoutPlan or None
        The layout in which one sample at a time fills all lanes, each of which has a backward pass of its own; None
        where samples never lie so.
    most_by_seeds : int
        The largest number of samples for which that layout takes less time.
    """

    lowered: Lowered
    originals: dict[FusedGroup, FusedGroup]
    seeds: LayoutPlan | None
    most_by_seeds: int


def lower_jacobian(whole: Lowered, node: Node, leaf: Node) -> LoweredJacobian:
    """Lowers the Jacobian of a node with respect to a leaf of a program."""
    layout = whole.layout
    program, originals = program_of(whole.program, node)
    mark_path(program, node, leaf)
    calls_python = any(group.kind is Kind.PYTHON for group in program.groups)
    by_samples = choose_layout(program, "samples" if calls_python else layout)
    seeds, most = None, 0
    if node.size > 1 and not calls_python and layout != "samples":
        found = block_of_seeds(program, node.size, by_samples, whatever=layout == "lanes")
        if found:
            seeds, most = found
    # A pass for each element follows the forward pass, and takes about as long.
    by_samples = by_samples._replace(cost=by_samples.cost * (1 + node.size))
    layouts = Layouts(by_samples, by_samples)
    lowered = Lowered(program, layouts, uses(program), whole.data, {}, {}, layout)
    return LoweredJacobian(lowered, originals, seeds, most)


def program_of(whole: Program, node: Node) -> tuple[Program, dict[FusedGroup, FusedGroup]]:
    """Returns the program of one node, and for each of its fused groups the one of the whole program.

    It has the groups above the node, and all leaves, which may be fed. Fused groups stay whole, since their parameters
    are packed. Buffers are its own, at the same offsets, since others write their gradients.
    """
    above = set(whole.groups_above(whole.channel_of[node][0]))
    chosen = [group for group in whole.groups if group in above or group.kind is Kind.LEAF]
    kept = {node for group in chosen for node in group.nodes}
    program = Program([node], [node for node in whole.order if node in kept])
    program.leaves = whole.leaves
    originals = {}
    for group in chosen:
        own = copy(group)
        own.input_buffers = [
            program.channel_of[buffer.nodes[0]][0] for buffer in group.input_buffers
        ]
        program.append(own)
        own.buffer.offset = group.buffer.offset
        originals[own] = group
    return program, originals


def mark_path(program: Program, node: Node, leaf: Node) -> None:
    """Marks the gradients of the buffers that depend on the leaf as required; all others are not computed.

    The gradient of the node begins at 0, since it is given one element at a time. So does that of a leaf on which the
    node does not depend, and which no step writes.
    """
    channel_of = program.channel_of
    required = {channel_of[leaf][0]}
    read = set()
    for group in program.groups:
        inputs = program.buffers_read_by(group)
        read |= inputs
        if not required.isdisjoint(inputs):
            required.add(group.buffer)
        needed = group.buffer in required
        group.buffer.requires_grad = needed, needed
    channel_of[node][0].zeroed_first = True
    channel_of[leaf][0].zeroed_first |= channel_of[leaf][0] not in read
