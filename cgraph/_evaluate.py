"""A graph evaluated apart from its passes: the ancestors of one node alone, and everything put back afterwards."""

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from typing import Any

import numpy as np
import numpy.typing as npt

from cgraph.node import Node
from cgraph.walk import Parameter


def forward(order: Sequence[Node]) -> float:
    """Computes the nodes of `ancestors(loss)`; the loss is returned."""
    for node in order:
        node.calcData()
    return float(order[-1].data[0])


def backward(order: Sequence[Node], targets: Sequence[Parameter]) -> None:
    """Computes all gradients and gradient sums of `ancestors(loss)` anew.

    Those of the targets begin at 1 and not at 0, so that a node shows that overwrites where it should add.
    """
    for node in order:
        node.grad[...] = 0
        node.zero_grad()
    for target in targets:
        target.grad[...] = 1
    order[-1].grad[...] += 1
    for node in reversed(order):
        node.calcPartialDerivative()


@contextmanager
def preserved(order: Sequence[Node]) -> Iterator[None]:
    """Puts the attributes of the nodes and the content of their arrays back as they were, also after an exception."""
    attributes = [(vars(node), dict(vars(node))) for node in order]
    arrays = [(array, array.copy()) for node in order for array in _arrays(node)]
    try:
        yield
    finally:
        for live, saved in attributes:
            live.clear()
            live.update(saved)
        for array, copy in arrays:
            array[...] = copy


def _arrays(node: Node) -> Iterator[npt.NDArray[Any]]:
    """Every array that a node holds and may write into; an own class may hide some more elsewhere."""
    declared = (getattr(node, name) for pair in node._parameters for name in pair)
    for value in (*vars(node).values(), *declared):
        if isinstance(value, np.ndarray) and value.flags.writeable:
            yield value
