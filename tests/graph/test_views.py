"""Slices and Concatenations that copy nothing over lanes, since parts lie within wholes."""

import numpy as np
import pytest
from numpy.testing import assert_allclose
from own_nodes import Square

import cgraph as CG
from cgraph._lowering.pipeline import lower
from cgraph._lowering.stretches import MAX_PLACES, tile_size
from cgraph._lowering.views import find_views, lane_uses

SAMPLES = 21


def slices(node, *cuts):
    return [CG.Slice(node, *cut) for cut in cuts]


def split(x):
    return slices(CG.Scale(x, 2), (0, 2), (2, 5), (5, 9))


def overlapping(x):
    return slices(CG.Scale(x, 2), (0, 6), (3, 9))


def with_a_gap(x):
    return slices(CG.Scale(x, 2), (0, 4), (7, 9))


def beside_the_whole(x):
    node = CG.Scale(x, 2)
    return [CG.Slice(node, 3, 7), node]


def of_slices(x):
    first, second = slices(CG.Scale(x, 2), (0, 5), (5, 9))
    return [*slices(first, (0, 1), (1, 5)), *slices(second, (0, 2), (1, 4))]


def of_a_leaf(x):
    return slices(x, (0, 5), (5, 9))


def of_a_concatenation(x):
    whole = CG.Concatenation([CG.Square(x), CG.Scale(x, 3)])
    return slices(whole, (0, 7), (7, 18))


def joined_with_its_input(x):
    return [CG.Concatenation([x, CG.Square(x)]), CG.Scale(x, 2)]


def joined_twice(x):
    node = CG.Square(x)
    return [CG.Concatenation([node, node]), CG.Concatenation([node, CG.Scale(x, 2)])]


def joined_slices(x):
    return [CG.Concatenation(split(x)[::-1])]


def maps_of(x, *orders):
    """All maps of a fused group, joined in each of these orders."""
    image = CG.Expand(CG.Slice(x, 0, 1), 3, 3)
    kernels = np.random.default_rng(1).normal(size=(3, 1, 2, 2))
    maps = [CG.Convolution2d([image], kernel, 0.5) for kernel in kernels]
    joined = [CG.Concatenation([maps[i] for i in order]) for order in orders]
    return [*joined, CG.Slice(x, 1, 9)]


def joined_maps(x):
    return maps_of(x, (0, 1, 2))


def joined_maps_read_as_a_whole(x):
    """The products are one step that reads all maps, and goes back before the reader of the joined maps does."""
    joined, rest = maps_of(x, (0, 1, 2))
    return [joined, rest, *(node * CG.Tanh(CG.Tanh(node)) for node in joined.backward)]


def slices_of_maps(x):
    joined, rest = maps_of(x, (0, 1, 2))
    return [joined, rest, *(CG.Slice(node, 1, 4) for node in joined.backward)]


def some_maps(x):
    joined, rest = maps_of(x, (0, 1))
    return [joined, rest, CG.Square(last_map(joined))]


def maps_in_another_order(x):
    """The order of the maps in memory is that of the squares, which are met first."""
    joined, rest = maps_of(x, (0, 2, 1))
    first, third, second = joined.backward
    return [*map(CG.Square, (first, second, third)), joined, rest]


def last_map(joined):
    """The sibling of some maps that is not joined with them."""
    (image,) = joined.backward[0].backward
    return image.forward[-1]


def maps_in_two_orders(x):
    return maps_of(x, (0, 1, 2), (0, 2, 1))


# The Slices and Concatenations that are left without a step.
VIEWS = {
    split: 3, overlapping: 2, with_a_gap: 2, beside_the_whole: 1, of_slices: 6, of_a_leaf: 2, of_a_concatenation: 3,
    joined_with_its_input: 1, joined_twice: 1, joined_slices: 3, joined_maps: 3, maps_in_two_orders: 3,
    joined_maps_read_as_a_whole: 3, slices_of_maps: 6, some_maps: 2, maps_in_another_order: 2,
}  # fmt: skip


class Net:
    """A network of parts, each of which gets weights of its own, behind a layer that learns."""

    def __init__(self, parts, dtype="float64"):
        rng = np.random.default_rng(0)
        self.x = CG.Leaf1(4, dtype=dtype)
        self.front = CG.Affine(self.x, rng.normal(size=(5, 9)))
        self.parts = parts(self.front)
        self.layers = [CG.Affine(part, rng.normal(size=(part.size + 1, 1))) for part in self.parts]
        self.loss = CG.Norm2(CG.Tanh(CG.Concatenation(self.layers)))
        self.feed = {self.x: rng.normal(size=(SAMPLES, 4))}

    def graph(self, layout):
        return CG.Graph(self.loss, layout=layout, threads=1)


def without_step(graph, feed):
    """Returns how many groups have no step over lanes."""
    graph.accumulate(feed)
    (executor, *_) = graph._executable.executors.lanes
    return sum(group not in executor.steps for group in executor.program.groups if group.inputs)


@pytest.mark.parametrize(("parts", "count"), VIEWS.items())
def test_slices_and_concatenations_have_no_step_over_lanes(parts, count):
    """One more is the Concatenation in front of the loss."""
    net = Net(parts)
    graph = net.graph("lanes")
    found = find_views(graph._executable.program).groups
    assert {type(group.nodes[0]) for group in found} <= {CG.Slice, CG.Concatenation}
    assert len(found) == without_step(graph, net.feed) == count + 1


# The networks in which a gradient around views begins at 0, with the numbers of its elements.
CLEARED = {
    overlapping: [9],
    with_a_gap: [9],
    beside_the_whole: [9],
    of_slices: [9],
    slices_of_maps: [12],
}


def cleared_around_views(loss):
    """Returns the sizes of the buffers with views whose gradients begin at 0."""
    lowered = lower([loss], None, "lanes")
    views = find_views(lowered.program)
    around = {buffer for buffer, _ in views.places.values()}
    cleared = lane_uses(lowered.program, views, lowered.uses).cleared
    return sorted(buffer.size for buffer in cleared & around)


@pytest.mark.parametrize("parts", VIEWS)
def test_a_gradient_begins_at_0_only_where_no_order_of_the_steps_writes_it(parts):
    assert cleared_around_views(Net(parts).loss) == CLEARED.get(parts, [])


def test_the_seed_of_a_loss_is_written_first():
    node = CG.Sum(CG.Leaf1(3))
    assert cleared_around_views(CG.Slice(node, 0, 1)) == []


@pytest.mark.parametrize("dtype", ["float32", "float64"])
@pytest.mark.parametrize("parts", VIEWS)
def test_gradients_of_parts_are_those_of_copies(parts, dtype):
    """The second pass finds what the first one has left in the gradients."""
    sums = []
    for layout in ("samples", "lanes"):
        net = Net(parts, dtype)
        graph = net.graph(layout)
        for _ in range(2):
            graph.accumulate(net.feed)
        sums.append([parameter.grad for parameter in CG.parameters(net.loss)])
    bound = 1e-11 if dtype == "float64" else 1e-4
    for one, other in zip(*sums, strict=True):
        assert_allclose(other, one, rtol=bound, atol=bound)


@pytest.mark.parametrize("parts", VIEWS)
def test_predictions_of_parts_and_wholes_are_those_of_one_sample(parts):
    nets = [Net(parts) for _ in range(2)]
    by_sample, over_lanes = (
        net.graph(layout) for net, layout in zip(nets, ("samples", "lanes"), strict=True)
    )
    for one, other in zip(*(net.parts for net in nets), strict=True):
        for first, second in zip((one, *one.backward), (other, *other.backward), strict=True):
            expected = by_sample.predict(nets[0].feed, first)
            assert_allclose(over_lanes.predict(nets[1].feed, second), expected, rtol=1e-13)


def test_a_loss_may_be_a_slice():
    x = CG.Leaf1(3)
    node = CG.Affine(x, np.ones((4, 2)))
    graph = CG.Graph(CG.Slice(node, 1, 2), layout="lanes", threads=1)
    graph.accumulate({x: np.ones((SAMPLES, 3))})
    assert node.gradWeight.tolist() == [[0, SAMPLES]] * 4


def test_views_take_no_memory():
    x = CG.Leaf1(100)
    first, second = slices(CG.Scale(x, 2), (0, 50), (50, 100))
    joined = CG.Concatenation([CG.Square(x), CG.Scale(x, 3)])
    graph = CG.Graph(CG.Dots(first, second) + CG.Sum(joined), layout="lanes", threads=1)
    graph.accumulate({x: np.ones((SAMPLES, 100))})
    (executor, *_) = graph._executable.executors.lanes
    # x, the node with two parts, the one of two parts, three numbers, a weight of the loss, the tiles of a stretch,
    # and room between.
    buffers = (100 + 100 + 200 + 3 + 1) * executor.lanes + MAX_PLACES * tile_size(x.dtype)
    assert executor.allocators[0].size < buffers + 100 * executor.lanes


def test_there_are_no_views_beside_nodes_in_python():
    x = CG.Leaf1(4)
    first, second = slices(CG.Scale(x, 2), (0, 2), (2, 4))
    graph = CG.Graph(CG.Dots(Square(first), second), layout="lanes", threads=1)
    program, (plan, _) = graph._executable.program, graph._executable.executors.layouts
    assert plan.per_sample
    assert find_views(program, plan.per_sample).groups == set()
