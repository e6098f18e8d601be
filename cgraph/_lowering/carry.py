"""The carry of a Graph: which leaves take whose data after each sample, and where these wait meanwhile."""

from __future__ import annotations

from collections.abc import Mapping

from cgraph._lowering.buffers import Allocator
from cgraph._lowering.program import NO_CARRY, Buffer, Program
from cgraph._validation import describe
from cgraph.node import Node


def as_carry(carry: object) -> Mapping[Node, Node]:
    """Returns the carried leaves of a Graph, each with its node, or refuses the argument `carry`."""
    if carry is None:
        return NO_CARRY
    if not isinstance(carry, Mapping):
        raise TypeError(f"Graph: carry must map leaves to nodes, got {describe(carry)}")
    for leaf, node in carry.items():
        for each in (leaf, node):
            if not isinstance(each, Node):
                raise TypeError(f"Graph: carry must hold Nodes alone, got {describe(each)}")
        if leaf.backward:
            raise ValueError(f"Graph: carry must map leaves to nodes, got {leaf!r}")
        shapes = [(each.height, each.width) for each in (leaf, node)]
        if shapes[0] != shapes[1]:
            raise ValueError(
                f"Graph: carry must give {leaf!r} a node of its shape {shapes[0]}, got {node!r}"
            )
    return dict(carry)


def require_leaves(program: Program) -> None:
    """Refuses carried leaves that are no leaves of the program."""
    for leaf in program.carried:
        if leaf not in program.leaves:
            raise ValueError(f"Graph: carry must map leaves of this graph, got {leaf!r}")


def begin_at_zero(program: Program) -> None:
    """Lets the gradients of carried nodes begin at 0 that are computed for the carry alone, so that they stay 0."""
    for node in program.carried.values():
        if node not in program.before_outputs:
            program.channel_of[node][0].zeroed_first = True
    if program.carried and program.is_loss:  # which such a node may read
        program.channel_of[program.outputs[0]][0].zeroed_first = True


def place_asides(program: Program, data: Allocator) -> dict[Node, Buffer]:
    """Returns, for each carried leaf, a buffer in which its new data may wait until others have been read."""
    return {leaf: Buffer([leaf], 1, data.allocate(leaf.size)) for leaf in program.carried}
