"""Affine: a fully connected layer.

docs/look_up/specification.md says which document *the specification* is.
"""

from collections.abc import Mapping
from typing import Any, ClassVar

import numpy.typing as npt

from cgraph import _kernels
from cgraph._validation import Array, as_number, as_real, copy_into
from cgraph.node import Node, as_node
from cgraph.nodes.learning import LearningNode, joined


class Affine(LearningNode):
    """d = Wᵀ (x; b), an affine transformation ℝᵐ → ℝⁿ (specification, section "Class: Affine").

    d_j = Σ_{i≤m} W_ij x_i + W_{m+1,j} b. The last row of W belongs to the constant input b.

    ∂L/∂x_i = Σ_j W_ij g_j; ∂L/∂W_ij = x_i g_j, and b g_j in the last row.

    Parameters
    ----------
    node1 : Node
        The input, of m elements; a matrix is read row by row.
    Weight : array_like, shape (m + 1, n)
        Initial weights; copied, and cast to the dtype of the input.
    bias : float, optional
        The constant input b. It is fixed: the last row of W learns.

    Raises
    ------
    TypeError
        `node1` is not a Node; `Weight` or `bias` are not real numbers.
    ValueError
        `Weight` has another number of dimensions or of rows, or no columns.

    Examples
    --------
    >>> import cgraph as CG
    >>> x = CG.Leaf1(2)
    >>> x.getInput([10, 20])
    >>> y = CG.Affine(x, [[1, 0], [0, 1], [5, 7]])
    >>> x.forwardPropagation()
    >>> y.data
    array([15., 27.])
    """

    _weight: Array
    _gradWeight: Array

    _parts: Mapping[tuple[str, str], slice] = {("weight", "gradWeight"): slice(None)}
    _attributes: ClassVar = {"weight": "_weight", "gradWeight": "_gradWeight"}
    _parameters = tuple(_parts)
    _arguments: ClassVar = {"weight": "Weight"}

    def __init__(self, node1: Node, Weight: npt.ArrayLike, bias: float = 1) -> None:
        owner = type(self).__name__
        x = as_node(owner, "node1", node1)
        weight = as_real(owner, "Weight", Weight)
        if weight.ndim != 2 or weight.shape[0] != x.size + 1 or weight.shape[1] == 0:
            raise ValueError(
                f"{owner}: Weight must have shape ({x.size + 1}, n) for an input of {x.size} elements, "
                f"got {weight.shape}"
            )
        self._bias = float(x.dtype.type(as_number(owner, "bias", bias)))
        self._shape = weight.shape
        self._hold(joined(x.dtype, weight))
        self._set_up(x.size, weight.shape[1], 1, (x,))

    def _config(self) -> dict[str, Any]:
        return {"bias": self._bias}

    def _biases(self, name: str) -> slice:
        return slice(-self._shape[1], None)

    def _parameter_views(self, vector: Array) -> dict[str, Array]:
        return {"_parameter_vector": vector, "_weight": vector.reshape(self._shape)}

    def _grad_views(self, vector: Array) -> dict[str, Array]:
        return {"_grad_vector": vector, "_gradWeight": vector.reshape(self._shape)}

    @property
    def weight(self) -> Array:
        """The weights W, shape (m + 1, n), live like ``data``. Assigning copies into the array."""
        return self._lend("weight")

    @weight.setter
    def weight(self, value: npt.ArrayLike) -> None:
        copy_into(type(self).__name__, "weight", value, self.weight)

    @property
    def gradWeight(self) -> Array:
        """The sum of the gradients of W since the last update, shape (m + 1, n), live like ``weight``."""
        return self._lend("gradWeight")

    @gradWeight.setter
    def gradWeight(self, value: npt.ArrayLike) -> None:
        copy_into(type(self).__name__, "gradWeight", value, self.gradWeight)

    @property
    def bias(self) -> float:
        """The constant input b."""
        return self._bias

    def calcData(self) -> None:
        self._refresh_parameters()
        packed = _kernels.scratch(self._data.dtype, self._data.size)
        x = self.backward[0]
        self._kernels.affine.affine_forward(x._data, self._weight, self._bias, packed, self._data)

    def calcPartialDerivative(self) -> None:
        self._refresh_parameters()
        packed = _kernels.scratch(self._data.dtype, self._data.size)
        x, k = self.backward[0], self._kernels.affine
        k.affine_backward_input(self._weight, self._grad, packed, x._grad)
        if not self._frozen:
            self._touch_grads()
            k.affine_backward_weight(x._data, self._bias, self._grad, packed, self._gradWeight)
