"""Reductions: nodes that sum over the elements of their inputs. The sum in Softmax is an intermediate result.

x and y are the inputs, of m elements each, d is the data of the node, g its gradient ∂L/∂d.
docs/look_up/specification.md says which document *the specification* is.
"""

from cgraph.node import Node, as_node
from cgraph.nodes.elementwise import MtoM, require_equal_shapes


class MMto1(Node):
    """ℝᵐ × ℝᵐ → ℝ, the base class of Dots, MSE and CEE (specification, section "Class: MMto1").

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


class Dots(MMto1):
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

    def calcData(self) -> None:
        x, y = self.backward
        self._kernels.reduction.dots_forward(x._data, y._data, self._data)

    def calcPartialDerivative(self) -> None:
        x, y = self.backward
        self._kernels.reduction.dots_backward(x._data, y._data, self._grad, x._grad, y._grad)


class MSE(MMto1):
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

    def calcData(self) -> None:
        x, y = self.backward
        self._kernels.reduction.mse_forward(x._data, y._data, self._data)

    def calcPartialDerivative(self) -> None:
        x, y = self.backward
        self._kernels.reduction.mse_backward(x._data, y._data, self._grad, x._grad, y._grad)


class CEE(MMto1):
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

    def calcData(self) -> None:
        x, y = self.backward
        self._kernels.reduction.cee_forward(x._data, y._data, self._data)

    def calcPartialDerivative(self) -> None:
        x, y = self.backward
        self._kernels.reduction.cee_backward(x._data, y._data, self._grad, x._grad, y._grad)


class Mto1(Node):
    """ℝᵐ → ℝ, the base class of Norm2 (specification, section "Class: Mto1"). It computes nothing itself.

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


class Norm2(Mto1):
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

    def calcData(self) -> None:
        self._kernels.reduction.norm2_forward(self.backward[0]._data, self._data)

    def calcPartialDerivative(self) -> None:
        x = self.backward[0]
        self._kernels.reduction.norm2_backward(x._data, self._data, self._grad, x._grad)


class Softmax(MtoM):
    """d_i = exp(x_i) / Σ_j exp(x_j), over all elements of the input (specification, section "Class: Softmax").

    ∂L/∂x_i = Σ_j (δ_ij − d_i) d_j g_j = d_i (g_i − Σ_j d_j g_j).

    Parameters
    ----------
    node1 : Node
        x, of any shape.

    Notes
    -----
    The maximum of x is subtracted from all elements first, so that no exponential overflows.

    Examples
    --------
    >>> import cgraph as CG
    >>> x = CG.Leaf1(3)
    >>> x.getInput([0, 0, 1e4])
    >>> d = CG.Softmax(x)
    >>> x.forwardPropagation()
    >>> d.data
    array([0., 0., 1.])
    """

    def calcData(self) -> None:
        self._kernels.reduction.softmax_forward(self.backward[0]._data, self._data)

    def calcPartialDerivative(self) -> None:
        x = self.backward[0]
        self._kernels.reduction.softmax_backward(self._data, self._grad, x._grad)
