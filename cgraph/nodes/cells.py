"""GRUCell and LSTMCell: one time step of recurrent layers, with the formulas and parameters of PyTorch."""

from __future__ import annotations

from collections.abc import Mapping
from itertools import accumulate, pairwise
from typing import ClassVar

import numpy as np
import numpy.typing as npt

from cgraph import _kernels
from cgraph._kernels.lanes.per_sample import run_cell
from cgraph._validation import Array, as_real, copy_into
from cgraph.node import Node, as_node
from cgraph.nodes.learning import LearningNode


class RecurrentCell(LearningNode):
    """The base of recurrent cells: two matrices, of the input and of the state, with a row for each element of a gate.

    The products are those of an Affine, behind which the kernels compute all gates at once.
    """

    _W_ih: Array
    _W_hh: Array
    _b_ih: Array
    _b_hh: Array
    _gradW_ih: Array
    _gradW_hh: Array
    _gradB_ih: Array
    _gradB_hh: Array

    # One vector holds all parameters in this order; the constructor knows how many there are of each.
    _parts: Mapping[tuple[str, str], slice] = {
        ("W_ih", "gradW_ih"): slice(0),
        ("W_hh", "gradW_hh"): slice(0),
        ("b_ih", "gradB_ih"): slice(0),
        ("b_hh", "gradB_hh"): slice(0),
    }
    _attributes: ClassVar = {name: f"_{name}" for pair in _parts for name in pair}
    _parameters = tuple(_parts)
    _arguments: ClassVar = {name: name for name, _ in _parts}

    _gates: ClassVar[int]
    _is_lstm: ClassVar[bool]

    def _construct(
        self,
        x: Node,
        state: Node,
        units: int,
        given: tuple[npt.ArrayLike | None, ...],
    ) -> None:
        """Constructs the cell on checked inputs; `given` are the parameters, of which biases may be None."""
        owner = type(self).__name__
        rows = self._gates * units
        self._units = units
        self._gate_elements = rows
        self._shapes = (rows, x.size), (rows, units), (rows,), (rows,)
        ends = [*accumulate(int(np.prod(shape)) for shape in self._shapes)]
        self._slices = tuple(slice(*each) for each in pairwise([0, *ends]))
        vector = np.zeros(ends[-1], x.dtype)
        names = [name for name, _ in type(self)._parts]
        for name, shape, part, value in zip(names, self._shapes, self._slices, given, strict=True):
            if value is None and len(shape) == 1:
                continue
            array = as_real(owner, name, value)
            if array.shape != shape:
                raise ValueError(
                    f"{owner}: {name} must have shape {shape} for an input of {x.size} elements and a state of "
                    f"{state.size}, got {array.shape}"
                )
            copy_into(owner, name, array, vector[part].reshape(shape))
        self._parts = dict(zip(type(self)._parts, self._slices, strict=True))
        self._hold(vector)
        self._set_up(x.size + state.size, state.size, 1, (x, state))

    def _biases(self, name: str) -> slice:
        return slice(None) if name.startswith("b") else slice(0)

    def _split(self, vector: Array) -> list[Array]:
        """Returns views of a vector of all parameters, one for each."""
        parts = zip(self._slices, self._shapes, strict=True)
        return [vector[part].reshape(shape) for part, shape in parts]

    def _parameter_views(self, vector: Array) -> dict[str, Array]:
        views = zip(("_W_ih", "_W_hh", "_b_ih", "_b_hh"), self._split(vector), strict=True)
        return {"_parameter_vector": vector, **dict(views)}

    def _grad_views(self, vector: Array) -> dict[str, Array]:
        names = "_gradW_ih", "_gradW_hh", "_gradB_ih", "_gradB_hh"
        return {"_grad_vector": vector, **dict(zip(names, self._split(vector), strict=True))}

    @property
    def W_ih(self) -> Array:
        """The weights of the input, a row for each element of a gate, live like ``data``. Assigning copies."""
        return self._lend("W_ih")

    @W_ih.setter
    def W_ih(self, value: npt.ArrayLike) -> None:
        copy_into(type(self).__name__, "W_ih", value, self.W_ih)

    @property
    def W_hh(self) -> Array:
        """The weights of the state, a row for each element of a gate, live like ``W_ih``."""
        return self._lend("W_hh")

    @W_hh.setter
    def W_hh(self, value: npt.ArrayLike) -> None:
        copy_into(type(self).__name__, "W_hh", value, self.W_hh)

    @property
    def b_ih(self) -> Array:
        """The biases of the products with the input, live like ``W_ih``."""
        return self._lend("b_ih")

    @b_ih.setter
    def b_ih(self, value: npt.ArrayLike) -> None:
        copy_into(type(self).__name__, "b_ih", value, self.b_ih)

    @property
    def b_hh(self) -> Array:
        """The biases of the products with the state, live like ``W_ih``."""
        return self._lend("b_hh")

    @b_hh.setter
    def b_hh(self, value: npt.ArrayLike) -> None:
        copy_into(type(self).__name__, "b_hh", value, self.b_hh)

    @property
    def gradW_ih(self) -> Array:
        """The sum of the gradients of ``W_ih`` since the last update, live like it."""
        return self._lend("gradW_ih")

    @gradW_ih.setter
    def gradW_ih(self, value: npt.ArrayLike) -> None:
        copy_into(type(self).__name__, "gradW_ih", value, self.gradW_ih)

    @property
    def gradW_hh(self) -> Array:
        """The sum of the gradients of ``W_hh`` since the last update, live like it."""
        return self._lend("gradW_hh")

    @gradW_hh.setter
    def gradW_hh(self, value: npt.ArrayLike) -> None:
        copy_into(type(self).__name__, "gradW_hh", value, self.gradW_hh)

    @property
    def gradB_ih(self) -> Array:
        """The sum of the gradients of ``b_ih`` since the last update, live like it."""
        return self._lend("gradB_ih")

    @gradB_ih.setter
    def gradB_ih(self, value: npt.ArrayLike) -> None:
        copy_into(type(self).__name__, "gradB_ih", value, self.gradB_ih)

    @property
    def gradB_hh(self) -> Array:
        """The sum of the gradients of ``b_hh`` since the last update, live like it."""
        return self._lend("gradB_hh")

    @gradB_hh.setter
    def gradB_hh(self, value: npt.ArrayLike) -> None:
        copy_into(type(self).__name__, "gradB_hh", value, self.gradB_hh)

    def _halves(self, state: Array) -> tuple[Array, Array]:
        """Returns the parts of the state, or of its gradient, that the cell multiplies and that it reads directly."""
        raise NotImplementedError

    def _matrices(self) -> tuple[Array, Array]:
        """Returns the matrices in the layout of an Affine: transposed, with the biases as the last row."""
        w_ih: Array = np.concatenate((self._W_ih.T, self._b_ih[None]))
        w_hh: Array = np.concatenate((self._W_hh.T, self._b_hh[None]))
        return np.ascontiguousarray(w_ih), np.ascontiguousarray(w_hh)

    def _activated(self, w_ih: Array, w_hh: Array) -> tuple[Array, list[Array]]:
        """Returns the room of a cell, as its kernels take it, after their forward pass, and its parts.

        These are both products and their gradients, what is read directly, and the output.
        """
        k, (x, state), n = self._kernels.affine, self.backward, self._gate_elements
        room: Array = np.empty(4 * n + 3 * self._units, self._dtype)
        parts = np.split(room, (n, 2 * n, 3 * n, 4 * n, 4 * n + self._units))
        packed = _kernels.scratch(self._dtype, n)
        h, parts[4][...] = self._halves(state._data)
        k.affine_forward(x._data, w_ih, 1.0, packed, parts[0])
        k.affine_forward(h, w_hh, 1.0, packed, parts[1])
        self._run(room, backward=False)
        return room, parts

    def _run(self, room: Array, backward: bool) -> None:
        kernels, item = self._kernels.affine.MATRIX_KERNELS, self._dtype.itemsize
        run_cell(kernels, self._is_lstm, backward, self._units, item, room)

    def calcData(self) -> None:
        self._refresh_parameters()
        _, parts = self._activated(*self._matrices())
        self._data[...] = parts[5][: self.size]

    def calcPartialDerivative(self) -> None:
        self._refresh_parameters()
        k, (x, state) = self._kernels.affine, self.backward
        w_ih, w_hh = self._matrices()
        room, parts = self._activated(w_ih, w_hh)
        _, b, da, db, _, g = parts
        g[: self.size] = self._grad
        self._run(room, backward=True)
        dh, ds = self._halves(state._grad)
        packed = _kernels.scratch(self._dtype, self._gate_elements)
        k.affine_backward_input(w_ih, da, packed, x._grad)
        k.affine_backward_input(w_hh, db, packed, dh)
        ds += b[: self._units]
        if len(self._frozen) < len(self._parts):
            self._touch_grads()
            dw_ih, dw_hh = np.zeros_like(w_ih), np.zeros_like(w_hh)
            k.affine_backward_weight(x._data, 1.0, da, packed, dw_ih)
            k.affine_backward_weight(self._halves(state._data)[0], 1.0, db, packed, dw_hh)
            shares = np.concatenate(
                [dw_ih[:-1].T.ravel(), dw_hh[:-1].T.ravel(), dw_ih[-1], dw_hh[-1]]
            )
            if self._frozen:
                self._add_to_learning(shares)
            else:
                self._grad_vector += shares


class GRUCell(RecurrentCell):
    """h' = (1 − z) t + z h, one time step of a gated recurrent unit, as `torch.nn.GRUCell`; products are by elements.

    r = σ(W_ir x + b_ir + W_hr h + b_hr), z = σ(W_iz x + b_iz + W_hz h + b_hz),
    t = tanh(W_in x + b_in + r (W_hn h + b_hn)), with σ(v) = 1 / (1 + e⁻ᵛ).

    With a and b for W_ih x + b_ih and W_hh h + b_hh, and g for ∂L/∂h': ∂L/∂a_n = g (1 − z) (1 − t²),
    ∂L/∂b_n = r ∂L/∂a_n, ∂L/∂a_z = ∂L/∂b_z = g (h − t) z (1 − z), ∂L/∂a_r = ∂L/∂b_r = b_n r (1 − r) ∂L/∂a_n;
    ∂L/∂x = W_ihᵀ ∂L/∂a, ∂L/∂h = W_hhᵀ ∂L/∂b + z g; ∂L/∂W_ih = ∂L/∂a xᵀ, ∂L/∂W_hh = ∂L/∂b hᵀ.

    Parameters
    ----------
    x : Node
        The input of the time step, m elements; a matrix is read row by row.
    h : Node
        The state before it, n elements.
    W_ih, W_hh : array_like, shapes (3n, m) and (3n, n)
        Initial weights of the input and of the state, n rows each for r, z and n, as PyTorch's ``weight_ih`` and
        ``weight_hh``; copied, and cast to the dtype of the inputs.
    b_ih, b_hh : array_like, shape (3n,), optional
        Initial biases, by default zeros. They learn like the weights.

    Raises
    ------
    TypeError
        `x` or `h` are not Nodes, or differ in dtype; parameters are not real numbers.
    ValueError
        A parameter has another shape.

    Notes
    -----
    The data, the next state, are a column of n elements. `share` makes the cells of other time steps with the same
    parameters; `CG.layers.rnn` does that for a sequence.

    Examples
    --------
    >>> import cgraph as CG
    >>> x, h = CG.Leaf1(1), CG.Leaf1(1)
    >>> x.getInput([2])
    >>> h.getInput([0.5])
    >>> cell = CG.GRUCell(x, h, [[0], [0], [1]], [[0], [0], [0]])  # r = z = 1/2
    >>> CG.evaluate(cell).round(4)  # (tanh(2) + 0.5) / 2
    array([0.732])
    """

    _arguments: ClassVar = RecurrentCell._arguments
    _gates = 3
    _is_lstm = False

    def __init__(
        self,
        x: Node,
        h: Node,
        W_ih: npt.ArrayLike,
        W_hh: npt.ArrayLike,
        b_ih: npt.ArrayLike | None = None,
        b_hh: npt.ArrayLike | None = None,
    ) -> None:
        owner = type(self).__name__
        x, h = as_node(owner, "x", x), as_node(owner, "h", h)
        self._construct(x, h, h.size, (W_ih, W_hh, b_ih, b_hh))

    def _halves(self, state: Array) -> tuple[Array, Array]:
        return state, state


class LSTMCell(RecurrentCell):
    """(h'; c') with c' = f c + i u and h' = o tanh(c'), one time step of an LSTM, as `torch.nn.LSTMCell`.

    i = σ(W_ii x + b_ii + W_hi h + b_hi), f = σ(W_if x + b_if + W_hf h + b_hf),
    u = tanh(W_ig x + b_ig + W_hg h + b_hg), o = σ(W_io x + b_io + W_ho h + b_ho), with σ(v) = 1 / (1 + e⁻ᵛ).

    With a for the sum of both products, and (g_h; g_c) for the gradient of the data: δ = g_c + g_h o (1 − tanh²(c')),
    ∂L/∂a_i = δ u i (1 − i), ∂L/∂a_f = δ c f (1 − f), ∂L/∂a_g = δ i (1 − u²), ∂L/∂a_o = g_h tanh(c') o (1 − o);
    ∂L/∂c = f δ, ∂L/∂x = W_ihᵀ ∂L/∂a, ∂L/∂h = W_hhᵀ ∂L/∂a; ∂L/∂W_ih = ∂L/∂a xᵀ, ∂L/∂W_hh = ∂L/∂a hᵀ.

    Parameters
    ----------
    x : Node
        The input of the time step, m elements; a matrix is read row by row.
    state : Node
        (h; c), the data of the cell one time step before: 2n elements, of which the last n are the cell state c.
    W_ih, W_hh : array_like, shapes (4n, m) and (4n, n)
        Initial weights of the input and of h, n rows each for i, f, g and o, as PyTorch's ``weight_ih`` and
        ``weight_hh``; copied, and cast to the dtype of the inputs.
    b_ih, b_hh : array_like, shape (4n,), optional
        Initial biases, by default zeros. They learn like the weights.

    Raises
    ------
    TypeError
        `x` or `state` are not Nodes, or differ in dtype; parameters are not real numbers.
    ValueError
        `state` has an odd number of elements; a parameter has another shape.

    Notes
    -----
    The data are a column of 2n elements, which `Slice` takes apart: ``CG.Slice(cell, 0, n)`` is h'.

    Examples
    --------
    >>> import cgraph as CG
    >>> x, state = CG.Leaf1(1), CG.Leaf1(2)
    >>> x.getInput([2])
    >>> state.getInput([0, 1])  # h and c
    >>> cell = CG.LSTMCell(x, state, [[0], [0], [1], [0]], [[0]] * 4)  # i = f = o = 1/2
    >>> CG.evaluate(cell).round(4)  # c' = (1 + tanh(2)) / 2
    array([0.377, 0.982])
    """

    _arguments: ClassVar = RecurrentCell._arguments
    _gates = 4
    _is_lstm = True

    def __init__(
        self,
        x: Node,
        state: Node,
        W_ih: npt.ArrayLike,
        W_hh: npt.ArrayLike,
        b_ih: npt.ArrayLike | None = None,
        b_hh: npt.ArrayLike | None = None,
    ) -> None:
        owner = type(self).__name__
        x, state = as_node(owner, "x", x), as_node(owner, "state", state)
        if state.size % 2:
            raise ValueError(
                f"{owner}: state must have as many elements for c as for h, got {state.size}"
            )
        self._construct(x, state, state.size // 2, (W_ih, W_hh, b_ih, b_hh))

    def _halves(self, state: Array) -> tuple[Array, Array]:
        return state[: self._units], state[self._units :]
