"""Walks over a graph: the ancestors of a node, and what learns among them."""

from collections.abc import Iterable
from typing import NamedTuple

from cgraph._array import Array
from cgraph.node import Node, as_node


class Parameter(NamedTuple):
    """An array that learns: its node, its name there, its values and their gradient sum, both live."""

    node: Node
    name: str
    value: Array
    grad: Array


def ancestors(node: Node) -> list[Node]:
    """The node and everything that it is computed from, inputs before their consumers, the node last.

    Raises
    ------
    TypeError
        The argument is not a Node.
    """
    return ancestors_of([as_node("ancestors", "node", node)])


def ancestors_of(nodes: Iterable[Node]) -> list[Node]:
    """The nodes and everything that they are computed from, each once, inputs before their consumers."""
    order: list[Node] = []
    entered: set[Node] = set()
    pending: list[Node | None] = list(nodes)
    pending.reverse()
    while pending:
        current = pending.pop()
        if current is None:  # all that the node beneath is computed from is in order
            order.append(pending.pop())  # type: ignore[arg-type]
        elif current not in entered:
            entered.add(current)
            pending += (current, None)
            pending += reversed(current.backward)
    return order


def parameters(node: Node) -> list[Parameter]:
    """Every array that learns among the ancestors of a node, in the order of `ancestors`.

    Raises
    ------
    TypeError
        The argument is not a Node.

    Examples
    --------
    >>> import cgraph as CG
    >>> y = CG.Affine(CG.Leaf1(2), [[1.0], [2.0], [3.0]])
    >>> [(p.name, p.value.shape) for p in CG.parameters(y)]
    [('weight', (3, 1))]
    """
    as_node("parameters", "node", node)
    return [parameter for member in ancestors(node) for parameter in own_parameters(member)]


def own_parameters(node: Node) -> list[Parameter]:
    """Every array that learns in this node itself, as it declares them."""
    return [
        Parameter(node, name.removeprefix("_"), getattr(node, name), getattr(node, gradient))
        for name, gradient in node._parameters
    ]
