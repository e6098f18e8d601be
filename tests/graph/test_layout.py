"""The rule that chooses between one sample at a time and samples in lanes, and the sizes of blocks."""

import numpy as np
import pytest
from graph_networks import NETWORKS, nodes_of, sparse_lenet
from lane_arena import blocks_of, lanes_of
from own_nodes import Failing

import cgraph as CG
from cgraph._kernels.runtime.request import Feeds, Request
from cgraph._lowering.cost import (
    LANE_STEP,
    block_cost,
    copy_cost,
    multiply_adds,
    sample_cost,
    update_cost,
)
from cgraph._lowering.fusion import fuse
from cgraph._lowering.layout import NEVER, LayoutPlan, cheapest_blocks, choose_layout

LINE = lanes_of("float32")
every_network = pytest.mark.parametrize("network", NETWORKS, ids=lambda network: network.__name__)


def small_mlp(dtype):
    """Returns the nodes of an MLP whose data fit the nearest cache, four lines of samples side by side."""
    x, t = CG.Leaf1(4, dtype=dtype), CG.Leaf1(3, dtype=dtype)
    hidden = CG.Tanh(CG.Affine(x, np.ones((5, 20))))
    return [x, t, hidden, CG.MSE(CG.Affine(hidden, np.ones((21, 3))), t)]


def program_of(network):
    return fuse([nodes_of(network, "float32")[-1]])


@every_network
def test_a_layout_that_is_asked_for_is_taken(network):
    program = program_of(network)
    samples, lanes = (choose_layout(program, layout) for layout in ("samples", "lanes"))
    assert (samples.lanes, samples.min_samples) == (1, NEVER)
    assert (lanes.smallest_block, lanes.min_samples) == (LINE // 2, 1)
    assert lanes.lanes in (LINE, 4 * LINE)


@every_network
def test_the_cheaper_layout_is_taken(network):
    program = program_of(network)
    by_rule, *asked = (choose_layout(program, name) for name in ("auto", "samples", "lanes"))
    assert by_rule.cost == min(layout_plan.cost for layout_plan in asked)


@pytest.mark.parametrize("dtype", ["float32", "float64"])
def test_blocks_have_half_a_line_a_line_two_and_four(dtype):
    program = fuse([small_mlp(dtype)[-1]])
    for layout, least in (("auto", {1}), ("lanes", set())):
        for training in (False, True):
            layout_plan = choose_layout(program, layout, training=training)
            found = set(layout_plan.blocks[1:])
            assert found <= {*blocks_of(dtype), *least}
            assert found >= {*blocks_of(dtype)[1:], *least}


@pytest.mark.parametrize("training", [False, True])
def test_a_block_of_one_vector_costs_more_for_each_product(training):
    """The start of the step and the gradient of the weights are paid once, whatever the number of lanes."""
    x = CG.Leaf1(100, dtype="float32")
    _, group, _ = fuse([CG.Norm2(CG.Affine(x, np.zeros((101, 100))))]).groups
    half, line, more = (
        block_cost(group, multiply_adds(group), lanes, False, training)
        for lanes in (LINE // 2, LINE, 2 * LINE)
    )
    once = 2 * line - more
    assert half - once > 0.6 * (line - once)
    assert (once > 1.01 * LANE_STEP) is training
    alone = sample_cost(group, multiply_adds(group), training)
    assert (alone > sample_cost(group, multiply_adds(group))) is training


@pytest.mark.parametrize("count", [1, 2, 9, 16, 23, 64, 100])
def test_each_number_of_samples_left_has_the_binding_of_its_block(count):
    nodes = small_mlp("float32")
    executors = CG.Graph(nodes[-1])._executable.executors
    layout_plan, feeds = executors.layouts.backward, Feeds(nodes[:2], [], count)
    request = Request(None, feeds, np.zeros(count), True, batch=count)
    bindings, choice = executors.bind(request)
    used = sorted(layout_plan.used(count), reverse=True)
    assert len(bindings) == len(used)
    assert len(choice) == len(layout_plan.blocks)
    for lanes, which in zip(layout_plan.blocks, choice, strict=True):
        assert lanes not in used or used[which] == lanes


def calls_of(graph, count, batch):
    """Makes a call of each sort with this many samples; returns the lanes of the blocks that there must be after it."""
    layout_plan = graph._executable.executors.layouts.backward
    feed = {x: np.ones((count, x.size)) for x in graph.leaves}
    yield graph.step(feed, 0.1), layout_plan.used(count)
    yield graph.accumulate(feed), layout_plan.used(count)
    yield (
        graph.train(feed, 0.1, batch=batch),
        layout_plan.used(batch) | layout_plan.used(count % batch),
    )


@pytest.mark.parametrize(
    ("count", "batch"), [(3, 2), (9, 4), (20, 16), (70, 64), (67, 33), (140, 70)]
)
def test_a_call_makes_the_executors_of_its_blocks_alone(count, batch):
    graph = CG.Graph(small_mlp("float32")[-1])
    made = graph._executable.executors._lanes[True]
    for _, used in calls_of(graph, count, batch):
        assert set(made) == used - {1}
        made.clear()
        graph._executable.batches.schedules.clear()
        graph._executable.executors._choices.clear()


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
    "costs",
    [
        {1: 10, 4: 25, 8: 30},
        {1: 10, 4: 39},
        {1: 3, 4: 50, 8: 60},
        {1: 10, 4: 7, 8: 9},
        {4: 7, 8: 12},
    ],
)
def test_blocks_take_the_least_time(costs):
    """All numbers of samples are compared with all ways to divide them."""
    layout_plan = LayoutPlan(cheapest_blocks(costs), 1.0)
    for count in range(2 if 1 in costs else 1, max(costs) + 1):
        rest, taken = count, 0
        while rest > 0:
            taken += costs[layout_plan.blocks[rest]]
            rest -= layout_plan.blocks[rest]
        assert taken == min(sum(costs[b] for b in way) for way in compositions(count, costs))


def test_a_sample_that_is_alone_stays_alone():
    assert cheapest_blocks({1: 10, 4: 7})[1:] == (1, 4, 4, 4)
    assert cheapest_blocks({4: 7})[1:] == (4, 4, 4, 4)


def test_of_equal_times_the_one_with_larger_blocks_is_taken():
    assert cheapest_blocks({1: 10, 4: 20, 8: 40})[8] == 8
    assert cheapest_blocks({1: 10, 4: 40})[4] == 4


def test_what_takes_one_sample_in_any_block_does_not_make_blocks_cheaper():
    """The layer in front of a Python node decides, and that a sample which is alone needs no copies."""
    x = CG.Leaf1(200, dtype="float32")
    layer = CG.Affine(x, np.zeros((201, 200)))
    program = fuse([CG.Norm2(Failing(layer))])
    (group,) = (group for group in program.groups if group.nodes[0] is layer)
    behind = [g for g in program.groups if g is not group and g.nodes[0] is not x]
    layout_plan = choose_layout(program, "auto", behind, training=True)
    macs = multiply_adds(group)
    costs = {lanes: block_cost(group, macs, lanes, False, True) for lanes in blocks_of("float32")}
    assert len(set(layout_plan.blocks)) > 2
    alone = sample_cost(group, macs, True) - copy_cost(program, set(behind))
    assert layout_plan.blocks == cheapest_blocks({1: alone, **costs}, update_cost(macs, 4))


def test_a_lone_sample_comes_first_where_an_update_would_follow_it():
    """Nine samples are one and eight, since a block learns while it is computed, or sixteen if that is cheaper."""
    assert cheapest_blocks({1: 3.0, 8: 10.0, 16: 14.0})[8:10] == (8, 8)
    assert cheapest_blocks({1: 3.0, 8: 10.0, 16: 14.0}, update=2.0)[8:10] == (8, 1)
    assert cheapest_blocks({1: 3.0, 8: 10.0, 16: 12.0}, update=2.0)[8:10] == (8, 16)


def test_a_batch_uses_the_blocks_that_its_samples_go_through():
    layout_plan = LayoutPlan(cheapest_blocks({1: 10, 4: 25, 8: 30}), 1.0)
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
