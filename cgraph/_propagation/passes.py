"""The passes over nodes. They are iterative, and nodes compute in the order of the recursion in the specification.

A node computes when it has been called once by each neighbour on one side: by each input in a forward pass, by each
consumer in a backward pass or an update. The loops over these calls are in cgraph/_kernels/runtime/propagation.pyx. If
a node raises, the counters of all connected nodes are set to 0, so that the next pass begins anew. The nodes that are
still waiting at the end of a pass are recorded for the warnings in half_passes.py. The specification
(docs/look_up/specification.md) has the passes in section "Class: Node".
"""

from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager
from contextvars import ContextVar
from functools import partial
from operator import attrgetter
from typing import Any
from weakref import ref

from cgraph._kernels.runtime.propagation import backward_calls, forward_calls
from cgraph._kernels.runtime.uninterrupted import Component, Snapshot, complete, preserving

Node = Any  # a cgraph.node.Node; that module imports this one
# An observer is called with the name of a method and a node, after the method of that node has run.
Observer = Callable[[str, Node], None]

_observer: ContextVar[Observer | None] = ContextVar("observer", default=None)


class Waiting:
    """The nodes that are still waiting for calls after passes of one kind.

    The node on which a pass was called keeps a list of the nodes that this pass left waiting, and its component keeps a
    weak reference to the node. A node in a list may have computed since then, which its counter tells. There is no
    lock: the list of another thread may be missed once, and the next pass of that thread makes it again.

    Parameters
    ----------
    counter : str
        The attribute of a node that is not 0 while the node waits.
    lists : str
        The attribute of a node that holds its list.
    kind : str
        The attribute of a component that holds references to the nodes with a list.
    """

    def __init__(self, counter: str, lists: str, kind: str) -> None:
        self.waits = attrgetter(counter)
        self.lists = lists
        self.kind = kind

    def note(self, start: Node, left: list[Node]) -> None:
        """Records the nodes that are waiting at the end of a pass that was called on `start`."""
        recorded = getattr(start, self.lists)
        if recorded:
            left = list(dict.fromkeys([*filter(self.waits, recorded), *left]))
        setattr(start, self.lists, left)
        root = start._component.root()
        starts = getattr(root, self.kind)
        if starts is None:
            starts = set()
            setattr(root, self.kind, starts)
        starts.add(ref(start, root.drop))

    def nodes(self, root: Component) -> dict[Node, list[Node]]:
        """Returns the waiting nodes of a component, each with the nodes on which the responsible passes were called.

        Nodes that have computed since then are removed from the lists, before another pass leaves them waiting again.
        """
        found: dict[Node, list[Node]] = {}
        starts = getattr(root, self.kind)
        if not starts:
            return found
        for reference in starts.copy():
            start = reference()
            recorded = getattr(start, self.lists, ())
            left = list(filter(self.waits, recorded))
            for node in left:
                found.setdefault(node, []).append(start)
            if start is not None and getattr(start, self.lists) is recorded:
                setattr(start, self.lists, left)
                if not left:
                    starts.discard(reference)
        return found

    def forget(self, root: Component, residency: Any) -> None:
        """Removes the nodes of a Graph from the lists, since a call of the Graph has computed them all.

        The component gets a new set, so that the old set can be restored.
        """
        kept = set()
        for reference in getattr(root, self.kind).copy():
            start = reference()
            if start is not None:
                left = [
                    node for node in getattr(start, self.lists) if node._residency is not residency
                ]
                setattr(start, self.lists, left)
                if left:
                    kept.add(reference)
        setattr(root, self.kind, kept)


# Nodes that wait after an update are not recorded, since an update on some of the losses is no mistake.
waiting_forward = Waiting("b_count", "_left_forward", "forward")
waiting_backward = Waiting("f_count", "_left_backward", "backward")


@contextmanager
def observing(observer: Observer) -> Iterator[None]:
    """A context in which passes of this thread call `observer` after each method of a node, beside outer observers."""
    outer = _observer.get()

    def both(method: str, node: Node) -> None:
        observer(method, node)
        if outer is not None:
            outer(method, node)

    try:
        _observer.set(both)
        yield
    finally:
        _observer.set(outer)


def forward_pass(start: Node) -> None:
    """Runs the call of forwardPropagation on `start`, and all calls that follow from it."""
    observe = _observer.get()
    reset = partial(_reset, start, True)
    try:
        left = forward_calls(start, observe)
        if left:
            waiting_forward.note(start, left)
    except BaseException:
        complete(reset)
        raise


def backward_pass(start: Node) -> None:
    """Runs the call of backwardPropagation on `start`, and all calls that follow from it."""
    observe = _observer.get()
    reset = partial(_reset, start, False)
    try:
        left = backward_calls(start, observe)
        if left:
            waiting_backward.note(start, left)
    except BaseException:
        complete(reset)
        raise


def update_pass(start: Node, eta: float) -> None:
    """Runs the call of update on `start`, and all calls that follow from it."""
    observe = _observer.get()
    reset = partial(_reset, start, False)
    try:
        backward_calls(start, observe, eta)
    except BaseException:
        complete(reset)
        raise
    if not start.forward:
        start._backward_passes = 0  # whose gradients the update has used up


def _reset(start: Node, forward: bool) -> None:
    """Resets the counters of all connected nodes after an exception.

    After an exception in a forward pass, a backward pass also needs another forward pass first.
    """
    for node in component(start):
        node.b_count = node.f_count = 0
        if forward:
            node._has_run = False


def detach(end: Node) -> None:
    """Removes a node without consumers from the lists of its inputs, and ends the waiting of its ancestors for it."""
    for node in end.backward:
        node.forward[:] = [consumer for consumer in node.forward if consumer is not end]
    for node in above(end):
        node.f_count = 0
        node._left_forward = [left for left in node._left_forward if left is not end]
    end.b_count = 0
    end._has_run = False


def unlink(nodes: Iterable[Node]) -> None:
    """Removes all neighbours of each node."""
    for node in nodes:
        node.forward.clear()
        node.backward.clear()
        node.b_count = node.f_count = 0
        node._left_forward = node._left_backward = ()
        node._component.drop(ref(node))
        node._component = Component()
        node._has_run = False


def compute(order: Iterable[Node]) -> None:
    """Computes the data of nodes in the given order without a pass: counters and gradients do not change.

    This is a prediction, so that nodes that act in learning alone copy their inputs.
    """
    observe = _observer.get()
    order = list(order)

    def compute_all(snapshot: Snapshot) -> None:
        for counter in [node._sample_counter for node in order if node._sample_counter]:
            snapshot.add_field(counter, "active")
            counter.active = False
        for node in order:
            if node._frozen:
                node._call("calcData")
            else:
                node.calcData()
            if observe is not None:
                observe("calcData", node)

    preserving(compute_all)


def residencies(nodes: Iterable[Node]) -> list[Any]:
    """Returns the states of the arrays of nodes, one for each Graph to whose arena some of them belong."""
    return list({id(x._residency): x._residency for x in nodes if x._residency}.values())


def residencies_above(end: Node) -> list[Any]:
    """Returns the states of the arrays of a node and its ancestors."""
    residency = end._residency
    if not end._component.root().compiled:
        return []
    # The ancestors of a node belong to the same Graph, unless some have moved to a newer one.
    return [residency] if residency and not residency.stale else residencies(above(end))


def above(start: Node) -> set[Node]:
    """Returns a node and its ancestors."""
    return _reached([start], lambda node: node.backward)


def below(*starts: Node) -> set[Node]:
    """Returns nodes and all nodes that are computed from them."""
    return _reached(starts, lambda node: node.forward)


def component(start: Node) -> set[Node]:
    """Returns all nodes that are connected with a node, in either direction."""
    return _reached([start], lambda node: [*node.forward, *node.backward])


def _reached(starts: Iterable[Node], neighbours: Callable[[Node], list[Node]]) -> set[Node]:
    """Returns all nodes that can be reached from some nodes over `neighbours`."""
    found = set(starts)
    pending = list(found)
    while pending:
        for node in neighbours(pending.pop()):
            # The lists of a user's own node may hold other objects. They are skipped: the error that they caused is
            # already being raised.
            if node not in found and hasattr(node, "backward"):
                found.add(node)
                pending.append(node)
    return found
