"""A graph evaluated apart from its passes: the ancestors of one node alone, and everything put back afterwards."""

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from typing import Any

import numpy as np
import numpy.typing as npt

from cgraph.node import Node


def forward(order: Sequence[Node]) -> float:
    """Computes the nodes of `ancestors(loss)`; the loss is returned."""
    for node in order:
        node.calcData()
    return float(order[-1].data[0])


def backward(order: Sequence[Node]) -> None:
    """Computes all gradients and gradient sums of `ancestors(loss)` anew."""
    for node in order:
        node.grad[...] = 0
        node.zero_grad()
    order[-1].grad[...] = 1
    for node in reversed(order):
        node.calcPartialDerivative()


@contextmanager
def preserved(order: Sequence[Node]) -> Iterator[None]:
    """Puts the arrays of the nodes back as they were, also after an exception."""
    saved = [(array, array.copy()) for node in order for array in _arrays(node)]
    try:
        yield
    finally:
        for array, copy in saved:
            array[...] = copy


def _arrays(node: Node) -> Iterator[npt.NDArray[Any]]:
    """Every array that a node holds and may write into; the class of an own node may hold some more elsewhere."""
    declared = (getattr(node, name) for pair in node._parameters for name in pair)
    for value in (*vars(node).values(), *declared):
        if isinstance(value, np.ndarray) and value.flags.writeable:
            yield value
