"""The rule that chooses between one sample at a time and samples in lanes, and the sizes of blocks."""

import numpy as np
import pytest
from graph_networks import NETWORKS, nodes_of, sparse_lenet
from lane_arena import lanes_of

import cgraph as CG
from cgraph._lowering.fusion import fuse
from cgraph._lowering.layout import NEVER, LayoutPlan, cheapest_blocks, choose_layout

LINE = lanes_of("float32")
every_network = pytest.mark.parametrize("network", NETWORKS, ids=lambda network: network.__name__)


def program_of(network):
    return fuse([nodes_of(network, "float32")[-1]])


@every_network
def test_a_layout_that_is_asked_for_is_taken(network):
    program = program_of(network)
    samples, lanes = (choose_layout(program, layout) for layout in ("samples", "lanes"))
    assert (samples.lanes, samples.min_samples) == (1, NEVER)
    assert (lanes.lanes_per_line, lanes.min_samples) == (LINE, 1)
    assert lanes.lanes in (LINE, 4 * LINE)


@every_network
def test_the_cheaper_layout_is_taken(network):
    program = program_of(network)
    by_rule, *asked = (choose_layout(program, name) for name in ("auto", "samples", "lanes"))
    assert by_rule.cost == min(layout_plan.cost for layout_plan in asked)


@every_network
@pytest.mark.parametrize("training", [False, True])
def test_a_single_sample_is_no_block_of_lanes(network, training):
    layout_plan = choose_layout(program_of(network), "auto", training=training)
    assert layout_plan.blocks[1] == 1
    assert layout_plan.blocks[-1] == layout_plan.lanes


def compositions(count, costs):
    """All ways to compute `count` samples in blocks, of which one at a time may be too large for its samples."""
    if count <= 0:
        yield ()
        return
    for lanes in costs:
        for rest in compositions(count - lanes, costs):
            yield lanes, *rest


@pytest.mark.parametrize(
    "costs", [{1: 10, 4: 25, 8: 30}, {1: 10, 4: 39}, {1: 3, 4: 50, 8: 60}, {4: 7, 8: 12}]
)
def test_blocks_take_the_least_time(costs):
    """All numbers of samples are compared with all ways to divide them."""
    layout_plan = LayoutPlan(cheapest_blocks(costs), 8, 1.0)
    for count in range(2 if 1 in costs else 1, max(costs) + 1):
        rest, taken = count, 0
        while rest > 0:
            taken += costs[layout_plan.blocks[rest]]
            rest -= layout_plan.blocks[rest]
        assert taken == min(sum(costs[b] for b in way) for way in compositions(count, costs))


def test_a_batch_uses_the_blocks_that_its_samples_go_through():
    layout_plan = LayoutPlan(cheapest_blocks({1: 10, 4: 25, 8: 30}), 8, 1.0)
    found = {count: layout_plan.used(count) for count in (0, 1, 2, 3, 5, 8, 9, 16, 19, 800)}
    assert found == {
        0: set(), 1: {1}, 2: {1}, 3: {4}, 5: {8}, 8: {8}, 9: {8, 1}, 16: {8}, 19: {8, 4}, 800: {8}
    }  # fmt: skip
    assert layout_plan.min_samples == 3


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
