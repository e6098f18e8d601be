"""The rule that chooses between one sample at a time and samples in lanes."""

import numpy as np
import pytest
from graph_networks import NETWORKS, nodes_of, sparse_lenet
from lane_arena import lanes_of

import cgraph as CG
from cgraph._lowering.fusion import fuse
from cgraph._lowering.layout import NEVER, choose_layout

LINE = lanes_of("float32")
every_network = pytest.mark.parametrize("network", NETWORKS, ids=lambda network: network.__name__)


def program_of(network):
    return fuse([nodes_of(network, "float32")[-1]])


@every_network
def test_a_layout_that_is_asked_for_is_taken(network):
    program = program_of(network)
    samples, lanes = (choose_layout(program, layout) for layout in ("samples", "lanes"))
    assert samples[:3] == (1, 1, NEVER)
    assert lanes[1:3] == (LINE, 1)
    assert lanes.lanes in (LINE, 4 * LINE)


@every_network
def test_the_cheaper_layout_is_taken(network):
    program = program_of(network)
    by_rule, *asked = (choose_layout(program, name) for name in ("auto", "samples", "lanes"))
    assert by_rule.cost == min(layout_plan.cost for layout_plan in asked)


@every_network
def test_from_the_least_number_of_samples_on_a_line_costs_less_than_its_samples(network):
    program = program_of(network)
    layout_plan, alone = (choose_layout(program, layout) for layout in ("auto", "samples"))
    if layout_plan.lanes > 1:
        together = layout_plan.lanes_per_line * layout_plan.cost
        assert (
            (layout_plan.min_samples - 1) * alone.cost
            <= together
            < layout_plan.min_samples * alone.cost
        )


@pytest.mark.parametrize("layout", ["auto", "lanes"])
def test_blocks_of_samples_are_wide_where_matrices_outweigh_all_else(layout):
    x = CG.Leaf1(512, dtype="float32")
    matrix = fuse([CG.Norm2(CG.Affine(x, np.zeros((513, 512))))])
    assert choose_layout(matrix, layout).lanes == 4 * LINE
    assert choose_layout(program_of(sparse_lenet), layout).lanes == LINE


@pytest.mark.parametrize(
    ("channels", "columns", "found"), [(16, 600, "lanes"), (32, 10, "samples")]
)
def test_a_large_matrix_behind_convolutions_decides(channels, columns, found, capsys):
    """A large matrix decides the layout of all steps, and `summary` prints one layout."""
    x = CG.Leaf2(32, 32, dtype="float32")
    h = [x]
    for _ in range(2):
        kernel = np.zeros((len(h), 3, 3))
        h = [CG.ReLU(CG.Convolution2d(h, kernel, 0.0, 1, 1, 1, 32, 32)) for _ in range(channels)]
    joined = CG.Concatenation([CG.MaxPooling2d(channel, 2, 2, 2) for channel in h])
    CG.Graph(CG.Norm2(CG.Affine(joined, np.zeros((joined.size + 1, columns))))).summary()
    steps = capsys.readouterr().out.splitlines()[1:-2]
    assert {line.split()[-1] for line in steps} == {found}
