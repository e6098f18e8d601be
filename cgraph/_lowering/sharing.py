"""Which fused groups have the parameters of others."""

from __future__ import annotations

from collections.abc import Hashable

from cgraph._kernels.runtime.sharing import Sharing
from cgraph._lowering.program import FusedGroup, Kind, Program


def find_shared(program: Program) -> tuple[dict[FusedGroup, FusedGroup], set[Sharing]]:
    """Returns, for each group with the parameters of an earlier group, that group; and what does not fit so.

    Parameters do not fit where two groups pack them in different ways, or one group has them twice.
    """
    shared: dict[FusedGroup, FusedGroup] = {}
    # For shared parameters, the first group that has them, and how it packs them.
    first: dict[Sharing, tuple[FusedGroup, Hashable]] = {}
    apart: set[Sharing] = set()
    for group in program.groups:
        if group.kind is Kind.PYTHON:
            continue  # its nodes have their own arrays, and share these
        sharings = [node._sharing for node in group.nodes if node._sharing is not None]
        if not sharings:
            continue
        packing = packing_of(group)
        known = {first[each] for each in sharings if each in first}
        fits = len(set(sharings)) == len(sharings)
        if known:
            fits &= {packed for _, packed in known} == {packing}
        if fits and known:
            ((shared[group], _),) = known
        elif not fits:
            apart |= {*sharings}
        for each in sharings:
            first.setdefault(each, (group, packing))
    return shared, apart


def packing_of(group: FusedGroup) -> Hashable:
    """Returns a key that is equal for groups with the same parameters at the same places."""
    nodes = [node._sharing or node for node in group.nodes]
    if len(nodes) == 1:
        return nodes[0]
    index = {x: number for number, x in enumerate(group.inputs)}
    inputs = [tuple(index[x] for x in node_inputs) for node_inputs in group.inputs_by_node]
    return tuple(nodes), len(group.inputs), bool(group.input_buffers), tuple(inputs)
