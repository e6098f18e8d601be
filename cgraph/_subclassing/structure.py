"""Graphs as rows: what each node is built of, which nodes are its inputs, and with which node it shares parameters.

`CG.clone`, deep copies, pickles and files of graphs are written to rows and built of them by the functions here.
This module knows nodes by their attributes alone, so that Node may use it.
"""

from __future__ import annotations

from collections.abc import Callable, Hashable, Iterable, Iterator, Sequence
from functools import partial
from typing import Any, NamedTuple

from cgraph._kernels.runtime.memory import exclusively
from cgraph._subclassing.rebuilding import Plan, built, parameter_values, plan_of
from cgraph._subclassing.sharing import at_once, share_parameters
from cgraph._validation import Array


class Row(NamedTuple):
    """A node of a graph that is to be built.

    Attributes
    ----------
    key : hashable
        What other rows call the node.
    plan : Plan
    inputs : tuple of hashable
        The keys of its inputs.
    first : hashable, optional
        The key of the node whose parameters it has, too.
    """

    key: Hashable
    plan: Plan
    inputs: tuple[Hashable, ...]
    first: Hashable | None


def rows(order: Sequence[Any], known: dict[Any, Hashable]) -> Iterator[Row]:
    """Yields the rows of nodes, whose inputs come before them or are known; the arrays are to be read at once.

    Parameters
    ----------
    order : sequence of Node
    known : dict of Node or Sharing to hashable
        The key of each node, and that of the first node with each Sharing that has been met; the latter are added.
    """
    owners: dict[Any, Any] = {}  # by Sharing, or node: the node whose values are read
    values: dict[Any, dict[str, Array]] = {}
    for node in order:
        owner = owners.setdefault(node._sharing or node, node)
        values[node] = parameter_values(node) if owner is node else values[owner]
    names = [(node, name) for node in owners.values() for name in values[node]]
    arrays = at_once([(node, values[node][name]) for node, name in names])
    for (node, name), array in zip(names, arrays, strict=True):
        values[node][name] = array
    for node in order:
        key, first = known[node], None
        if node._sharing is not None:
            first = known.setdefault(node._sharing, key)
        inputs = tuple(known[x] for x in node.backward)
        yield Row(key, plan_of(node, values[node]), inputs, None if first == key else first)


def copied(given: Iterable[Row]) -> Iterator[Row]:
    """Yields rows with copies of their arrays: of parameters that nodes share, the first one's alone."""
    kept: dict[Hashable, dict[str, Array]] = {}
    for row in given:
        plan = row.plan
        if row.first is not None and row.first in kept:
            plan = plan._replace(values={}).copied()._replace(values=kept[row.first])
        else:
            plan = plan.copied()
            kept[row.key if row.first is None else row.first] = plan.values
        yield row._replace(plan=plan)


def build(given: Iterable[Row], known: dict[Any, Any]) -> dict[Any, Any]:
    """Builds the nodes of rows, adds them to those that are known by their keys, and returns these."""
    for row in given:
        node = built(row.plan, [known[key] for key in row.inputs], row.first is None)
        if row.first is not None:
            share_parameters(known[row.first], node)
        known[row.key] = node
    return known


def while_idle(owner: str, order: Iterable[Any], function: Callable[[], Any]) -> Any:
    """Calls a function that reads nodes, while no call of a Graph changes what they hold.

    Raises
    ------
    RuntimeError
        A node belongs to a Graph that is running.
    """
    memories = dict.fromkeys(x._residency.memory for x in order if x._residency)
    for memory in memories:
        if memory.busy:
            raise RuntimeError(f"{owner}: nodes must not belong to a Graph that is running")
    for memory in memories:
        function = partial(exclusively, memory, owner, nothing, function, (), {})
    return function()


def nothing() -> None:
    """Completes a call that has changed nothing."""
