"""Concatenation: several nodes joined into one vector; and Slice, a part of a node.

docs/look_up/specification.md says which document *the specification* is.
"""

from collections.abc import Iterable
from typing import Any, ClassVar

from cgraph._validation import as_integer, describe
from cgraph.node import Node, as_node, as_nodes


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

    _input_argument: ClassVar = "nodes"

    def __init__(self, nodes: Iterable[Node]) -> None:
        inputs = as_nodes(type(self).__name__, "nodes", nodes)
        total = sum(node.size for node in inputs)
        self._set_up(total, total, 1, inputs)

    def calcData(self) -> None:
        self._kernels.elementwise.concatenation_forward(
            [x._data for x in self.backward], self._data
        )

    def calcPartialDerivative(self) -> None:
        self._kernels.elementwise.concatenation_backward(
            self._grad, [x._grad for x in self.backward]
        )


class Slice(Node):
    """d_i = x_(start + i), for start + i < stop: consecutive elements of a node, as a vector.

    ∂L/∂x_j = g_(j − start) for start ≤ j < stop, and 0 elsewhere.

    Parameters
    ----------
    node : Node
        x, of any shape; a matrix is read row by row.
    start, stop : int
        The first element, and the first one behind the last: 0 ≤ start < stop ≤ ``node.size``. They count from the
        beginning: negative numbers are refused.

    Raises
    ------
    TypeError
        `node` is not a Node; `start` or `stop` is not an integer.
    ValueError
        `start` and `stop` are not within the node.

    Notes
    -----
    The elements are copied, NaN and infinities among them, and others have no influence. A `Graph` that takes samples
    side by side reads them where they are, instead.

    Examples
    --------
    >>> import cgraph as CG
    >>> x = CG.Leaf2(2, 3)
    >>> x.getInput([[1, 2, 3], [4, 5, 6]])
    >>> CG.evaluate(CG.Slice(x, 2, 4))
    array([3., 4.])
    """

    def __init__(self, node: Node, start: int, stop: int) -> None:
        owner = type(self).__name__
        x = as_node(owner, "node", node)
        start, stop = as_integer(owner, "start", start), as_integer(owner, "stop", stop)
        if not 0 <= start < stop <= x.size:
            raise ValueError(
                f"{owner}: start and stop must satisfy 0 <= start < stop <= {x.size}, "
                f"got {describe(start)} and {describe(stop)}"
            )
        self._start, self._stop = start, stop
        self._set_up(x.size, stop - start, 1, (x,))

    def _config(self) -> dict[str, Any]:
        return {"start": self._start, "stop": self._stop}

    @property
    def start(self) -> int:
        """The index of the first element."""
        return self._start

    @property
    def stop(self) -> int:
        """The index behind the last element."""
        return self._stop

    def calcData(self) -> None:
        k = self._kernels.elementwise
        k.slice_forward(self.backward[0]._data, self._start, self._data)

    def calcPartialDerivative(self) -> None:
        k = self._kernels.elementwise
        k.slice_backward(self._start, self._grad, self.backward[0]._grad)
