"""The passes over a graph: who computes when. Iterative, in the order that the document's recursion would have.

A node works when as many calls have come as it has neighbours on the side that they come from. Where a node raises, the
counters of all connected nodes go back to 0, so that the next pass begins anew.
"""

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from contextvars import ContextVar
from functools import partial
from operator import methodcaller
from typing import Any

from cgraph._kernels.uninterrupted import complete

Node = Any  # a cgraph.node.Node; that module imports this one
# Called with the name of the method and the node, when the node has worked.
Observer = Callable[[str, Node], None]

_observer: ContextVar[Observer | None] = ContextVar("observer", default=None)


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
    pending = [start]
    try:
        while pending:
            node = pending.pop()
            arrived = node.b_count + 1
            if arrived < len(node.backward):
                node.b_count = arrived
                continue
            if node._graph is not None:
                node._graph._give_way()
            # With the gradients goes what is left of a backward pass that something kept waiting.
            node.b_count = node.f_count = 0
            node._grad.fill(0)
            node.calcData()
            node._has_run = True
            if observe is not None:
                observe("calcData", node)
            pending += node.forward[::-1]
    except BaseException:
        complete(partial(_break_off, start, True))
        raise


def backward_pass(start: Node, method: str, *args: float) -> None:
    """A call of backwardPropagation or update on `start`, and all that follow; `method` is each node's work."""
    observe = _observer.get()
    work = methodcaller(method, *args)
    pending = [start]
    try:
        while pending:
            node = pending.pop()
            arrived = node.f_count + 1
            if arrived < len(node.forward):
                node.f_count = arrived
                continue
            node.f_count = 0
            if node._graph is not None:
                node._graph._give_way()
            work(node)
            if observe is not None:
                observe(method, node)
            pending += node.backward[::-1]
    except BaseException:
        complete(partial(_break_off, start, False))
        raise


def _break_off(start: Node, forward: bool) -> None:
    """After an exception, the next pass begins anew; after one in a forward pass, a backward pass needs another."""
    for node in component(start):
        node.b_count = node.f_count = 0
        if forward:
            node._has_run = False


def above(start: Node) -> set[Node]:
    """The node and all its ancestors."""
    return _reached(start, lambda node: node.backward)


def component(start: Node) -> set[Node]:
    """Every node that is connected with this one."""
    return _reached(start, lambda node: [*node.forward, *node.backward])


def _reached(start: Node, neighbours: Callable[[Node], list[Node]]) -> set[Node]:
    found = {start}
    pending = [start]
    while pending:
        for node in neighbours(pending.pop()):
            # What is not a node may stand in an own node's lists; the error that it caused is already on its way.
            if node not in found and hasattr(node, "backward"):
                found.add(node)
                pending.append(node)
    return found
