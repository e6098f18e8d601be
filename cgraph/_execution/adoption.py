"""The move of nodes into the arena of a Graph."""

from __future__ import annotations

from collections import Counter
from collections.abc import Collection, Iterable
from weakref import ref

import numpy as np

from cgraph._execution.residency import Changes, Residency
from cgraph._kernels.runtime.loans import Mirror
from cgraph._kernels.runtime.sharing import Learners
from cgraph._lowering.program import Program
from cgraph._lowering.sample_steps import ParameterSlot
from cgraph._propagation import passes
from cgraph._validation import Array


def adopt(residency: Residency, program: Program, slots: Iterable[ParameterSlot]) -> Changes:
    """Copies the content of all nodes' arrays into the arena of a new residency.

    Returns the changes that make the arrays of the nodes views of the arena, and older Graphs of these nodes stale.
    Until the changes are made, the nodes and these Graphs are as before.

    Raises
    ------
    RuntimeError
        A node belongs to a Graph that is running.
    """
    older: list[Residency] = passes.residencies(program.order)
    for each in older:
        if each.memory.busy:
            raise RuntimeError("Graph: nodes must not belong to a Graph that is running")
    for each in older:
        each.refresh()
    changes: Changes = [(("stale",), [(each, True) for each in older])]
    changes += adopt_data(residency, program)
    members = Counter([node._sharing for node in program.order if node._sharing])
    if members:
        changes.append((("learners",), [(residency, Learners(list(members)))]))
        changes.append((("compiled",), [(sharing, True) for sharing in members]))
    retired = {m for each in older for m in (*each.value_mirrors, *each.sum_mirrors)}
    for slot in slots:
        changes += adopt_parameters(residency, slot, members[slot.node._sharing], retired)
    samples = max([each.memory.samples for each in older], default=0)
    residency.memory.grads_are_zero = not (samples or residency.arena.parameter_grads.any())
    residency.memory.samples = samples
    return changes


def adopt_data(residency: Residency, program: Program) -> Changes:
    """Copies data and gradients of the nodes into the arena, and returns the changes for them."""
    arena = residency.arena
    views: list[tuple[object, ...]] = []
    flags: list[tuple[object, ...]] = []
    for group in program.groups:
        buffer = group.buffer
        end = buffer.offset + group.nodes[0].size * buffer.pitch
        for offset, node in enumerate(group.nodes, buffer.offset):
            elements = slice(offset, end, buffer.pitch)
            data, grad = arena.data[elements], arena.grad[elements]
            data[...] = node._data
            if node._residency is None or not node._residency.gradients_are_zero:
                grad[...] = node._grad
            views.append((node, data, grad, residency))
            # Arrays that were handed out before would be read and written in vain.
            flags += (node._data.flags, False), (node._grad.flags, False)
    return [(("_data", "_grad", "_residency"), views), (("writeable",), flags)]


def adopt_parameters(
    residency: Residency, slot: ParameterSlot, members: int, retired: Collection[Mirror]
) -> Changes:
    """Copies the parameters of a node and their gradient sums into the arena, and returns the changes for them.

    Where an array is packed, or a view of it lives, or several nodes have it, the arrays of the node stay, and mirror
    the arena. `members` are the nodes of the Graph that have them, if others may, and `retired` the mirrors of Graphs
    that become stale.
    """
    node, offset, size, offsets = slot
    stays = offsets is not None or members > 0
    if offsets is None:
        offsets = np.arange(offset, offset + size)
    moved: dict[str, Array] = {}
    accounts: list[tuple[object, ...]] = []
    arena, both = residency.arena, residency.sides
    for number, vector, region, views, side, mirrors in (
        (0, node._parameter_vector, arena.parameters, node._parameter_views, both.values,
         residency.value_mirrors),
        (1, node._grad_vector, arena.parameter_grads, node._grad_views, both.sums,
         residency.sum_mirrors),
    ):  # fmt: skip
        own, in_place = vector, not stays
        if in_place and not any(node._loans[pair[number]].live for pair in node._parts):
            own = region[offset : offset + size]
            moved |= views(own)
        else:
            in_place = False
        for pair, part in node._parts.items():
            account, elements = node._loans[pair[number]], offsets[part]
            others = [r for r in account.mirrors if r() and r() not in retired]
            if in_place:
                residency.in_place[account] = own[part], elements
            if number == 1 or not in_place:
                # Made before the copy, so that the first call sees if another Graph changes the array meanwhile.
                where = () if in_place else (region, elements)
                mirror = Mirror(side, account, own[part], *where)
                mirror.sharing, mirror.members = node._sharing, members
                mirrors.append(mirror)
                others.append(ref(mirror))
            accounts.append((account, tuple(others)))
        region[offsets] = vector
    return [(tuple(moved), [(node, *moved.values())]), (("mirrors",), accounts)]
