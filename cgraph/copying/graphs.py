"""clone: the same graph, built anew."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from functools import partial

from cgraph._kernels.runtime.memory import exclusively
from cgraph._kernels.runtime.sharing import Sharing
from cgraph._propagation import passes
from cgraph._subclassing.rebuilding import anew, parameter_values
from cgraph._subclassing.sharing import at_once, may_share, share_parameters
from cgraph._validation import as_flag
from cgraph.node import Node, as_nodes
from cgraph.traversal import topological_order


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
    build: Callable[[], dict[Node, Node]] = partial(copies, order, share)
    if share:
        for node in order:
            if node._parameters and not may_share(node):
                raise RuntimeError(
                    "clone: nodes must not belong to a Graph that is running, unless others share their parameters"
                )
        return build()
    # While the values are read, no call of a Graph changes them.
    memories = [residency.memory for residency in passes.residencies(order)]
    for memory in memories:
        if memory.busy:
            raise RuntimeError("clone: nodes must not belong to a Graph that is running")
    for memory in memories:
        build = partial(exclusively, memory, "clone", nothing, build, (), {})
    return build()


def copies(order: Sequence[Node], share: bool) -> dict[Node, Node]:
    """Returns a new node for each of a graph, whose inputs come before their consumers."""
    new: dict[Node, Node] = {}
    values = {node: parameter_values(node) for node in order}
    names = [(node, name) for node in order for name in values[node]]
    arrays = at_once([(node, values[node][name]) for node, name in names])
    for (node, name), array in zip(names, arrays, strict=True):
        values[node][name] = array
    first: dict[Sharing, Node] = {}  # the new node for the first of those with the same parameters
    for node in order:
        new[node] = anew(node, [new[x] for x in node.backward], values[node])
        if share and node._parameters:
            share_parameters(node, new[node])
        elif node._sharing in first:
            share_parameters(first[node._sharing], new[node])
        elif node._sharing is not None:
            first[node._sharing] = new[node]
        if not node.backward and node._is_given:
            new[node]._data[...] = node._data
            new[node]._is_given = True
    return new


def nothing() -> None:
    """Completes a call that has changed nothing."""
