"""The nodes that the Python operators make, of two nodes or of a node and a number."""

from typing import Any

from cgraph import _operators
from cgraph.node import Node
from cgraph.nodes.elementwise import Add, Sub
from cgraph.nodes.functions import Reciprocal, Scale
from cgraph.nodes.pairs import Div, Mul
from cgraph.nodes.reduction import Expand


def fitted(x: Node, y: Node) -> tuple[Node, Node]:
    """Returns two nodes, of which one of a single element is expanded to the shape of the other.

    Nodes that the operator is going to refuse stay as they are, without a consumer.
    """
    if x._dtype is y._dtype and x.size != y.size:
        if x.size == 1:
            return Expand(x, y.height, y.width), y
        if y.size == 1:
            return x, Expand(y, x.height, x.width)
    return x, y


# In each of these functions, x or y may be a number instead of a node.


def add(x: Any, y: Any) -> Node:
    """Returns the node of x + y."""
    if not isinstance(x, Node):
        return Scale(y, 1, x)
    return Add(*fitted(x, y)) if isinstance(y, Node) else Scale(x, 1, y)


def subtract(x: Any, y: Any) -> Node:
    """Returns the node of x - y."""
    if not isinstance(x, Node):
        return Scale(y, -1, x)
    return Sub(*fitted(x, y)) if isinstance(y, Node) else Scale(x, 1, -y)


def multiply(x: Any, y: Any) -> Node:
    """Returns the node of x * y."""
    if not isinstance(x, Node):
        return Scale(y, x)
    return Mul(*fitted(x, y)) if isinstance(y, Node) else Scale(x, y)


def divide(x: Any, y: Any) -> Node:
    """Returns the node of x / y; refuses a number y that is 0, or whose reciprocal is not finite."""
    if not isinstance(x, Node):
        return Reciprocal(y, x)
    if isinstance(y, Node):
        return Div(*fitted(x, y))
    if y == 0:
        raise ValueError(f"Scale: the number by which a node is divided must not be 0, got {y:g}")
    return Scale(x, 1 / y)


_operators.MAKERS.update({"+": add, "-": subtract, "*": multiply, "/": divide})
