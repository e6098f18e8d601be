"""The passes over a graph: who computes when. Iterative, in the order that the document's recursion would have.

A node works when as many calls have come as it has neighbours on the side that they come from. Where a node raises, the
counters of all connected nodes go back to 0, so that the next pass begins anew. The nodes that a pass leaves waiting
are noted, for the warnings in _mistakes.py.
"""

from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager
from contextvars import ContextVar
from functools import partial
from operator import attrgetter, methodcaller
from typing import Any
from weakref import ref

from cgraph._kernels.runtime.uninterrupted import Component, complete

Node = Any  # a cgraph.node.Node; that module imports this one
# Called with the name of the method and the node, when the node has worked.
Observer = Callable[[str, Node], None]

_observer: ContextVar[Observer | None] = ContextVar("observer", default=None)


class Waiting:
    """The nodes that passes of one kind have left waiting for further calls.

    A list of them is kept by the node on which the pass was called, and that node is known to its component, weakly.
    What stands in a list may have worked since then: the counters tell. Nothing is locked: the list of another thread
    may be missed once, and its next pass makes it again.

    Parameters
    ----------
    counter : str
        The attribute of a node that is not 0 while it waits.
    lists : str
        The attribute of a node for the list.
    kind : str
        The attribute of a component for the nodes with a list.
    """

    def __init__(self, counter: str, lists: str, kind: str) -> None:
        self.waits = attrgetter(counter)
        self.lists = lists
        self.kind = kind

    def note(self, start: Node, left: list[Node]) -> None:
        """At the end of a pass that was called on `start`."""
        known = getattr(start, self.lists)
        if known:
            left = list(dict.fromkeys([*filter(self.waits, known), *left]))
        setattr(start, self.lists, left)
        root = start._component.root()
        starts = getattr(root, self.kind)
        if starts is None:
            starts = set()
            setattr(root, self.kind, starts)
        starts.add(ref(start, root.drop))

    def nodes(self, root: Component) -> dict[Node, list[Node]]:
        """Each node of a component that waits, with the nodes on which the passes were called that left it so.

        What has worked since then is taken out, before another pass leaves it waiting for another reason.
        """
        found: dict[Node, list[Node]] = {}
        starts = getattr(root, self.kind)
        if not starts:
            return found
        for reference in starts.copy():
            start = reference()
            known = getattr(start, self.lists, ())
            left = list(filter(self.waits, known))
            for node in left:
                found.setdefault(node, []).append(start)
            if start is not None and getattr(start, self.lists) is known:
                setattr(start, self.lists, left)
                if not left:
                    starts.discard(reference)
        return found

    def forget(self, root: Component, graph: Any) -> None:
        """The nodes of a Graph do not count as waiting: it has computed them all, from what the leaves hold.

        The component gets another set, so that the old one may be put back.
        """
        kept = set()
        for reference in getattr(root, self.kind).copy():
            start = reference()
            if start is not None:
                left = [node for node in getattr(start, self.lists) if node._graph is not graph]
                setattr(start, self.lists, left)
                if left:
                    kept.add(reference)
        setattr(root, self.kind, kept)


# What an update has left waiting is not noted: it is no mistake.
waiting_forward = Waiting("b_count", "_left_forward", "forward")
waiting_backward = Waiting("f_count", "_left_backward", "backward")


@contextmanager
def observing(observer: Observer) -> Iterator[None]:
    """A context in which the passes of this thread show each node that has worked to `observer`, too."""
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
    """A call of forwardPropagation on `start`, and all calls that follow from it."""
    observe = _observer.get()
    begin_anew = partial(_break_off, start, True)
    waiting: list[Node] = []
    try:
        # A signal at the end of the loop counts as one at the instruction in front of it, which so has to stand here.
        pending = [start]
        while pending:
            node = pending.pop()
            arrived = node.b_count + 1
            if arrived < len(node.backward):
                node.b_count = arrived
                if arrived == 1:
                    waiting.append(node)
                continue
            if node._graph is not None:
                node._graph._before_node_forward()
            # With the gradients goes what is left of a backward pass that something kept waiting.
            node.b_count = node.f_count = 0
            node._grad.fill(0)
            node.calcData()
            node._has_run = True
            if observe is not None:
                observe("calcData", node)
            pending += node.forward[::-1]
        left = [node for node in waiting if node.b_count]
        if left:
            waiting_forward.note(start, left)
    except BaseException:
        complete(begin_anew)
        raise


def backward_pass(start: Node, method: str, *args: float) -> None:
    """A call of backwardPropagation or update on `start`, and all that follow; `method` is each node's work."""
    observe = _observer.get()
    work = methodcaller(method, *args)
    begin_anew = partial(_break_off, start, False)
    waiting: list[Node] = []
    try:
        pending = [start]  # here, as in forward_pass
        while pending:
            node = pending.pop()
            arrived = node.f_count + 1
            if arrived < len(node.forward):
                node.f_count = arrived
                if arrived == 1:
                    waiting.append(node)
                continue
            node.f_count = 0
            if node._graph is not None:
                node._graph._before_node_pass()
            work(node)
            if observe is not None:
                observe(method, node)
            pending += node.backward[::-1]
        left = [node for node in waiting if node.f_count]
        if left and method == "calcPartialDerivative":
            waiting_backward.note(start, left)
    except BaseException:
        complete(begin_anew)
        raise


def _break_off(start: Node, forward: bool) -> None:
    """After an exception, the next pass begins anew; after one in a forward pass, a backward pass needs another."""
    for node in component(start):
        node.b_count = node.f_count = 0
        if forward:
            node._has_run = False


def detach(end: Node) -> None:
    """Takes a node without consumers out of its inputs' lists, and ends what a backward pass above waits for."""
    for node in end.backward:
        node.forward[:] = [consumer for consumer in node.forward if consumer is not end]
    for node in above(end):
        node.f_count = 0
        node._left_forward = [left for left in node._left_forward if left is not end]
    end.b_count = 0
    end._has_run = False


def unlink(nodes: Iterable[Node]) -> None:
    """Leaves each node without neighbours."""
    for node in nodes:
        node.forward.clear()
        node.backward.clear()
        node.b_count = node.f_count = 0
        node._left_forward = node._left_backward = ()
        node._component.drop(ref(node))
        node._component = Component()
        node._has_run = False


def compute(order: Iterable[Node]) -> None:
    """The data of nodes, inputs before their consumers, without a pass: counters and gradients stay as they are."""
    observe = _observer.get()
    for node in order:
        node.calcData()
        if observe is not None:
            observe("calcData", node)


def graphs_above(end: Node) -> list[Any]:
    """The Graphs to which a node and its ancestors belong."""
    graph = end._graph
    if not end._component.root().compiled:
        return []
    if graph is not None and not graph._stale:  # then all of them do
        return [graph]
    return list({id(x._graph): x._graph for x in above(end) if x._graph is not None}.values())


def above(start: Node) -> set[Node]:
    """The node and all its ancestors."""
    return _reached([start], lambda node: node.backward)


def below(*starts: Node) -> set[Node]:
    """The nodes and everything that is computed from them."""
    return _reached(starts, lambda node: node.forward)


def component(start: Node) -> set[Node]:
    """Every node that is connected with this one."""
    return _reached([start], lambda node: [*node.forward, *node.backward])


def _reached(starts: Iterable[Node], neighbours: Callable[[Node], list[Node]]) -> set[Node]:
    found = set(starts)
    pending = list(found)
    while pending:
        for node in neighbours(pending.pop()):
            # What is not a node may stand in an own node's lists; the error that it caused is already on its way.
            if node not in found and hasattr(node, "backward"):
                found.add(node)
                pending.append(node)
    return found
