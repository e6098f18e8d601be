"""Traversals of a graph: the ancestors of a node in topological order, and their data computed without a pass."""

from collections.abc import Iterable

from cgraph._propagation import passes
from cgraph._validation import Array
from cgraph.node import Node, as_node


def ancestors(node: Node) -> list[Node]:
    """The node and everything that it is computed from, inputs before their consumers, the node last.

    Raises
    ------
    TypeError
        The argument is not a Node.
    """
    return topological_order([as_node("ancestors", "node", node)])


def topological_order(nodes: Iterable[Node]) -> list[Node]:
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


def evaluate(node: Node) -> Array:
    """Computes the data of a node from what the leaves hold: a prediction, without a pass.

    Only the node and its ancestors compute, by their ``calcData``. Gradients, counters and gradient sums stay as they
    are, so this may be done at any time, also in the middle of a forward pass.

    Parameters
    ----------
    node : Node
        Any node; also one that belongs to a Graph.

    Returns
    -------
    ndarray, shape (node.size,)
        A copy of its data.

    Raises
    ------
    TypeError
        The argument is not a Node.
    RuntimeError
        The node belongs to a Graph that is running.

    Notes
    -----
    ``backwardPropagation`` afterwards needs a complete forward pass first, at every end that depends on what was
    computed, and ``Graph.backward`` a ``Graph.forward``. When an own node raises, the exception reaches the caller; the
    data are then undefined until the next complete forward pass or `evaluate`, and all else is as it was.

    Examples
    --------
    >>> import cgraph as CG
    >>> x, t = CG.Leaf1(2), CG.Leaf1(1)
    >>> y = CG.Affine(x, [[1.0], [2.0], [0.5]])
    >>> loss = CG.MSE(y, t)
    >>> x.getInput([3, 4])
    >>> CG.evaluate(y)
    array([11.5])
    """
    order = topological_order([as_node("evaluate", "node", node)])
    for graph in {id(n._graph): n._graph for n in order if n._graph is not None}.values():
        graph._stand_aside()
    for member in passes.below(*order):
        member._has_run = False
    passes.compute(order)
    return node.data.copy()
