"""The Python operators between nodes, and between nodes and numbers.

The nodes that they make are classes of `cgraph/nodes`, which is above this module: `nodes/arithmetic.py` puts the
functions that make them into `MAKERS`.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from numbers import Real
from typing import Any, ClassVar, Generic, TypeVar

NodeT = TypeVar("NodeT")

# A function for each operator, by its sign; its operands are two nodes, or a node and a number on either side.
MAKERS: dict[str, Callable[[Any, Any], Any]] = {}


class Operators(Generic[NodeT]):
    """What makes nodes of ``x + y``, ``x - y``, ``x * y``, ``x / y`` and ``-x``."""

    # NumPy leaves an operator between a number of its own and a node to the node, and refuses arrays.
    __array_ufunc__: ClassVar[None] = None

    def __add__(self, other: NodeT | float) -> NodeT:
        return self._apply("+", self, other)

    def __radd__(self, other: float) -> NodeT:
        return self._apply("+", other, self)

    def __sub__(self, other: NodeT | float) -> NodeT:
        return self._apply("-", self, other)

    def __rsub__(self, other: float) -> NodeT:
        return self._apply("-", other, self)

    def __mul__(self, other: NodeT | float) -> NodeT:
        return self._apply("*", self, other)

    def __rmul__(self, other: float) -> NodeT:
        return self._apply("*", other, self)

    def __truediv__(self, other: NodeT | float) -> NodeT:
        return self._apply("/", self, other)

    def __rtruediv__(self, other: float) -> NodeT:
        return self._apply("/", other, self)

    def __neg__(self) -> NodeT:
        return self._apply("*", -1, self)

    def _apply(self, sign: str, left: object, right: object) -> NodeT:
        """Returns the node of an operator, one of whose operands this is."""
        node: NodeT = applied(sign, left, right)
        return node


def as_float(number: Any) -> float:
    """Returns a number as a float; one that is too large for a float is infinite."""
    try:
        return float(number)
    except OverflowError:
        return math.inf if number > 0 else -math.inf


def applied(sign: str, left: object, right: object) -> Any:
    """Returns the node of an operator; NotImplemented, of which Python makes a TypeError, for what is no operand."""
    operands: list[object] = []
    for value in (left, right):
        if isinstance(value, Operators):
            operands.append(value)
        elif isinstance(value, Real):
            operands.append(as_float(value))
        else:
            return NotImplemented
    return MAKERS[sign](*operands)
