"""The feed of a Graph, leaves with arrays of samples: its checks and its conversion."""

from __future__ import annotations

from collections.abc import Container, Iterable, Mapping, Sequence
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


def feed_specs(
    leaves: Iterable[Node], carried: Container[Node] = (), streams: int = 0
) -> FeedSpecs:
    """Returns, for each leaf, the dtype and the shapes of a sample that it may be fed, or of its state."""
    return {x: FeedSpec(x.dtype, x.size, x.height, x.width, streams, x in carried) for x in leaves}


def as_feeds(owner: str, feed: Feed, specs: FeedSpecs, written: Written) -> Feeds:
    """Checks a feed, and converts it where it does not consist of plain arrays.

    An array to whose memory the call may write is copied.
    """
    return plain_feeds(feed, specs, written) or _converted(owner, feed, specs, written)


def _converted(owner: str, feed: Feed, specs: FeedSpecs, written: Written) -> Feeds:
    """Checks and converts any feed."""
    if not isinstance(feed, Mapping):
        raise TypeError(f"{owner}: feed must map leaves to arrays, got {describe(feed)}")
    arrays, states = {}, []
    counts = set()
    for leaf, value in feed.items():
        if isinstance(leaf, Node) and leaf in specs and specs[leaf].carried:
            states.append((leaf, as_state(owner, leaf, value, specs)))
            continue
        rows = as_rows(owner, leaf, value, specs)
        array: Any = np.require(rows, specs[leaf].dtype, ("C", "A"))
        arrays[leaf] = array.copy() if written.may_include(array) else array
        counts.add(len(rows))
    if not counts:
        which = " that is not carried" if states else ""
        raise ValueError(f"{owner}: feed must hold at least one leaf{which}, got none")
    if len(counts) > 1:
        raise ValueError(
            f"{owner}: feed must hold the same number of samples for each leaf, got {sorted(counts)}"
        )
    leaves = list(arrays)
    streams = specs[leaves[0]].streams
    size, given = counts.pop() * max(streams, 1), [feed[leaf] for leaf in leaves]
    return Feeds(leaves, list(arrays.values()), size, given, states, streams)


def as_state(
    owner: str, leaf: Node, value: object, specs: FeedSpecs, argument: str = "feed"
) -> Array:
    """Returns a copy of the state of a carried leaf, of all streams if there are some, or refuses the value."""
    spec, array = specs[leaf], as_real(owner, f"{argument} of {leaf!r}", value)
    streams = (spec.streams,) if spec.streams else ()
    if array.shape not in [(*streams, *shape) for shape in spec.shapes]:
        raise ValueError(
            f"{owner}: {argument} of {leaf!r}, which is carried, must have shape {(*streams, leaf.size)}, "
            f"got {array.shape}"
        )
    return np.array(array.reshape(*streams, leaf.size), spec.dtype)


def as_rows(
    owner: str, leaf: Node, value: object, specs: FeedSpecs, argument: str = "feed"
) -> npt.NDArray[Any]:
    """Returns the samples of a leaf as an array in their own dtype, which is not copied, or refuses them."""
    if leaf not in specs:
        raise ValueError(f"{owner}: {argument} must map leaves of this graph, got {describe(leaf)}")
    array = as_real(owner, f"{argument} of {leaf!r}", value)
    spec, shape = specs[leaf], array.shape
    streams = (spec.streams,) if spec.streams else ()
    if not shape or shape[1:] not in [(*streams, *each) for each in spec.shapes]:
        rows = f"T, {spec.streams}" if streams else "B"
        one = f"({rows}), " if streams else "(B,), "
        raise ValueError(
            f"{owner}: {argument} of {leaf!r} must have shape {one if leaf.size == 1 else ''}({rows}, {leaf.size}) or "
            f"({rows}, {leaf.height}, {leaf.width}), got {shape}"
        )
    return array


def require_room(owner: str, out: Array, feeds: Feeds, node: Node, written: Written) -> bool:
    """Refuses an array that cannot take the data of a node for each sample that is fed.

    Returns whether the call may write its results there at once: the array is plain, and shares no memory with what is
    fed nor with what the call writes to.
    """
    if is_plain_out(out, feeds, node.size, node.dtype, written):
        return True
    shape = by_streams(feeds.size, feeds.streams, node.size)
    if isinstance(out, np.ndarray) and out.shape != shape:
        rows = "T, S" if feeds.streams else "B"
        raise ValueError(f"{owner}: out must have shape ({rows}, size) = {shape}, got {out.shape}")
    if not (isinstance(out, np.ndarray) and out.dtype == node.dtype and out.flags.carray):
        came = f"an array of dtype {out.dtype}" if isinstance(out, np.ndarray) else describe(out)
        raise TypeError(
            f"{owner}: out must be a C-contiguous, writable {node.dtype} array, got {came}"
        )
    return False


def by_streams(size: int, streams: int, *rest: int) -> tuple[int, ...]:
    """Returns the shape of results for `size` samples: a row for each or, with streams, a row for each time step."""
    return (size // streams, streams, *rest) if streams else (size, *rest)


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
