"""Batches whose first steps take one sample at a time, and the others many: every cut gives the same numbers."""

import numpy as np
import pytest
from batch_twins import BatchTwins, uniform
from batch_ways import Way
from graph_networks import NETWORKS, dense_lenet, nodes_of, residual, sparse_lenet

import cgraph as CG
from cgraph import _compiled
from cgraph._layout import Choice
from cgraph.lowering import Program

COUNT = 19  # a whole block, and some
LINE = {"float64": 8, "float32": 16}


def cut(monkeypatch, first, dtype):
    """Graphs built from now on have so many units in front."""
    choice = Choice(LINE[dtype], LINE[dtype], 1, first, 1000.0)
    monkeypatch.setattr(_compiled, "choose", lambda *_: choice)


@pytest.mark.parametrize("network", NETWORKS)
def test_every_cut_gives_the_sums_of_the_nodes(network, monkeypatch):
    dtype = "float32" if len(network.__name__) % 2 else "float64"
    nodes = nodes_of(network, dtype)
    twins = BatchTwins(lambda: nodes_of(network, dtype), len(nodes) - 1, uniform(nodes), COUNT)
    units = len(Program([nodes[-1]]).units)
    step = 3 if network in (dense_lenet, sparse_lenet) else 1
    for first in range(1, units, step):
        cut(monkeypatch, first, dtype)
        twins.check_sums(Way("auto", 1), COUNT, 3)


@pytest.mark.parametrize("dtype", LINE)
def test_nodes_on_both_sides_of_a_cut_can_be_predicted(dtype, monkeypatch):
    """In front of it, samples go one at a time; what crosses it lies side by side, too."""
    nodes = nodes_of(residual, dtype)
    twins = BatchTwins(lambda: nodes_of(residual, dtype), len(nodes) - 1, uniform(nodes), COUNT)
    for first in range(1, len(Program([nodes[-1]]).units)):
        cut(monkeypatch, first, dtype)
        twins.check_predictions(Way("auto", 1), COUNT, range(len(nodes)))


@pytest.mark.parametrize(("columns", "ways"), [(10, {"samples"}), (600, {"samples", "lanes"})])
def test_the_rule_cuts_between_broad_convolutions_and_a_large_matrix(columns, ways, capsys):
    x = CG.Leaf2(32, 32, dtype="float32")
    channels = [x]
    for _ in range(2):
        kernel = np.zeros((len(channels), 3, 3))
        channels = [
            CG.ReLU(CG.Convolution2d(channels, kernel, 0.0, 1, 1, 1, 32, 32)) for _ in range(16)
        ]
    pooled = [CG.MaxPooling2d(channel, 2, 2, 2) for channel in channels]
    h = CG.Concatenation(pooled)
    graph = CG.Graph(CG.Norm2(CG.Affine(h, np.zeros((h.size + 1, columns)))), threads=1)
    graph.summary()
    steps = capsys.readouterr().out.splitlines()[1:-2]
    found = [line.split()[-1] for line in steps]
    assert set(found) == ways
    assert found == sorted(found, reverse=True)
