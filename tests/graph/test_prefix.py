"""Batches whose first steps take one sample at a time, and the others many: every cut gives the same numbers."""

import numpy as np
import pytest
from batch_twins import BatchTwins, uniform
from batch_ways import LINE, Way, cut
from graph_networks import (
    NETWORKS,
    dense_lenet,
    nodes_of,
    residual,
    sparse_lenet,
    strides_of_two,
)
from graph_twins import TOLERANCE, assert_same, parameters_of

import cgraph as CG
from cgraph._lowering.fusion import fuse
from cgraph._lowering.layout import CROSSING, NEVER, choose, crossings
from cgraph._lowering.program import Kind

pytestmark = pytest.mark.usefixtures("guard_pages")
COUNT = 19  # a whole block, and some


@pytest.mark.parametrize("network", NETWORKS)
def test_every_cut_gives_the_sums_of_the_nodes(network, monkeypatch):
    dtype = "float32" if len(network.__name__) % 2 else "float64"
    nodes = nodes_of(network, dtype)
    twins = BatchTwins(lambda: nodes_of(network, dtype), len(nodes) - 1, uniform(nodes), COUNT)
    units = len(fuse([nodes[-1]]).units)
    step = 3 if network in (dense_lenet, sparse_lenet) else 1
    for first in range(1, units, step):
        cut(monkeypatch, first, dtype)
        twins.check_sums(Way("auto", 1), COUNT, 3)


@pytest.mark.parametrize("network", [residual, strides_of_two], ids=lambda n: n.__name__)
@pytest.mark.parametrize("dtype", LINE)
def test_a_batch_is_learnt_once_on_both_sides_of_a_cut(dtype, network, monkeypatch):
    """Batches of a block, of a part of it, and of more."""
    expected = nodes_of(network, dtype)
    rng, draw = np.random.default_rng(1), uniform(expected)
    drawn = [draw(rng) for _ in range(COUNT)]
    samples = {k: np.stack([one[k] for one in drawn]) for k in drawn[0]}
    graph = CG.Graph(expected[-1], threads=1, layout="samples")
    for last in (LINE[dtype], 3, COUNT):
        graph.accumulate({expected[k]: rows[:last] for k, rows in samples.items()})
        graph.update(0.01)
    for first in range(1, len(fuse([expected[-1]]).units)):
        nodes = nodes_of(network, dtype)
        cut(monkeypatch, first, dtype)
        graph = CG.Graph(nodes[-1], threads=1)
        for last in (LINE[dtype], 3, COUNT):
            graph.step({nodes[k]: rows[:last] for k, rows in samples.items()}, 0.01)
        for (value, _), (correct, _) in zip(
            parameters_of(nodes), parameters_of(expected), strict=True
        ):
            assert_same(value, correct, TOLERANCE[dtype])


@pytest.mark.parametrize("dtype", LINE)
def test_nodes_on_both_sides_of_a_cut_can_be_predicted(dtype, monkeypatch):
    """In front of it, samples go one at a time; what crosses it lies side by side, too."""
    nodes = nodes_of(residual, dtype)
    twins = BatchTwins(lambda: nodes_of(residual, dtype), len(nodes) - 1, uniform(nodes), COUNT)
    for first in range(1, len(fuse([nodes[-1]]).units)):
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


# The rule

every_network = pytest.mark.parametrize("network", NETWORKS, ids=lambda network: network.__name__)


def program_of(network, dtype="float32"):
    return fuse([nodes_of(network, dtype)[-1]])


def blocks_read(program, units):
    return {program.where[x][0] for unit in units for x in unit.inputs}


@every_network
def test_a_cut_is_crossed_by_leaves_read_in_front_and_by_what_is_left_to_those_behind(network):
    program = program_of(network)
    for first, cost in enumerate(crossings(program)[:-1]):
        front, behind = program.units[:first], program.units[first:]
        crossing = [
            unit
            for unit in program.units
            if unit.kind is Kind.LEAF
            if unit.block in blocks_read(program, front)
        ] + [
            unit
            for unit in front
            if unit.kind is not Kind.LEAF
            if unit.block in blocks_read(program, behind)
        ]
        np.testing.assert_allclose(
            cost, CROSSING * sum(unit.elements for unit in crossing), atol=1e-6
        )


@every_network
def test_a_layout_that_is_asked_for_is_taken(network):
    program = program_of(network)
    samples, lanes = (choose(program, layout, False) for layout in ("samples", "lanes"))
    assert samples[:4] == (1, 1, NEVER, len(program.units))
    assert lanes[1:4] == (LINE["float32"], 1, 0)
    assert lanes.lanes in (LINE["float32"], 4 * LINE["float32"])


@every_network
def test_from_the_least_number_of_samples_on_a_line_costs_less_than_its_samples(network):
    program = program_of(network)
    choice, alone = (choose(program, layout, False) for layout in ("auto", "samples"))
    if choice.lanes > 1:
        together = choice.line * choice.cost
        assert (choice.least - 1) * alone.cost <= together < choice.least * alone.cost


@pytest.mark.parametrize("layout", ["auto", "lanes"])
def test_blocks_of_samples_are_wide_where_matrices_outweigh_all_else(layout):
    x = CG.Leaf1(512, dtype="float32")
    matrix = fuse([CG.Norm2(CG.Affine(x, np.zeros((513, 512))))])
    assert choose(matrix, layout, False).lanes == 4 * LINE["float32"]
    assert choose(program_of(sparse_lenet), layout, False).lanes == LINE["float32"]
