"""copy_parameters and polyak_update: between Graphs, between nodes, and from one to the other; all or nothing."""

import gc
import weakref

import numpy as np
import pytest
from own_nodes import Scale

import cgraph as CG

DTYPES = ["float64", "float32"]
RTOL = {"float64": 1e-15, "float32": 1e-6}


def mlp(dtype, seed=0):
    rng = np.random.default_rng(seed)
    x, t = CG.Leaf2(6, 5, dtype=dtype), CG.Leaf1(3, dtype=dtype)
    hidden = CG.Tanh(CG.Affine(x, rng.normal(size=(31, 7))))
    normal = CG.LayerNorm(hidden, rng.normal(size=7))
    y = CG.Affine(normal, rng.normal(size=(8, 3)))
    return x, t, y, CG.MSE(y, t)


def filters(dtype, seed=0):
    """Convolutions whose parameters lie packed in the arena of a Graph."""
    rng = np.random.default_rng(seed)
    x, t = CG.Leaf2(6, 5, dtype=dtype), CG.Leaf1(3, dtype=dtype)
    maps = [CG.Convolution2d([x], rng.normal(size=(1, 3, 3)), k) for k in range(3)]
    more = [CG.Convolution2d(maps[k:], rng.normal(size=(3 - k, 2, 2)), k) for k in range(2)]
    joined = CG.Concatenation([CG.ReLU(each) for each in more])
    y = CG.Affine(joined, rng.normal(size=(joined.size + 1, 3)))
    return x, t, y, CG.MSE(y, t)


def own(dtype, seed=0):
    """A node in Python among the others, whose parameters are not in the arena."""
    rng = np.random.default_rng(seed)
    x, t = CG.Leaf2(6, 5, dtype=dtype), CG.Leaf1(3, dtype=dtype)
    hidden = Scale(CG.Affine(x, rng.normal(size=(31, 4))), rng.normal(size=4))
    y = CG.Affine(hidden, rng.normal(size=(5, 3)))
    return x, t, y, CG.MSE(y, t)


NETWORKS = [mlp, filters, own]


def as_is(loss, y):
    return loss


def graph(loss, y):
    return CG.Graph(loss)


def graph_of_lanes(loss, y):
    return CG.Graph(loss, layout="lanes")


def part(loss, y):
    return CG.Graph(y)


def in_graph(loss, y):
    """A node that belongs to a Graph."""
    loss.graph = CG.Graph(loss)
    return loss


SIDES = [as_is, graph, graph_of_lanes, part, in_graph]


def values(end):
    return [p._peek().copy() for p in CG.parameters(end)]


def bits(end):
    return [value.tobytes() for value in values(end)]


def feed(x, t, count=5):
    rng = np.random.default_rng(3)
    return {leaf: rng.normal(size=(count, leaf.size)).astype(leaf.dtype) for leaf in (x, t)}


def narrow(dtype="float64", width=2, weights=None):
    return CG.Affine(CG.Leaf1(2, dtype=dtype), np.ones((3, width)) if weights is None else weights)


@pytest.mark.parametrize("dtype", DTYPES)
@pytest.mark.parametrize("target_side", SIDES)
@pytest.mark.parametrize("source_side", SIDES)
@pytest.mark.parametrize("network", NETWORKS)
def test_parameters_move_towards_the_source(network, source_side, target_side, dtype):
    (*_, y, loss), (*_, z, other) = network(dtype), network(dtype, 1)
    source, target = source_side(loss, y), target_side(other, z)
    before, goal, given = values(other), values(loss), bits(loss)
    CG.polyak_update(source, target, 0.25)
    for moved, old, new in zip(values(other), before, goal, strict=True):
        assert moved.dtype == dtype
        np.testing.assert_allclose(moved, old + 0.25 * (new - old), RTOL[dtype], RTOL[dtype])
    assert bits(loss) == given
    CG.copy_parameters(source, target)
    assert bits(other) == given == bits(loss)


@pytest.mark.parametrize("dtype", DTYPES)
@pytest.mark.parametrize("side", [as_is, graph])
def test_weights_of_1_and_0_give_the_bits_of_source_and_target(side, dtype):
    strange = [np.nan, np.inf, -np.inf, -0.0, 0.0, 1e-45, 1e38, 1]
    nodes = [CG.Affine(CG.Leaf1(7, dtype=dtype), np.ones((8, 2))) for _ in range(2)]
    nodes[0].weight[:, 0], nodes[0].weight[:, 1] = strange, strange[::-1]
    nodes[1].weight[:, 0], nodes[1].weight[:, 1] = np.roll(strange, 3), np.roll(strange, 1)
    source, target = (side(node, node) for node in nodes)
    before = bits(nodes[1])
    CG.polyak_update(source, target, 0)
    assert bits(nodes[1]) == before
    CG.polyak_update(source, target, np.float32(1))
    assert bits(nodes[1]) == bits(nodes[0])
    nodes[1].weight[...] = 0
    CG.copy_parameters(source, target)
    assert bits(nodes[1]) == bits(nodes[0])


@pytest.mark.parametrize("dtype", DTYPES)
@pytest.mark.parametrize("size", [1, 2, 3, 7, 8, 9, 15, 16, 17, 31, 33, 64, 65, 1001])
def test_the_kernel_moves_every_element(size, dtype):
    rng = np.random.default_rng(size)
    kernels = CG.Affine(CG.Leaf1(1, dtype=dtype), np.ones((2, 1)))._kernels
    source, target = rng.normal(size=(2, size)).astype(dtype)
    kept, expected = source.copy(), target + 0.125 * (source - target)
    kernels.elementwise.polyak(source, target, 0.125)
    np.testing.assert_allclose(target, expected, RTOL[dtype], RTOL[dtype])
    assert source.tobytes() == kept.tobytes()
    kernels.elementwise.polyak(source, source, 0.3)
    assert source.tobytes() == kept.tobytes()
    with pytest.raises(ValueError, match="do not fit together"):
        kernels.elementwise.polyak(source, target[1:], 0.5)


@pytest.mark.parametrize("target_side", SIDES)
@pytest.mark.parametrize("network", NETWORKS)
def test_predictions_after_a_copy_are_those_of_the_source(network, target_side):
    (x, _, y, loss), (u, _, z, other) = network("float32"), network("float32", 1)
    source, target = CG.Graph(loss), target_side(other, z)
    images = np.random.default_rng(5).normal(size=(9, 30)).astype("float32")
    expected = source.predict({x: images}, y)
    for size in (1, 9):
        if isinstance(target, CG.Graph):
            target.predict({u: images[:size]}, z)
        CG.copy_parameters(source, target)
        runner = target if isinstance(target, CG.Graph) else CG.Graph(other)
        np.testing.assert_allclose(runner.predict({u: images}, z), expected, 1e-5, 1e-5)
        source.step(feed(x, loss.backward[1]), 0.01)
        expected = source.predict({x: images}, y)
        CG.polyak_update(source, target, 1.0)
        np.testing.assert_allclose(runner.predict({u: images}, z), expected, 1e-5, 1e-5)


@pytest.mark.parametrize("network", NETWORKS)
@pytest.mark.parametrize("target_side", SIDES)
def test_what_was_handed_out_and_written_counts_and_is_up_to_date(network, target_side):
    (*_, loss), (*_, z, other) = network("float64"), network("float64", 1)
    early = [[p.value for p in CG.parameters(end)] for end in (loss, other)]
    source, target = CG.Graph(loss), target_side(other, z)
    late = [[p.value for p in CG.parameters(end)] for end in (loss, other)]
    for views in (early, late):
        for k, (ours, theirs) in enumerate(zip(*views, strict=True)):
            ours[...], theirs[...] = k, k + 4
        CG.polyak_update(source, target, 0.5)
        for k, (ours, theirs, *others) in enumerate(zip(*early, *late, strict=True)):
            assert np.all(ours == k)
            assert np.all(theirs == k + 2)
            assert np.all(others[1] == k + 2)
        assert [value.flat[0] for value in values(other)] == [k + 2 for k in range(len(late[1]))]


@pytest.mark.parametrize("target_side", SIDES)
def test_parameters_that_do_not_learn_are_moved_too(target_side):
    (*_, loss), (*_, z, other) = mlp("float64"), mlp("float64", 1)
    target = target_side(other, z)
    for end in (loss, other):
        for parameter in CG.parameters(end):
            parameter.trainable = False
    CG.copy_parameters(CG.Graph(loss), target)
    assert bits(other) == bits(loss)
    assert not any(p.trainable for p in CG.parameters(other))


@pytest.mark.parametrize("network", NETWORKS)
@pytest.mark.parametrize("target_side", [as_is, graph, graph_of_lanes, in_graph])
def test_gradient_sums_counts_and_the_state_of_optimisers_stay(network, target_side):
    (*_, loss), (u, v, z, other) = network("float64"), network("float64", 1)
    source, target = CG.Graph(loss), target_side(other, z)
    runner = target if isinstance(target, CG.Graph) else CG.Graph(other)
    adam = CG.Adam()
    runner.step(feed(u, v), adam)
    runner.accumulate(feed(u, v))
    sums = [p.grad.copy() for p in runner.parameters]
    state = [array.copy() for array in adam.state_dict().values()]
    count = runner._executable.memory.samples
    CG.polyak_update(source, target, 0.5)
    assert all(np.array_equal(p.grad, s) for p, s in zip(runner.parameters, sums, strict=True))
    assert all(map(np.array_equal, adam.state_dict().values(), state))
    assert runner._executable.memory.samples == count == 5
    runner.update(adam)


def test_parameters_that_both_sides_have_stay():
    (*_, y, loss) = mlp("float64")
    y.weight[0] = np.inf
    head = CG.Affine(y.backward[0], np.ones((8, 3)))
    before = bits(loss)
    CG.polyak_update(loss, loss, 0.5)
    both = CG.Graph([loss, head])
    CG.polyak_update(both, both, 0.5)
    CG.copy_parameters(both, both)
    alone = CG.Graph(CG.Sum(CG.Leaf1(2)))
    CG.copy_parameters(alone, alone)
    CG.copy_parameters(loss, CG.Graph(loss))
    assert bits(loss) == before
    CG.copy_parameters(head, y)
    assert bits(y) == [*before[:-1], head.weight.tobytes()]


def test_a_swap_of_parameters_takes_all_values_of_the_source_first():
    x = CG.Leaf1(1)
    a, b = CG.Affine(x, [[1.0], [2.0]]), CG.Affine(x, [[3.0], [4.0]])
    CG.copy_parameters(CG.Concatenation([a, b]), CG.Concatenation([b, a]))
    assert (a.weight.ravel().tolist(), b.weight.ravel().tolist()) == ([3, 4], [1, 2])


def test_arenas_of_other_layouts_and_classes_that_declare_fewer_parameters_move_what_is_listed():
    class Fixed(CG.Convolution2d):
        _parameters = CG.Convolution2d._parameters[:1]

    def build(cls, bias, order):
        x = CG.Leaf2(3, 3)
        first, second = (
            cls([x], np.full((1, 2, 2), bias), bias),
            CG.Affine(x, np.full((10, 2), bias)),
        )
        return CG.Concatenation([(first, second)[k] for k in order]), first

    (a, p), (b, q) = build(Fixed, 1.0, (0, 1)), build(Fixed, 2.0, (0, 1))
    CG.copy_parameters(CG.Graph(a), CG.Graph(b))
    assert (q.kernel.max(), q.bias, p.bias) == (1, 2, 1)
    (c, r), (d, s) = build(CG.Convolution2d, 1.0, (0, 1)), build(Fixed, 2.0, (0, 1))
    with pytest.raises(ValueError, match="equally many parameters, got 3 and 2"):
        CG.copy_parameters(CG.Graph(c), CG.Graph(d))
    assert (s.kernel.max(), s.bias, r.bias) == (2, 2, 1)


def test_graphs_of_one_layout_are_paired_once_and_do_not_keep_each_other():
    (*_, loss), (*_, other), (*_, third) = (mlp("float64", seed) for seed in range(3))
    target, source, next_source = CG.Graph(other), CG.Graph(loss), CG.Graph(third)
    CG.copy_parameters(source, target)
    found = target._executable.pairing
    assert found.is_equal
    CG.polyak_update(source, target, 0.5)
    assert target._executable.pairing is found
    CG.copy_parameters(next_source, target)
    assert bits(other) == bits(third)
    with pytest.raises(ValueError, match="equally many parameters, got 1 and 4"):
        CG.copy_parameters(CG.Graph(narrow()), target)
    old = weakref.ref(next_source._executable)
    del next_source, third
    gc.collect()
    assert old() is None
    CG.copy_parameters(source, target)
    assert bits(other) == bits(loss)
