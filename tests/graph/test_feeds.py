"""The feeds that a Graph accepts, the arrays that it returns, and the gradients that it computes."""

import itertools
import types

import numpy as np
import pytest
from amounts import full
from batch_settings import SETTINGS, every_setting
from graph_networks import nodes_of, strides_of_two
from graph_twins import Twins
from small_graphs import affine_graph

import cgraph as CG
from cgraph._execution.feeds import as_feeds

FEEDS = {
    "lists": lambda a: a.tolist(),
    "integers": lambda a: a.astype(np.int8),
    "another dtype": lambda a: a.astype(np.float16),
    "byte-swapped": lambda a: a.astype(">f8"),
    "Fortran order": np.asfortranarray,
    "strided": lambda a: np.repeat(np.repeat(a, 2, axis=0), 3, axis=1)[::2, ::3],
    "reversed": lambda a: a[::-1, ::-1].copy()[::-1, ::-1],
    "read-only": lambda a: np.frombuffer(a.tobytes(), a.dtype).reshape(a.shape),
    "broadcast": lambda a: np.broadcast_to(a[0], a.shape),
    "shape (B, height, width)": lambda a: a[:, :, None],
    "subclass": lambda a: np.ma.masked_array(a),
    "unaligned": lambda a: np.frombuffer(b"x" + a.tobytes(), a.dtype, offset=1).reshape(a.shape),
}


@pytest.mark.parametrize("dtype", ["float64", "float32"])
@pytest.mark.parametrize("form", FEEDS)
def test_a_feed_may_have_any_real_dtype_and_layout(form, dtype):
    graph, x, _t, y = affine_graph(dtype)
    rows = np.tile([1.0, -2.0, 3.0], (4, 1))
    fed = FEEDS[form](rows.astype(dtype) if form != "another dtype" else rows)
    expected = graph.predict({x: rows.astype(dtype)}, y)
    np.testing.assert_array_equal(graph.predict({x: fed}, y), expected)
    np.testing.assert_array_equal(np.asarray(fed).reshape(4, 3), rows)
    graph.sample(3)
    assert x.data.tolist() == [1, -2, 3]


@pytest.mark.parametrize("form", FEEDS)
def test_compiled_code_reads_arrays_that_are_contiguous_and_aligned(form):
    graph, x, _t, _y = affine_graph()
    fed = FEEDS[form](np.tile([1.0, -2.0, 3.0], (4, 1)))
    (array,) = as_feeds("feed", {x: fed}, graph._feed_specs, graph._executable.written).arrays
    assert (array.dtype, array.flags.c_contiguous, array.flags.aligned) == (x.dtype, True, True)
    plain = type(fed) is np.ndarray and fed.dtype == x.dtype and fed.flags.carray
    assert np.may_share_memory(array, np.asarray(fed)) >= plain  # arrays that fit are not copied


class Live:
    """Two leaves of 3 × 3, read by a group of two convolutions and by an Affine, and their arrays."""

    def __init__(self, setting):
        rng = np.random.default_rng(3)
        a, b = self.leaves = [CG.Leaf2(3, 3), CG.Leaf2(3, 3)]
        self.maps = [CG.Convolution2d([a], rng.normal(size=(1, 3, 3)), 0.1) for _ in range(2)]
        self.matrix = CG.Affine(b, rng.normal(size=(10, 1)))
        read = CG.Concatenation([*self.leaves, *self.maps, self.matrix])
        self.ends = CG.Dots(read, read)
        self.graph = CG.Graph(self.ends, **setting._asdict())
        for leaf in self.leaves:
            leaf.data = rng.normal(size=9)
        # Views of arrays to which calls write, each of 9 elements.
        self.arrays = {
            "a": a.data,
            "b": b.data,
            "gradient": a.grad,
            "kernel": self.maps[0].kernel,
            "weight": self.matrix.weight[:9],
            "buffer": np.frombuffer(a.data, a.dtype),
            "reversed": b.data[::-1],
            "sum of kernel": self.maps[0].gradKernel,
            "sum of weight": self.matrix.gradWeight[:9],
        }


LIVE = ("a", "b", "gradient", "kernel", "weight", "buffer", "reversed")


PAIRS = [*itertools.permutations(LIVE, 2), ("a", "a")]


def in_turn(pairs):
    """Every pair in every setting; by default in every other one, beginning with the first or with the second."""
    return [
        made if (i + j) % 2 == 0 else full(made)
        for i, pair in enumerate(pairs)
        for j, setting in enumerate(SETTINGS)
        for made in [
            pytest.param(pair, setting, id="-".join((*pair, setting.layout, str(setting.threads))))
        ]
    ]


@pytest.mark.parametrize(("pair", "setting"), in_turn(PAIRS))
def test_live_arrays_are_fed_as_they_are_when_a_call_begins(pair, setting, eager_threads):
    """Feeds that share memory with the nodes give the results of copies; one sample, or several in the same memory."""
    ours, theirs = Live(setting), Live(setting)
    for count in (1, 20):
        for name in ("predict", "accumulate", "step", "train"):
            options = {} if name in ("predict", "accumulate") else {"eta": 1e-3}
            results = []
            for live, copied in ((ours, False), (theirs, True)):
                arrays = live.arrays
                rows = [
                    np.lib.stride_tricks.as_strided(x, (count, 9), (0, x.strides[-1]))
                    if count > 1
                    else x.reshape(1, 9)
                    for x in (arrays[k].reshape(9) for k in pair)
                ]
                feed = [row.copy() for row in rows] if copied else rows
                feed = dict(zip(live.leaves, feed, strict=True))
                results.append(getattr(live.graph, name)(feed, **options))
            np.testing.assert_array_equal(*results)
            for mine, his in zip(CG.parameters(ours.ends), CG.parameters(theirs.ends), strict=True):
                np.testing.assert_array_equal(mine.value, his.value)
            for mine, his in zip(ours.leaves, theirs.leaves, strict=True):
                np.testing.assert_array_equal(mine.data, his.data)


@every_setting
@pytest.mark.parametrize("name", [*LIVE[:-1], "sum of kernel", "sum of weight"])
def test_predictions_may_go_into_a_live_array(name, setting, eager_threads):
    ours, theirs = Live(setting), Live(setting)
    feed = np.random.default_rng(0).normal(size=(9, 3, 3))
    expected = theirs.graph.predict(dict.fromkeys(theirs.leaves, feed)).ravel()
    out = ours.arrays[name].reshape(9, 1)
    ours.graph.predict(dict.fromkeys(ours.leaves, feed), out=out)
    np.testing.assert_array_equal(out.ravel(), expected)
    np.testing.assert_array_equal(ours.arrays[name].ravel(), expected)


def test_a_feed_may_be_any_mapping():
    graph, x, _t, y = affine_graph()
    feed = types.MappingProxyType({x: [[1, 2, 3]]})
    np.testing.assert_array_equal(graph.predict(feed, y), graph.predict(dict(feed), y))


def test_a_feed_may_be_the_leafs_own_data():
    graph, x, _t, y = affine_graph()
    x.data[...] = [1, 2, 3]
    first = graph.predict({x: x.data[None]}, y)
    np.testing.assert_array_equal(graph.predict({x: [[1, 2, 3]]}, y), first)


def test_no_samples_are_no_work():
    graph, x, _t, y = affine_graph()
    weight = y.weight.copy()
    empty = {x: np.empty((0, 3))}
    graph.forward()
    for losses in (graph.accumulate(empty), graph.step(empty, 1.0), graph.train(empty, 1.0)):
        assert losses.shape == (0,)
        assert losses.dtype == np.float64
    graph.backward()
    assert graph.predict(empty, y).shape == (0, 2)
    np.testing.assert_array_equal(y.weight, weight)


def test_results_are_arrays_of_their_own():
    graph, x, t, _y = affine_graph()
    feed = {x: np.ones((2, 3)), t: np.zeros((2, 2))}
    losses, rows = graph.step(feed, 0.1), graph.predict(feed, x)
    before = losses.copy(), rows.copy()
    graph.step(feed, 0.1)
    graph.predict({x: np.zeros((2, 3))}, x)
    np.testing.assert_array_equal(losses, before[0])
    np.testing.assert_array_equal(rows, before[1])


def test_a_huge_rate_gives_inf_and_nan_and_nothing_worse():
    graph, x, t, y = affine_graph("float32")
    feed = {x: np.full((3, 3), 1e30), t: np.zeros((3, 2))}
    losses = graph.train(feed, 3e38)
    assert not np.isfinite(losses[1:]).any()
    y.weight[...] = 1
    assert graph.step({x: np.ones((1, 3)), t: np.zeros((1, 2))}, 0.0).tolist() == [16]


# The gradients that are computed


def test_a_gradient_that_was_not_computed_cannot_be_read():
    graph, x, t, y = affine_graph()
    feed = {x: np.ones((1, 3)), t: np.ones((1, 2))}
    graph.step(feed, 0.1)
    for leaf in (x, t):
        with pytest.raises(RuntimeError, match="Leaf1: grad was not computed"):
            leaf.grad  # noqa: B018
    assert y.grad.any()
    graph.accumulate(feed)
    assert x.grad.any()
    assert t.grad.any()
    graph.step(feed, 0.1)
    graph.forward()
    assert not x.grad.any()


@pytest.mark.parametrize("network", [strides_of_two], ids=["strides"])
@pytest.mark.parametrize("wanted", [True, False, "list", "none"])
def test_the_leaves_that_are_listed_have_their_gradients(network, wanted):
    count = len(nodes_of(network, "float64"))
    twins = Twins(lambda: nodes_of(network, "float64"), [count - 1])
    image, target = twins.ours[0], twins.ours[-2]
    listed = {"list": [image], "none": []}.get(wanted, wanted)
    twins.graph = twins.compiled(leaf_grads=listed)
    samples = twins.draw(np.random.default_rng(0), 2)
    missing = {True: (), False: (image, target), "list": (target,), "none": (image, target)}[wanted]
    for work in (twins.graph.accumulate, lambda feed: twins.graph.step(feed, 0.01)):
        work(twins.feed(samples))
        twins.nodes_train(samples, 0.01, 0 if work == twins.graph.accumulate else 2)
        twins.assert_gradients_are_equal(without=missing)
        for leaf in missing:
            with pytest.raises(RuntimeError, match="grad was not computed"):
                leaf.grad  # noqa: B018
        twins.assert_values_are_equal()


def test_of_several_leaves_that_a_group_reads_those_listed_get_their_gradient():
    colours = [CG.Leaf2(4, 4) for _ in range(3)]
    kernels = np.random.default_rng(0).normal(size=(2, 3, 2, 2))
    maps = [CG.Convolution2d(colours, kernel, 0.1) for kernel in kernels]
    loss = CG.Norm2(CG.Concatenation(maps))
    feed = {leaf: np.full((1, 4, 4), 0.5) for leaf in colours}
    CG.Graph(loss).accumulate(feed)
    wanted = colours[1].grad.copy()
    graph = CG.Graph(loss, leaf_grads=[colours[1]])
    colours[1].grad[...] = 0
    graph.step(feed, 0.0)
    np.testing.assert_allclose(colours[1].grad, wanted, rtol=1e-12)
    for leaf in (colours[0], colours[2]):
        with pytest.raises(RuntimeError, match="was not computed"):
            _ = leaf.grad


@pytest.mark.parametrize("dtype", ["float64", "float32"])
@every_setting
def test_a_leaf_of_one_element_takes_a_plain_row(setting, dtype):
    x, t = CG.Leaf1(1, dtype=dtype), CG.Leaf2(1, 1, dtype=dtype)
    y = CG.Affine(x, np.array([[2.0], [1.0]], dtype))
    graph = CG.Graph(CG.MSE(y, t), **setting._asdict())
    rows, targets = np.linspace(-1, 1, 21, dtype=dtype), np.linspace(0, 1, 21, dtype=dtype)
    expected = graph.accumulate({x: rows[:, None], t: targets[:, None, None]})
    for form in (np.asarray, list, lambda a: np.repeat(a, 2)[::2], lambda a: a.astype(">f4")):
        fed = {x: form(rows), t: form(targets)}
        np.testing.assert_allclose(graph.accumulate(fed), expected, rtol=1e-5)
        graph.sample(20)
        assert (x.data[0], t.data[0]) == (1, 1)
    for wrong in (1.0, np.ones((21, 2)), np.ones((21, 1, 2))):
        with pytest.raises(ValueError, match=r"must have shape \(B,\), \(B, 1\) or \(B, 1, 1\)"):
            graph.accumulate({x: rows, t: wrong})
    wide = CG.Leaf1(2)
    with pytest.raises(ValueError, match=r"must have shape \(B, 2\) or \(B, 2, 1\), got \(2,\)"):
        CG.Graph(CG.Norm2(wide)).step({wide: [1.0, 2.0]}, 0.1)


GIVING = {
    "getInput": lambda leaf: leaf.getInput(np.ones(2)),
    "assignment": lambda leaf: setattr(leaf, "data", np.ones(2)),
    "a look": lambda leaf: leaf.data,
    "another call": lambda leaf: CG.Graph(CG.Norm2(leaf)).predict({leaf: np.ones((1, 2))}),
}
LEARNING = {
    "accumulate": lambda graph, feed: graph.accumulate(feed),
    "step": lambda graph, feed: graph.step(feed, 0.1),
    "train": lambda graph, feed: graph.train(feed, 0.1),
    "predict": lambda graph, feed: graph.predict(feed),
}


@pytest.mark.parametrize("call", LEARNING)
@pytest.mark.parametrize("given", GIVING)
@pytest.mark.parametrize("leaf_class", [CG.Leaf1, lambda size: CG.Leaf2(size, 1)])
def test_a_leaf_that_was_never_given_data_must_be_fed(leaf_class, given, call):
    x, t = CG.Leaf1(2), leaf_class(2)
    y = CG.Affine(x, np.ones((3, 2)))
    loss = CG.MSE(y, t)
    graph, feed = CG.Graph(loss), {x: np.ones((3, 2))}
    graph.predict(feed, y)  # which does not depend on t
    for _ in range(2):
        with pytest.raises(ValueError, match=r"^Graph: Leaf.* must be fed, since it was never"):
            LEARNING[call](graph, feed)
    assert y.weight.tolist() == np.ones((3, 2)).tolist()
    GIVING[given](t)
    LEARNING[call](CG.Graph(loss), feed)


def test_a_wrong_assignment_gives_a_leaf_nothing():
    x = CG.Leaf1(2)
    for wrong in (lambda: x.getInput([1]), lambda: setattr(x, "data", [1, 2, 3])):
        with pytest.raises(ValueError, match="shape"):
            wrong()
    with pytest.raises(ValueError, match="never given data"):
        CG.Graph(CG.Norm2(x + (y := CG.Leaf1(2)))).step({y: [[1, 2]]}, 0.1)
