"""clone: the same graph, built anew."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from functools import partial

from cgraph._subclassing.order import topological_order
from cgraph._subclassing.sharing import may_share, share_parameters
from cgraph._subclassing.structure import build, rows, while_idle
from cgraph._validation import as_flag
from cgraph.node import Node, as_nodes


def clone(nodes: Node | Iterable[Node], share: bool = False) -> dict[Node, Node]:
    """Builds the graph of some nodes and their ancestors anew, with copies of its parameters.

    The new graph is not connected with the old one, of which nothing changes. Its nodes belong to no `Graph`.

    Parameters
    ----------
    nodes : Node or sequence of Node
        The ends of the graph; their ancestors are part of it.
    share : bool, optional
        Whether the new nodes have the same Parameters, instead of copies of their values.

    Returns
    -------
    dict of Node to Node
        For each node, inputs before their consumers, the new one. Their class, dtype and shape are the same. Values and
        `trainable` of parameters are copied, the data of leaves that have ever been given any, and `Dropout.samples`;
        gradient sums, other data and gradients are 0.

    Raises
    ------
    TypeError
        `nodes` are not nodes, `share` is not a bool; the constructor of a class of the user's own refuses what its
        ``_config`` returns.
    ValueError
        No nodes; a new node is not like the old one, since ``_config`` does not return all arguments.
    RuntimeError
        A node belongs to a Graph that is running, unless with `share` other nodes have the parameters already.

    Notes
    -----
    A node is built by its class from its new inputs, the values of its parameters, and the keyword arguments that
    ``_config`` returns. Other attributes of nodes of the user's own classes are not copied.

    Examples
    --------
    >>> import cgraph as CG
    >>> x = CG.Leaf1(2)
    >>> y = CG.Affine(x, [[1.0], [2.0], [0.5]])
    >>> twin = CG.clone(y)
    >>> twin[x].getInput([3, 4])
    >>> CG.evaluate(twin[y])
    array([11.5])
    """
    given = (nodes,) if isinstance(nodes, Node) else as_nodes("clone", "nodes", nodes)
    share = as_flag("clone", "share", share)
    order = topological_order(given)
    build_all: Callable[[], dict[Node, Node]] = partial(copies, order, share)
    if not share:
        # While the values are read, no call of a Graph changes them.
        result: dict[Node, Node] = while_idle("clone", order, build_all)
        return result
    for node in order:
        if node._parameters and not may_share(node):
            raise RuntimeError(
                "clone: nodes must not belong to a Graph that is running, unless others share their parameters"
            )
    return build_all()


def copies(order: Sequence[Node], share: bool) -> dict[Node, Node]:
    """Returns a new node for each of a graph, whose inputs come before their consumers."""
    given = rows(order, {node: node for node in order})
    if not share:
        return build(given, {})
    # Parameters that old nodes share among themselves come from the old ones, too.
    new = build((row._replace(first=None) for row in given), {})
    for node in order:
        if node._parameters:
            share_parameters(node, new[node])
    return new
