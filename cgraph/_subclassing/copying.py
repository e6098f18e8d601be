"""Deep copies and pickles of nodes: a node comes with its ancestors, and the nodes of one graph come as one graph.

Design: pickle and deepcopy would follow the attributes of nodes by recursion, which ends at a depth of some hundred.
So a node is pickled as a number within a *part*, a list of nodes in topological order. The part of a node has those
ancestors that no earlier part has, and refers to the parts that have the others. Pickle notes what it has met, the
parts among it, so that all nodes of a list or a dict come back as one graph, with the parameters that they share.

This module knows nodes by their attributes alone, so that Node may use it.
"""

from __future__ import annotations

import threading
from collections.abc import Hashable, Sequence
from functools import partial
from operator import getitem
from typing import Any, NoReturn, Self, SupportsIndex
from weakref import WeakValueDictionary

from cgraph._subclassing.order import topological_order
from cgraph._subclassing.rebuilding import Plan, checked_arguments
from cgraph._subclassing.structure import Row, build, copied, rows, while_idle
from cgraph._validation import DTYPES, describe

VERSION = 1


class Copyable:
    """What `copy` and `pickle` ask of nodes."""

    def __copy__(self) -> NoReturn:
        raise TypeError(
            f"{type(self).__name__}: a node cannot be copied without its inputs; use copy.deepcopy or CG.clone"
        )

    def __deepcopy__(self, memo: dict[Any, Any]) -> Self:
        """Returns a clone of the node and those ancestors that the same deep copy has not met yet."""
        node: Any = self
        order = topological_order([node], lambda each: id(each) in memo)
        copy = partial(deep_copies, order, memo)
        while_idle("copy.deepcopy", order, copy)
        new: Self = memo[id(self)]
        return new

    def __reduce_ex__(self, protocol: SupportsIndex) -> tuple[object, ...]:
        part = part_of(self)
        return getitem, (part, part.numbers[id(self)])


def deep_copies(order: Sequence[Any], memo: dict[Any, Any]) -> None:
    """Copies nodes, and notes the copies in the memo of `copy.deepcopy`: by the id, and by the Sharing."""
    known = {x: id(x) for node in order for x in (node, *node.backward)}
    sharings = {node._sharing: node._sharing for node in order if node._sharing in memo}
    build(rows(order, known | sharings), memo)
    for node in order:
        if node._sharing is not None:
            memo.setdefault(node._sharing, memo[id(node)])


# Parts


class Part:
    """Nodes that are pickled together.

    Attributes
    ----------
    nodes : list of Node
        The nodes in topological order.
    numbers : dict of int to int
        The place of each node, by its id.
    bases : dict of Part to int
        The number, from 1 on, of each older part that has an input of a node, or parameters that a node shares.
    known : dict
        For `rows`: the key of each node and of each Sharing, a pair of the number of a part, 0 for this one, and a
        place there.
    """

    def __init__(
        self, nodes: list[Any], older: dict[int, Part], live: WeakValueDictionary[int, Part]
    ) -> None:
        self.nodes = nodes
        self.numbers = {id(node): place for place, node in enumerate(nodes)}
        self.bases: dict[Part, int] = {}
        self.known: dict[Any, Hashable] = {node: (0, self.numbers[id(node)]) for node in nodes}
        self.firsts: dict[
            Any, int
        ] = {}  # the place of the first node of each Sharing, where no older part has one
        for node in nodes:
            for x in node.backward:
                if x not in self.known:
                    part = older[id(x)]
                    self.known[x] = self._number(part), part.numbers[id(x)]
            sharing = node._sharing
            if sharing is not None and sharing not in self.known:
                home = live.get(id(sharing), self)
                place = home.firsts.setdefault(sharing, self.numbers[id(node)])
                self.known[sharing] = self._number(home), place

    def _number(self, part: Part) -> int:
        """Returns the number of a part, which becomes a base if it is another one."""
        return 0 if part is self else self.bases.setdefault(part, len(self.bases) + 1)

    def __reduce_ex__(self, protocol: SupportsIndex) -> tuple[object, ...]:
        state = while_idle("pickle", self.nodes, self._state)
        return restored, (VERSION, state, tuple(self.bases))

    def _state(self) -> list[tuple[object, ...]]:
        """Returns copies of all that is pickled of the nodes: for each a tuple of objects that pickle knows."""
        if any(x not in self.known for node in self.nodes for x in node.backward):
            raise RuntimeError("pickle: the inputs of a node must be those that it had before")
        state: list[tuple[object, ...]] = []
        for row in copied(rows(self.nodes, self.known)):
            plan = row.plan
            checked_arguments(plan, row.inputs)
            state.append((row.inputs, row.first, plan.dtype.name, *plan[:2], *plan[3:]))
        return state


class Live(threading.local):
    """The parts that picklers of this thread refer to, by the ids of their nodes and of the Sharings of these."""

    def __init__(self) -> None:
        self.parts: WeakValueDictionary[int, Part] = WeakValueDictionary()

    def note(self, older: dict[int, Part], node: Any) -> bool:
        """Returns whether a part has a node, and notes that part, so that it lives as long as a new one needs it."""
        known = self.parts.get(id(node))
        if known is not None:
            older[id(node)] = known
        return known is not None


_LIVE = Live()


def part_of(node: Any) -> Part:
    """Returns the part that has a node: one that a pickler refers to, or a new one."""
    live = _LIVE.parts
    found = live.get(id(node))
    if found is not None:
        return found
    older: dict[int, Part] = {}
    part = Part(topological_order([node], partial(_LIVE.note, older)), older, live)
    # While the part lives, so do the nodes and their Sharings, so that no other object gets their ids.
    for key in (*part.numbers, *map(id, part.firsts)):
        live[key] = part
    return part


def restored(version: int, state: list[tuple[Any, ...]], bases: tuple[list[Any], ...]) -> list[Any]:
    """Returns the nodes of a part that was pickled, built anew; of older parts there are the nodes already."""
    if version != VERSION:
        raise ValueError(f"pickle: expected nodes of version {VERSION}, got {describe(version)}")
    dtypes = {dtype.name: dtype for dtype in DTYPES}
    known: dict[Hashable, Any] = {
        (number, place): x for number, part in enumerate(bases, 1) for place, x in enumerate(part)
    }
    given = [
        Row((0, place), Plan._make([*plan[:2], dtypes[dtype], *plan[2:]]), inputs, first)
        for place, (inputs, first, dtype, *plan) in enumerate(state)
    ]
    build(given, known)
    return [known[row.key] for row in given]
