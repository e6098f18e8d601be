"""The settings of a Graph for batches (layout and threads), and those with which a test runs."""

import itertools
from typing import NamedTuple

import numpy as np
import pytest

# Sizes of batches around whole blocks of lanes, which are 8 samples of float64 or 16 of float32.
COUNTS = (1, 2, 7, 8, 15, 16, 17, 64, 100)
MOST = max(COUNTS)


class Setting(NamedTuple):
    """The options of a Graph that decide how a batch is run."""

    layout: str
    threads: int


SETTINGS = [Setting(*pair) for pair in itertools.product(("lanes", "samples", "auto"), (1, 2))]
every_setting = pytest.mark.parametrize(
    "setting", SETTINGS, ids=lambda setting: f"{setting.layout}-{setting.threads}"
)
EVERY = list(itertools.product(SETTINGS, COUNTS))


def some_batches(seed, most=MOST):
    """Returns each setting with one number of samples, drawn from COUNTS."""
    rng = np.random.default_rng(seed)
    counts = [count for count in COUNTS if count <= most]
    drawn = rng.permutation(counts * 2)[: len(SETTINGS)]
    return list(zip(SETTINGS, map(int, drawn), strict=True))
