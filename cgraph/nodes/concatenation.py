"""Concatenation: several nodes joined into one vector.

docs/look_up/specification.md says which document *the specification* is.
"""

from collections.abc import Iterable

from cgraph.node import Node, as_nodes


class Concatenation(Node):
    """The data of several nodes, joined in order into one vector (specification, "Class Inheritance Hierarchy").

    d = (x₁; x₂; …), where a matrix is read row by row.

    ∂L/∂x₁ is the first m₁ elements of g, ∂L/∂x₂ the next m₂ elements, and so on.

    Parameters
    ----------
    nodes : sequence of Node
        At least one node, of any shapes. ``domsize`` and ``height`` are the sum of their sizes, ``width`` is 1.

    Raises
    ------
    TypeError
        An element of `nodes` is not a Node, or their dtypes differ.
    ValueError
        `nodes` is empty.

    Examples
    --------
    >>> import cgraph as CG
    >>> x, y = CG.Leaf1(2), CG.Leaf2(2, 2)
    >>> CG.Concatenation([x, y])
    Concatenation(shape=(6, 1), dtype=float64, parameters=0)
    """

    def __init__(self, nodes: Iterable[Node]) -> None:
        inputs = as_nodes(type(self).__name__, "nodes", nodes)
        total = sum(node.size for node in inputs)
        self._set_up(total, total, 1, inputs)

    def calcData(self) -> None:
        self._kernels.concatenation.concatenation_forward(
            [x._data for x in self.backward], self._data
        )

    def calcPartialDerivative(self) -> None:
        self._kernels.concatenation.concatenation_backward(
            self._grad, [x._grad for x in self.backward]
        )
