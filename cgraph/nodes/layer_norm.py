"""LayerNorm: the elements of a node, moved and scaled to a mean of 0 and a variance of 1."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, ClassVar

import numpy as np
import numpy.typing as npt

from cgraph._validation import Array, as_number_of, as_real, copy_into
from cgraph.node import Node, as_node
from cgraph.nodes.learning import LearningNode


class LayerNorm(LearningNode):
    """d_i = γ_i x̂_i + β_i with x̂_i = (x_i − μ) ρ, over all m elements of the input.

    μ = (1/m) Σ x_j is their mean, 1/ρ² = (1/m) Σ (x_j − μ)² + ε their variance and a small number.

    ∂L/∂x_i = ρ (h_i − (1/m) Σ h_j − x̂_i (1/m) Σ h_j x̂_j) with h_i = γ_i g_i; ∂L/∂γ_i = x̂_i g_i, ∂L/∂β_i = g_i.

    Parameters
    ----------
    node : Node
        x, of any shape; a matrix is read row by row.
    gain, bias : array_like, shape (m,), optional
        Initial γ and β, by default ones and zeros; copied, and cast to the dtype of the input. Both learn.
    eps : float, optional
        ε, at least 0.

    Raises
    ------
    TypeError
        `node` is not a Node; `gain`, `bias` or `eps` are not real numbers.
    ValueError
        `gain` or `bias` have another shape than (m,); `eps` is negative, infinite or NaN.

    Notes
    -----
    Equal elements give β; with ε = 0 they give NaN. A NaN or an infinite element makes all elements NaN. Where the
    square of a distance from the mean is too large for the dtype, d is β, and where a distance itself is, d is NaN.

    Examples
    --------
    >>> import cgraph as CG
    >>> x = CG.Leaf1(4)
    >>> x.getInput([1, 1, 3, 3])
    >>> CG.evaluate(CG.LayerNorm(x, bias=[0, 10, 0, 0], eps=0))
    array([-1.,  9.,  1.,  1.])
    """

    _gain: Array
    _gradGain: Array
    _bias: Array
    _gradBias: Array

    # One vector holds the gains and, behind them, the biases; the constructor knows how many there are of each.
    _parts: Mapping[tuple[str, str], slice] = {
        ("gain", "gradGain"): slice(0),
        ("bias", "gradBias"): slice(0, None),
    }
    _attributes: ClassVar = {
        "gain": "_gain",
        "gradGain": "_gradGain",
        "bias": "_bias",
        "gradBias": "_gradBias",
    }
    _parameters = tuple(_parts)
    _arguments: ClassVar = {"gain": "gain", "bias": "bias"}

    def __init__(
        self,
        node: Node,
        gain: npt.ArrayLike | None = None,
        bias: npt.ArrayLike | None = None,
        eps: float = 1e-5,
    ) -> None:
        owner = type(self).__name__
        x = as_node(owner, "node", node)
        vector = np.repeat([1, 0], x.size).astype(x.dtype)
        for part, name, given in (
            (vector[: x.size], "gain", gain),
            (vector[x.size :], "bias", bias),
        ):
            if given is not None:
                copy_into(owner, name, as_real(owner, name, given), part)
        number = as_number_of(owner, "eps", eps, x.dtype)
        if not 0 <= number < np.inf:
            raise ValueError(
                f"{owner}: eps must be finite and not negative in {x.dtype}, got {eps}"
            )
        self._eps = number
        halves = slice(x.size), slice(x.size, None)
        self._parts = dict(zip(type(self)._parts, halves, strict=True))
        self._hold(vector)
        self._set_up(x.size, x.height, x.width, (x,))

    def _config(self) -> dict[str, Any]:
        return {"eps": self._eps}

    def _biases(self, name: str) -> slice:
        return slice(None)

    def _parameter_views(self, vector: Array) -> dict[str, Array]:
        gain, bias = vector.reshape(2, -1)
        return {"_parameter_vector": vector, "_gain": gain, "_bias": bias}

    def _grad_views(self, vector: Array) -> dict[str, Array]:
        gain, bias = vector.reshape(2, -1)
        return {"_grad_vector": vector, "_gradGain": gain, "_gradBias": bias}

    @property
    def gain(self) -> Array:
        """The gains γ, shape (m,), live like ``data``. Assigning copies into the array."""
        return self._lend("gain")

    @gain.setter
    def gain(self, value: npt.ArrayLike) -> None:
        copy_into(type(self).__name__, "gain", value, self.gain)

    @property
    def gradGain(self) -> Array:
        """The sum of the gradients of γ since the last update, shape (m,), live like ``gain``."""
        return self._lend("gradGain")

    @gradGain.setter
    def gradGain(self, value: npt.ArrayLike) -> None:
        copy_into(type(self).__name__, "gradGain", value, self.gradGain)

    @property
    def bias(self) -> Array:
        """The biases β, shape (m,), live like ``gain``."""
        return self._lend("bias")

    @bias.setter
    def bias(self, value: npt.ArrayLike) -> None:
        copy_into(type(self).__name__, "bias", value, self.bias)

    @property
    def gradBias(self) -> Array:
        """The sum of the gradients of β since the last update, shape (m,), live like ``gain``."""
        return self._lend("gradBias")

    @gradBias.setter
    def gradBias(self, value: npt.ArrayLike) -> None:
        copy_into(type(self).__name__, "gradBias", value, self.gradBias)

    @property
    def eps(self) -> float:
        """The number ε that is added to the variance."""
        return self._eps

    def calcData(self) -> None:
        self._refresh_parameters()
        x, k = self.backward[0], self._kernels.reduction
        k.layer_norm_forward(x._data, self._parameter_vector, self._eps, self._data)

    def calcPartialDerivative(self) -> None:
        self._refresh_parameters()
        x, k = self.backward[0], self._kernels.reduction
        k.layer_norm_backward_input(x._data, self._parameter_vector, self._eps, self._grad, x._grad)
        if len(self._frozen) < len(self._parts):
            self._touch_grads()
            shares = np.zeros_like(self._grad_vector) if self._frozen else self._grad_vector
            k.layer_norm_backward_parameters(x._data, self._eps, self._grad, shares)
            if self._frozen:
                self._add_to_learning(shares)
