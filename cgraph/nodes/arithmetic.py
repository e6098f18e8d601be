"""The nodes that the Python operators make, of two nodes or of a node and a number."""

from typing import Any

from cgraph import _operators
from cgraph._validation import require_dtype
from cgraph.node import Node
from cgraph.nodes.elementwise import Add, MMtoM, Sub
from cgraph.nodes.functions import Reciprocal, Scale
from cgraph.nodes.pairs import Div, Mul
from cgraph.nodes.reduction import Expand


def paired(kind: type[MMtoM], x: Node, y: Node) -> Node:
    """Returns the node of two nodes, of which one of a single element is expanded to the shape of the other.

    Nodes that are refused stay as they are, without a consumer.
    """
    if x.size != y.size and 1 in (x.size, y.size):
        require_dtype(kind.__name__, x._dtype, (y,))
        if x.size == 1:
            x = Expand(x, y.height, y.width)
        else:
            y = Expand(y, x.height, x.width)
    return kind(x, y)


# In each of these functions, x or y may be a number instead of a node.


def add(x: Any, y: Any) -> Node:
    """Returns the node of x + y."""
    if not isinstance(x, Node):
        return Scale(y, 1, x)
    return paired(Add, x, y) if isinstance(y, Node) else Scale(x, 1, y)


def subtract(x: Any, y: Any) -> Node:
    """Returns the node of x - y."""
    if not isinstance(x, Node):
        return Scale(y, -1, x)
    return paired(Sub, x, y) if isinstance(y, Node) else Scale(x, 1, -y)


def multiply(x: Any, y: Any) -> Node:
    """Returns the node of x * y."""
    if not isinstance(x, Node):
        return Scale(y, x)
    return paired(Mul, x, y) if isinstance(y, Node) else Scale(x, y)


def divide(x: Any, y: Any) -> Node:
    """Returns the node of x / y; refuses a number y that is 0, or whose reciprocal is not finite."""
    if not isinstance(x, Node):
        return Reciprocal(y, x)
    if isinstance(y, Node):
        return paired(Div, x, y)
    if y == 0:
        raise ValueError(f"Scale: the number by which a node is divided must not be 0, got {y:g}")
    return Scale(x, 1 / y)


_operators.MAKERS.update({"+": add, "-": subtract, "*": multiply, "/": divide})
