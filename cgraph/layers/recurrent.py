"""Recurrent cells with initial parameters: simple_rnn_cell, gru_cell and lstm_cell."""

from __future__ import annotations

from typing import NamedTuple

import numpy as np
import numpy.typing as npt

from cgraph._validation import as_flag, as_generator, require_dtype
from cgraph.layers.activations import Activation, activated, as_activation
from cgraph.layers.arguments import Initializer, as_initializer, initial
from cgraph.layers.undoing import undone_on_error
from cgraph.node import Node, as_node
from cgraph.nodes.affine import Affine
from cgraph.nodes.cells import GRUCell, LSTMCell
from cgraph.nodes.concatenation import Concatenation

Values = npt.NDArray[np.generic]


class Given(NamedTuple):
    """The arguments that all cells have, checked."""

    x: Node
    state: Node
    kernel: Initializer
    recurrent: Initializer
    rng: np.random.Generator

    def drawn(self, owner: str, units: int, columns: int) -> tuple[Values, Values]:
        """Returns initial weights of the input and of the state, with so many columns."""
        kernels = []
        for name, draw, rows in (
            ("kernel_initializer", self.kernel, self.x.size),
            ("recurrent_initializer", self.recurrent, units),
        ):
            shape = rows, columns
            kernels.append(initial(owner, draw, shape, self.rng, shape, name))
        return kernels[0], kernels[1]


def as_given(
    owner: str, node: object, state: object, kernel: object, recurrent: object, rng: object
) -> Given:
    """Returns the arguments of a cell, or refuses them."""
    x, h = as_node(owner, "node", node), as_node(owner, "state", state)
    require_dtype(owner, x.dtype, (h,))
    of_input = as_initializer(owner, kernel, "kernel_initializer")
    of_state = as_initializer(owner, recurrent, "recurrent_initializer")
    return Given(x, h, of_input, of_state, as_generator(owner, rng))


def simple_rnn_cell(
    node: Node,
    state: Node,
    activation: str | Activation | None = "tanh",
    *,
    kernel_initializer: str | Initializer = "glorot_uniform",
    recurrent_initializer: str | Initializer = "orthogonal",
    rng: np.random.Generator | int | None = None,
) -> Node:
    """Makes one time step of a simple recurrent layer, h' = tanh(Wᵀ (x; h; 1)).

    It consists of a `Concatenation`, an `Affine` with biases of 0, and the activation.

    Parameters
    ----------
    node : Node
        The input x of the time step, m elements.
    state : Node
        The state h before it, n elements.
    activation : str or callable, optional
        A name of `ACTIVATIONS`, or a function from a node to a node.
    kernel_initializer, recurrent_initializer : str or callable, optional
        For the weights of x, shape (m, n), and those of h, shape (n, n): as `initializer` of `dense`.
    rng : numpy.random.Generator, int or None, optional
        The source of initial weights, or a seed.

    Returns
    -------
    Node
        The next state, a column of n elements.

    Raises
    ------
    TypeError, ValueError
        An argument is not of this kind, or out of range; both nodes differ in dtype. Nothing is attached to them then.

    Examples
    --------
    >>> import cgraph as CG
    >>> x, h = CG.Leaf1(3), CG.Leaf1(8)
    >>> CG.layers.simple_rnn_cell(x, h, rng=0)
    Tanh(shape=(8, 1), dtype=float64, parameters=0)
    """
    owner = "simple_rnn_cell"
    given = as_given(owner, node, state, kernel_initializer, recurrent_initializer, rng)
    function = as_activation(owner, activation)
    n = given.state.size
    weight = np.concatenate([*given.drawn(owner, n, n), np.zeros((1, n))])
    with undone_on_error([given.x, given.state]):
        joined = Concatenation([given.x, given.state])
        return activated(owner, [Affine(joined, weight)], function)[0]


def gru_cell(
    node: Node,
    state: Node,
    *,
    kernel_initializer: str | Initializer = "glorot_uniform",
    recurrent_initializer: str | Initializer = "orthogonal",
    rng: np.random.Generator | int | None = None,
) -> GRUCell:
    """Makes a `GRUCell` with biases of 0, one time step of a gated recurrent unit.

    Parameters
    ----------
    node : Node
        The input x of the time step, m elements.
    state : Node
        The state h before it, n elements.
    kernel_initializer, recurrent_initializer : str or callable, optional
        For the weights of x and of h, of shapes (m, 3n) and (n, 3n) as in Keras: as `initializer` of `dense`. The cell
        has them transposed, and in the order of PyTorch's gates.
    rng : numpy.random.Generator, int or None, optional
        The source of initial weights, or a seed.

    Returns
    -------
    GRUCell
        The next state, a column of n elements.

    Raises
    ------
    TypeError, ValueError
        An argument is not of this kind, or out of range; both nodes differ in dtype.

    Examples
    --------
    >>> import cgraph as CG
    >>> x, h = CG.Leaf1(3), CG.Leaf1(8)
    >>> CG.layers.gru_cell(x, h, rng=0)
    GRUCell(shape=(8, 1), dtype=float64, parameters=312)
    """
    owner = "gru_cell"
    given = as_given(owner, node, state, kernel_initializer, recurrent_initializer, rng)
    n = given.state.size
    kernel, recurrent = given.drawn(owner, n, 3 * n)
    return GRUCell(given.x, given.state, kernel.T, recurrent.T)


def lstm_cell(
    node: Node,
    state: Node,
    *,
    unit_forget_bias: bool = True,
    kernel_initializer: str | Initializer = "glorot_uniform",
    recurrent_initializer: str | Initializer = "orthogonal",
    rng: np.random.Generator | int | None = None,
) -> LSTMCell:
    """Makes an `LSTMCell`, one time step of a long short-term memory.

    Parameters
    ----------
    node : Node
        The input x of the time step, m elements.
    state : Node
        (h; c) before it, 2n elements.
    unit_forget_bias : bool, optional
        Whether the biases of the forget gate begin with 1, which are those of ``b_ih``; all others begin with 0.
    kernel_initializer, recurrent_initializer : str or callable, optional
        For the weights of x and of h, of shapes (m, 4n) and (n, 4n) as in Keras: as `initializer` of `dense`. The cell
        has them transposed.
    rng : numpy.random.Generator, int or None, optional
        The source of initial weights, or a seed.

    Returns
    -------
    LSTMCell
        (h'; c'), a column of 2n elements: ``CG.Slice(cell, 0, n)`` is h'.

    Raises
    ------
    TypeError, ValueError
        An argument is not of this kind, or out of range; both nodes differ in dtype; `state` has an odd number of
        elements.

    Examples
    --------
    >>> import cgraph as CG
    >>> x, state = CG.Leaf1(3), CG.Leaf1(16)
    >>> CG.layers.lstm_cell(x, state, rng=0)
    LSTMCell(shape=(16, 1), dtype=float64, parameters=416)
    """
    owner = "lstm_cell"
    given = as_given(owner, node, state, kernel_initializer, recurrent_initializer, rng)
    one = as_flag(owner, "unit_forget_bias", unit_forget_bias)
    if given.state.size % 2:
        raise ValueError(
            f"{owner}: state must have as many elements for c as for h, got {given.state.size}"
        )
    n = given.state.size // 2
    kernel, recurrent = given.drawn(owner, n, 4 * n)
    bias = np.zeros(4 * n)
    bias[n : 2 * n] = one
    return LSTMCell(given.x, given.state, kernel.T, recurrent.T, bias)
