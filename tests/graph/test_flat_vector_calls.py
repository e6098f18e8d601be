"""Calls with the flat vector: what they keep, what they refuse, and what interrupts them."""

import numpy as np
import pytest
from arrays import assert_equal
from batch_settings import every_setting
from interrupts import events, stopped
from own_nodes import Scale
from test_flat_vector import Net, dense, every_network, shared

import cgraph as CG

pytestmark = pytest.mark.usefixtures("guard_pages", "eager_threads")


@every_network
@every_setting
def test_no_samples_have_no_gradient(make, setting):
    net = Net(make)
    graph = net.compile(**setting._asdict())
    v = graph.get_vector()
    value, gradient = graph.value_and_grad(net.feed(0), 2 * v)
    assert value == 0
    assert_equal(gradient, np.zeros(v.size))
    assert_equal(graph.get_vector(), 2 * v)
    assert graph.per_sample_gradients(net.feed(0)).shape == (0, v.size)


def test_a_graph_in_which_nothing_learns():
    x = CG.Leaf1(3)
    graph = CG.Graph(CG.Norm2(x))
    feed = {x: np.ones((2, 3))}
    assert graph.get_vector().shape == (0,)
    graph.set_vector([])
    value, gradient = graph.value_and_grad(feed, [])
    assert (value, gradient.shape) == (graph.predict(feed).sum(), (0,))
    assert graph.per_sample_gradients(feed).shape == (2, 0)


def dropping(net):
    x, t = net.leaf(3), net.leaf(2)
    hidden = CG.Dropout(CG.Tanh(net.affine(x, 8)), 0.5, 1)
    return CG.MSE(net.affine(hidden, 2), t), [x, t]


@every_setting
def test_dropout_does_nothing_and_counts_nothing(setting):
    net, twin = Net(dropping), Net(dropping)
    graph = net.compile(**setting._asdict())
    twin.compile(**setting._asdict())
    feed = net.feed(20)
    predicted = graph.predict(feed)
    for _ in range(2):
        value, gradient = graph.value_and_grad(feed)
        np.testing.assert_allclose(value, predicted.sum(), rtol=1e-12)
        graph.sample(3)
        np.testing.assert_allclose(net.loss.data, predicted[3], rtol=1e-12)
        rows = graph.per_sample_gradients(feed)
        np.testing.assert_allclose(rows.sum(0), gradient, rtol=1e-12, atol=1e-12)
    assert_equal(graph.step(feed, 0.1), twin.graph.step(twin.feed(20), 0.1))


@every_setting
def test_a_value_that_is_not_finite_stays_with_its_sample(setting):
    net = Net(dense)
    graph = net.compile(**setting._asdict())
    expected = graph.per_sample_gradients(net.feed(40))
    x = net.leaves[0]
    net.rows[x][[5, 33], 0] = np.nan, np.inf
    rows = graph.per_sample_gradients(net.feed(40))
    finite = np.isfinite(rows).all(1)
    assert np.flatnonzero(~finite).tolist() == [5, 33]
    np.testing.assert_allclose(rows[finite], expected[finite], rtol=1e-12, atol=1e-14)
    assert np.isnan(graph.value_and_grad(net.feed(40))[0])


@every_setting
def test_nodes_show_what_they_show_after_a_batch(setting):
    """The leaves hold the last sample, and `sample` shows each of them."""
    net = Net(dense)
    graph = net.compile(**setting._asdict())
    feed = net.feed(20)
    losses = graph.predict(feed)
    for call in (graph.value_and_grad, graph.per_sample_gradients):
        call(feed)
        for x, rows in feed.items():
            assert_equal(x.data.reshape(-1), rows[-1])
        if setting == ("samples", 1):
            np.testing.assert_allclose(net.loss.data, losses[-1])
            assert net.loss.grad == 1
        else:
            with pytest.raises(RuntimeError, match="grad is not kept for a batch"):
                _ = net.loss.grad
        graph.sample(7)
        np.testing.assert_allclose(net.loss.data, losses[7])


def test_graphs_that_share_parameters_see_the_vector():
    """What one Graph is given as a vector, the other one has; neither sees the sums of gradients that are returned."""
    net = Net(shared)
    graph = net.compile()
    x = net.leaf(3)
    other = CG.Graph(CG.Norm2(net.parameters[0].nodes[0].share(x)))
    v = graph.get_vector()
    size = other.get_vector().size
    value, gradient = graph.value_and_grad(net.feed(20), 2 * v)
    assert_equal(other.get_vector(), 2 * v[:size])
    rows = {x: net.rows[net.leaves[0]][:9]}
    before = other.predict(rows)
    other.set_vector(v[:size])
    assert not np.array_equal(other.predict(rows), before)
    assert_equal(graph.get_vector(), np.concatenate([v[:size], 2 * v[size:]]))
    other.accumulate(rows)
    sums = net.parameters[0].grad.copy()
    graph.per_sample_gradients(net.feed(20))
    other.value_and_grad(rows, 3 * v[:size])
    assert_equal(net.parameters[0].grad, sums)
    found = graph.value_and_grad(net.feed(20), 2 * v)
    assert found[0] == value
    assert_equal(found[1], gradient)


def test_what_is_refused_changes_nothing():
    net = Net(dense)
    graph = net.compile()
    graph.accumulate(net.feed(3))
    before, sums = graph.get_vector(), net.sums()
    size, feed = before.size, net.feed(4)
    wrong = [
        (np.zeros(size + 1), ValueError, f"v must have shape (P,) = ({size},)"),
        (np.zeros((1, size)), ValueError, f"got (1, {size})"),
        (np.zeros(size, complex), TypeError, "v must hold real numbers"),
        ("zeros", TypeError, "v must hold real numbers"),
    ]
    for v, kind, message in wrong:
        for owner, call in (
            ("set_vector", lambda v=v: graph.set_vector(v)),
            ("value_and_grad", lambda v=v: graph.value_and_grad(feed, v)),
        ):
            with pytest.raises(kind) as refused:
                call()
            assert str(refused.value).startswith(f"Graph.{owner}: v")
            assert message in str(refused.value)
    fresh = Net(dense)
    unfed = fresh.compile()
    v = fresh.graph.get_vector()
    for call in (
        lambda: unfed.value_and_grad({fresh.leaves[0]: np.zeros((2, 3))}, v + 1),
        lambda: unfed.per_sample_gradients({fresh.leaves[0]: np.zeros((2, 3))}),
    ):
        with pytest.raises(ValueError, match="must be fed, since it was never given data"):
            call()
    assert_equal(unfed.get_vector(), v)
    several = CG.Graph([net.affine(net.leaf(2), 2), net.affine(net.leaf(1), 1)])
    for call in (several.value_and_grad, several.per_sample_gradients):
        with pytest.raises(ValueError, match="needs one output of one element, got 2 of sizes"):
            call({several.leaves[0]: np.zeros((1, 2))})
    assert several.get_vector().size == 8
    assert_equal(graph.get_vector(), before)
    assert_equal(net.sums(), sums)
    CG.Graph(net.loss)
    for call in (
        graph.get_vector,
        lambda: graph.set_vector(before),
        lambda: graph.value_and_grad(feed),
        lambda: graph.per_sample_gradients(feed),
    ):
        with pytest.raises(RuntimeError, match="its nodes belong to a newer Graph"):
            call()


def test_a_running_graph_is_refused():
    calls = []

    class Nosy(Scale):
        def calcData(self):
            super().calcData()
            for call in calls:
                with pytest.raises(RuntimeError, match="is already running"):
                    call()

    x = CG.Leaf1(2)
    graph = CG.Graph(CG.Norm2(Nosy(x, [1, 2])))
    feed = {x: np.ones((3, 2))}
    calls += [
        graph.get_vector,
        lambda: graph.set_vector([1, 1]),
        lambda: graph.value_and_grad(feed),
        lambda: graph.per_sample_gradients(feed),
    ]
    assert graph.per_sample_gradients(feed).shape == (3, 2)


def test_an_error_of_an_own_node_leaves_all_as_it_was():
    class Failing(Scale):
        fails = False

        def calcPartialDerivative(self):
            super().calcPartialDerivative()
            if self.fails:
                raise ZeroDivisionError

    net = Net(dense)
    x, t = net.leaves
    node = Failing(net.affine(x, 1), [2])
    loss = CG.MSE(node, t)
    graph = CG.Graph(loss)
    graph.accumulate(net.feed(5))
    parameters = CG.parameters(loss)
    sums = [p.grad.copy() for p in parameters]
    node.fails = True
    for call in (graph.value_and_grad, graph.per_sample_gradients):
        with pytest.raises(ZeroDivisionError):
            call(net.feed(4))
        for p, kept in zip(parameters, sums, strict=True):
            assert_equal(p.grad, kept)


def test_an_array_of_an_own_node_may_be_exchanged():
    x = CG.Leaf1(1)
    node = Scale(x, [2.0])
    graph = CG.Graph(CG.Sum(node))
    assert_equal(graph.get_vector(), np.array([2.0]))
    node.weight, node.gradWeight = np.array(3.0), np.array(0.0)
    assert_equal(graph.get_vector(), np.array([3.0]))
    graph.set_vector([4])
    assert node.weight == 4
    node.weight, node.gradWeight = np.array([5.0, 6.0]), np.zeros(2)
    assert_equal(graph.get_vector(), np.array([5.0, 6.0]))
    node.weight = np.array([1, 2])
    with pytest.raises(TypeError, match=r"for a flat vector, got one of dtype int64"):
        graph.get_vector()


@pytest.mark.thread_unsafe(reason="traces")
@pytest.mark.parametrize("threads", [1, 2])
def test_an_exception_at_any_event_over_lanes(threads):
    """The steps over lanes compute gradient sums again in the next call."""

    def call():
        net.graph.per_sample_gradients(net.feed(20))

    def begun():
        net = Net(dense, count=20)
        net.compile(layout="lanes", threads=threads).accumulate(net.feed(20))
        return net

    net = begun()
    call()
    count = events(call)
    for number in range(1, count + 1, 11):
        net = begun()
        sums = net.sums()
        stopped(call, number)
        assert_equal(net.sums(), sums)
        net.graph.accumulate(net.feed(20))
        np.testing.assert_allclose(net.sums(), 2 * sums, rtol=1e-10, atol=1e-12)
