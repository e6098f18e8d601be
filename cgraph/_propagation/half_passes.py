"""The errors and warnings before a pass begins, when no node has changed yet.

The warnings find two mistakes with the counters of nodes, which at first give no wrong number:

A forward pass that is called on some of the leaves alone leaves arrivals in the counters, so that in every later pass
nodes compute one call too early. A consumer that never calls keeps a backward pass waiting, and the calls of the next
update are then counted as the missing ones. docs/understand/decisions/0007-warnings-of-half-passes.md says why the
criteria below find these mistakes and no others.
"""

import warnings
from collections.abc import Sequence
from typing import Any

from cgraph._kernels.runtime.uninterrupted import Component
from cgraph._propagation.passes import above, below, waiting_backward, waiting_forward

Node = Any  # a cgraph.node.Node; that module imports this one


def check_end(node: Node, residencies: Sequence[Any]) -> None:
    """Refuses a node at which a backward pass cannot begin.

    Parameters
    ----------
    node : Node
        A node without consumers.
    residencies : sequence of Residency
        The states of the arrays of the node and its ancestors, one for each Graph to which they belong.
    """
    if node.size != 1:
        raise ValueError(
            f"{type(node).__name__}: backwardPropagation must begin at a node of one element, got {node.size}"
        )
    overwritten = any(x.has_computed for x in residencies if x is not node._residency)
    if overwritten or not node._has_run:
        raise RuntimeError(
            f"{type(node).__name__}: backwardPropagation needs a completed forward pass first"
        )


def before_backward(end: Node) -> None:
    """Warns if an ancestor of `end` has counted arrivals of inputs that are newer than its data.

    An input calls its consumers when it has been computed, and the last call makes a consumer compute. So the data of a
    node that waits come from an earlier forward pass of some leaf than the data that one of its inputs holds now.
    """
    root = end._component.root()
    if "forward" in root.warned:
        return
    nodes = [node for node in waiting_forward.nodes(root) if end in below(node)]
    if nodes:
        node = nodes[0]
        _warn(
            root,
            "forward",
            f"{type(end).__name__}: backwardPropagation begins at a node that was computed from two different "
            f"forward passes of one leaf: {node!r} has had {node.b_count} of {len(node.backward)} calls since it "
            "was computed. A pass is one call of forwardPropagation on each leaf; to predict without one, there is "
            "CG.evaluate(node)",
        )


def before_update(start: Node) -> None:
    """Warns if an ancestor of `start` waits in a backward pass, and parameters would have learnt from that pass."""
    root = start._component.root()
    if "backward" in root.warned:
        return
    nodes = waiting_backward.nodes(root)
    stuck = [node for node in nodes if start in below(node) and _learns(node)]
    if stuck:
        # The warning names the waiting node nearest to the loss: its ancestors wait because this node does.
        waiting = below(stuck[0]).intersection(nodes)
        node = next((n for n in waiting if len(below(n).intersection(nodes)) == 1), stuck[0])
        called = set().union(*map(above, nodes[node]))
        silent = {number: c for number, c in enumerate(node.forward) if c not in called}
        names = ", ".join(f"forward[{number}], {c!r}" for number, c in silent.items())
        _warn(
            root,
            "backward",
            f"{type(start).__name__}: update finds {node!r} still waiting in a backward pass, so that nothing learns "
            f"from there on: {node.f_count} of {len(node.forward)} consumers have called, but never "
            f"{names or 'the others'}. Call backwardPropagation on every end that it leads to, or detach() what leads "
            "nowhere",
        )


def _learns(node: Node) -> bool:
    """Returns whether the node or one of its ancestors has parameters, or an ``updateParameters`` of its own."""
    return any(
        member._parameters or type(member).updateParameters.__qualname__ != "Node.updateParameters"
        for member in above(node)
    )


def _warn(root: Component, kind: str, message: str) -> None:
    warnings.warn(message, RuntimeWarning, stacklevel=4)
    root.warned |= {kind}  # is not reached if warnings are errors
