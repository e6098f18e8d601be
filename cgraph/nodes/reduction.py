"""Reductions: nodes that sum over the elements of their inputs; and Expand, whose gradient is such a sum.

x and y are the inputs, of m elements each, d is the data of the node, g its gradient ∂L/∂d.
docs/look_up/specification.md says which document *the specification* is.
"""

from collections.abc import Sequence
from typing import Any

from cgraph._kernels.protocols import Reduction
from cgraph._validation import as_size
from cgraph.node import Node, as_node
from cgraph.nodes.elementwise import require_equal_shapes


def require_alike(owner: Node, **arguments: object) -> Sequence[Node]:
    """Returns the arguments of a loss, and refuses them unless all are nodes, of equal height and width."""
    name = type(owner).__name__
    nodes = [as_node(name, argument, node) for argument, node in arguments.items()]
    if len({(node.height, node.width) for node in nodes}) > 1:
        *others, last = arguments
        *shapes, last_shape = (f"({node.height}, {node.width})" for node in nodes)
        raise ValueError(
            f"{name}: {', '.join(others)} and {last} must have the same height and width, "
            f"got {', '.join(shapes)} and {last_shape}"
        )
    return nodes


class Reducing(Node):
    """The base class of reductions. It computes nothing itself.

    `_operation` names that of `_kernels/nodes/reduction.pyx`; `_constants` is empty, or holds the number that it takes.
    """

    _operation: str
    _constants: tuple[float, ...] = ()
    _compiled: Reduction

    def _set_up(self, *args: Any, **options: Any) -> None:
        super()._set_up(*args, **options)
        reduction: Reduction = getattr(self._kernels.reduction, self._operation)
        self._compiled = reduction.of(*self._constants)

    def calcData(self) -> None:
        self._compiled.forward([x._data for x in self.backward], self._data)

    def calcPartialDerivative(self) -> None:
        inputs = self.backward
        grads = [x._grad for x in inputs]
        self._compiled.backward([x._data for x in inputs], self._data, self._grad, grads)


class MMto1(Node):
    """ℝᵐ × ℝᵐ → ℝ, the base class of Dots, MSE, CEE and other losses (specification, section "Class: MMto1").

    The base class computes nothing itself.

    Parameters
    ----------
    node1, node2 : Node
        The inputs, of the same height, width and dtype; one node may stand for both.

    Raises
    ------
    TypeError
        An argument is not a Node, or the dtypes of the two differ; here and in all derived classes.
    ValueError
        The shapes of the two differ; here and in all derived classes.
    """

    def __init__(self, node1: Node, node2: Node) -> None:
        require_equal_shapes(self, node1, node2)
        self._set_up(node1.size, 1, 1, (node1, node2))


class Dots(Reducing, MMto1):
    """d = Σ x_i y_i (specification, section "Class: Dots").

    ∂L/∂x_i = y_i g, ∂L/∂y_i = x_i g.

    Parameters
    ----------
    node1, node2 : Node
        x and y, of the same height, width and dtype; one node may stand for both.

    Examples
    --------
    >>> import cgraph as CG
    >>> x, y = CG.Leaf1(2), CG.Leaf1(2)
    >>> x.getInput([1, 2])
    >>> y.getInput([10, 20])
    >>> d = CG.Dots(x, y)
    >>> x.forwardPropagation()
    >>> y.forwardPropagation()
    >>> d.backwardPropagation()
    >>> d.data, x.grad
    (array([50.]), array([10., 20.]))
    """

    _operation = "dots"


class MSE(Reducing, MMto1):
    """d = (1/m) Σ (x_i − y_i)², the mean squared error (specification, section "Class: MSE").

    ∂L/∂x_i = 2 (x_i − y_i) g / m, ∂L/∂y_i = −2 (x_i − y_i) g / m.

    Parameters
    ----------
    node1, node2 : Node
        x and y, of the same height, width and dtype; one node may stand for both.

    Examples
    --------
    >>> import cgraph as CG
    >>> x, y = CG.Leaf1(2), CG.Leaf1(2)
    >>> x.getInput([1, 2])
    >>> y.getInput([3, 6])
    >>> d = CG.MSE(x, y)
    >>> x.forwardPropagation()
    >>> y.forwardPropagation()
    >>> d.backwardPropagation()
    >>> d.data, x.grad
    (array([10.]), array([-2., -4.]))
    """

    _operation = "mse"


class CEE(Reducing, MMto1):
    """d = −Σ y_i ln x_i, the cross-entropy error of prediction x and target y (specification, section "Class: CEE").

    ∂L/∂x_i = −(y_i / x_i) g, ∂L/∂y_i = −ln(x_i) g.

    Parameters
    ----------
    node1, node2 : Node
        The prediction x and the target y, of the same height, width and dtype; one node may stand for both.

    Notes
    -----
    x_i counts as at least `tiny`, the smallest positive normal number of the dtype, so the loss is finite, and its
    gradients are finite where −1 ≤ y_i g ≤ 1. A NaN in x or y is a NaN in d. But where y_i = 0, the term of x_i and
    its gradient are 0 for every x_i, even a NaN.

    Examples
    --------
    >>> import cgraph as CG
    >>> x, y = CG.Leaf1(2), CG.Leaf1(2)
    >>> x.getInput([0.5, 0.5])
    >>> y.getInput([1, 0])
    >>> d = CG.CEE(x, y)
    >>> x.forwardPropagation()
    >>> y.forwardPropagation()
    >>> d.backwardPropagation()
    >>> d.data, x.grad
    (array([0.69314718]), array([-2.,  0.]))
    """

    _operation = "cee"


class Mto1(Node):
    """ℝᵐ → ℝ, the base class of Norm2, Sum and Mean (specification, section "Class: Mto1").

    The base class computes nothing itself.

    Parameters
    ----------
    node1 : Node
        The input, of any shape.

    Raises
    ------
    TypeError
        The argument is not a Node; here and in all derived classes.
    """

    def __init__(self, node1: Node) -> None:
        x = as_node(type(self).__name__, "node1", node1)
        self._set_up(x.size, 1, 1, (x,))


class Norm2(Reducing, Mto1):
    """d = √(Σ x_i²) (specification, section "Class: Norm2").

    ∂L/∂x_i = (x_i / d) g.

    Parameters
    ----------
    node1 : Node
        x, of any shape.

    Notes
    -----
    At x = 0 the gradient is 0, the subgradient of least norm. The elements are scaled where their squares would
    overflow or underflow.

    Examples
    --------
    >>> import cgraph as CG
    >>> x = CG.Leaf1(2)
    >>> x.getInput([3, 4])
    >>> d = CG.Norm2(x)
    >>> x.forwardPropagation()
    >>> d.backwardPropagation()
    >>> d.data, x.grad
    (array([5.]), array([0.6, 0.8]))
    """

    _operation = "norm2"


class Sum(Reducing, Mto1):
    """d = Σ x_i.

    ∂L/∂x_i = g.

    Parameters
    ----------
    node1 : Node
        x, of any shape.

    Notes
    -----
    The rounding error grows with the square root of m at most, since blocks of elements are added up first. Infinite
    elements of one sign give that infinity; a NaN, or infinities of both signs, give NaN.

    Examples
    --------
    >>> import cgraph as CG
    >>> x = CG.Leaf1(3)
    >>> x.getInput([1, 2, 5])
    >>> CG.evaluate(CG.Sum(x))
    array([8.])
    """

    _operation = "sum"


class Mean(Reducing, Mto1):
    """d = (1/m) Σ x_i.

    ∂L/∂x_i = g / m.

    Parameters
    ----------
    node1 : Node
        x, of any shape.

    Notes
    -----
    As for `Sum`; the sum may overflow where the mean does not.

    Examples
    --------
    >>> import cgraph as CG
    >>> x = CG.Leaf1(4)
    >>> x.getInput([1, 2, 5, 0])
    >>> CG.evaluate(CG.Mean(x))
    array([2.])
    """

    _operation = "mean"


class Expand(Reducing):
    """d_ij = x for all i and j: the one element of a node, as often as a matrix has elements.

    ∂L/∂x = Σ g_ij.

    Parameters
    ----------
    node : Node
        x, of one element.
    height, width : int
        The shape of the data, at least 1 × 1.

    Raises
    ------
    TypeError
        `node` is not a Node; `height` or `width` is not an integer.
    ValueError
        `node` has several elements; `height` or `width` is below 1, or there would be more than 2**31 - 1 elements.

    Notes
    -----
    x is copied, whatever it is. A NaN among the g_ij, or infinities of both signs, make the gradient NaN.

    Examples
    --------
    >>> import cgraph as CG
    >>> x = CG.Leaf1(1)
    >>> x.getInput([7])
    >>> CG.evaluate(CG.Expand(x, 1, 3))
    array([7., 7., 7.])
    """

    _operation = "expand"

    def __init__(self, node: Node, height: int, width: int) -> None:
        owner = type(self).__name__
        x = as_node(owner, "node", node)
        if x.size != 1:
            raise ValueError(f"{owner}: node must have one element, got {x.size}")
        self._set_up(1, as_size(owner, "height", height), as_size(owner, "width", width), (x,))

    def _config(self) -> dict[str, Any]:
        return {"height": self._height, "width": self._width}
