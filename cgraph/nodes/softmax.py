"""Nodes that normalise the exponentials of their input: Softmax, its logarithm, and the cross-entropy of both.

x is the input, of m elements, d is the data of the node, g its gradient ∂L/∂d.
docs/look_up/specification.md says which document *the specification* is.
"""

from cgraph.node import Node
from cgraph.nodes.elementwise import MtoM
from cgraph.nodes.reduction import MMto1, Reducing, require_alike


class Softmax(Reducing, MtoM):
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

    _operation = "softmax"


class LogSoftmax(Reducing, MtoM):
    """d_i = ln(exp(x_i) / Σ_j exp(x_j)), over all elements of the input.

    ∂L/∂x_i = g_i − exp(d_i) Σ_j g_j.

    Parameters
    ----------
    node1 : Node
        x, of any shape.

    Notes
    -----
    Computed as (x_i − max) − ln Σ_j exp(x_j − max), which is finite for all finite x whose distances are. An element
    of −inf gives −inf, and takes no part in the others; +inf, or −inf everywhere, gives NaN everywhere, as does a NaN.

    Examples
    --------
    >>> import cgraph as CG
    >>> x = CG.Leaf1(2)
    >>> x.getInput([0, 1e4])
    >>> CG.evaluate(CG.LogSoftmax(x))
    array([-10000.,      0.])
    """

    _operation = "log_softmax"


class SoftmaxCEE(Reducing, MMto1):
    """d = −Σ y_i ln p_i with p = softmax(x): the cross-entropy error of logits x and target y.

    ∂L/∂x_i = g (p_i Σ_j y_j − y_i), ∂L/∂y_i = −g ln p_i.

    It is ``CEE(Softmax(x), y)`` without the clamp of `CEE`: where a logit is far below the others, its logarithm is
    right and its gradient does not vanish.

    Parameters
    ----------
    logits, target : Node
        x and y, of the same height, width and dtype; one node may stand for both. Usually y are the weights of a
        distribution, whose sum is 1, such as the rows of `one_hot`.

    Raises
    ------
    TypeError
        An argument is not a Node, or their dtypes differ.
    ValueError
        The shapes of the two differ.

    Notes
    -----
    −ln p_i is computed as (max − x_i) + ln Σ_j exp(x_j − max), which is finite for all finite x whose distances are.
    Where y_i = 0, the term of x_i is 0 even if x_i is −inf. A NaN in x or y, or +inf in x, is a NaN in d.

    Examples
    --------
    >>> import cgraph as CG
    >>> x, y = CG.Leaf1(2), CG.Leaf1(2)
    >>> x.getInput([1e4, 0])
    >>> y.getInput([0, 1])
    >>> d = CG.SoftmaxCEE(x, y)
    >>> x.forwardPropagation()
    >>> y.forwardPropagation()
    >>> d.backwardPropagation()
    >>> d.data, x.grad
    (array([10000.]), array([ 1., -1.]))
    """

    _operation = "softmax_cee"

    def __init__(self, logits: Node, target: Node) -> None:
        x, y = require_alike(self, logits=logits, target=target)
        self._set_up(x.size, 1, 1, (x, y))
