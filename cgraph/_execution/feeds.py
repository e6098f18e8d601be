"""The feed of a Graph, leaves with arrays of samples: its checks and its conversion."""

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
    """A feed that has been checked: for each leaf an array with a contiguous row for each sample."""

    leaves: list[Node]
    arrays: list[Array]
    size: int  # the number of samples
    given: Sequence[object] = ()  # the objects that the user has fed, before any conversion


# For each leaf its dtype, and the shapes that a sample of it may have.
FeedSpecs = Mapping[Node, tuple[DType, tuple[tuple[int, ...], ...]]]


def feed_specs(leaves: Iterable[Node]) -> FeedSpecs:
    """Returns, for each leaf, the dtype and the shapes of a sample that it may be fed."""
    return {x: (x.dtype, ((x.size,), (x.height, x.width))) for x in leaves}


def as_feeds(
    owner: str, feed: Feed, specs: FeedSpecs, may_write_to: Callable[[Array], bool]
) -> Feeds:
    """Checks and converts a feed; copies an array where `may_write_to` says that the call may write to its memory."""
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
        arrays.append(array.copy() if may_write_to(array) else array)
        counts.add(shape[0])
    if not counts:
        raise ValueError(f"{owner}: feed must hold at least one leaf, got none")
    if len(counts) > 1:
        raise ValueError(
            f"{owner}: feed must hold the same number of samples for each leaf, got {sorted(counts)}"
        )
    return Feeds(list(feed), arrays, counts.pop(), list(feed.values()))


def require_room(owner: str, out: object, count: int, node: Node) -> None:
    """Refuses an array that cannot take the data of a node for `count` samples."""
    if isinstance(out, np.ndarray) and out.shape != (count, node.size):
        raise ValueError(
            f"{owner}: out must have shape (B, size) = {(count, node.size)}, got {out.shape}"
        )
    if not (isinstance(out, np.ndarray) and out.dtype == node.dtype and out.flags.carray):
        came = f"an array of dtype {out.dtype}" if isinstance(out, np.ndarray) else describe(out)
        raise TypeError(
            f"{owner}: out must be a C-contiguous, writable {node.dtype} array, got {came}"
        )


# The feed of the last call: the leaves, the objects that the user has fed, the number of samples.
RememberedFeed = tuple[Sequence[Node], Sequence[object], int]


def one_sample(owner: str, last: RememberedFeed, number: int, specs: FeedSpecs) -> Feeds:
    """Copies one sample out of the feed of the last call.

    An object that is neither an array nor a list or tuple is converted as a whole for that.
    """
    leaves, given, _ = last
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
