"""How parameters that one Graph alone has become those of other nodes, too."""

from __future__ import annotations

from collections.abc import Collection
from typing import TYPE_CHECKING, Any
from weakref import ref

from cgraph._kernels.runtime.loans import Account, Mirror
from cgraph._kernels.runtime.sharing import Learners, Sharing, tie

if TYPE_CHECKING:
    from cgraph._execution.residency import Changes, Residency


def tie_outside(
    residency: Residency,
    accounts: Collection[Account],
    sharing: Sharing,
    nodes: list[Any],
    changes: Changes,
) -> None:
    """Gives parameters of a Graph to nodes outside; `accounts` are the loans of their arrays.

    From then on their mirrors are public. The nodes of `sharing` so far are those of the Graph.
    """
    residency.refresh()
    if not residency.in_place.keys().isdisjoint(accounts):
        move_out(residency)
    mirrors = (*residency.value_mirrors, *residency.sum_mirrors)
    members = len(sharing.nodes)
    known = [] if residency.learners is None else residency.learners.sharings
    if sharing not in known:
        rows: list[tuple[object, ...]] = [
            (mirror, sharing, members) for mirror in mirrors if mirror.account in accounts
        ]
        learners = Learners([*known, sharing])
        changes = [
            *changes,
            (("sharing", "members"), rows),
            (("learners",), [(residency, learners)]),
        ]
    tie(sharing, nodes, changes)


def move_out(residency: Residency) -> None:
    """Takes other memory for the parameters of a Graph, so that all arrays of its nodes are mirrors, where they lie."""
    values, sums, sides = residency.value_mirrors, residency.sum_mirrors, residency.sides
    # Views of arrays that had no mirror may live, so the next call looks at all mirrors.
    sides.reckon(*sides.looks, True)
    known = {mirror.account for mirror in (*values, *sums)}
    made = [
        Mirror(sides.values, account, array)
        for account, (array, _) in residency.in_place.items()
        if account not in known
    ]
    offsets = [
        residency.in_place.get(m.account, (None, m.offsets))[1] for m in (*values, *made, *sums)
    ]
    changes: Changes = [
        (("value_mirrors", "in_place"), [(residency, [*values, *made], {})]),
        (("mirrors",), [(mirror.account, (ref(mirror),)) for mirror in made]),
    ]
    residency.arena.move_parameters([*values, *made], sums, offsets, changes)
