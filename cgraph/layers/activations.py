"""The activations by name, and what a layer makes of its argument `activation`."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

from cgraph._validation import describe
from cgraph.node import Node
from cgraph.nodes.activations import ELU, GELU, LeakyReLU, SiLU, Softplus
from cgraph.nodes.elementwise import ReLU, Sigmoid, Tanh
from cgraph.nodes.softmax import LogSoftmax, Softmax

Activation = Callable[[Node], Node]

#: The class of the activation of each name, with the defaults of its constructor.
ACTIVATIONS: dict[str, Activation] = {
    "elu": ELU,
    "gelu": GELU,
    "leaky_relu": LeakyReLU,
    "log_softmax": LogSoftmax,
    "relu": ReLU,
    "sigmoid": Sigmoid,
    "silu": SiLU,
    "softmax": Softmax,
    "softplus": Softplus,
    "tanh": Tanh,
}
# Keras normalises over the channels at each position; a node of one channel would do it over its positions.
OVER_ALL_ELEMENTS = {"log_softmax", "softmax"}


def as_activation(
    owner: str, value: Any, argument: str = "activation", *, of_channels: bool = False
) -> Activation | None:
    """Returns the function of a name, or the function itself, or None for none, or refuses the value.

    With `of_channels`, names are refused of functions that depend on more than one element.
    """
    if value is None:
        return None
    names = [name for name in ACTIVATIONS if not (of_channels and name in OVER_ALL_ELEMENTS)]
    if isinstance(value, str) and value in names:
        return ACTIVATIONS[value]
    if not callable(value):
        known = ", ".join(f'"{name}"' for name in names)
        raise (ValueError if isinstance(value, str) else TypeError)(
            f"{owner}: {argument} must be None, {known} or a function of a node, got {describe(value)}"
        )
    function: Activation = value
    return function


def activated(owner: str, nodes: Sequence[Node], activation: Activation | None) -> list[Node]:
    """Returns what an activation makes of each node; the nodes themselves for None."""
    if activation is None:
        return list(nodes)
    outputs = [activation(node) for node in nodes]
    for output in outputs:
        if not isinstance(output, Node):
            raise TypeError(f"{owner}: activation must return a Node, got {describe(output)}")
    return outputs
