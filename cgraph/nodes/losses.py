"""Losses that are means over the elements of their inputs: BCE, Huber, GaussianNLL. MSE and CEE are in reduction.py.

x and y are the inputs, of m elements each, d is the data of the node, g its gradient ∂L/∂d.
"""

from typing import Any

from cgraph._validation import as_number_of
from cgraph.node import Node
from cgraph.nodes.reduction import MMto1, Reducing, require_alike


class BCE(Reducing, MMto1):
    """d = (1/m) Σ ln(1 + exp(x_i)) − x_i y_i: the binary cross-entropy of logits x and targets y.

    This is −(1/m) Σ y_i ln σ(x_i) + (1 − y_i) ln(1 − σ(x_i)).

    ∂L/∂x_i = (σ(x_i) − y_i) g / m, ∂L/∂y_i = −x_i g / m.

    Parameters
    ----------
    logits, target : Node
        x and y, of the same height, width and dtype; one node may stand for both. Usually 0 ≤ y_i ≤ 1.

    Raises
    ------
    TypeError
        An argument is not a Node, or their dtypes differ.
    ValueError
        The shapes of the two differ.

    Notes
    -----
    Computed without cancellation, as the mean of ln(1 + exp(−a_i)) + a_i w_i, where a_i = abs(x_i), and w_i is 1 − y_i
    for x_i > 0, else y_i. So loss and gradient are finite for large logits, and keep their digits where σ(x_i) is near
    a target of 0 or 1. A term whose w_i is 0 is finite even for an infinite logit. A NaN in x or y is a NaN in d.

    Examples
    --------
    >>> import cgraph as CG
    >>> x, y = CG.Leaf1(2), CG.Leaf1(2)
    >>> x.getInput([1e4, -1e4])
    >>> y.getInput([1, 1])
    >>> d = CG.BCE(x, y)
    >>> x.forwardPropagation()
    >>> y.forwardPropagation()
    >>> d.backwardPropagation()
    >>> d.data, x.grad
    (array([5000.]), array([ 0. , -0.5]))
    """

    _operation = "bce"

    def __init__(self, logits: Node, target: Node) -> None:
        x, y = require_alike(self, logits=logits, target=target)
        self._set_up(x.size, 1, 1, (x, y))


class Huber(Reducing, MMto1):
    """d = (1/m) Σ h(x_i − y_i), where h(r) = r² / 2 if −δ ≤ r ≤ δ, else δ (abs(r) − δ / 2).

    ∂L/∂x_i = c_i g / m and ∂L/∂y_i = −c_i g / m, where c_i is x_i − y_i, but at most δ and at least −δ.

    Parameters
    ----------
    x, y : Node
        The inputs, of the same height, width and dtype; one node may stand for both.
    delta : float, optional
        δ, a positive number; for one that is infinite in the dtype, d is half of the mean squared error.

    Raises
    ------
    TypeError
        `x` or `y` is not a Node, or their dtypes differ; `delta` is not a real number.
    ValueError
        The shapes of the two differ; `delta` is not positive in their dtype.

    Notes
    -----
    The derivative is continuous: at x_i − y_i = ±δ, both formulas give it. An infinite difference gives an infinite d
    and a gradient of ±δ g / m. A NaN in x or y is a NaN in d.

    Examples
    --------
    >>> import cgraph as CG
    >>> x, y = CG.Leaf1(2), CG.Leaf1(2)
    >>> x.getInput([0.5, 10])
    >>> d = CG.Huber(x, y)
    >>> x.forwardPropagation()
    >>> y.forwardPropagation()
    >>> d.backwardPropagation()
    >>> d.data, x.grad
    (array([4.8125]), array([0.25, 0.5 ]))
    """

    _operation = "huber"

    def __init__(self, x: Node, y: Node, delta: float = 1) -> None:
        owner = type(self).__name__
        first, second = require_alike(self, x=x, y=y)
        number = as_number_of(owner, "delta", delta, first.dtype)
        if not number > 0:
            raise ValueError(f"{owner}: delta must be positive in {first.dtype}, got {delta}")
        self._constants = (number,)
        self._set_up(first.size, 1, 1, (first, second))

    def _config(self) -> dict[str, Any]:
        return {"delta": self._constants[0]}

    @property
    def delta(self) -> float:
        """The distance δ up to which the loss is quadratic."""
        return self._constants[0]


class GaussianNLL(Reducing):
    """d = (1/m) Σ (v_i + (μ_i − t_i)² exp(−v_i)) / 2: the negative logarithm of a normal density, without the constant.

    ∂L/∂μ_i = (μ_i − t_i) exp(−v_i) g / m, ∂L/∂t_i = −∂L/∂μ_i, ∂L/∂v_i = (1 − (μ_i − t_i)² exp(−v_i)) g / (2 m).

    Parameters
    ----------
    mean, log_variance, target : Node
        μ, v and t, of the same height, width and dtype; one node may stand for several. The variance is exp(v).

    Raises
    ------
    TypeError
        An argument is not a Node, or their dtypes differ.
    ValueError
        The shapes of the three differ.

    Notes
    -----
    The loss is right up to rounding wherever it can be represented in the dtype, also where exp(−v) or (μ − t)² alone
    cannot, and inf where it is larger; so are the gradients, but they may also be ±inf where (μ − t) exp(−v/2) is too
    large for the dtype and g is far below 1. Neither is NaN for finite inputs and a finite g. A NaN in an input is a
    NaN in d.

    Examples
    --------
    >>> import cgraph as CG
    >>> mean, log_variance, target = CG.Leaf1(1), CG.Leaf1(1), CG.Leaf1(1)
    >>> mean.getInput([3])
    >>> target.getInput([1])
    >>> d = CG.GaussianNLL(mean, log_variance, target)
    >>> for leaf in (mean, log_variance, target):
    ...     leaf.forwardPropagation()
    >>> d.backwardPropagation()
    >>> d.data, mean.grad, log_variance.grad
    (array([2.]), array([2.]), array([-1.5]))
    """

    _operation = "gaussian_nll"

    def __init__(self, mean: Node, log_variance: Node, target: Node) -> None:
        nodes = require_alike(self, mean=mean, log_variance=log_variance, target=target)
        self._set_up(nodes[0].size, 1, 1, nodes)


def class_threshold(loss: Node, output: Node) -> float | None:
    """Returns the output from which on a class is present, for accuracy; None where the largest element is the class.

    Elements are classes of their own where the loss is the BCE of these logits, whose threshold is 0; a single element
    of another output is one, with the threshold 0.5.
    """
    if isinstance(loss, BCE) and loss.backward[0] is output:
        return 0.0
    return 0.5 if output.size == 1 else None
