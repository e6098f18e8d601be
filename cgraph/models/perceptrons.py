"""Networks of fully connected layers: mlp, autoencoder and actor_critic."""

from __future__ import annotations

import math
from collections.abc import Iterable
from functools import partial

import numpy as np
import numpy.typing as npt

from cgraph._validation import as_flag, as_size
from cgraph.init import orthogonal
from cgraph.layers import dense
from cgraph.layers.activations import Activation, as_activation
from cgraph.layers.arguments import Initializer
from cgraph.models.builder import Layers, as_builder, as_sizes
from cgraph.models.network import Network
from cgraph.node import Node
from cgraph.nodes.leaf import Leaf1


def mlp(
    inputs: int,
    hidden: Iterable[int],
    outputs: int,
    *,
    activation: str | Activation | None = "tanh",
    output_activation: str | Activation | None = None,
    initializer: str | Initializer = "glorot_uniform",
    rng: np.random.Generator | int | None = None,
    dtype: npt.DTypeLike | None = None,
) -> Network:
    """Builds a multi-layer perceptron.

    Parameters
    ----------
    inputs : int
        The number of elements of the input.
    hidden : sequence of int
        The number of units of each hidden layer; empty for a linear model.
    outputs : int
        The number of elements of the output.
    activation, output_activation : str, callable or None, optional
        The activations of the hidden layers, and of the output: names of `cgraph.layers.ACTIVATIONS`, or functions from
        a node to a node.
    initializer : str or callable, optional
        As in `cgraph.layers.dense`. "he_uniform" suits "relu".
    rng : numpy.random.Generator, int or None, optional
        The source of initial weights, or a seed.
    dtype : numpy dtype, optional
        float64 (the default) or float32.

    Returns
    -------
    Network
        The layers ``x``, ``hidden1``, ``hidden2``, … and ``output``.

    Raises
    ------
    TypeError, ValueError
        An argument is not of this kind, or out of range; here and in all models.

    Examples
    --------
    >>> import cgraph as CG
    >>> network = CG.models.mlp(2, [8], 1, rng=0)
    >>> target = CG.Leaf1(1)
    >>> graph = CG.Graph(CG.MSE(network.output, target))
    >>> xor = {network.x: [[0, 0], [0, 1], [1, 0], [1, 1]], target: [0, 1, 1, 0]}
    >>> optimizer = CG.Adam(lr=0.05)
    >>> losses = [graph.step(xor, optimizer) for _ in range(200)]
    >>> bool(losses[-1].max() < 1e-3)
    True
    """
    owner = "mlp"
    size, count = as_size(owner, "inputs", inputs), as_size(owner, "outputs", outputs)
    sizes = as_sizes(owner, "hidden", hidden, minimum=0)
    build = as_builder(owner, activation, initializer, rng, dtype)
    last = as_activation(owner, output_activation, "output_activation")
    x = Leaf1(size, dtype=build.dtype)
    layers: Layers = {"x": x}
    node = build.hidden(layers, "hidden", x, sizes)
    layers["output"] = build.output(node, count, last)
    return Network(layers, inputs=["x"], outputs=["output"])


def autoencoder(
    inputs: int,
    hidden: Iterable[int],
    code: int,
    *,
    activation: str | Activation | None = "tanh",
    output_activation: str | Activation | None = None,
    initializer: str | Initializer = "glorot_uniform",
    rng: np.random.Generator | int | None = None,
    dtype: npt.DTypeLike | None = None,
) -> Network:
    """Builds an autoencoder: layers that narrow down to a code, and the same layers in reverse order.

    The code and, by default, the output have no activation. The target of the loss is the input itself:
    ``CG.MSE(network.output, network.x)``, which needs no second leaf.

    Parameters
    ----------
    inputs : int
        The number of elements of the input, and of the output.
    hidden : sequence of int
        The number of units of each layer in front of the code; those behind it mirror them.
    code : int
        The number of elements of the code.
    activation, output_activation, initializer, rng, dtype
        As in `mlp`; ``output_activation="sigmoid"`` suits data from 0 to 1.

    Returns
    -------
    Network
        The layers ``x``, ``encoder1``, …, ``code``, ``decoder1``, … and ``output``; code and output are its outputs.

    Examples
    --------
    >>> import cgraph as CG
    >>> network = CG.models.autoencoder(64, [32], 2, rng=0)
    >>> [*network]
    ['x', 'encoder1', 'code', 'decoder1', 'output']
    >>> graph = CG.Graph(CG.MSE(network.output, network.x))
    """
    owner = "autoencoder"
    size, narrow = as_size(owner, "inputs", inputs), as_size(owner, "code", code)
    sizes = as_sizes(owner, "hidden", hidden, minimum=0)
    build = as_builder(owner, activation, initializer, rng, dtype)
    last = as_activation(owner, output_activation, "output_activation")
    x = Leaf1(size, dtype=build.dtype)
    layers: Layers = {"x": x}
    node = build.hidden(layers, "encoder", x, sizes)
    layers["code"] = middle = build.output(node, narrow)
    node = build.hidden(layers, "decoder", middle, sizes[::-1])
    layers["output"] = build.output(node, size, last)
    return Network(layers, inputs=["x"], outputs=["code", "output"])


def actor_critic(
    inputs: int,
    actions: int,
    hidden: Iterable[int] = (64, 64),
    *,
    shared: bool = False,
    activation: str | Activation | None = "tanh",
    rng: np.random.Generator | int | None = None,
    dtype: npt.DTypeLike | None = None,
) -> Network:
    """Builds a policy and a value function of one observation.

    Weights are orthogonal, of gain √2 in hidden layers, 0.01 in that of the policy, and 1 in that of the value, as is
    usual for PPO: the first policy hardly depends on the observation.

    Parameters
    ----------
    inputs : int
        The number of elements of an observation.
    actions : int
        The number of elements of the policy: logits of actions, or means of a Gaussian policy.
    hidden : sequence of int, optional
        The number of units of each hidden layer.
    shared : bool, optional
        Whether policy and value have the hidden layers in common; by default each has its own.
    activation, rng, dtype
        As in `mlp`.

    Returns
    -------
    Network
        The layers ``x``, ``actor1``, …, ``policy``, ``critic1``, … and ``value``; with `shared` there are ``body1``, …
        instead of actor and critic. Policy and value are its outputs.

    References
    ----------
    M. Andrychowicz et al.: What matters for on-policy deep actor-critic methods?, ICLR 2021, arXiv:2006.05990.

    Examples
    --------
    >>> import cgraph as CG
    >>> network = CG.models.actor_critic(4, 2, rng=0)
    >>> graph = CG.Graph([network.policy, network.value])
    >>> policy, value = (graph.predict({network.x: [[0.1, 0.2, 0.3, 0.4]]}, node) for node in network.outputs.values())
    >>> policy.shape, value.shape
    ((1, 2), (1, 1))
    """
    owner = "actor_critic"
    size, count = as_size(owner, "inputs", inputs), as_size(owner, "actions", actions)
    sizes = as_sizes(owner, "hidden", hidden, minimum=0)
    common = as_flag(owner, "shared", shared)
    build = as_builder(owner, activation, partial(orthogonal, gain=math.sqrt(2)), rng, dtype)
    x = Leaf1(size, dtype=build.dtype)
    layers: Layers = {"x": x}
    body: Node | None = None
    if common:
        body = build.hidden(layers, "body", x, sizes)
    for part, name, units, gain in (("actor", "policy", count, 0.01), ("critic", "value", 1, 1.0)):
        top = body or build.hidden(layers, part, x, sizes)
        draw = partial(orthogonal, gain=gain)
        layers[name] = dense(top, units, initializer=draw, rng=build.rng)
    return Network(layers, inputs=["x"], outputs=["policy", "value"])
