"""The rule that chooses between one sample at a time and samples in lanes, and the sizes of blocks."""

import numpy as np
import pytest
from graph_networks import NETWORKS, nodes_of, sparse_lenet
from lane_arena import blocks_of, lanes_of, vector_of, widest_far_block
from own_nodes import Failing

import cgraph as CG
from cgraph._kernels.runtime.request import Feeds, Request
from cgraph._lowering.cost import (
    LANE_ELEMENT,
    LANE_STEP,
    MULTIPLY_ADD,
    TRAINED_WEIGHT,
    BlockCost,
    block_cost,
    copy_cost,
    multiply_adds,
    sample_cost,
    total_cost,
    update_cost,
)
from cgraph._lowering.fusion import fuse
from cgraph._lowering.layout import (
    NEVER,
    SEEDS_SLOWDOWN,
    LayoutPlan,
    block_of_seeds,
    cheapest_blocks,
    choose_layout,
    costs_over_lanes,
)

LINE = lanes_of("float32")
VECTOR = max(LINE // 2, vector_of("float32"))
FAR = widest_far_block("float32")
every_network = pytest.mark.parametrize("network", NETWORKS, ids=lambda network: network.__name__)


def small_mlp(dtype):
    """Returns the nodes of an MLP whose data fit the nearest cache, four lines of samples side by side."""
    x, t = CG.Leaf1(4, dtype=dtype), CG.Leaf1(3, dtype=dtype)
    hidden = CG.Tanh(CG.Affine(x, np.ones((5, 20))))
    return [x, t, hidden, CG.MSE(CG.Affine(hidden, np.ones((21, 3))), t)]


def cheapest(costs, update=0.0):
    """Returns the blocks that take least time where each takes the same time however many samples are in it."""
    return cheapest_blocks({lanes: BlockCost(cost) for lanes, cost in costs.items()}, update)


def program_of(network):
    return fuse([nodes_of(network, "float32")[-1]])


@every_network
def test_a_layout_that_is_asked_for_is_taken(network):
    program = program_of(network)
    samples, lanes = (choose_layout(program, layout) for layout in ("samples", "lanes"))
    assert (samples.lanes, samples.min_samples) == (1, NEVER)
    assert (lanes.smallest_block, lanes.min_samples) == (LINE // 2, 1)
    assert lanes.lanes in (FAR, 4 * LINE)


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


def full_cost(group, macs, lanes, training=False):
    """Returns the estimated time of a block with a sample in each lane."""
    return block_cost(group, macs, lanes, False, training).time(lanes)


@pytest.mark.parametrize("training", [False, True])
def test_a_block_of_one_vector_costs_more_for_each_product(training):
    """The start of the step and the gradient of the weights are paid once, whatever the number of lanes."""
    x = CG.ReLU(CG.Leaf1(100, dtype="float32"))
    *_, group, _ = fuse([CG.Norm2(CG.Affine(x, np.zeros((101, 100))))]).groups
    one, two, four = (
        full_cost(group, multiply_adds(group), vectors * VECTOR, training) for vectors in (1, 2, 4)
    )
    once = 2 * two - four
    assert one - once > 0.6 * (two - once)
    assert (once > 1.01 * LANE_STEP) is training
    alone = sample_cost(group, multiply_adds(group), training)
    assert (alone > sample_cost(group, multiply_adds(group))) is training


@pytest.mark.parametrize("make", [lambda x: CG.Affine(x, np.zeros((101, 100))), CG.Tanh])
def test_half_a_line_takes_as_long_as_a_vector(make):
    """It is computed by vectors of its own width; the elements that are moved are half as many."""
    *_, group, _ = fuse([CG.Norm2(make(CG.Leaf1(100, dtype="float32")))]).groups
    half, line = (full_cost(group, multiply_adds(group), lanes) for lanes in (LINE // 2, LINE))
    moved = LINE // 2 * 100 * LANE_ELEMENT
    assert half == pytest.approx(line - moved) if VECTOR == LINE else half < line - 1.1 * moved


def test_a_layer_of_leaves_computes_no_gradient_of_its_input():
    """Of its product and the two products of the gradients, which take as long, one is left out."""
    leaf, macs = CG.Leaf1(100, dtype="float32"), 10_000
    first, second = (
        fuse([CG.Norm2(CG.Affine(x, np.zeros((101, 100))))]).groups[-2]
        for x in (leaf, CG.ReLU(leaf))
    )
    spared = {
        training: [
            full_cost(second, macs, 2 * VECTOR, training)
            - full_cost(first, macs, 2 * VECTOR, training),
            sample_cost(second, macs, training) - sample_cost(first, macs, training),
        ]
        for training in (False, True)
    }
    assert spared[False] == [0, 0]
    assert spared[True] == pytest.approx([2 * macs * MULTIPLY_ADD / 3, macs * TRAINED_WEIGHT / 3])


def test_columns_without_a_sample_take_no_time():
    """The gradients of a matrix are computed for the samples that there are, all else for their columns."""
    x = CG.ReLU(CG.Leaf1(100, dtype="float32"))
    *_, group, _ = fuse([CG.Norm2(CG.Affine(x, np.zeros((101, 100))))]).groups
    for training, share in ((False, 0.0), (True, 1 / 3)):
        cost = block_cost(group, 10_000, 4 * VECTOR, False, training)
        full, half = cost.time(4 * VECTOR), cost.time(2 * VECTOR)
        product = 4 * 10_000 * MULTIPLY_ADD
        assert full - half == pytest.approx(product / 2)
        assert half - cost.time(VECTOR) == pytest.approx(product * share / 4)
        assert cost.time(VECTOR) - cost.once == pytest.approx(product * (1 / 2 - share / 4))


def test_the_cost_of_several_steps_is_the_sum_of_their_costs():
    assert total_cost([BlockCost(1, 2, 3, 8), BlockCost(4, 5, 6, 8)]) == BlockCost(5, 7, 9, 8)


def test_a_block_that_is_not_full_may_be_cheaper_than_two_that_are():
    """Three columns of four take as long as in two blocks, which start twice."""
    costs = {lanes: BlockCost(4.0 + lanes / 8, 10.0, 1.0, 8) for lanes in (8, 16, 32)}
    assert cheapest_blocks(costs)[8:25:8] == (8, 16, 32)
    assert cheapest_blocks({**costs, 32: BlockCost(costs[32].time(32))})[24] == 16


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
    layout_plan = LayoutPlan(cheapest(costs), 1.0)
    for count in range(2 if 1 in costs else 1, max(costs) + 1):
        rest, taken = count, 0
        while rest > 0:
            taken += costs[layout_plan.blocks[rest]]
            rest -= layout_plan.blocks[rest]
        assert taken == min(sum(costs[b] for b in way) for way in compositions(count, costs))


def test_a_sample_that_is_alone_stays_alone():
    assert cheapest({1: 10, 4: 7})[1:] == (1, 4, 4, 4)
    assert cheapest({4: 7})[1:] == (4, 4, 4, 4)


def test_of_equal_times_the_one_with_larger_blocks_is_taken():
    assert cheapest({1: 10, 4: 20, 8: 40})[8] == 8
    assert cheapest({1: 10, 4: 40})[4] == 4


def test_what_takes_one_sample_in_any_block_does_not_make_blocks_cheaper():
    """The layer in front of a Python node decides, and that a sample which is alone needs no copies."""
    x = CG.Leaf1(200, dtype="float32")
    layer = CG.Affine(x, np.zeros((201, 200)))
    program = fuse([CG.Norm2(Failing(layer))])
    leaf, group, *behind = program.groups
    layout_plan = choose_layout(program, "auto", behind, training=True)
    macs = multiply_adds(group)
    costs = {
        lanes: total_cost(
            block_cost(g, m, lanes, False, True) for g, m in ((leaf, 0), (group, macs))
        )
        for lanes in blocks_of("float32")
    }
    assert len(set(layout_plan.blocks)) > 2
    alone = sample_cost(group, macs, True) - copy_cost(program, set(behind))
    assert layout_plan.blocks == cheapest_blocks(
        {1: BlockCost(alone), **costs}, update_cost(macs, 4)
    )


def test_a_lone_sample_comes_first_where_an_update_would_follow_it():
    """Nine samples are one and eight, since a block learns while it is computed, or sixteen if that is cheaper."""
    assert cheapest({1: 3.0, 8: 10.0, 16: 14.0})[8:10] == (8, 8)
    assert cheapest({1: 3.0, 8: 10.0, 16: 14.0}, update=2.0)[8:10] == (8, 1)
    assert cheapest({1: 3.0, 8: 10.0, 16: 12.0}, update=2.0)[8:10] == (8, 16)


def test_a_batch_uses_the_blocks_that_its_samples_go_through():
    layout_plan = LayoutPlan(cheapest({1: 10, 4: 25, 8: 30}), 1.0)
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
    assert choose_layout(program_of(sparse_lenet), layout).lanes == FAR


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


@pytest.mark.parametrize("seeds", [2, 30, 500])
def test_rows_lie_side_by_side_for_as_many_samples_as_that_takes_less_time(seeds):
    """All numbers of samples up to a widest block are compared one by one."""
    program = fuse([small_mlp("float32")[-1]])
    macs = {group: multiply_adds(group) for group in program.groups}
    costs = costs_over_lanes(program, macs, (), False)
    by_samples = choose_layout(program, "auto")
    alone = sum(sample_cost(group, macs[group]) for group in program.groups)

    def time_of_rows(lanes):
        whole, rest = divmod(seeds, lanes)
        rows = whole * costs[lanes].time(lanes) + (costs[lanes].time(rest) if rest else 0)
        return SEEDS_SLOWDOWN * (costs[lanes].time(min(lanes, seeds)) + rows)

    def time_of(count):
        lanes = by_samples.blocks[count]
        if lanes == 1:
            return alone + (time_of(count - 1) if count > 1 else 0)
        left = max(count - lanes, 0)
        return costs[lanes].time(min(lanes, count)) + (time_of(left) if left else 0)

    best = min(map(time_of_rows, costs))
    better = [n for n in range(1, 4 * LINE + 1) if n * best < (1 + seeds) * time_of(n)]
    found = block_of_seeds(program, seeds, by_samples, whatever=False)
    assert (found[1] if found else 0) == max(better, default=0)
    if found:
        assert found[0].cost == pytest.approx(best)
        assert time_of_rows(found[0].lanes) == pytest.approx(best)
    certain = block_of_seeds(program, seeds, by_samples, whatever=True)
    assert certain[1] == max([1, *better])
