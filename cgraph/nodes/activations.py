"""Activation functions beside those of elementwise.py: each element depends on the input element of equal index alone.

x is the input, d is the data of the node, g its gradient ∂L/∂d. The data have the shape of the input.
"""

import math
from typing import Any

from cgraph._validation import as_finite, as_flag
from cgraph.node import Node, as_node
from cgraph.nodes.elementwise import Function

# The argument of tanh in the approximation of GELU is √(2/π) (x + 0.044715 x³); twice that is a x + b x³.
TWICE_ROOT = 2 * math.sqrt(2 / math.pi)


class LeakyReLU(Function):
    """d_i = x_i where x_i > 0, else a x_i.

    ∂L/∂x_i = g_i where x_i > 0, else a g_i.

    Parameters
    ----------
    node1 : Node
        x, of any shape.
    slope : float, optional
        a, finite.

    Raises
    ------
    TypeError, ValueError
        `slope` is not a number, or not finite in the dtype of the input.

    Notes
    -----
    The kink is at 0, where ∂L/∂x_i = a g_i, as in PyTorch (`ReLU` has g_i there). A NaN in x is a NaN in d, with the
    gradient a g_i. With a = 0, −inf becomes NaN; `ReLU` makes it 0.

    Examples
    --------
    >>> import cgraph as CG
    >>> x = CG.Leaf1(3)
    >>> x.getInput([-10, 0, 2])
    >>> d = CG.LeakyReLU(x, 0.1)
    >>> x.forwardPropagation()
    >>> d.data
    array([-1.,  0.,  2.])
    """

    _operation = "leaky_relu"

    def __init__(self, node1: Node, slope: float = 0.01) -> None:
        owner = type(self).__name__
        x = as_node(owner, "node1", node1)
        self._constants = (as_finite(owner, "slope", slope, x._dtype),)
        super().__init__(x)

    def _config(self) -> dict[str, Any]:
        return {"slope": self._constants[0]}

    @property
    def slope(self) -> float:
        """The slope a for negative elements."""
        return self._constants[0]


class ELU(Function):
    """d_i = x_i where x_i > 0, else a (e^x_i − 1).

    ∂L/∂x_i = g_i where x_i > 0, else a e^x_i g_i.

    Parameters
    ----------
    node1 : Node
        x, of any shape.
    alpha : float, optional
        a, finite.

    Raises
    ------
    TypeError, ValueError
        `alpha` is not a number, or not finite in the dtype of the input.

    Notes
    -----
    At 0, ∂L/∂x_i = a g_i, which is a kink unless a is 1. d approaches −a for low x, and its slope 0; both are computed
    without cancellation. A NaN in x is a NaN in d, and in ∂L/∂x.

    Examples
    --------
    >>> import cgraph as CG
    >>> x = CG.Leaf1(3)
    >>> x.getInput([-1000, 0, 2])
    >>> d = CG.ELU(x)
    >>> x.forwardPropagation()
    >>> d.data
    array([-1.,  0.,  2.])
    """

    _operation = "elu"

    def __init__(self, node1: Node, alpha: float = 1) -> None:
        owner = type(self).__name__
        x = as_node(owner, "node1", node1)
        self._constants = (as_finite(owner, "alpha", alpha, x._dtype),)
        super().__init__(x)

    def _config(self) -> dict[str, Any]:
        return {"alpha": self._constants[0]}

    @property
    def alpha(self) -> float:
        """The number a."""
        return self._constants[0]


class Softplus(Function):
    """d = ln(1 + eˣ), computed without overflow.

    ∂L/∂x = g / (1 + e⁻ˣ).

    Parameters
    ----------
    node1 : Node
        x, of any shape.

    Notes
    -----
    d is x for large x, and 0 for low x: where x is inf, d is inf and the slope is 1; where x is −inf, both are 0.

    Examples
    --------
    >>> import cgraph as CG
    >>> x = CG.Leaf1(3)
    >>> x.getInput([-1000, 0, 1000])
    >>> d = CG.Softplus(x)
    >>> x.forwardPropagation()
    >>> d.data
    array([0.00000000e+00, 6.93147181e-01, 1.00000000e+03])
    """

    _operation = "softplus"


class SiLU(Function):
    """d = x σ(x), of σ(x) = 1 / (1 + e⁻ˣ), known as swish, too.

    ∂L/∂x = (σ(x) + x σ(x) (1 − σ(x))) g.

    Parameters
    ----------
    node1 : Node
        x, of any shape.

    Notes
    -----
    Where x is −inf, d and the slope are 0, their limits; where x is inf, d is inf and the slope is 1.

    Examples
    --------
    >>> import cgraph as CG
    >>> x = CG.Leaf1(3)
    >>> x.getInput([-1000, 0, 1000])
    >>> d = CG.SiLU(x)
    >>> x.forwardPropagation()
    >>> d.data
    array([  -0.,    0., 1000.])
    """

    _operation = "silu"


class GELU(Function):
    """d = x Φ(x), of the distribution function Φ(x) = (1 + erf(x / √2)) / 2.

    ∂L/∂x = (Φ(x) + x φ(x)) g, of the density φ(x) = e^(−x²/2) / √(2π).

    Parameters
    ----------
    node1 : Node
        x, of any shape.
    approximate : bool, optional
        Computes the approximation d = x (1 + tanh u) / 2, u = √(2/π) (x + 0.044715 x³), and its derivative, instead.

    Raises
    ------
    TypeError
        `approximate` is neither True nor False.

    Notes
    -----
    Where x is −inf, d and the slope are 0, their limits; where x is inf, d is inf and the slope is 1.
    Φ keeps its relative precision where it is small, down to the smallest numbers of the dtype.

    Examples
    --------
    >>> import cgraph as CG
    >>> x = CG.Leaf1(4)
    >>> x.getInput([-1000, 0, 1, 1000])
    >>> d = CG.GELU(x)
    >>> x.forwardPropagation()
    >>> d.data
    array([-0.00000000e+00,  0.00000000e+00,  8.41344746e-01,  1.00000000e+03])
    """

    _operation = "gelu"

    def __init__(self, node1: Node, approximate: bool = False) -> None:
        x = as_node(type(self).__name__, "node1", node1)
        self._approximate = as_flag(type(self).__name__, "approximate", approximate)
        if self._approximate:
            self._operation, self._constants = "gelu_tanh", (TWICE_ROOT, TWICE_ROOT * 0.044715)
        super().__init__(x)

    def _config(self) -> dict[str, Any]:
        return {"approximate": self._approximate}

    @property
    def approximate(self) -> bool:
        """Whether d is the approximation by tanh."""
        return self._approximate
