"""Layers of one vector: dense, layer_norm and dropout; and flatten, which makes one of channels."""

from __future__ import annotations

import math
from collections.abc import Iterable

import numpy as np

from cgraph._validation import (
    as_generator,
    as_number,
    as_number_of,
    as_size,
    describe,
    require_dtype,
)
from cgraph.layers.activations import Activation, activated, as_activation
from cgraph.layers.arguments import Initializer, as_initializer, initial
from cgraph.layers.undoing import undone_on_error
from cgraph.node import Node, as_node, as_nodes
from cgraph.nodes.affine import Affine
from cgraph.nodes.concatenation import Concatenation
from cgraph.nodes.dropout import SEEDS, Dropout
from cgraph.nodes.layer_norm import LayerNorm


def dense(
    node: Node,
    units: int,
    activation: str | Activation | None = None,
    *,
    initializer: str | Initializer = "glorot_uniform",
    rng: np.random.Generator | int | None = None,
) -> Node:
    """Makes a fully connected layer: an `Affine` with biases of 0, and the activation.

    Parameters
    ----------
    node : Node
        The input, of m elements; a matrix is read row by row.
    units : int
        The number n of outputs.
    activation : str or callable, optional
        A name of `ACTIVATIONS`, or a function from a node to a node.
    initializer : str or callable, optional
        The name of a function of `cgraph.init`, or a function that is called with the shape (m, n), a generator and the
        pair (m, n) of fan_in and fan_out, and returns the initial weights.
    rng : numpy.random.Generator, int or None, optional
        The source of initial weights, or a seed.

    Returns
    -------
    Node
        The activation, or the `Affine` where there is none.

    Raises
    ------
    TypeError, ValueError
        An argument is not of this kind, or out of range; the activation returns no node, or the initialiser an array
        of another shape. Nothing is attached to the input then.

    Examples
    --------
    >>> import cgraph as CG
    >>> x = CG.Leaf1(20)
    >>> hidden = CG.layers.dense(x, 64, "relu", initializer="he_uniform", rng=0)
    >>> hidden
    ReLU(shape=(64, 1), dtype=float64, parameters=0)
    >>> hidden.backward
    [Affine(shape=(64, 1), dtype=float64, parameters=1344)]
    """
    owner = "dense"
    x = as_node(owner, "node", node)
    n = as_size(owner, "units", units)
    function = as_activation(owner, activation)
    draw = as_initializer(owner, initializer)
    generator = as_generator(owner, rng)
    weight = np.zeros((x.size + 1, n), x.dtype)  # the last row belongs to the constant input
    weight[:-1] = initial(owner, draw, (x.size, n), generator, (x.size, n))
    with undone_on_error([x]):
        return activated(owner, [Affine(x, weight)], function)[0]


def layer_norm(node: Node, epsilon: float = 1e-5) -> Node:
    """Makes a `LayerNorm` with gains of 1 and biases of 0, which both learn.

    Parameters
    ----------
    node : Node
        The input, of any shape; its mean and variance are those of all its elements.
    epsilon : float, optional
        A small number that is added to the variance, at least 0. Keras' default is 1e-3, PyTorch's 1e-5.

    Returns
    -------
    Node
        A node of the same shape.

    Raises
    ------
    TypeError, ValueError
        `node` is not a Node; `epsilon` is not a number, negative, or not finite in the dtype of the input.

    Examples
    --------
    >>> import cgraph as CG
    >>> x = CG.Leaf1(4)
    >>> x.getInput([1, 1, 3, 3])
    >>> CG.evaluate(CG.layers.layer_norm(x, epsilon=0))
    array([-1., -1.,  1.,  1.])
    """
    owner = "layer_norm"
    x = as_node(owner, "node", node)
    eps = as_number_of(owner, "epsilon", epsilon, x.dtype)
    if not 0 <= eps < math.inf:
        raise ValueError(
            f"{owner}: epsilon must be finite and not negative in {x.dtype}, got {describe(epsilon)}"
        )
    return LayerNorm(x, eps=eps)


def dropout(node: Node, rate: float, rng: np.random.Generator | int | None = None) -> Node:
    """Makes a `Dropout`, whose seed is drawn from `rng`.

    Parameters
    ----------
    node : Node
        The input, of any shape.
    rate : float
        The probability with which an element is 0 in a pass for learning, in [0, 1).
    rng : numpy.random.Generator, int or None, optional
        The source of the seed, or a seed for that; two layers with one seed here have the same masks.

    Returns
    -------
    Node
        A node of the same shape.

    Raises
    ------
    TypeError, ValueError
        An argument is not of this kind, or out of range.

    Examples
    --------
    >>> import cgraph as CG
    >>> x = CG.Leaf1(100)
    >>> CG.layers.dropout(x, 0.2, rng=0).rate
    0.2
    """
    owner = "dropout"
    x = as_node(owner, "node", node)
    number = as_number(owner, "rate", rate)
    if not 0 <= number < 1:
        raise ValueError(f"{owner}: rate must be in [0, 1), got {describe(rate)}")
    seed = as_generator(owner, rng).integers(SEEDS, dtype=np.uint64)
    return Dropout(x, number, int(seed))


def flatten(nodes: Node | Iterable[Node]) -> Node:
    """Joins the channels of a layer into one vector, channel by channel and row by row.

    That is the order of PyTorch; Keras goes position by position.

    Parameters
    ----------
    nodes : Node or sequence of Node
        The channels, of any shapes.

    Returns
    -------
    Node
        A `Concatenation`, or the node itself where it is the only one, and a vector.

    Raises
    ------
    TypeError, ValueError
        There is no node, something else among them, or nodes of different dtypes.

    Examples
    --------
    >>> import cgraph as CG
    >>> CG.layers.flatten([CG.Leaf2(4, 4), CG.Leaf2(4, 4)])
    Concatenation(shape=(32, 1), dtype=float64, parameters=0)
    """
    owner = "flatten"
    channels = (nodes,) if isinstance(nodes, Node) else as_nodes(owner, "nodes", nodes)
    require_dtype(owner, channels[0].dtype, channels)
    if len(channels) == 1 and channels[0].width == 1:
        return channels[0]
    return Concatenation(channels)
