"""Parameter: an array of a node that learns, together with its gradient sum."""

from collections.abc import Iterator
from typing import Any

import numpy as np
import numpy.typing as npt

from cgraph._validation import Array, copy_into
from cgraph.node import Node, as_node
from cgraph.traversal import ancestors


class Parameter:
    """An array of a node that learns, with its gradient sum.

    Both arrays are live: passes use what is written into them. Assigning to the properties copies into the arrays, so
    ``p.value -= eta * p.grad`` is a step of gradient descent. A Parameter unpacks into node, name, value and grad.

    The arrays are read from the node at each access. So a list of parameters that was made before a `Graph` serves as
    well as a later one, and a Graph pays nothing for a gradient sum that is never read.

    Attributes
    ----------
    node : Node
        The node that learns.
    name : str
        The name of the array in that node.
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
        """The array that learns."""
        value: Array = getattr(self.node, self._value_name)
        return value

    @value.setter
    def value(self, value: npt.ArrayLike) -> None:
        copy_into(type(self.node).__name__, self.name, value, self.value)

    @property
    def grad(self) -> Array:
        """The sum of the gradients of ``value`` since the last update, an array of the same shape."""
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
    """Returns the parameters of a node and of its ancestors, in the order of `ancestors`.

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
    """Returns the parameters of a node itself, in the order of its ``_parameters``."""
    return [Parameter(node, name, grad_name) for name, grad_name in node._parameters]
