"""The arguments of gradcheck, checked: the graph of a loss, and the leaves and parameters in it."""

from collections import Counter
from collections.abc import Collection, Iterable, Sequence

import numpy as np

from cgraph._validation import describe, is_iterable
from cgraph.checks.report import GradientError
from cgraph.graph import Graph
from cgraph.node import Node
from cgraph.parameter import Parameter, own_parameters
from cgraph.traversal import ancestors


def checked_compiled(graph: Graph) -> Graph:
    """Returns a Graph, or refuses one that is stale or whose output is not one loss."""
    if graph._executable.residency.stale:
        raise RuntimeError("gradcheck: the nodes of loss belong to a newer Graph")
    sizes = [node.size for node in graph._executable.program.outputs]
    if sizes != [1]:
        raise ValueError(
            f"gradcheck: loss must be a Graph with one output of one element, got {len(sizes)} of sizes {sizes}"
        )
    return graph


def checked_graph(loss: Node) -> list[Node]:
    """Returns the ancestors of a loss, or refuses a graph in which a consumer of them does not lead to the loss."""
    if not isinstance(loss, Node):
        raise TypeError(f"gradcheck: loss must be a Node or a Graph, got {describe(loss)}")
    if loss.size != 1:
        raise ValueError(f"gradcheck: loss must be a node of one element, got {loss!r}")
    order = ancestors(loss)
    members = set(order)
    for node in order[:-1]:
        for consumer in node.forward:
            if consumer not in members:
                raise GradientError(
                    f"gradcheck: {consumer!r} consumes {node!r} but does not lead to the loss, and "
                    "backwardPropagation would wait for it: detach() it, or check a loss that it leads to",
                    consumer,
                )
    pushed = Counter((x, node) for x in order for node in x.forward if node in members)
    read = Counter((x, node) for node in order for x in node.backward)
    for x, node in read - pushed:
        raise GradientError(
            f"gradcheck: {node!r} reads {x!r} but is not in its forward: pushThis() is missing",
            node,
        )
    for x, node in pushed - read:
        raise GradientError(
            f"gradcheck: {node!r} stands in the forward of {x!r} more often than it reads it, and "
            "backwardPropagation would wait: pushThis() was called too often",
            node,
        )
    return order


def checked_targets(
    order: Sequence[Node], wrt: Iterable[Node | Parameter] | None, without_grad: Collection[Node]
) -> list[Parameter]:
    """Returns the targets of a check: the data of leaves, except for leaves `without_grad`, and parameters of nodes."""
    if wrt is None:
        wrt = dict.fromkeys(
            target for node in order if node not in without_grad for target in _targets_of(node)
        )
    if isinstance(wrt, (Node, Parameter)) or not is_iterable(wrt):
        raise TypeError(
            f"gradcheck: wrt must be a sequence of Nodes and Parameters, got {describe(wrt)}"
        )
    members = set(order)
    targets: list[Parameter] = []
    for item in wrt:
        if not isinstance(item, (Node, Parameter)):
            raise TypeError(
                f"gradcheck: wrt must hold Nodes and Parameters alone, got {describe(item)}"
            )
        nodes = (item,) if isinstance(item, Node) else item.nodes
        node = next((each for each in nodes if each in members), nodes[0])
        if node not in members:
            raise ValueError(f"gradcheck: wrt must lie above the loss, got {node!r}")
        if node in without_grad:
            raise ValueError(
                f"gradcheck: wrt must be leaves whose gradient the Graph computes, got {node!r}, which its "
                "leaf_grads leave out"
            )
        found = _targets_of(item) if isinstance(item, Node) else [item]
        if not found:
            raise ValueError(f"gradcheck: wrt must be leaves or have parameters, got {node!r}")
        targets += [target for target in found if target not in targets]
    if not targets:
        raise ValueError("gradcheck: wrt must hold at least one Node or Parameter, got none")
    for target in targets:
        _require_array(target)
    return targets


def _require_array(target: Parameter) -> None:
    """Refuses a parameter whose elements cannot be changed, or whose gradient sum has another shape."""
    for array in (target.value, target.grad):
        if not isinstance(array, np.ndarray) or array.dtype.kind != "f" or array.size == 0:
            raise TypeError(
                f"gradcheck: {target.name} and its gradient sum must be arrays of floating-point "
                f"numbers, got {describe(array)}"
            )
    if target.value.shape != target.grad.shape:
        raise ValueError(
            f"gradcheck: {target.name} and its gradient sum must have the same shape, "
            f"got {target.value.shape} and {target.grad.shape}"
        )


def _targets_of(node: Node) -> list[Parameter]:
    """Returns the data of a leaf without a ``calcData`` of its own, and the parameters of a node that learn."""
    is_leaf = not node.backward and type(node).calcData is Node.calcData
    data = [Parameter(node, "_data", "_grad")] if is_leaf else []
    return data + [parameter for parameter in own_parameters(node) if parameter.trainable]
