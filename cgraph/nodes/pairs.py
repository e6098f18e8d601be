"""Functions of two elements of equal index, beside Add and Sub: products, quotients and extrema.

x and y are the inputs, d is the data of the node, g its gradient ∂L/∂d. The data have the shape of the inputs.
"""

from cgraph.nodes.elementwise import PairFunction


class Mul(PairFunction):
    """d = x y, element by element: `x * y`.

    ∂L/∂x = y g, ∂L/∂y = x g.

    Parameters
    ----------
    node1, node2 : Node
        x and y, of the same height, width and dtype; one node may stand for both.

    Notes
    -----
    0 times an infinity is NaN, in d and in the gradients; a product that is too large for the dtype is ±inf.

    Examples
    --------
    >>> import cgraph as CG
    >>> x, y = CG.Leaf1(2), CG.Leaf1(2)
    >>> x.getInput([1, 2])
    >>> y.getInput([10, -4])
    >>> d = CG.Mul(x, y)
    >>> x.forwardPropagation()
    >>> y.forwardPropagation()
    >>> d.data
    array([10., -8.])
    """

    _operation = "mul"


class Div(PairFunction):
    """d = x / y, element by element: `x / y`.

    ∂L/∂x = g / y, ∂L/∂y = −g d / y.

    Parameters
    ----------
    node1, node2 : Node
        x and y, of the same height, width and dtype; one node may stand for both.

    Notes
    -----
    Where y is 0, d is ±inf, and NaN if x is 0, too. An infinite y makes d and, if x is finite, both gradients 0.

    Examples
    --------
    >>> import cgraph as CG
    >>> x, y = CG.Leaf1(2), CG.Leaf1(2)
    >>> x.getInput([1, 2])
    >>> y.getInput([10, -4])
    >>> d = CG.Div(x, y)
    >>> x.forwardPropagation()
    >>> y.forwardPropagation()
    >>> d.data
    array([ 0.1, -0.5])
    """

    _operation = "div"


class Maximum(PairFunction):
    """d_i = max(x_i, y_i).

    ∂L/∂x_i = g_i where x_i > y_i, g_i / 2 where x_i = y_i, and 0 where x_i < y_i; ∂L/∂y_i likewise.

    Parameters
    ----------
    node1, node2 : Node
        x and y, of the same height, width and dtype; one node may stand for both.

    Notes
    -----
    Equal elements share the gradient, as in PyTorch. Where x_i or y_i is NaN, d_i is NaN and both gradients are g_i.

    Examples
    --------
    >>> import cgraph as CG
    >>> x, y = CG.Leaf1(2), CG.Leaf1(2)
    >>> x.getInput([1, 2])
    >>> y.getInput([10, -4])
    >>> d = CG.Maximum(x, y)
    >>> x.forwardPropagation()
    >>> y.forwardPropagation()
    >>> d.data
    array([10.,  2.])
    """

    _operation = "maximum"


class Minimum(PairFunction):
    """d_i = min(x_i, y_i).

    ∂L/∂x_i = g_i where x_i < y_i, g_i / 2 where x_i = y_i, and 0 where x_i > y_i; ∂L/∂y_i likewise.

    Parameters
    ----------
    node1, node2 : Node
        x and y, of the same height, width and dtype; one node may stand for both.

    Notes
    -----
    Equal elements share the gradient, as in PyTorch. Where x_i or y_i is NaN, d_i is NaN and both gradients are g_i.

    Examples
    --------
    >>> import cgraph as CG
    >>> x, y = CG.Leaf1(2), CG.Leaf1(2)
    >>> x.getInput([1, 2])
    >>> y.getInput([10, -4])
    >>> d = CG.Minimum(x, y)
    >>> x.forwardPropagation()
    >>> y.forwardPropagation()
    >>> d.data
    array([ 1., -4.])
    """

    _operation = "minimum"
