"""Parameters: the arrays of a graph that learn, each together with its gradient sum."""

from collections.abc import Iterator
from typing import Any

import numpy as np
import numpy.typing as npt

from cgraph._validation import Array, copy_into
from cgraph.node import Node, as_node
from cgraph.traversal import ancestors


class Parameter:
    """An array that learns: its node, its name there, its values and their gradient sum, in this order if unpacked.

    Both arrays are live: writing into them counts. Assigning copies in, so ``p.value -= eta * p.grad`` is a step. The
    arrays are read from the node at each look, so a list of parameters that was made before a Graph is as good as a
    later one; and a parameter whose gradient sum is never read costs a Graph nothing.
    """

    __slots__ = ("_grad_name", "_value_name", "name", "node")

    node: Node
    name: str

    def __init__(self, node: Node, value_name: str, grad_name: str) -> None:
        self.node = node
        self.name = value_name.removeprefix("_")
        self._value_name = value_name
        self._grad_name = grad_name

    @property
    def value(self) -> Array:
        """The values."""
        value: Array = getattr(self.node, self._value_name)
        return value

    @value.setter
    def value(self, value: npt.ArrayLike) -> None:
        copy_into(type(self.node).__name__, self.name, value, self.value)

    @property
    def grad(self) -> Array:
        """The sum of the values' gradients since the last update."""
        grad: Array = getattr(self.node, self._grad_name)
        return grad

    @grad.setter
    def grad(self, value: npt.ArrayLike) -> None:
        copy_into(type(self.node).__name__, f"gradient sum of {self.name}", value, self.grad)

    def __iter__(self) -> Iterator[Any]:
        return iter((self.node, self.name, self.value, self.grad))

    def __repr__(self) -> str:
        return f"Parameter({self.node!r}, {self.name!r}, shape={np.shape(self.value)})"


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
    return [Parameter(node, name, gradient) for name, gradient in node._parameters]
