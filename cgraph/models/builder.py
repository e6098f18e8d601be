"""What models have in common: checks of arguments, and layers of one style."""

from __future__ import annotations

from collections.abc import Iterable, MutableMapping, Sequence
from typing import Any, NamedTuple

import numpy as np
import numpy.typing as npt

from cgraph._validation import DType, as_dtype, as_generator, as_size, describe, is_iterable
from cgraph.layers import conv2d, dense
from cgraph.layers.activations import Activation, as_activation
from cgraph.layers.arguments import Initializer, as_initializer
from cgraph.node import Node

Layers = MutableMapping[str, Node | Sequence[Node]]


class Builder(NamedTuple):
    """The layers of a model with its activation, initialiser, generator and dtype."""

    activation: Activation | None
    initializer: Initializer
    rng: np.random.Generator
    dtype: DType

    def output(self, node: Node, units: int, activation: Activation | None = None) -> Node:
        """Makes a dense layer with an activation of its own."""
        return dense(node, units, activation, initializer=self.initializer, rng=self.rng)

    def hidden(self, layers: Layers, name: str, node: Node, sizes: Iterable[int]) -> Node:
        """Adds a dense layer for each size to the layers, numbered from 1, and returns the last node."""
        for number, size in enumerate(sizes, 1):
            node = self.output(node, size, self.activation)
            layers[f"{name}{number}"] = node
        return node

    def conv2d(
        self, nodes: Node | Iterable[Node], filters: int, kernel_size: int, **options: Any
    ) -> list[Node]:
        """Makes a convolutional layer; the padding is "same", unless the options say otherwise."""
        given: dict[str, Any] = {"padding": "same", "activation": self.activation}
        given |= {"initializer": self.initializer, "rng": self.rng} | options
        return conv2d(nodes, filters, kernel_size, **given)


def as_builder(
    owner: str,
    activation: object,
    initializer: object,
    rng: object,
    dtype: npt.DTypeLike | None,
    *,
    of_channels: bool = False,
) -> Builder:
    """Returns the builder of a model, or refuses one of the arguments; see `as_activation` about `of_channels`."""
    return Builder(
        as_activation(owner, activation, of_channels=of_channels),
        as_initializer(owner, initializer),
        as_generator(owner, rng),
        as_dtype(owner, dtype),
    )


def as_sizes(owner: str, argument: str, value: object, minimum: int = 1) -> list[int]:
    """Returns a list of sizes, or refuses the value."""
    if isinstance(value, (str, bytes)) or not is_iterable(value):
        raise TypeError(f"{owner}: {argument} must be a sequence of sizes, got {describe(value)}")
    sizes = [as_size(owner, f"a size in {argument}", size) for size in value]
    if len(sizes) < minimum:
        raise ValueError(f"{owner}: {argument} must hold at least {minimum} size, got none")
    return sizes


def as_banks(owner: str, blocks: object) -> list[list[int]]:
    """Returns the numbers of filters of each convolution of each block, or refuses the value."""
    if not is_iterable(blocks):
        raise TypeError(
            f"{owner}: blocks must be a sequence of sequences of sizes, got {describe(blocks)}"
        )
    return [as_sizes(owner, "blocks", block) for block in blocks]
