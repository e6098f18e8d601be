"""What a Graph is fed: leaves with arrays of samples, checked."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping, Sequence
from typing import Any, NamedTuple

import numpy as np
import numpy.typing as npt

from cgraph._validation import Array, DType, as_real, describe
from cgraph.node import Node

# The flags of an array that compiled code can read where it lies: contiguous and aligned.
PLAIN = 0x0001 | 0x0100

Feed = Mapping[Node, npt.ArrayLike]


class Feeds(NamedTuple):
    """What came: for each leaf an array of samples, one contiguous row each; how many; and the user's own objects."""

    leaves: list[Node]
    arrays: list[Array]
    size: int
    given: Sequence[object] = ()


# For each leaf its dtype, and what a sample of it may look like.
FeedSpecs = Mapping[Node, tuple[DType, tuple[tuple[int, ...], ...]]]


def feed_specs(leaves: Iterable[Node]) -> FeedSpecs:
    """Returns, for each leaf, the dtype and the shapes of a sample that it may be fed."""
    return {x: (x.dtype, ((x.size,), (x.height, x.width))) for x in leaves}


def as_feeds(owner: str, feed: Feed, specs: FeedSpecs, is_live: Callable[[Array], bool]) -> Feeds:
    """The samples of each fed leaf; an array to whose memory a call may write, for which is_live asks, is copied."""
    if type(feed) is not dict and not isinstance(feed, Mapping):
        raise TypeError(f"{owner}: feed must map leaves to arrays, got {describe(feed)}")
    arrays = []
    counts = set()
    for leaf, value in feed.items():
        if leaf not in specs:
            raise ValueError(f"{owner}: feed must map leaves of this graph, got {describe(leaf)}")
        dtype, shapes = specs[leaf]
        array: Any = value
        fits = (
            type(array) is np.ndarray and array.dtype is dtype and array.flags.num & PLAIN == PLAIN
        )
        if not fits:
            array = as_real(owner, f"feed of {leaf!r}", value)
        shape = array.shape
        if shape[1:] not in shapes:
            raise ValueError(
                f"{owner}: feed of {leaf!r} must have shape (B, {leaf.size}) or "
                f"(B, {leaf.height}, {leaf.width}), got {shape}"
            )
        if not fits:
            array = np.require(array, dtype, ("C", "A"))
        arrays.append(array.copy() if is_live(array) else array)
        counts.add(shape[0])
    if not counts:
        raise ValueError(f"{owner}: feed must hold at least one leaf, got none")
    if len(counts) > 1:
        raise ValueError(
            f"{owner}: feed must hold the same number of samples for each leaf, got {sorted(counts)}"
        )
    return Feeds(list(feed), arrays, counts.pop(), list(feed.values()))


# What is kept of a call: the leaves that were fed, the user's own objects, the number of samples.
Kept = tuple[Sequence[Node], Sequence[object], int]


def one_sample(owner: str, kept: Kept, number: int, specs: FeedSpecs) -> Feeds:
    """Copies of one row of each object; of one that is neither an array nor a list, all rows are converted anew."""
    leaves, given, _ = kept
    arrays = []
    for leaf, value in zip(leaves, given, strict=True):
        dtype, shapes = specs[leaf]
        name = f"feed of {leaf!r}"
        rows: Any = (
            value if isinstance(value, (np.ndarray, list, tuple)) else as_real(owner, name, value)
        )
        row = as_real(owner, name, rows[number : number + 1])
        if row.shape[0] == 0:
            raise ValueError(f"{owner}: an array has become smaller since it was fed")
        if row.shape[1:] not in shapes:
            raise ValueError(
                f"{owner}: {name} must have the shape that it was fed in, got rows of shape {row.shape[1:]}"
            )
        arrays.append(np.array(row, dtype, order="C"))
    return Feeds(list(leaves), arrays, 1)
