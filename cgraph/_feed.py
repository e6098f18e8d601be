"""What a Graph is fed: leaves with arrays of samples, checked."""

from __future__ import annotations

from collections.abc import Collection, Mapping
from typing import Any

import numpy as np
import numpy.typing as npt

from cgraph._array import Array, as_real, describe
from cgraph.node import Node

Feed = Mapping[Node, npt.ArrayLike]


def as_samples(
    owner: str, feed: Feed, leaves: Collection[Node]
) -> tuple[list[tuple[Node, Array]], int]:
    """Each fed leaf with its samples, one contiguous row each, in its dtype; and how many there are."""
    if not isinstance(feed, Mapping):
        raise TypeError(f"{owner}: feed must map leaves to arrays, got {describe(feed)}")
    samples = [(leaf, _rows(owner, leaf, value, leaves)) for leaf, value in feed.items()]
    counts = {len(array) for _, array in samples}
    if not counts:
        raise ValueError(f"{owner}: feed must hold at least one leaf, got none")
    if len(counts) > 1:
        raise ValueError(
            f"{owner}: feed must hold the same number of samples for each leaf, got {sorted(counts)}"
        )
    return samples, counts.pop()


def _rows(owner: str, leaf: Any, value: npt.ArrayLike, leaves: Collection[Node]) -> Array:
    if leaf not in leaves:
        raise ValueError(f"{owner}: feed must map leaves of this graph, got {describe(leaf)}")
    quick = type(value) is np.ndarray and value.dtype is leaf._dtype
    array = value if quick else as_real(owner, f"feed of {leaf!r}", value)
    shape = array.shape  # type: ignore[union-attr]
    if shape[1:] != (leaf._data.size,) and shape[1:] != (leaf._height, leaf._width):
        raise ValueError(
            f"{owner}: feed of {leaf!r} must have shape (B, {leaf.size}) or "
            f"(B, {leaf.height}, {leaf.width}), got {shape}"
        )
    return np.ascontiguousarray(array, leaf._dtype)
