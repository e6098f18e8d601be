"""Parameter: an array of a node that learns, together with its gradient sum."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from typing import Any, NoReturn, SupportsIndex

import numpy as np
import numpy.typing as npt

from cgraph._kernels.runtime.uninterrupted import only_one, store
from cgraph._propagation.passes import residencies
from cgraph._subclassing import declared_array
from cgraph._validation import Array, as_flag, copy_into
from cgraph.node import Node, as_node
from cgraph.traversal import ancestors


class Parameter:
    """An array of a node that learns, with its gradient sum.

    Both arrays are live: passes use what is written into them. Assigning to the properties copies into the arrays, so
    ``p.value -= eta * p.grad`` is a step of gradient descent. A Parameter unpacks into node, name, value and grad.

    There is one Parameter for each array that learns, and two are equal only if they are the same object. The arrays
    are read from the node at each access. So a list of parameters that was made before a `Graph` serves as well as a
    later one, and a look at an array costs later calls of a Graph nothing, once it is no longer referred to.

    Attributes
    ----------
    name : str
        The name of the array in its node.
    node : Node
        A node that learns it.
    nodes : tuple of Node
        All nodes that learn it, several where `Node.share` has made some of them.
    """

    __slots__ = ("__weakref__", "_grad_name", "_value_name", "name", "node")

    node: Node
    name: str

    def __init__(self, node: Node, value_name: str, grad_name: str) -> None:
        self.node = node
        self.name = value_name.removeprefix("_")
        self._value_name = value_name
        self._grad_name = grad_name

    @property
    def nodes(self) -> tuple[Node, ...]:
        """All nodes that learn this parameter, as long as they live."""
        sharing = self.node._sharing
        return (self.node,) if sharing is None else (*sharing.nodes,)

    @property
    def value(self) -> Array:
        """The array that learns."""
        value: Array = getattr(self.node, self._value_name)
        return value

    @value.setter
    def value(self, value: npt.ArrayLike) -> None:
        target = declared_array(self.node, self._value_name)
        copy_into(type(self.node).__name__, self.name, value, target)

    @property
    def grad(self) -> Array:
        """The sum of the gradients of ``value`` since the last update, an array of the same shape."""
        grad: Array = getattr(self.node, self._grad_name)
        return grad

    @grad.setter
    def grad(self, value: npt.ArrayLike) -> None:
        target = declared_array(self.node, self._grad_name)
        copy_into(type(self.node).__name__, f"gradient sum of {self.name}", value, target)

    @property
    def shape(self) -> tuple[int, ...]:
        """The shape of ``value`` and ``grad``."""
        return np.shape(self._peek())

    @property
    def trainable(self) -> bool:
        """Whether the parameter learns; it can be assigned at any time, and counts from the next call or pass on.

        Where it is False, no update changes ``value``, and ``grad`` is neither added to nor set to 0. A parameter of a
        class that does not declare it in ``_parameters`` never learns. If it is assigned while a Graph is running, a
        node computed in Python heeds it from its next method on.
        """
        return self._value_name not in self.node._frozen

    @trainable.setter
    def trainable(self, value: bool) -> None:
        value, nodes = as_flag("Parameter", "trainable", value), self.nodes
        frozen = frozenset() if value else {self._value_name}
        frozen = self.node._frozen - {self._value_name} | frozen
        # Both at once, so that no signal leaves a Graph that does not know of the change.
        changes: list[Any] = [(("_frozen",), [(node, frozen) for node in nodes])]
        changes.append((("freezes",), [(each, object()) for each in residencies(nodes)]))
        store(changes)

    def _peek(self) -> Array:
        """Returns the array that learns, up to date, to be read at once and neither kept nor written into."""
        return self.node._peek(self._value_name)

    def __iter__(self) -> Iterator[Any]:
        return iter((self.node, self.name, self.value, self.grad))

    def __copy__(self) -> NoReturn:
        raise TypeError("Parameter: a parameter cannot be copied without its node; copy its value")

    def __reduce_ex__(self, protocol: SupportsIndex) -> tuple[object, ...]:
        return parameter_of, (self.node, self._value_name)

    def __repr__(self) -> str:
        frozen = "" if self.trainable else ", trainable=False"
        return f"Parameter({self.node!r}, {self.name!r}, shape={self.shape}{frozen})"


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
    return parameters_of(ancestors(node))


def parameters_of(nodes: Iterable[Node]) -> list[Parameter]:
    """Returns the parameters of nodes in their order, each once."""
    return [*dict.fromkeys(p for node in nodes for p in own_parameters(node))]


def own_parameters(node: Node) -> list[Parameter]:
    """Returns the parameters of a node itself, in the order of its ``_parameters``.

    A node refers to its Parameters weakly, since these refer to the node.
    """
    if not node._parameters:
        return []
    known = vars(node).setdefault("_parameter_objects", {})
    return [only_one(known, pair, Parameter(node, *pair)) for pair in node._parameters]


def parameter_of(node: Node, value_name: str) -> Parameter:
    """Returns the parameter of a node whose array `_parameters` calls so."""
    (found,) = [each for each in own_parameters(node) if each._value_name == value_name]
    return found
