"""Concatenation: several nodes joined into one vector."""

from collections.abc import Iterable

from cgraph.node import Node, as_nodes


class Concatenation(Node):
    """The data of several nodes, joined in order into one vector.

    d = (x₁; x₂; …), a 2-D input row by row. The gradient is cut up again: ∂L/∂x₁ = the first m₁ elements of ∂L/∂d, and
    so on.

    Parameters
    ----------
    nodes : sequence of Node
        At least one node, of any shapes. ``domsize`` and ``height`` are the sum of their sizes, ``width`` is 1.

    Raises
    ------
    TypeError
        Something in `nodes` is not a Node, or their dtypes differ.
    ValueError
        No nodes.

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
