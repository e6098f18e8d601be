"""The samples of `fit`: arrays, of which chunks are gathered in a random order, or feeds in their own order.

Nothing is copied whole: a chunk is as many batches as fit into some MB.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Mapping
from inspect import signature
from typing import Any, Protocol

import numpy as np
from numpy.typing import NDArray

from cgraph._execution.feeds import Feed, FeedSpecs, as_rows
from cgraph._validation import describe
from cgraph.node import Node

Rows = dict[Node, NDArray[Any]]
Feeds = Iterable[Feed]
FeedsOfEpoch = Callable[["np.random.Generator"], Feeds] | Callable[[], Feeds]

_CHUNK_BYTES = 1 << 22
_CHUNK_SAMPLES = 1 << 14


class Samples(Protocol):
    """The samples on which a graph is trained, epoch after epoch."""

    @property
    def size(self) -> int | None:
        """The number of samples of an epoch, if it is known."""
        ...

    def chunks(self, rng: np.random.Generator, batch: int, many: bool) -> Iterator[Rows]:
        """Yields the samples of an epoch in chunks of whole batches; with `many` False, of one batch each."""
        ...


class Arrays:
    """Samples of arrays, all of them or some.

    Attributes
    ----------
    rows : dict of Node to ndarray
        For each leaf the array with its samples.
    indices : ndarray of int, or None
        The indices of the samples that belong to it; None stands for all.
    """

    def __init__(self, rows: Rows, indices: NDArray[np.intp] | None = None) -> None:
        self.rows, self.indices = rows, indices

    @property
    def size(self) -> int:
        """The number of samples."""
        return len(next(iter(self.rows.values())) if self.indices is None else self.indices)

    def split(self, fraction: float, seed: int) -> tuple[Arrays, Arrays]:
        """Returns the samples to train on, and a random part of all that is held out, at least one sample in each."""
        count = min(max(round(fraction * self.size), 1), self.size - 1)
        order = np.random.default_rng(seed).permutation(self.size)
        return Arrays(self.rows, order[count:]), Arrays(self.rows, np.sort(order[:count]))

    def chunks(self, rng: np.random.Generator, batch: int, many: bool) -> Iterator[Rows]:
        """Yields all samples in a new order, in chunks of whole batches."""
        order = rng.permutation(self.size if self.indices is None else self.indices)
        at_once = _chunk_size(self.rows, batch) if many else batch
        for first in range(0, len(order), at_once):
            part = order[first : first + at_once]
            yield {leaf: array[part] for leaf, array in self.rows.items()}

    def in_order(self) -> Iterator[Rows]:
        """Yields all samples in their order, in chunks."""
        at_once = _chunk_size(self.rows, 1)
        for first in range(0, self.size, at_once):
            part: Any = slice(first, first + at_once)
            if self.indices is not None:
                part = self.indices[part]
            yield {leaf: array[part] for leaf, array in self.rows.items()}


class Stream:
    """Samples that come in feeds, in the same order or in another one in each epoch.

    Parameters
    ----------
    feeds : iterable of Feed, or function, of a Generator or of nothing, that returns one
        The feeds of an epoch.
    specs : dict of Node to FeedSpec
        What the leaves may be fed.
    leaves : collection of Node, or None
        The leaves that each feed must have.
    """

    size = None

    def __init__(
        self, feeds: Feeds | FeedsOfEpoch, specs: FeedSpecs, leaves: Iterable[Node] | None
    ) -> None:
        self._feeds, self._specs = feeds, specs
        self._leaves = None if leaves is None else set(leaves)

    def chunks(self, rng: np.random.Generator, batch: int, many: bool) -> Iterator[Rows]:
        """Yields the feeds of an epoch, cut into chunks of whole batches where they are long."""
        for feed in feeds_of_epoch(self._feeds, rng):
            rows = as_samples("feed", feed, self._specs)
            if self._leaves is not None:
                require_leaves(rows, self._leaves)
            at_once = _chunk_size(rows, batch) if many else batch
            for first in range(0, Arrays(rows).size, at_once):
                yield {leaf: array[first : first + at_once] for leaf, array in rows.items()}


def feeds_of_epoch(feeds: Feeds | FeedsOfEpoch, rng: np.random.Generator) -> Iterator[Feed]:
    """Returns an iterator over the feeds of an epoch; of an iterable, `iter` is called once."""
    found: Any = feeds
    if callable(feeds):
        function: Any = feeds
        found = function() if takes_nothing(feeds) else function(rng)
    try:
        return iter(found)
    except TypeError:
        if hasattr(type(found), "__iter__"):
            raise
        raise TypeError(
            f"fit: feed must return an iterable of feeds, got {describe(found)}"
        ) from None


def takes_nothing(function: Callable[..., object]) -> bool:
    """Returns whether a function has no arguments; one in C may not tell."""
    try:
        return not signature(function).parameters
    except (TypeError, ValueError):
        return False


def _chunk_size(rows: Rows, batch: int) -> int:
    """Returns the number of samples of a chunk, a multiple of the batch."""
    nbytes = sum(leaf.size * (array.itemsize + leaf.dtype.itemsize) for leaf, array in rows.items())
    return max(min(_CHUNK_BYTES // nbytes, _CHUNK_SAMPLES) // batch, 1) * batch


def as_samples(argument: str, feed: object, specs: FeedSpecs) -> Rows:
    """Returns the arrays of a feed, checked and not converted, or refuses it."""
    if not isinstance(feed, Mapping):
        raise TypeError(f"fit: {argument} must map leaves to arrays, got {describe(feed)}")
    rows = {leaf: as_rows("fit", leaf, value, specs, argument) for leaf, value in feed.items()}
    for leaf in rows:
        if specs[leaf].carried:
            raise ValueError(f"fit: {argument} must not hold carried leaves, got {leaf!r}")
    if not rows:
        raise ValueError(f"fit: {argument} must hold at least one leaf, got none")
    counts = {len(array) for array in rows.values()}
    if len(counts) > 1:
        raise ValueError(
            f"fit: {argument} must hold the same number of samples for each leaf, got {sorted(counts)}"
        )
    # A view of a memory map costs more to index than a plain one.
    return {leaf: np.asarray(array) for leaf, array in rows.items()}


def require_leaves(rows: Rows, leaves: set[Node]) -> None:
    """Refuses a feed of other leaves than those of the validation samples."""
    if rows.keys() != leaves:
        raise ValueError(
            f"fit: feed and validation must have the same leaves, got {len(rows)} and {len(leaves)}, "
            f"{len(rows.keys() & leaves)} of them in both"
        )
