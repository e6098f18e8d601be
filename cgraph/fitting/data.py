"""The data of `fit`, checked: what is trained on, and what is held out for validation."""

from __future__ import annotations

import zlib
from collections.abc import Iterator, Mapping
from typing import Any, NamedTuple

import numpy as np

from cgraph._execution.feeds import FeedSpecs
from cgraph._validation import as_number, describe
from cgraph.fitting.samples import (
    Arrays,
    Feeds,
    FeedsOfEpoch,
    Samples,
    Stream,
    as_samples,
    require_leaves,
)
from cgraph.node import Node

_ENDS = 16  # samples at each end of an array that tell it from another one


class Data(NamedTuple):
    """The samples of a training.

    Attributes
    ----------
    training : Arrays, iterable of Feed, or function
        The samples to train on, among them those that are to be held out.
    validation : Arrays or None
        The samples of a validation feed.
    fraction : float or None
        The part of the training samples that is to be held out.
    specs : dict of Node to FeedSpec
        What the leaves may be fed.
    """

    training: Arrays | Feeds | FeedsOfEpoch
    validation: Arrays | None
    fraction: float | None
    specs: FeedSpecs

    @property
    def leaves(self) -> list[Node] | None:
        """The leaves that are fed, if that is known beforehand."""
        known = self.training if isinstance(self.training, Arrays) else self.validation
        return None if known is None else list(known.rows)

    def draw_split(self, rng: np.random.Generator) -> int:
        """Returns a seed for `parts`, drawn where it is needed."""
        return 0 if self.fraction is None else int(rng.integers(2**63))

    def parts(self, seed: int) -> tuple[Samples, Arrays | None]:
        """Returns the samples to train on, and those for validation; the seed says which part is held out."""
        if not isinstance(self.training, Arrays):
            leaves = None if self.validation is None else list(self.validation.rows)
            return Stream(self.training, self.specs, leaves), self.validation
        if self.fraction is None:
            return self.training, self.validation
        return self.training.split(self.fraction, seed)

    def description(self) -> dict[str, Any]:
        """Returns what tells these samples from others: their numbers, and checksums of the first and last ones."""
        both = {"samples": self.training, "validation": self.validation}
        described = {
            name: [arrays.size, *(_checksum(array) for array in arrays.rows.values())]
            for name, arrays in both.items()
            if isinstance(arrays, Arrays)
        }
        return described | {"fraction for validation": self.fraction}


def _checksum(array: np.ndarray[Any, Any]) -> int:
    return zlib.crc32(array[-_ENDS:].tobytes(), zlib.crc32(array[:_ENDS].tobytes()))


def as_data(feed: object, validation: object, specs: FeedSpecs, epochs: int) -> Data:
    """Returns the data of a call of `fit`, or refuses them."""
    training = _as_training(feed, specs, epochs)
    if validation is None:
        return Data(training, None, None, specs)
    if isinstance(validation, Mapping):
        held_out = Arrays(as_samples("validation", validation, specs))
        _require_samples("validation", held_out)
        if isinstance(training, Arrays):
            require_leaves(training.rows, set(held_out.rows))
        return Data(training, held_out, None, specs)
    fraction = as_number("fit", "validation", validation)
    if not 0 < fraction < 1:
        raise ValueError(
            f"fit: validation must be a part between 0 and 1, or a feed, got {describe(validation)}"
        )
    if not isinstance(training, Arrays) or training.size < 2:
        came = "1 sample" if isinstance(training, Arrays) else "an iterable of feeds"
        raise ValueError(
            f"fit: validation must be a feed where feed is not two samples or more, got {came}"
        )
    return Data(training, None, fraction, specs)


def _as_training(feed: Any, specs: FeedSpecs, epochs: int) -> Arrays | Feeds | FeedsOfEpoch:
    """Returns arrays, checked, or the feeds as they are; refuses anything else."""
    if isinstance(feed, Mapping):
        if any(spec.carried for spec in specs.values()):
            raise ValueError(
                "fit: feed must be an iterable of feeds, such as [feed], for a Graph with carry, since the samples of "
                "a mapping are shuffled"
            )
        arrays = Arrays(as_samples("feed", feed, specs))
        _require_samples("feed", arrays)
        return arrays
    if callable(feed):
        function: FeedsOfEpoch = feed
        return function
    # Without a call of `iter`, for which a loader of data may start its workers.
    steps = hasattr(type(feed), "__iter__") or hasattr(type(feed), "__getitem__")
    if not steps or isinstance(feed, (str, bytes, np.ndarray)):
        raise TypeError(
            f"fit: feed must map leaves to arrays, or be an iterable of such feeds, got {describe(feed)}"
        )
    if isinstance(feed, Iterator) and epochs > 1:
        raise TypeError(
            f"fit: feed must be a list or a function for {epochs} epochs, got an iterator, which ends after one"
        )
    feeds: Feeds = feed
    return feeds


def _require_samples(argument: str, arrays: Arrays) -> None:
    if not arrays.size:
        raise ValueError(f"fit: {argument} must hold at least one sample, got none")
