"""Functions of the elements of one input: each element depends on the input element of equal index alone.

x is the input, d is the data of the node, g its gradient ∂L/∂d. The data have the shape of the input.
"""

from typing import Any

from cgraph._validation import as_finite, as_number_of
from cgraph.node import Node, as_node
from cgraph.nodes.elementwise import Function


class Exp(Function):
    """d = eˣ.

    ∂L/∂x = d g.

    Parameters
    ----------
    node1 : Node
        x, of any shape.

    Notes
    -----
    Where eˣ is too large for the dtype, d is inf, and so is ∂L/∂x unless g is 0.

    Examples
    --------
    >>> import cgraph as CG
    >>> x = CG.Leaf1(3)
    >>> x.getInput([-1000, 0, 1])
    >>> d = CG.Exp(x)
    >>> x.forwardPropagation()
    >>> d.data
    array([0.        , 1.        , 2.71828183])
    """

    _operation = "exp"


class Log(Function):
    """d = ln x, the natural logarithm.

    ∂L/∂x = g / x.

    Parameters
    ----------
    node1 : Node
        x, of any shape.

    Notes
    -----
    d is −inf where x is ±0, and NaN where x < 0. `Clip` or `Softplus` keep x positive.

    Examples
    --------
    >>> import cgraph as CG
    >>> x = CG.Leaf1(3)
    >>> x.getInput([0, 1, 10])
    >>> d = CG.Log(x)
    >>> x.forwardPropagation()
    >>> d.data
    array([      -inf, 0.        , 2.30258509])
    """

    _operation = "log"


class Square(Function):
    """d = x².

    ∂L/∂x = 2 x g.

    Parameters
    ----------
    node1 : Node
        x, of any shape.

    Notes
    -----
    A square that is too large for the dtype is inf; its gradient is finite as long as 2 x g is.

    Examples
    --------
    >>> import cgraph as CG
    >>> x = CG.Leaf1(3)
    >>> x.getInput([-3, 0.5, 2])
    >>> d = CG.Square(x)
    >>> x.forwardPropagation()
    >>> d.data
    array([9.  , 0.25, 4.  ])
    """

    _operation = "square"


class Sqrt(Function):
    """d = √x.

    ∂L/∂x = g / (2 d).

    Parameters
    ----------
    node1 : Node
        x, of any shape.

    Notes
    -----
    Where x is ±0, ∂L/∂x is ±inf, and NaN if g is 0, too. d is NaN where x < 0.

    Examples
    --------
    >>> import cgraph as CG
    >>> x = CG.Leaf1(3)
    >>> x.getInput([0, 2.25, 16])
    >>> d = CG.Sqrt(x)
    >>> x.forwardPropagation()
    >>> d.data
    array([0. , 1.5, 4. ])
    """

    _operation = "sqrt"


class Reciprocal(Function):
    """d = c / x.

    ∂L/∂x = −g d / x.

    Parameters
    ----------
    node1 : Node
        x, of any shape.
    numerator : float, optional
        c, finite.

    Raises
    ------
    TypeError, ValueError
        `numerator` is not a number, or not finite in the dtype of the input.

    Notes
    -----
    This is the node of `c / x`. Where x is 0, d is ±inf, and NaN if c is 0, too.

    Examples
    --------
    >>> import cgraph as CG
    >>> x = CG.Leaf1(3)
    >>> x.getInput([-1, 4, 12])
    >>> d = CG.Reciprocal(x, 6)
    >>> x.forwardPropagation()
    >>> d.data
    array([-6. ,  1.5,  0.5])
    """

    _operation = "reciprocal"

    def __init__(self, node1: Node, numerator: float = 1) -> None:
        owner = type(self).__name__
        x = as_node(owner, "node1", node1)
        self._constants = (as_finite(owner, "numerator", numerator, x._dtype),)
        super().__init__(x)

    def _config(self) -> dict[str, Any]:
        return {"numerator": self._constants[0]}

    @property
    def numerator(self) -> float:
        """The number c."""
        return self._constants[0]


class Abs(Function):
    """d_i = x_i where x_i > 0, else −x_i.

    ∂L/∂x_i = g_i where x_i > 0, −g_i where x_i < 0, else 0.

    Parameters
    ----------
    node1 : Node
        x, of any shape.

    Notes
    -----
    The kink is at 0, where ∂L/∂x_i = 0, as it is for a NaN, which is a NaN in d.

    Examples
    --------
    >>> import cgraph as CG
    >>> x = CG.Leaf1(3)
    >>> x.getInput([-2, 0, 3])
    >>> d = CG.Abs(x)
    >>> x.forwardPropagation()
    >>> d.data
    array([2., 0., 3.])
    """

    _operation = "abs"


class Clip(Function):
    """d = min(max(x, low), high).

    ∂L/∂x_i = g_i where low ≤ x_i ≤ high, else 0.

    Parameters
    ----------
    node1 : Node
        x, of any shape.
    low, high : float
        The bounds, low ≤ high; −inf and inf stand for none.

    Raises
    ------
    TypeError
        `low` or `high` is not a number.
    ValueError
        `low` is greater than `high`, or one of them is NaN.

    Notes
    -----
    At the bounds themselves the gradient passes. A NaN in x is a NaN in d, and its gradient is 0.

    Examples
    --------
    >>> import cgraph as CG
    >>> x = CG.Leaf1(4)
    >>> x.getInput([-5, 0.5, 1, 2])
    >>> d = CG.Clip(x, -1, 1)
    >>> x.forwardPropagation()
    >>> d.data
    array([-1. ,  0.5,  1. ,  1. ])
    """

    _operation = "clip"

    def __init__(self, node1: Node, low: float, high: float) -> None:
        owner = type(self).__name__
        x = as_node(owner, "node1", node1)
        low = as_number_of(owner, "low", low, x._dtype)
        high = as_number_of(owner, "high", high, x._dtype)
        if not low <= high:
            raise ValueError(f"{owner}: low must be at most high, got {low} and {high}")
        self._constants = (low, high)
        super().__init__(x)

    def _config(self) -> dict[str, Any]:
        return {"low": self._constants[0], "high": self._constants[1]}

    @property
    def low(self) -> float:
        """The lower bound."""
        return self._constants[0]

    @property
    def high(self) -> float:
        """The upper bound."""
        return self._constants[1]


class Scale(Function):
    """d = a x + b, of two numbers a and b.

    ∂L/∂x = a g.

    Parameters
    ----------
    node1 : Node
        x, of any shape.
    factor : float
        a, finite.
    shift : float, optional
        b, finite.

    Raises
    ------
    TypeError, ValueError
        `factor` or `shift` is not a number, or not finite in the dtype of the input.

    Notes
    -----
    This is the node of `x * 2`, `x / 2`, `x + 1`, `1 - x` and `-x`. Where x is infinite, d is NaN if a is 0.

    Examples
    --------
    >>> import cgraph as CG
    >>> x = CG.Leaf1(3)
    >>> x.getInput([-1, 0, 3])
    >>> d = CG.Scale(x, 2, 1)
    >>> x.forwardPropagation()
    >>> d.data
    array([-1.,  1.,  7.])
    """

    _operation = "scale"

    def __init__(self, node1: Node, factor: float, shift: float = 0) -> None:
        owner = type(self).__name__
        x = as_node(owner, "node1", node1)
        self._constants = (
            as_finite(owner, "factor", factor, x._dtype),
            as_finite(owner, "shift", shift, x._dtype),
        )
        super().__init__(x)

    def _config(self) -> dict[str, Any]:
        return {"factor": self._constants[0], "shift": self._constants[1]}

    @property
    def factor(self) -> float:
        """The number a."""
        return self._constants[0]

    @property
    def shift(self) -> float:
        """The number b."""
        return self._constants[1]
