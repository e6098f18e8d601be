"""The order in which the nodes of a graph are built and computed.

This module knows nodes by their attributes alone, so that Node may use it.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable
from typing import Any, Protocol, TypeVar


class HasInputs(Protocol):
    """A node."""

    backward: list[Any]


Item = TypeVar("Item", bound=HasInputs)


def topological_order(
    nodes: Iterable[Item], is_known: Callable[[Item], bool] = lambda node: False
) -> list[Item]:
    """Returns nodes and their ancestors in topological order: each once, inputs before their consumers.

    Nodes that are known already, and what lies above them alone, are left out.
    """
    order: list[Item] = []
    entered: set[Item] = set()
    pending: list[Item | None] = list(nodes)
    pending.reverse()
    while pending:
        current = pending.pop()
        if current is None:  # all ancestors of the next node on the stack are in order
            order.append(pending.pop())  # type: ignore[arg-type]
        elif current not in entered and not is_known(current):
            entered.add(current)
            pending += (current, None)
            pending += reversed(current.backward)
    return order
