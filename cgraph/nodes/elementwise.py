"""Nodes whose elements depend on the input elements of the same index alone.

x, y: the inputs; d: this node's data; g: its gradient ∂L/∂d. The output keeps the shape of the input.
"""

from cgraph.node import Node, as_node


def require_equal_shapes(owner: Node, node1: object, node2: object) -> None:
    """Refuses what is not two nodes of the same height and width."""
    if not (isinstance(node1, Node) and isinstance(node2, Node)):
        as_node(type(owner).__name__, "node1", node1)
        as_node(type(owner).__name__, "node2", node2)
    elif node1._height != node2._height or node1._width != node2._width:
        raise ValueError(
            f"{type(owner).__name__}: node1 and node2 must have the same height and width, "
            f"got ({node1.height}, {node1.width}) and ({node2.height}, {node2.width})"
        )


class MMtoM(Node):
    """ℝᵐ × ℝᵐ → ℝᵐ, the base class of Add and Sub; computes nothing itself (section "Class: MMtoM").

    Parameters
    ----------
    node1, node2 : Node
        The inputs, of the same height, width and dtype; one node may stand for both.

    Raises
    ------
    TypeError
        An argument is not a Node, or their dtypes differ.
    ValueError
        Their shapes differ.
    """

    def __init__(self, node1: Node, node2: Node) -> None:
        require_equal_shapes(self, node1, node2)
        self._set_up(node1._data.size, node1._height, node1._width, (node1, node2))


class Add(MMtoM):
    """d = x + y (section "Class: Add").

    ∂L/∂x = g, ∂L/∂y = g.

    Parameters
    ----------
    node1, node2 : Node
        x and y, of the same height, width and dtype; one node may stand for both.

    Raises
    ------
    TypeError
        An argument is not a Node, or their dtypes differ.
    ValueError
        Their shapes differ.

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

    def calcData(self) -> None:
        x, y = self.backward
        self._kernels.elementwise.add_forward(x._data, y._data, self._data)

    def calcPartialDerivative(self) -> None:
        x, y = self.backward
        self._kernels.elementwise.add_backward(self._grad, x._grad, y._grad)


class Sub(MMtoM):
    """d = x − y (section "Class: Sub").

    ∂L/∂x = g, ∂L/∂y = −g.

    Parameters
    ----------
    node1, node2 : Node
        x and y, of the same height, width and dtype; one node may stand for both.

    Raises
    ------
    TypeError
        An argument is not a Node, or their dtypes differ.
    ValueError
        Their shapes differ.

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

    def calcData(self) -> None:
        x, y = self.backward
        self._kernels.elementwise.sub_forward(x._data, y._data, self._data)

    def calcPartialDerivative(self) -> None:
        x, y = self.backward
        self._kernels.elementwise.sub_backward(self._grad, x._grad, y._grad)


class MtoM(Node):
    """ℝᵐ → ℝᵐ, the base class of ReLU, Sigmoid, Tanh and Softmax; computes nothing itself (section "Class: MtoM").

    Parameters
    ----------
    node1 : Node
        The input, of any shape.

    Raises
    ------
    TypeError
        The argument is not a Node.
    """

    def __init__(self, node1: Node) -> None:
        x = as_node(type(self).__name__, "node1", node1)
        self._set_up(x._data.size, x._height, x._width, (x,))


class ReLU(MtoM):
    """d_i = x_i where x_i ≥ 0, else 0 (section "Class: ReLU").

    ∂L/∂x_i = g_i where x_i ≥ 0, else 0.

    Parameters
    ----------
    node1 : Node
        x, of any shape.

    Raises
    ------
    TypeError
        The argument is not a Node.

    Notes
    -----
    At exactly 0 (−0.0 too) the gradient passes. A NaN stays a NaN; its gradient is 0.

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

    def calcData(self) -> None:
        self._kernels.elementwise.relu_forward(self.backward[0]._data, self._data)

    def calcPartialDerivative(self) -> None:
        x = self.backward[0]
        self._kernels.elementwise.relu_backward(x._data, self._grad, x._grad)


class Sigmoid(MtoM):
    """d = 1 / (1 + e⁻ˣ), computed without overflow.

    ∂L/∂x = d (1 − d) g.

    Parameters
    ----------
    node1 : Node
        x, of any shape.

    Raises
    ------
    TypeError
        The argument is not a Node.

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

    def calcData(self) -> None:
        self._kernels.elementwise.sigmoid_forward(self.backward[0]._data, self._data)

    def calcPartialDerivative(self) -> None:
        x = self.backward[0]
        self._kernels.elementwise.sigmoid_backward(self._data, self._grad, x._grad)


class Tanh(MtoM):
    """d = tanh x.

    ∂L/∂x = (1 − d²) g.

    Parameters
    ----------
    node1 : Node
        x, of any shape.

    Raises
    ------
    TypeError
        The argument is not a Node.

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

    def calcData(self) -> None:
        self._kernels.elementwise.tanh_forward(self.backward[0]._data, self._data)

    def calcPartialDerivative(self) -> None:
        x = self.backward[0]
        self._kernels.elementwise.tanh_backward(self._data, self._grad, x._grad)
