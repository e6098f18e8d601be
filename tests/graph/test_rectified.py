"""ReLUs that are fused with the max pooling that reads them, over lanes."""

import numpy as np
import pytest
from batch_settings import Setting
from batch_twins import BatchTwins

import cgraph as CG
from cgraph._lowering.cost import block_cost, multiply_adds, total_cost
from cgraph._lowering.fusion import foldable_relus, fuse
from cgraph._lowering.layout import choose_layout
from cgraph._lowering.views import find_views
from cgraph._subclassing.order import topological_order

pytestmark = pytest.mark.usefixtures("guard_pages")
COUNT = 19  # a whole block of lanes and a part of one


def convolutions(count, dtype, size=6):
    """Returns a leaf and sibling convolutions; all numbers are quarters, with exact sums, many ties and zeros."""
    rng = np.random.default_rng(count)
    x = CG.Leaf2(size, size, dtype=dtype)
    kernels = rng.integers(-2, 3, (count, 1, 3, 3)) / 4
    return x, [CG.Convolution2d([x], k, 0.25, 1, 1, 1, size, size) for k in kernels]


def pooled(relus, window=(2, 2, 2), pad_value=0.0):
    return [CG.MaxPooling2d(relu, *window, pad_value=pad_value) for relu in relus]


def loss_of(nodes):
    return CG.Norm2(CG.Concatenation(nodes))


def siblings(dtype):
    """Builds ReLUs on the channels of a group."""
    x, channels = convolutions(5, dtype)
    relus = [CG.ReLU(c) for c in channels]
    return x, relus, loss_of(pooled(relus))


def single(dtype):
    x, (channel,) = convolutions(1, dtype)
    relus = [CG.ReLU(channel)]
    return x, relus, CG.Norm2(pooled(relus)[0])


def of_a_leaf(dtype):
    """Builds a ReLU of a leaf, with an Affine that has parameters."""
    x = CG.Leaf2(6, 6, dtype=dtype)
    relus = [CG.ReLU(x)]
    weight = np.linspace(-1, 1, 40).reshape(10, 4)
    return x, relus, CG.Norm2(CG.Affine(pooled(relus)[0], weight))


def overlapping(dtype):
    """Builds overlapping windows with padding, which is the maximum of some windows."""
    x, channels = convolutions(3, dtype)
    relus = [CG.ReLU(c) for c in channels]
    return x, relus, loss_of(pooled(relus, (3, 3, 1, 1, 1, 6, 6), 0.25))


def negative_padding(dtype):
    x, channels = convolutions(3, dtype)
    relus = [CG.ReLU(c) for c in channels]
    return x, relus, loss_of(pooled(relus, (3, 3, 2, 1, 1, 3, 3), -1.0))


def read_twice(dtype):
    x, channels = convolutions(4, dtype)
    relus = [CG.ReLU(c) for c in channels]
    return x, relus, loss_of([*pooled(relus), *relus])


def pooled_twice(dtype):
    x, channels = convolutions(4, dtype)
    relus = [CG.ReLU(c) for c in channels]
    return x, relus, loss_of([*pooled(relus), *pooled(relus, (3, 3, 1))])


def read_above(dtype):
    """Builds ReLUs whose inputs are read by other nodes, too."""
    x, channels = convolutions(4, dtype)
    relus = [CG.ReLU(c) for c in channels]
    return x, relus, loss_of([*pooled(relus), *(CG.Tanh(c) for c in channels)])


def in_part(dtype):
    """Builds a group of which only some channels are pooled."""
    x, channels = convolutions(4, dtype)
    relus = [CG.ReLU(c) for c in channels]
    return x, relus, loss_of([*pooled(relus[:3]), relus[3]])


def averaged(dtype):
    x, channels = convolutions(4, dtype)
    relus = [CG.ReLU(c) for c in channels]
    return x, relus, loss_of([CG.AveragePooling2d(relu, 2, 2, 2) for relu in relus])


TOGETHER = [siblings, single, of_a_leaf, overlapping, negative_padding]
APART = [read_twice, pooled_twice, read_above, in_part, averaged]
every_case = pytest.mark.parametrize("case", TOGETHER + APART, ids=lambda case: case.__name__)


@every_case
def test_a_relu_goes_with_its_pooling_where_no_other_node_needs_it(case):
    program = fuse([case("float64")[-1]])
    found = foldable_relus(program)
    assert len(found) == (case in TOGETHER)
    for pool, relu in found.items():
        assert type(pool.nodes[0]) is CG.MaxPooling2d
        assert [node.backward[0] for node in pool.nodes] == list(relu.nodes)


def test_a_relu_that_is_an_output_is_computed_for_itself():
    _, relus, end = siblings("float64")
    assert not foldable_relus(fuse([end, *relus]))
    assert not foldable_relus(fuse([end, relus[2]]))


def test_a_relu_that_goes_with_its_pooling_costs_nothing():
    """Neither does the Concatenation of the poolings, which copies nothing."""
    program = fuse([siblings("float64")[-1]])
    without_step = {*foldable_relus(program).values(), *find_views(program).groups}
    assert len(without_step) == 2
    layout_plan = choose_layout(program, "lanes")
    costs = [
        block_cost(group, multiply_adds(group), layout_plan.lanes, uncached=False)
        for group in program.groups
        if group not in without_step
    ]
    full = total_cost(costs).time(layout_plan.lanes)
    assert layout_plan.cost == pytest.approx(full / layout_plan.lanes)


@every_case
@pytest.mark.parametrize("dtype", ["float32", "float64"])
def test_samples_side_by_side_give_what_the_nodes_give(case, dtype):
    """Samples of small integers and of zeros of both signs have many ties, of zeros, too."""

    def make():
        return topological_order([case(dtype)[-1]])

    def draw(rng):
        values = rng.integers(-2, 3, 36) * rng.choice([0, 1], 36)
        return {0: np.where(values == 0, rng.choice([-0.0, 0.0], 36), values).astype(dtype)}

    nodes, setting = make(), Setting("lanes", 1)
    twins = BatchTwins(make, len(nodes) - 1, draw, COUNT)
    twins.check_sums(setting, COUNT, 3)
    twins.check_step(setting, COUNT)
    twins.check_predictions(setting, COUNT, range(len(nodes)))
    twins.check_samples(setting, COUNT, (0, COUNT - 1))


@pytest.mark.parametrize("bad", [np.nan, np.inf, -np.inf])
@pytest.mark.parametrize("case", [siblings, overlapping], ids=lambda case: case.__name__)
def test_what_is_not_finite_stays_with_its_sample(case, bad):
    """NaN and inf in one sample reach only its predictions and gradients, one sample at a time and in lanes."""
    rows = np.random.default_rng(1).uniform(-1, 1, (COUNT, 36))
    rows[7, 14] = bad
    found = []
    for layout in ("samples", "lanes"):
        x, relus, end = case("float64")
        graph = CG.Graph(end, layout=layout, threads=1)
        pools = [relu.forward[0] for relu in relus]
        losses = graph.accumulate({x: rows})
        sums = [relu.backward[0].gradKernel.copy() for relu in relus]
        found.append([losses, *(graph.predict({x: rows}, pool) for pool in pools), *sums])
    for ours, theirs in zip(*found, strict=True):
        np.testing.assert_allclose(ours, theirs, 1e-12, 1e-12)
