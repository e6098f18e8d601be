"""The feed of a Graph, leaves with arrays of samples: its checks and its conversion."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from typing import Any

import numpy as np
import numpy.typing as npt

from cgraph._kernels.runtime.loans import Written
from cgraph._kernels.runtime.request import Feeds, FeedSpec, is_plain_out, plain_feeds
from cgraph._validation import Array, as_real, describe
from cgraph.node import Node

Feed = Mapping[Node, npt.ArrayLike]

# For each leaf what it may be fed.
FeedSpecs = dict[Node, FeedSpec]


def feed_specs(leaves: Iterable[Node]) -> FeedSpecs:
    """Returns, for each leaf, the dtype and the shapes of a sample that it may be fed."""
    return {x: FeedSpec(x.dtype, x.size, x.height, x.width) for x in leaves}


def as_feeds(owner: str, feed: Feed, specs: FeedSpecs, written: Written) -> Feeds:
    """Checks a feed, and converts it where it does not consist of plain arrays.

    An array to whose memory the call may write is copied.
    """
    return plain_feeds(feed, specs, written) or _converted(owner, feed, specs, written)


def _converted(owner: str, feed: Feed, specs: FeedSpecs, written: Written) -> Feeds:
    """Checks and converts any feed."""
    if not isinstance(feed, Mapping):
        raise TypeError(f"{owner}: feed must map leaves to arrays, got {describe(feed)}")
    arrays = []
    counts = set()
    for leaf, value in feed.items():
        rows = as_rows(owner, leaf, value, specs)
        array: Any = np.require(rows, specs[leaf].dtype, ("C", "A"))
        arrays.append(array.copy() if written.may_include(array) else array)
        counts.add(len(rows))
    if not counts:
        raise ValueError(f"{owner}: feed must hold at least one leaf, got none")
    if len(counts) > 1:
        raise ValueError(
            f"{owner}: feed must hold the same number of samples for each leaf, got {sorted(counts)}"
        )
    return Feeds(list(feed), arrays, counts.pop(), list(feed.values()))


def as_rows(
    owner: str, leaf: Node, value: object, specs: FeedSpecs, argument: str = "feed"
) -> npt.NDArray[Any]:
    """Returns the samples of a leaf as an array in their own dtype, which is not copied, or refuses them."""
    if leaf not in specs:
        raise ValueError(f"{owner}: {argument} must map leaves of this graph, got {describe(leaf)}")
    array = as_real(owner, f"{argument} of {leaf!r}", value)
    shape = array.shape
    if not shape or shape[1:] not in specs[leaf].shapes:
        one = "(B,), " if leaf.size == 1 else ""
        raise ValueError(
            f"{owner}: {argument} of {leaf!r} must have shape {one}(B, {leaf.size}) or "
            f"(B, {leaf.height}, {leaf.width}), got {shape}"
        )
    return array


def require_room(owner: str, out: Array, feeds: Feeds, node: Node, written: Written) -> bool:
    """Refuses an array that cannot take the data of a node for each sample that is fed.

    Returns whether the call may write its results there at once: the array is plain, and shares no memory with what is
    fed nor with what the call writes to.
    """
    if is_plain_out(out, feeds, node.size, node.dtype, written):
        return True
    shape = feeds.size, node.size
    if isinstance(out, np.ndarray) and out.shape != shape:
        raise ValueError(f"{owner}: out must have shape (B, size) = {shape}, got {out.shape}")
    if not (isinstance(out, np.ndarray) and out.dtype == node.dtype and out.flags.carray):
        came = f"an array of dtype {out.dtype}" if isinstance(out, np.ndarray) else describe(out)
        raise TypeError(
            f"{owner}: out must be a C-contiguous, writable {node.dtype} array, got {came}"
        )
    return False


# The feed of the last call: the leaves, the objects that the user has fed, the number of samples.
RememberedFeed = tuple[Sequence[Node], Sequence[object], int]


def one_sample(owner: str, last: RememberedFeed, number: int, specs: FeedSpecs) -> Feeds:
    """Copies one sample out of the feed of the last call.

    An object that is neither an array nor a list or tuple is converted as a whole for that.
    """
    leaves, given, _ = last
    arrays = []
    for leaf, value in zip(leaves, given, strict=True):
        spec = specs[leaf]
        name = f"feed of {leaf!r}"
        rows: Any = (
            value if isinstance(value, (np.ndarray, list, tuple)) else as_real(owner, name, value)
        )
        row = as_real(owner, name, rows[number : number + 1])
        if row.shape[0] == 0:
            raise ValueError(f"{owner}: an array has become smaller since it was fed")
        if row.shape[1:] not in spec.shapes:
            raise ValueError(
                f"{owner}: {name} must have the shape that it was fed in, got rows of shape {row.shape[1:]}"
            )
        arrays.append(np.array(row, spec.dtype, order="C"))
    return Feeds(list(leaves), arrays, 1)
