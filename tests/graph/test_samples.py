"""The state after a batch, `Graph.sample`, `predict(out=)`, and the options and calls that are refused."""

import pickle

import numpy as np
import pytest
from batch_settings import Setting, every_setting
from batch_twins import BatchTwins, uniform
from graph_networks import (
    convolution_of_several_groups,
    different_poolings,
    nodes_of,
    sparse_lenet,
    strides_of_two,
)
from graph_twins import parameters_of
from lane_arena import lanes_of
from own_nodes import mixed
from small_graphs import affine_graph

import cgraph as CG

pytestmark = pytest.mark.usefixtures("guard_pages", "eager_threads")
SOME = (strides_of_two, convolution_of_several_groups, different_poolings)
every_network = pytest.mark.parametrize("network", SOME, ids=lambda network: network.__name__)


def twins_of(network, dtype="float32", count=20):
    nodes = nodes_of(network, dtype)
    return BatchTwins(lambda: nodes_of(network, dtype), len(nodes) - 1, uniform(nodes), count)


def parameter_bytes(nodes):
    """Returns parameters and gradient sums as bytes, and thereby exposes them."""
    return [array.tobytes() for pair in parameters_of(nodes) for array in pair]


# One sample of the last batch


@every_setting
@every_network
def test_a_sample_of_the_last_batch_is_as_the_nodes_have_it(network, setting):
    twins = twins_of(network)
    graph = twins.compile(setting)
    feed = twins.feed(twins.reference.samples, 20)
    calls = [
        lambda: graph.accumulate(feed),
        lambda: graph.step(feed, 0.0),
        lambda: graph.train(feed, 0.0, batch=3),
        lambda: graph.predict(feed),
        lambda: graph.predict(feed, twins.ours[3]),
    ]
    for k, call in enumerate(calls):
        call()
        for i in (k, 19, k):
            graph.sample(i)
            twins.assert_sample(i)


@every_setting
def test_looking_at_a_sample_changes_nothing_that_is_learnt(setting):
    """`sample` changes no parameter or gradient sum, whether the next call overwrites the sums or adds to them."""
    twins = twins_of(strides_of_two)
    graph = twins.compile(setting)
    twins.accumulate(20)
    graph.sample(7)
    graph.update(0.0)
    graph.sample(8)
    twins.accumulate(7)
    graph.sample(6)
    twins.accumulate(20)
    graph.sample(19)
    twins.assert_sums(7, 20)
    before = parameter_bytes(twins.ours)
    for i in range(20):
        graph.sample(i)
        assert parameter_bytes(twins.ours) == before
    twins.accumulate(1)
    twins.assert_sums(7, 20, 1)


def test_a_sample_is_computed_with_the_parameters_that_there_are_now():
    graph, x, t, y = affine_graph()
    graph.train({x: [[1, 2, 3]] * 3, t: np.zeros((3, 2))}, 0.01)
    y.weight[...] = 1
    graph.sample(2)
    assert y.data.tolist() == [7, 7]
    assert y.grad.tolist() == [7, 7]


def test_samples_are_those_of_the_last_feed():
    graph, x, t, y = affine_graph()
    graph.accumulate({x: np.zeros((3, 3)), t: np.zeros((3, 2))})
    for value in (1, 2):
        graph.predict({x: np.full((2, 3), value)}, y)
        graph.sample(1)
        assert x.data.tolist() == [value] * 3
        with pytest.raises(IndexError):
            graph.sample(2)


def test_a_sample_of_arrays_that_the_leaves_hold_is_what_they_held():
    a, b = CG.Leaf1(2), CG.Leaf1(2)
    graph = CG.Graph(CG.Concatenation([a, b]))
    a.data, b.data = [1, 2], [3, 4]
    feed = {a: b.data[None], b: a.data[None]}
    for expected in ([3, 4, 1, 2], [1, 2, 3, 4]):
        assert graph.predict(feed).tolist() == [expected]
    graph.sample(0)
    assert [*a.data, *b.data] == [3, 4, 1, 2]


CHANGES = {
    "an array": lambda rows: rows.fill(5),
    "an array of another dtype": lambda rows: rows.fill(5),
    "a list": lambda rows: rows.__setitem__(1, [5, 5, 5]),
    "a list of lists": lambda rows: rows[1].__setitem__(slice(None), [5, 5, 5]),
    "another object": lambda rows: rows.__setitem__((1, 0), 5.0),
}
MADE = {
    "an array": np.array,
    "an array of another dtype": lambda rows: np.array(rows, "f4"),
    "a list": lambda rows: rows,
    "a list of lists": lambda rows: rows,
    "another object": lambda rows: memoryview(np.array(rows)),
}


@pytest.mark.parametrize("form", CHANGES)
def test_what_has_been_written_to_a_feed_counts_in_a_sample(form):
    graph, x, _t, y = affine_graph()
    expected = graph.predict({x: np.full((1, 3), 5.0)}, y)
    rows = MADE[form]([[1.0, 2.0, 3.0], [4.0, 5.0, 5.0]])
    graph.predict({x: rows}, y)
    CHANGES[form](rows)
    graph.sample(1)
    assert x.data.tolist() == [5, 5, 5]
    np.testing.assert_allclose(y.data, expected[0])


def test_a_feed_that_has_another_form_now_is_refused():
    graph, x, _t, y = affine_graph()
    rows = [[1.0, 2.0, 3.0], [4.0, 5.0, 6.0]]
    graph.predict({x: rows}, y)
    graph.sample(1)
    for change, error in (
        (lambda: rows[1].append(7.0), ValueError),
        (lambda: rows.__setitem__(1, "x"), TypeError),
        (rows.pop, ValueError),
    ):
        change()
        with pytest.raises(error, match=r"Graph.sample: "):
            graph.sample(1)
        assert x.data.tolist() == [4, 5, 6]


def test_samples_of_a_graph_without_a_loss_have_their_data():
    x = CG.Leaf1(2)
    a, b = CG.ReLU(x), CG.Tanh(x)
    graph = CG.Graph([a, b])
    graph.predict({x: [[1, -1], [-2, 3]]}, a)
    for i, data in enumerate([[1, 0], [0, 3]]):
        graph.sample(i)
        assert a.data.tolist() == data
        np.testing.assert_allclose(b.data, np.tanh(x.data), rtol=1e-14)


@every_setting
def test_samples_of_a_graph_with_nodes_of_the_users_own(setting):
    twins = BatchTwins(lambda: mixed("float64"), 10, uniform(mixed("float64")[:1]), 20)
    twins.check_samples(setting, 20, range(0, 20, 3))


def test_gradients_of_a_sample_without_a_loss_read_0():
    x = CG.Leaf1(2)
    a, b = CG.ReLU(x), CG.Tanh(x)
    x.grad[...] = 5
    graph = CG.Graph([a, b])
    graph.predict({x: [[1, 2]]}, a)
    x.grad[...] = 7
    graph.sample(0)
    assert [node.grad.tolist() for node in (x, a, b)] == [[0, 0]] * 3


def test_gradients_that_nobody_wants_are_not_there_in_samples():
    graph, x, t, y = affine_graph()
    graph = CG.Graph(graph.nodes[-1], leaf_grads=[t])
    graph.accumulate({x: np.ones((2, 3)), t: np.ones((2, 2))})
    graph.sample(1)
    assert t.grad.tolist() == (1 - y.data).tolist()
    with pytest.raises(RuntimeError, match="leaf_grads"):
        x.grad  # noqa: B018


@pytest.mark.parametrize("before", ["accumulate", "predict"])
def test_the_nodes_own_backward_pass_follows_a_sample_but_no_batch_side_by_side(before):
    twins = twins_of(strides_of_two)
    graph = twins.compile(Setting("lanes", 1))
    feed, loss = twins.feed(twins.reference.samples, 20), twins.ours[-1]
    graph.forward()
    {"accumulate": graph.accumulate, "predict": graph.predict}[before](feed)
    with pytest.raises(RuntimeError):
        loss.backwardPropagation()
    graph.sample(2)
    loss.backwardPropagation()


def test_after_a_batch_side_by_side_the_nodes_own_passes_begin_with_gradients_of_0():
    twins = twins_of(strides_of_two)
    graph = twins.compile(Setting("lanes", 1))
    graph.forward()
    graph.backward()
    twins.accumulate(20)
    twins.ours[0].forwardPropagation()
    assert not any(node.grad.any() for node in twins.ours)


@pytest.mark.parametrize("layout", ["lanes", "auto"])
@pytest.mark.parametrize("threads", [1, 2])
def test_from_a_number_on_samples_go_side_by_side(layout, threads):
    """Batches of fewer samples pass through the nodes' own arrays, one sample after the other."""
    line = lanes_of("float32")
    twins = twins_of(sparse_lenet, count=line + 1)
    graph = twins.compile(Setting(layout, threads))
    feed, least = twins.reference.samples, graph._executable.executors.layouts.backward.min_samples
    assert 1 <= least <= line
    for count in range(1, line + 2):
        graph.train(twins.feed(feed, count), 0.0, batch=count)
        if count < least and threads == 1:
            assert twins.ours[-1].grad.tolist() == [1]
        elif count >= least:
            with pytest.raises(RuntimeError, match="grad is not kept"):
                twins.ours[-1].grad  # noqa: B018


def test_leaves_that_were_not_fed_keep_their_data_in_samples():
    graph, x, t, _y = affine_graph()
    t.getInput([3, 4])
    graph.accumulate({x: np.ones((5, 3))})
    for i in range(5):
        graph.sample(i)
        assert (x.data.tolist(), t.data.tolist()) == ([1, 1, 1], [3, 4])


@every_setting
def test_after_a_batch_gradients_are_those_of_its_last_sample_or_none(setting):
    """Samples in lanes leave no gradients in the nodes' own arrays; `sample` and a backward pass restore them."""
    twins = twins_of(strides_of_two)
    graph = twins.compile(setting)
    after = [lambda: graph.sample(3), lambda: (graph.forward(), graph.backward())]
    for look in after:
        twins.accumulate(20)
        try:
            twins.ours[1].grad  # noqa: B018
        except RuntimeError:
            for node in twins.ours:
                with pytest.raises(RuntimeError, match=f"{type(node).__name__}: grad is not kept"):
                    node.grad  # noqa: B018
        else:
            assert setting.layout != "lanes"
            twins.assert_sample(19)
        look()
        assert twins.ours[-1].grad.tolist() == [1]
    graph.sample(3)
    twins.assert_sample(3)


def test_samples_that_are_none_are_refused():
    graph, x, t, _y = affine_graph()
    with pytest.raises(RuntimeError) as refused:
        graph.sample(0)
    assert str(refused.value) == "Graph.sample: needs samples that were fed before"
    graph.accumulate({x: np.ones((3, 3)), t: np.ones((3, 2))})
    before = parameter_bytes(graph.nodes)
    for index in (3, -1, 10**30):
        with pytest.raises(IndexError) as refused:
            graph.sample(index)
        assert str(refused.value) == f"Graph.sample: index must be in [0, 3), got {index}"
    for index in (1.0, "1", None, [1]):
        with pytest.raises(TypeError, match=r"Graph\.sample: index"):
            graph.sample(index)
    assert parameter_bytes(graph.nodes) == before
    graph.sample(np.int64(2))


def test_an_array_that_has_become_smaller_has_no_such_sample():
    graph, x, t, _y = affine_graph()
    targets = np.ones((3, 2))
    graph.accumulate({x: np.arange(9.0).reshape(3, 3), t: targets})
    graph.sample(0)
    targets.resize((1, 2), refcheck=False)
    with pytest.raises(
        ValueError, match=r"^Graph\.sample: an array has become smaller since it was"
    ):
        graph.sample(2)
    assert x.data.ravel().tolist() == [0, 1, 2]


def test_what_is_refused_leaves_the_samples_of_the_last_batch():
    graph, x, t, y = affine_graph()
    graph.predict({x: np.array([[1.0, 2, 3], [4, 5, 6]])}, y)
    for call in (
        lambda: graph.predict({x: np.ones((9, 4))}, y),
        lambda: graph.accumulate({x: np.ones((9, 3)), t: np.ones((8, 2))}),
        lambda: graph.sample(2),
    ):
        with pytest.raises((ValueError, IndexError)):
            call()
    graph.sample(1)
    assert x.data.tolist() == [4, 5, 6]


@every_setting
@pytest.mark.parametrize("count", [1, 2, 16, 17, 33])
def test_leaves_hold_the_last_sample_after_a_call(setting, count):
    graph, x, t, _y = affine_graph(**setting._asdict())
    rows = np.arange(3.0 * count).reshape(count, 3)
    t.data[...] = [7, 8]
    for call in (
        lambda: graph.accumulate({x: rows}),
        lambda: graph.train({x: rows}, 0.0, batch=3),
        lambda: graph.predict({x: rows}),
    ):
        call()
        assert x.data.tolist() == rows[-1].tolist()
        assert t.data.tolist() == [7, 8]
        x.data[...] = 0


def test_an_empty_feed_is_the_last_one():
    graph, x, t, _y = affine_graph()
    graph.accumulate({x: np.ones((3, 3)), t: np.ones((3, 2))})
    graph.accumulate({x: np.ones((0, 3)), t: np.ones((0, 2))})
    with pytest.raises(IndexError):
        graph.sample(0)


# The array of predictions


@every_setting
@pytest.mark.parametrize("dtype", ["float64", "float32"])
def test_predictions_may_go_into_an_array_of_the_users(setting, dtype):
    twins = twins_of(convolution_of_several_groups, dtype)
    graph = twins.compile(setting)
    feed = twins.feed(twins.reference.samples, 17)
    for node in twins.ours:
        rows = graph.predict(feed, node)
        around = np.full((20, node.size), 7, dtype)
        inside = around[2:19]
        assert graph.predict(feed, node, out=inside) is inside
        np.testing.assert_array_equal(inside, rows)
        assert (around[:2] == 7).all()
        assert (around[19:] == 7).all()


def test_no_samples_need_no_rows():
    graph, x, _t, y = affine_graph()
    out = np.empty((0, 2))
    assert graph.predict({x: np.empty((0, 3))}, y, out=out) is out


def test_out_may_have_been_pickled():
    """An unpickled array has a dtype object of its own."""
    graph, x, _t, y = affine_graph()
    out = pickle.loads(pickle.dumps(np.zeros((3, 2))))
    expected = graph.predict({x: np.ones((3, 3))}, y)
    np.testing.assert_array_equal(graph.predict({x: np.ones((3, 3))}, y, out=out), expected)


@pytest.mark.parametrize(
    "out",
    [
        np.zeros((2, 2)), np.zeros((3, 3)), np.zeros((3, 2, 1)), np.zeros(6), np.zeros((3, 2), "f4"),
        np.zeros((3, 2), ">f8"), np.zeros((3, 2), int), np.zeros((2, 3)).T, np.zeros((3, 4))[:, ::2],
        np.broadcast_to(0.0, (3, 2)), [[0.0] * 2] * 3, "out",
    ],
    ids=range(12),
)  # fmt: skip
def test_arrays_that_do_not_fit_are_refused_and_stay_as_they_are(out):
    graph, x, _t, y = affine_graph()
    graph.forward()
    before, content = parameter_bytes(graph.nodes), np.array(out)
    with pytest.raises((TypeError, ValueError), match=r"Graph\.predict: out must "):
        graph.predict({x: np.ones((3, 3))}, y, out=out)
    np.testing.assert_array_equal(np.array(out), content)
    assert parameter_bytes(graph.nodes) == before
    np.testing.assert_allclose(graph.predict({x: np.ones((1, 3))}, y)[0], y.weight.sum(axis=0))


@every_setting
def test_predictions_may_overwrite_what_they_are_made_of(setting):
    graph, x, _t, _y = affine_graph(**setting._asdict())
    rows = np.random.default_rng(0).normal(size=(101, 3))
    expected = graph.predict({x: rows[:100]}, x)
    assert graph.predict({x: rows[:100]}, x, out=rows[1:]) is not None
    np.testing.assert_array_equal(rows[1:], expected)
