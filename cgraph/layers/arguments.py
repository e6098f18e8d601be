"""Checks of the arguments of layers: channels, pairs of sizes, strides, tables, initialisers."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
import numpy.typing as npt

from cgraph import init
from cgraph._validation import (
    as_integer,
    as_real,
    as_size,
    describe,
    is_iterable,
    require_dtype,
)
from cgraph.node import Node, as_nodes

Initializer = Callable[[tuple[int, ...], "np.random.Generator", tuple[float, float]], npt.ArrayLike]


def as_channels(owner: str, nodes: object) -> tuple[Node, ...]:
    """Returns a node, or the nodes of a sequence, of one shape and dtype, as a tuple, or refuses the value."""
    channels = (nodes,) if isinstance(nodes, Node) else as_nodes(owner, "nodes", nodes)
    first = channels[0]
    for node in channels:
        if (node.height, node.width) != (first.height, first.width):
            raise ValueError(
                f"{owner}: nodes must all have the same height and width, "
                f"got ({first.height}, {first.width}) and ({node.height}, {node.width})"
            )
    require_dtype(owner, first.dtype, channels)
    return channels


def as_pair(owner: str, argument: str, value: object) -> tuple[int, int]:
    """Returns a pair of sizes for one size or two, or refuses the value."""
    if isinstance(value, (str, bytes)) or not is_iterable(value):
        size = as_size(owner, argument, value)
        return size, size
    sizes = tuple(as_size(owner, argument, size) for size in value)
    if len(sizes) != 2:
        raise ValueError(
            f"{owner}: {argument} must be one size or a pair of height and width, got {describe(value)}"
        )
    return sizes


def as_stride(owner: str, value: object) -> int:
    """Returns the stride, which a filter has in both directions, for one size or two equal ones."""
    rows, columns = as_pair(owner, "strides", value)
    if rows != columns:
        raise ValueError(
            f"{owner}: strides must be the same in both directions, got {describe(value)}"
        )
    return rows


def as_table(owner: str, table: object, filters: int, channels: int) -> list[list[int]]:
    """Returns the channels that each filter reads, or refuses the table."""
    if isinstance(table, (str, bytes)) or not is_iterable(table):
        raise TypeError(
            f"{owner}: table must hold the channels that each filter reads, got {describe(table)}"
        )
    rows = []
    for row in table:
        if isinstance(row, (str, bytes)) or not is_iterable(row):
            raise TypeError(f"{owner}: table must hold sequences of channels, got {describe(row)}")
        numbers = [as_integer(owner, "a channel in table", channel) for channel in row]
        valid = set(numbers) <= set(range(channels))
        if not numbers or not valid or len(set(numbers)) < len(numbers):
            raise ValueError(
                f"{owner}: table must hold channels from 0 to {channels - 1}, at least one in a row and none twice, "
                f"got {describe(row)}"
            )
        rows.append(numbers)
    if len(rows) != filters:
        raise ValueError(
            f"{owner}: table must have a row for each of {filters} filters, got {len(rows)}"
        )
    return rows


def as_initializer(owner: str, value: Any, argument: str = "initializer") -> Initializer:
    """Returns the initialiser of a name, or a function as it is, or refuses the value."""
    function: Initializer
    if isinstance(value, str) and value in init.__all__:
        function = getattr(init, value)
        return function
    if not callable(value):
        names = ", ".join(f'"{name}"' for name in init.__all__)
        raise (ValueError if isinstance(value, str) else TypeError)(
            f"{owner}: {argument} must be {names} or a function of (shape, rng, fans), got {describe(value)}"
        )
    function = value
    return function


def initial(
    owner: str,
    initializer: Initializer,
    shape: tuple[int, ...],
    rng: np.random.Generator,
    fans: tuple[float, float],
    argument: str = "initializer",
) -> npt.NDArray[np.generic]:
    """Returns the initial values of an initialiser, or refuses those of another shape or kind."""
    values = as_real(owner, f"what {argument} returns", initializer(shape, rng, fans))
    if values.shape != shape:
        raise ValueError(
            f"{owner}: what {argument} returns must have shape {shape}, got {values.shape}"
        )
    return values
