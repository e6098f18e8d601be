"""The ways in which a Graph can go through a batch, and which of them a test takes."""

import itertools
from typing import NamedTuple

import numpy as np
import pytest

from cgraph._execution import executable
from cgraph._lowering.layout import LayoutPlan

# Around whole blocks of samples: 8 float64 or 16 float32 lie side by side.
COUNTS = (1, 2, 7, 8, 15, 16, 17, 64, 100)
MOST = max(COUNTS)
LINE = {"float64": 8, "float32": 16}  # samples in a line of the cache


class Setting(NamedTuple):
    """Options of a Graph."""

    layout: str
    threads: int


WAYS = [Setting(*pair) for pair in itertools.product(("lanes", "samples", "auto"), (1, 2))]
every_way = pytest.mark.parametrize("way", WAYS, ids=lambda way: f"{way.layout}-{way.threads}")
EVERY = list(itertools.product(WAYS, COUNTS))


def some_batches(seed, most=MOST):
    """Every way with one number of samples."""
    rng = np.random.default_rng(seed)
    counts = [count for count in COUNTS if count <= most]
    drawn = rng.permutation(counts * 2)[: len(WAYS)]
    return list(zip(WAYS, map(int, drawn), strict=True))


def cut(monkeypatch, first, dtype):
    """Graphs built from now on have so many units in front."""
    layout_plan = LayoutPlan(LINE[dtype], LINE[dtype], 1, first, 1000.0)
    monkeypatch.setattr(executable, "choose_layout", lambda *_: layout_plan)
