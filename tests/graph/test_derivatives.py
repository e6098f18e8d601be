"""Graph.jacobian and Graph.input_gradients: what they leave alone, what they refuse, and in which state they end."""

import tracemalloc

import numpy as np
import pytest
from batch_settings import every_setting
from jacobian_twins import network
from own_nodes import Failing, Recorder, Scale

import cgraph as CG
from cgraph._execution import jacobians

ROWS = np.random.default_rng(0).uniform(-1, 1, (40, 3))
TARGETS = np.random.default_rng(1).uniform(-1, 1, (40, 2))


class Net:
    """A small network with a loss, and gradient sums that are not 0."""

    def __init__(self, **options):
        nodes = network()
        self.x, self.t, self.hidden, self.y, self.loss = (
            nodes[name] for name in ("x", "t", "a", "y", "loss")
        )
        self.graph = CG.Graph(self.loss, **options)
        self.feed = {self.x: ROWS, self.t: TARGETS}
        self.graph.accumulate(self.feed)

    def state(self):
        return [array.copy() for p in self.graph.parameters for array in (p.value, p.grad)]


def assert_all_equal(found, expected):
    for ours, theirs in zip(found, expected, strict=True):
        np.testing.assert_array_equal(ours, theirs)


# What they leave alone


@every_setting
@pytest.mark.usefixtures("eager_threads")
def test_parameters_sums_and_the_next_update_are_those_without_it(setting):
    one, other = Net(**setting._asdict()), Net(**setting._asdict())
    one.graph.jacobian(one.feed, one.hidden, one.x)
    one.graph.input_gradients(one.feed, one.x)
    assert_all_equal(one.state(), other.state())
    for net in (one, other):
        net.graph.update(CG.Adam(lr=0.1))
        net.graph.train(net.feed, 0.1, 3)
    assert_all_equal(one.state(), other.state())


@every_setting
def test_frozen_parameters_are_constants_like_all_others(setting):
    net = Net(**setting._asdict())
    expected = net.graph.jacobian(net.feed, net.y, net.x)
    net.graph.parameters[1].trainable = False
    net.graph.step(net.feed, 0.0)
    np.testing.assert_array_equal(net.graph.jacobian(net.feed, net.y, net.x), expected)


def test_values_that_were_written_count():
    net = Net()
    net.graph.jacobian(net.feed, net.y, net.x)
    for parameter in net.graph.parameters:
        parameter.value[...] = 0
    net.graph.parameters[-1].value[0] = 1
    assert not net.graph.jacobian(net.feed, net.y, net.x).any()


def test_it_is_the_gradient_of_backward_whatever_leaf_grads():
    for leaf_grads in (None, True, False, []):
        net = Net(leaf_grads=leaf_grads)
        expected = CG.Graph(Net().loss)  # of other nodes
        expected.accumulate(dict(zip(expected.leaves, (ROWS[:1], TARGETS[:1]), strict=True)))
        few = {net.x: ROWS[:1], net.t: TARGETS[:1]}
        found = net.graph.input_gradients(few, net.x)
        np.testing.assert_allclose(found[0], expected.leaves[0].grad, rtol=1e-12)


def test_a_dropout_copies_and_counts_nothing():
    x = CG.Leaf1(3)
    dropout = CG.Dropout(x, 0.5, seed=1)
    y = CG.Affine(dropout, np.arange(8.0).reshape(4, 2))
    for layout in ("lanes", "samples"):
        graph = CG.Graph(y, layout=layout)
        found = graph.jacobian({x: ROWS}, y, x)
        np.testing.assert_array_equal(found, np.broadcast_to(y.weight[:-1].T, found.shape))
        assert dropout.samples == 0


def test_own_nodes_keep_their_sums_and_run_backward_where_they_lie_on_the_way():
    x, z, log = CG.Leaf1(3), CG.Leaf1(3), []
    scaled = Scale(x, [1.0, 2.0, 3.0])
    aside = Recorder([z], log)
    y = CG.Add(CG.Square(scaled), aside)
    graph = CG.Graph(y)
    scaled.gradWeight[...] = [5, 6, 7]
    found = graph.jacobian({x: ROWS, z: ROWS}, y, x)
    slopes = 2 * ROWS * np.array([1, 4, 9])
    np.testing.assert_allclose(found, slopes[:, :, None] * np.eye(3))
    np.testing.assert_array_equal(scaled.gradWeight, [5, 6, 7])
    assert {name for name, _ in log} == {"calcData"}


@pytest.mark.parametrize("method", ["calcData", "calcPartialDerivative"])
def test_an_exception_of_an_own_node_changes_nothing(method):
    x = CG.Leaf1(3)
    scaled = Scale(x, [1.0, 2.0, 3.0])
    y = Failing(scaled, method)
    graph = CG.Graph(y)
    scaled.gradWeight[...] = [5, 6, 7]
    with pytest.raises(ZeroDivisionError):
        graph.jacobian({x: ROWS}, y, x)
    np.testing.assert_array_equal(scaled.gradWeight, [5, 6, 7])
    y.fails_in = None
    found = graph.jacobian({x: ROWS}, y, x)
    np.testing.assert_array_equal(found, np.broadcast_to(np.diag([1, 2, 3]), found.shape))


# Shared parameters


@every_setting
def test_nodes_with_the_same_parameters_each_have_their_share(setting):
    x = CG.Leaf1(3)
    first = CG.Affine(x, np.linspace(-1, 1, 12).reshape(4, 3))
    second = first.share(CG.Tanh(first))
    graph = CG.Graph(CG.Norm2(second), **setting._asdict())
    graph.accumulate({x: ROWS})
    before = [p.grad.copy() for p in graph.parameters]
    found = graph.jacobian({x: ROWS}, second, x)
    w = first.weight[:-1]
    slopes = 1 - np.tanh(graph.predict({x: ROWS}, first)) ** 2
    np.testing.assert_allclose(found, w.T @ (slopes[:, :, None] * w.T), rtol=1e-12, atol=1e-14)
    assert_all_equal([p.grad for p in graph.parameters], before)


def test_what_another_graph_has_learnt_counts():
    net = Net()
    twins = CG.clone(net.loss, share=True)
    other = CG.Graph(twins[net.loss])
    x, y = twins[net.x], twins[net.y]
    before = other.jacobian({x: ROWS}, y, x)
    net.graph.step(net.feed, 0.01)
    after = other.jacobian({x: ROWS}, y, x)
    assert (after != before).any()
    np.testing.assert_array_equal(after, net.graph.jacobian(net.feed, net.y, net.x))


def test_they_learn_nothing_and_so_may_run_while_another_graph_learns():
    """The call that learns is that of an own node's Graph, in whose method the other Graph is asked."""

    class Asking(CG.Node):
        def __init__(self, node):
            super().__init__(node.size, node.height, node.width, [node])

        def calcData(self):
            self.data[...] = self.backward[0].data
            found.append((other.jacobian({x: ROWS}, y, x), other.input_gradients({x: ROWS}, x)))

        def calcPartialDerivative(self):
            self.backward[0].grad[...] += self.grad

    found = []
    z, x = CG.Leaf1(3), CG.Leaf1(3)
    first = CG.Affine(z, np.linspace(-1, 1, 12).reshape(4, 3))
    y = first.share(x)
    other = CG.Graph(CG.Norm2(y))
    graph = CG.Graph(CG.Norm2(Asking(first)))
    expected = other.jacobian({x: ROWS}, y, x), other.input_gradients({x: ROWS}, x)
    graph.step({z: ROWS[:1]}, 0.01)
    assert len(found) == 1
    assert_all_equal(found[0], expected)


# What they return


def test_ties_and_kinks_are_those_of_a_backward_pass():
    x, z = CG.Leaf1(2), CG.Leaf1(2)
    y = CG.Maximum(CG.ReLU(x), z)
    graph = CG.Graph(CG.Sum(y), layout="lanes")
    zeros = np.zeros((9, 2))
    for count in (1, 9):
        feed = {x: zeros[:count], z: zeros[:count]}
        for leaf in (x, z):
            found = graph.jacobian(feed, y, leaf)
            np.testing.assert_array_equal(found, np.broadcast_to(np.eye(2) / 2, found.shape))


@every_setting
def test_a_node_that_does_not_depend_on_the_leaf_has_zeros(setting):
    net = Net(**setting._asdict())
    found = net.graph.jacobian(net.feed, net.y, net.t)
    assert found.shape == (40, 2, 2)
    assert not found.any()


@every_setting
def test_a_leaf_by_itself_is_the_identity(setting):
    net = Net(**setting._asdict())
    found = net.graph.jacobian(net.feed, net.x, net.x)
    np.testing.assert_array_equal(found, np.broadcast_to(np.eye(3), (40, 3, 3)))


@every_setting
def test_no_samples_have_no_rows(setting):
    net = Net(**setting._asdict())
    none = {net.x: ROWS[:0], net.t: TARGETS[:0]}
    assert net.graph.jacobian(none, net.y, net.x).shape == (0, 2, 3)
    assert net.graph.input_gradients(none, net.x).shape == (0, 3)


@every_setting
@pytest.mark.parametrize("count", [1, 2, 40])
def test_leaves_that_are_not_fed_keep_their_data(setting, count):
    net = Net(**setting._asdict())
    net.t.data = TARGETS[5]
    expected = net.graph.input_gradients(
        {net.x: ROWS[:count], net.t: np.tile(TARGETS[5], (count, 1))}, net.t
    )
    net.t.data = TARGETS[5]
    found = net.graph.input_gradients({net.x: ROWS[:count]}, net.t)
    np.testing.assert_array_equal(found, expected)
    np.testing.assert_array_equal(net.t.data, TARGETS[5])


def test_an_element_that_is_not_finite_stays_with_its_sample():
    for layout in ("lanes", "samples"):
        net = Net(layout=layout)
        expected = net.graph.jacobian(net.feed, net.y, net.x)
        rows = ROWS.copy()
        rows[17] = np.nan
        found = net.graph.jacobian({net.x: rows}, net.y, net.x)
        assert np.isnan(found[17]).all()
        np.testing.assert_array_equal(np.delete(found, 17, 0), np.delete(expected, 17, 0))


def test_more_pairs_than_are_remembered():
    net = Net()
    nodes = [node for node in net.graph.nodes if node.backward]
    pairs = [(node, leaf) for node in nodes for leaf in (net.x, net.t)]
    assert len(pairs) > jacobians.MAX_REMEMBERED
    first = [net.graph.jacobian(net.feed, *pair) for pair in pairs]
    assert_all_equal([net.graph.jacobian(net.feed, *pair) for pair in pairs], first)


def test_nodes_that_were_cut_off_later_count_as_they_were():
    net = Net()
    expected = Net()
    net.hidden.cut()
    found = net.graph.jacobian(net.feed, net.y, net.x)
    np.testing.assert_array_equal(
        found, expected.graph.jacobian(expected.feed, expected.y, expected.x)
    )


# The state afterwards


@every_setting
@pytest.mark.usefixtures("eager_threads")
def test_the_nodes_hold_what_they_hold_after_predict(setting):
    one, other = Net(**setting._asdict()), Net(**setting._asdict())
    one.graph.jacobian(one.feed, one.loss, one.x)
    other.graph.predict(other.feed, other.loss)
    for ours, theirs in zip(one.graph.leaves, other.graph.leaves, strict=True):
        np.testing.assert_array_equal(ours.data, theirs.data)
    for net in (one, other):
        net.graph.sample(7)
    for ours, theirs in zip(one.graph.nodes, other.graph.nodes, strict=True):
        np.testing.assert_array_equal(ours.data, theirs.data)
        np.testing.assert_array_equal(ours.grad, theirs.grad)


def test_after_one_sample_gradients_read_zero():
    net = Net(layout="samples")
    net.graph.jacobian({net.x: ROWS[:1], net.t: TARGETS[:1]}, net.loss, net.x)
    assert not any(node.grad.any() for node in net.graph.nodes)
    net.loss.backwardPropagation()
    slope = net.x.grad.copy()
    np.testing.assert_allclose(
        net.graph.input_gradients({net.x: ROWS[:1], net.t: TARGETS[:1]}, net.x)[0], slope
    )


def test_nothing_is_allocated_but_the_result():
    net = Net()

    def call():
        return net.graph.jacobian(net.feed, net.y, net.x)

    call()
    tracemalloc.start()
    try:
        call()
        tracemalloc.reset_peak()
        before = tracemalloc.get_traced_memory()[0]
        found = call()
        now, peak = (size - before for size in tracemalloc.get_traced_memory())
    finally:
        tracemalloc.stop()
    assert now <= found.nbytes + 1000
    assert peak <= found.nbytes + 16_000


def test_an_older_graph_and_missing_data_are_refused():
    net = Net()
    CG.Graph(net.loss)
    with pytest.raises(RuntimeError, match=r"Graph\.jacobian: its nodes belong to a newer Graph"):
        net.graph.jacobian(net.feed, net.y, net.x)
    nodes = network()
    graph = CG.Graph(nodes["loss"])
    with pytest.raises(ValueError, match="must be fed, since it was never given data"):
        graph.input_gradients({nodes["x"]: ROWS}, nodes["x"])
    assert graph.jacobian({nodes["x"]: ROWS}, nodes["y"], nodes["x"]).shape == (40, 2, 3)
