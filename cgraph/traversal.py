"""Traversals of a graph: the ancestors of a node in topological order, and the evaluation of a node without a pass."""

from cgraph._propagation import passes
from cgraph._subclassing.order import topological_order
from cgraph._validation import Array
from cgraph.node import Node, as_node


def ancestors(node: Node) -> list[Node]:
    """Returns a node and its ancestors in topological order: inputs before their consumers, the node last.

    Raises
    ------
    TypeError
        The argument is not a Node.
    """
    return topological_order([as_node("ancestors", "node", node)])


def evaluate(node: Node) -> Array:
    """Computes the data of a node from the data of the leaves, without a pass: a prediction.

    Only ``calcData`` of the node and of its ancestors is called. Gradients, counters and gradient sums do not change,
    so a node can be evaluated at any time, even in the middle of a forward pass.

    Parameters
    ----------
    node : Node
        Any node, even one that belongs to a Graph.

    Returns
    -------
    ndarray, shape (node.size,)
        A copy of the node's data.

    Raises
    ------
    TypeError
        The argument is not a Node.
    RuntimeError
        The node belongs to a Graph that is running.

    Notes
    -----
    After an evaluation ``backwardPropagation`` needs a complete forward pass first, at every loss that depends on the
    evaluated nodes, and ``Graph.backward`` needs a ``Graph.forward``. An exception in a node of a user's own class
    reaches the caller; the data are then undefined until the next complete forward pass or `evaluate`, and gradients,
    counters and gradient sums are unchanged.

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
    for residency in passes.residencies(order):
        residency.before_evaluate()
    for member in passes.below(*order):
        member._has_run = False
    passes.compute(order)
    return node.data.copy()
