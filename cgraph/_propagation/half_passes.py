"""What is refused or warned of before a pass begins, when nothing has changed yet.

The warnings are of passes that were left half done: two mistakes with the counters that show in no number at first.

A forward pass on some of the leaves alone leaves arrivals, and in every later pass nodes then work one call too early.
A consumer that never calls keeps a backward pass waiting, and the calls of the update are taken for those that are
missing. Why the criteria find these mistakes and nothing else:
docs/understand/decisions/0007-warnings-of-half-passes.md.
"""

import warnings
from collections.abc import Sequence
from typing import Any

from cgraph._kernels.runtime.uninterrupted import Component
from cgraph._propagation.passes import above, below, waiting_backward, waiting_forward

Node = Any  # a cgraph.node.Node; that module imports this one


def check_end(node: Node, graphs: Sequence[Any]) -> None:
    """Refuses a node at which a backward pass cannot begin; graphs: those to which nodes above it belong."""
    if node.size != 1:
        raise ValueError(
            f"{type(node).__name__}: backwardPropagation must begin at a node of one element, got {node.size}"
        )
    moved_on = any(graph._has_computed for graph in graphs if graph is not node._graph)
    if moved_on or not node._has_run:
        raise RuntimeError(
            f"{type(node).__name__}: backwardPropagation needs a completed forward pass first"
        )


def before_backward(end: Node) -> None:
    """Warns where a node above `end` has heard of inputs that are newer than its data.

    Every input calls when it has been computed, and the last call has the node computed. So a node that waits was
    computed from another forward pass of some leaf than what an input of it holds now.
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
    """Warns where a node above `start` waits in a backward pass, and something would have learnt from it."""
    root = start._component.root()
    if "backward" in root.warned:
        return
    nodes = waiting_backward.nodes(root)
    stuck = [node for node in nodes if start in below(node) and _learns(node)]
    if stuck:
        # What waits further up does so because the last one does.
        after = below(stuck[0]).intersection(nodes)
        node = next((n for n in after if len(below(n).intersection(nodes)) == 1), stuck[0])
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
    """Whether anything learns in the node or above it."""
    return any(
        member._parameters or type(member).updateParameters.__qualname__ != "Node.updateParameters"
        for member in above(node)
    )


def _warn(root: Component, kind: str, message: str) -> None:
    warnings.warn(message, RuntimeWarning, stacklevel=4)
    root.warned |= {kind}  # not if the warning is raised as an error
