"""What a Graph is fed: leaves with arrays of samples, checked."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import Any, NamedTuple

import numpy as np
import numpy.typing as npt

from cgraph._array import Array, DType, as_real, describe
from cgraph.node import Node

Feed = Mapping[Node, npt.ArrayLike]


class Feeds(NamedTuple):
    """What came: for each leaf an array of samples, one contiguous row each; and how many."""

    leaves: list[Node]
    arrays: list[Array]
    size: int


# For each leaf its dtype, and what a sample of it may look like.
Inlets = Mapping[Node, tuple[DType, tuple[tuple[int, ...], ...]]]


def inlets_of(leaves: Iterable[Node]) -> Inlets:
    """What leaves take."""
    return {x: (x.dtype, ((x.size,), (x.height, x.width))) for x in leaves}


def as_feeds(owner: str, feed: Feed, inlets: Inlets) -> Feeds:
    """The samples of each fed leaf."""
    if type(feed) is not dict and not isinstance(feed, Mapping):
        raise TypeError(f"{owner}: feed must map leaves to arrays, got {describe(feed)}")
    arrays = []
    counts = set()
    for leaf, value in feed.items():
        if leaf not in inlets:
            raise ValueError(f"{owner}: feed must map leaves of this graph, got {describe(leaf)}")
        dtype, shapes = inlets[leaf]
        array: Any = value
        fits = type(array) is np.ndarray and array.dtype is dtype and array.flags.c_contiguous
        if not fits:
            array = as_real(owner, f"feed of {leaf!r}", value)
        shape = array.shape
        if shape[1:] not in shapes:
            raise ValueError(
                f"{owner}: feed of {leaf!r} must have shape (B, {leaf.size}) or "
                f"(B, {leaf.height}, {leaf.width}), got {shape}"
            )
        arrays.append(array if fits else np.ascontiguousarray(array, dtype))
        counts.add(shape[0])
    if not counts:
        raise ValueError(f"{owner}: feed must hold at least one leaf, got none")
    if len(counts) > 1:
        raise ValueError(
            f"{owner}: feed must hold the same number of samples for each leaf, got {sorted(counts)}"
        )
    return Feeds(list(feed), arrays, counts.pop())
