"""Elementwise nodes: each element depends on the input elements of equal index alone.

x and y are the inputs, d is the data of the node, g its gradient ∂L/∂d. The data have the shape of the inputs.
docs/look_up/specification.md says which document *the specification* is.
"""

from typing import Any

from cgraph._kernels.protocols import Operation
from cgraph.node import Node, as_node


def require_equal_shapes(owner: Node, node1: object, node2: object) -> None:
    """Refuses two arguments unless both are nodes, of equal height and width."""
    if not (isinstance(node1, Node) and isinstance(node2, Node)):
        as_node(type(owner).__name__, "node1", node1)
        as_node(type(owner).__name__, "node2", node2)
    elif node1._height != node2._height or node1._width != node2._width:
        raise ValueError(
            f"{type(owner).__name__}: node1 and node2 must have the same height and width, "
            f"got ({node1.height}, {node1.width}) and ({node2.height}, {node2.width})"
        )


def compiled(node: Any) -> Operation:
    """Returns the operation of a node with its constants."""
    operation: Operation = getattr(node._kernels.functions, node._operation)
    return operation.of(*node._constants)


class MMtoM(Node):
    """ℝᵐ × ℝᵐ → ℝᵐ, the base class of Add, Sub, Mul and others (specification, section "Class: MMtoM").

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
        self._set_up(node1.size, node1._height, node1._width, (node1, node2))


class PairFunction(MMtoM):
    """The base class of functions of two elements. It computes nothing itself.

    `_operation` names the operation of `_kernels/nodes/functions.pyx`, whose formulas are in
    `_kernels/common/formulas.pxd`; it takes no constants.
    """

    _operation: str
    _constants: tuple[float, ...] = ()
    _compiled: Operation

    def _set_up(self, *args: Any, **options: Any) -> None:
        super()._set_up(*args, **options)
        self._compiled = compiled(self)

    def calcData(self) -> None:
        x, y = self.backward
        self._compiled.forward(x._data, y._data, self._data)

    def calcPartialDerivative(self) -> None:
        x, y = self.backward
        self._compiled.backward(x._data, y._data, self._data, self._grad, x._grad, y._grad)


class Add(PairFunction):
    """d = x + y (specification, section "Class: Add").

    ∂L/∂x = g, ∂L/∂y = g.

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
    >>> d = CG.Add(x, y)
    >>> x.forwardPropagation()
    >>> y.forwardPropagation()
    >>> d.data
    array([11., 22.])
    """

    _operation = "add"


class Sub(PairFunction):
    """d = x − y (specification, section "Class: Sub").

    ∂L/∂x = g, ∂L/∂y = −g.

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
    >>> d = CG.Sub(x, y)
    >>> x.forwardPropagation()
    >>> y.forwardPropagation()
    >>> d.data
    array([ -9., -18.])
    """

    _operation = "sub"


class MtoM(Node):
    """ℝᵐ → ℝᵐ, the base class of ReLU, Softmax and other functions of one input (specification, section "Class: MtoM").

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
        self._set_up(x.size, x._height, x._width, (x,))


class Function(MtoM):
    """The base class of functions of one element. It computes nothing itself.

    `_operation` names the operation of `_kernels/nodes/functions.pyx`, whose formulas are in
    `_kernels/common/formulas.pxd`; `_constants` are the numbers that it takes.
    """

    _operation: str
    _constants: tuple[float, ...] = ()
    _compiled: Operation

    def _set_up(self, *args: Any, **options: Any) -> None:
        super()._set_up(*args, **options)
        self._compiled = compiled(self)

    def calcData(self) -> None:
        self._compiled.forward(self.backward[0]._data, self._data)

    def calcPartialDerivative(self) -> None:
        x = self.backward[0]
        self._compiled.backward(x._data, self._data, self._grad, x._grad)


class ReLU(Function):
    """d_i = x_i where x_i ≥ 0, else 0 (specification, section "Class: ReLU").

    ∂L/∂x_i = g_i where x_i ≥ 0, else 0.

    Parameters
    ----------
    node1 : Node
        x, of any shape.

    Notes
    -----
    At x_i = 0, and at −0.0, ∂L/∂x_i = g_i. A NaN in x is a NaN in d, and its gradient is 0.

    Examples
    --------
    >>> import cgraph as CG
    >>> x = CG.Leaf1(3)
    >>> x.getInput([-1, 0, 2])
    >>> d = CG.ReLU(x)
    >>> x.forwardPropagation()
    >>> d.data
    array([0., 0., 2.])
    """

    _operation = "relu"


class Sigmoid(Function):
    """d = 1 / (1 + e⁻ˣ), computed without overflow.

    ∂L/∂x = d (1 − d) g.

    Parameters
    ----------
    node1 : Node
        x, of any shape.

    Examples
    --------
    >>> import cgraph as CG
    >>> x = CG.Leaf1(3)
    >>> x.getInput([-1000, 0, 1000])
    >>> d = CG.Sigmoid(x)
    >>> x.forwardPropagation()
    >>> d.data
    array([0. , 0.5, 1. ])
    """

    _operation = "sigmoid"


class Tanh(Function):
    """d = tanh x.

    ∂L/∂x = (1 − d²) g.

    Parameters
    ----------
    node1 : Node
        x, of any shape.

    Examples
    --------
    >>> import cgraph as CG
    >>> x = CG.Leaf1(3)
    >>> x.getInput([-1000, 0, 1000])
    >>> d = CG.Tanh(x)
    >>> x.forwardPropagation()
    >>> d.data
    array([-1.,  0.,  1.])
    """

    _operation = "tanh"
