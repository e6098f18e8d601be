"""What a Graph is fed: leaves with arrays of samples, checked."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, NamedTuple

import numpy as np
import numpy.typing as npt

from cgraph._array import Array, DType, as_real, describe
from cgraph.node import Node

Feed = Mapping[Node, npt.ArrayLike]


class Inlet(NamedTuple):
    """Where a leaf takes a sample: its offset and its size in bytes; and what a sample may look like."""

    at: int
    nbytes: int
    dtype: DType
    shapes: tuple[tuple[int, ...], ...]


# An array of samples, one contiguous row each; where a row goes, and its size, in bytes.
Stream = tuple[Array, int, int]


def inlet(leaf: Node, at: int) -> Inlet:
    """The inlet of a leaf whose data begin at element `at`."""
    item = leaf.dtype.itemsize
    return Inlet(at * item, leaf.size * item, leaf.dtype, ((leaf.size,), (leaf.height, leaf.width)))


def as_streams(owner: str, feed: Feed, inlets: Mapping[Node, Inlet]) -> tuple[list[Stream], int]:
    """The samples of each fed leaf, and how many there are."""
    if type(feed) is not dict and not isinstance(feed, Mapping):
        raise TypeError(f"{owner}: feed must map leaves to arrays, got {describe(feed)}")
    streams = []
    counts = set()
    for leaf, value in feed.items():
        if leaf not in inlets:
            raise ValueError(f"{owner}: feed must map leaves of this graph, got {describe(leaf)}")
        at, nbytes, dtype, shapes = inlets[leaf]
        array: Any = value
        fits = type(array) is np.ndarray and array.dtype is dtype and array.flags.c_contiguous
        if not fits:
            array = as_real(owner, f"feed of {leaf!r}", value)
        if array.shape[1:] not in shapes:
            raise ValueError(
                f"{owner}: feed of {leaf!r} must have shape (B, {leaf.size}) or "
                f"(B, {leaf.height}, {leaf.width}), got {array.shape}"
            )
        streams.append((array if fits else np.ascontiguousarray(array, dtype), at, nbytes))
        counts.add(len(array))
    if not counts:
        raise ValueError(f"{owner}: feed must hold at least one leaf, got none")
    if len(counts) > 1:
        raise ValueError(
            f"{owner}: feed must hold the same number of samples for each leaf, got {sorted(counts)}"
        )
    return streams, counts.pop()
