"""Walks over a graph: the ancestors of a node, what learns among them, and their data computed without a pass."""

from collections.abc import Iterable, Iterator
from typing import Any

import numpy as np
import numpy.typing as npt

from cgraph import _passes
from cgraph._array import Array, copy_into
from cgraph.node import Node, as_node


class Parameter:
    """An array that learns: its node, its name there, its values and their gradient sum, in this order if unpacked.

    Both arrays are live: writing into them counts. Assigning copies in, so ``p.value -= eta * p.grad`` is a step.
    """

    __slots__ = ("_grad", "_value", "name", "node")

    node: Node
    name: str

    def __init__(self, node: Node, name: str, value: Array, grad: Array) -> None:
        self.node = node
        self.name = name
        self._value = value
        self._grad = grad

    @property
    def value(self) -> Array:
        """The values."""
        return self._value

    @value.setter
    def value(self, value: npt.ArrayLike) -> None:
        copy_into(type(self.node).__name__, self.name, value, self._value)

    @property
    def grad(self) -> Array:
        """The sum of the values' gradients since the last update."""
        return self._grad

    @grad.setter
    def grad(self, value: npt.ArrayLike) -> None:
        copy_into(type(self.node).__name__, f"gradient sum of {self.name}", value, self._grad)

    def __iter__(self) -> Iterator[Any]:
        return iter((self.node, self.name, self.value, self.grad))

    def __repr__(self) -> str:
        return f"Parameter({self.node!r}, {self.name!r}, shape={np.shape(self.value)})"


def ancestors(node: Node) -> list[Node]:
    """The node and everything that it is computed from, inputs before their consumers, the node last.

    Raises
    ------
    TypeError
        The argument is not a Node.
    """
    return ancestors_of([as_node("ancestors", "node", node)])


def ancestors_of(nodes: Iterable[Node]) -> list[Node]:
    """The nodes and everything that they are computed from, each once, inputs before their consumers."""
    order: list[Node] = []
    entered: set[Node] = set()
    pending: list[Node | None] = list(nodes)
    pending.reverse()
    while pending:
        current = pending.pop()
        if current is None:  # all that the node beneath is computed from is in order
            order.append(pending.pop())  # type: ignore[arg-type]
        elif current not in entered:
            entered.add(current)
            pending += (current, None)
            pending += reversed(current.backward)
    return order


def parameters(node: Node) -> list[Parameter]:
    """Every array that learns among the ancestors of a node, in the order of `ancestors`.

    Raises
    ------
    TypeError
        The argument is not a Node.

    Examples
    --------
    >>> import cgraph as CG
    >>> y = CG.Affine(CG.Leaf1(2), [[1.0], [2.0], [3.0]])
    >>> [(p.name, p.value.shape) for p in CG.parameters(y)]
    [('weight', (3, 1))]
    """
    as_node("parameters", "node", node)
    return [parameter for member in ancestors(node) for parameter in own_parameters(member)]


def own_parameters(node: Node) -> list[Parameter]:
    """Every array that learns in this node itself, as it declares them."""
    return [
        Parameter(node, name.removeprefix("_"), getattr(node, name), getattr(node, gradient))
        for name, gradient in node._parameters
    ]


def evaluate(node: Node) -> Array:
    """Computes the data of a node from what the leaves hold: a prediction, without a pass.

    Only the node and its ancestors compute, by their ``calcData``. Gradients, counters and gradient sums stay as they
    are, so this may be done at any time, also in the middle of a forward pass.

    Parameters
    ----------
    node : Node
        Any node; also one that belongs to a Graph.

    Returns
    -------
    ndarray, shape (node.size,)
        A copy of its data.

    Raises
    ------
    TypeError
        The argument is not a Node.
    RuntimeError
        The node belongs to a Graph that is running.

    Notes
    -----
    ``backwardPropagation`` afterwards needs a complete forward pass first, at every end that depends on what was
    computed, and ``Graph.backward`` a ``Graph.forward``. When an own node raises, the exception reaches the caller; the
    data are then undefined until the next complete forward pass or `evaluate`, and all else is as it was.

    Examples
    --------
    >>> import cgraph as CG
    >>> x, t = CG.Leaf1(2), CG.Leaf1(1)
    >>> y = CG.Affine(x, [[1.0], [2.0], [0.5]])
    >>> loss = CG.MSE(y, t)
    >>> x.getInput([3, 4])
    >>> CG.evaluate(y)
    array([11.5])
    """
    order = ancestors_of([as_node("evaluate", "node", node)])
    for graph in {id(n._graph): n._graph for n in order if n._graph is not None}.values():
        graph._stand_aside()
    for member in _passes.below(*order):
        member._has_run = False
    _passes.compute(order)
    return node.data.copy()
