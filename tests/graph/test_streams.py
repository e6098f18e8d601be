"""Streams: samples of one time step side by side, each stream with a state of its own, in lanes and threads."""

import numpy as np
import pytest
from carried_graphs import TOLERANCE, ByHand, Elman
from numpy.testing import assert_allclose, assert_array_equal
from own_nodes import Failing

import cgraph as CG

# One stream; fewer than a block of lanes has; some blocks and a part of one.
COUNTS = [1, 3, 70]
settings = pytest.mark.parametrize(
    ("layout", "threads"), [("auto", 1), ("lanes", 2), ("samples", 2)]
)


@pytest.fixture(autouse=True)
def _eager(eager_threads):
    """Lets even a little work be shared by two threads."""


def close(found, expected, dtype="float64"):
    assert_allclose(found, expected, rtol=TOLERANCE[dtype], atol=TOLERANCE[dtype])


def twins(streams, dtype="float64", own=False, dropout=False, **options):
    """Returns a network, its Graph, and a network over nodes."""
    net, twin = Elman(dtype, own, dropout), Elman(dtype, own, dropout)
    return net, net.graph(streams=streams, **options), ByHand(twin, streams)


def given(nodes, feed):
    return dict(zip((nodes.net.x, nodes.net.t), feed.values(), strict=True))


@settings
@pytest.mark.parametrize("streams", COUNTS)
@pytest.mark.parametrize(
    ("own", "dtype"), [(False, "float32"), (False, "float64"), (True, "float64")]
)
def test_streams_equal_the_node_path(own, dtype, streams, layout, threads):
    net, graph, nodes = twins(streams, dtype, own, layout=layout, threads=threads)
    for batch, rules in ((1, (0.01, 0.01)), (3, (CG.Adam(0.01), CG.Adam(0.01)))):
        feed = net.series(8, streams)
        losses, outputs = graph.train(feed, rules[0], batch, outputs=net.y)
        expected = nodes.run(given(nodes, feed), batch, rules[1])
        assert losses.shape == (8, streams)
        assert outputs.shape == (8, streams, 1)
        close(losses, expected[0], dtype)
        close(outputs[..., 0], expected[1], dtype)
    for mine, theirs in zip(graph.parameters, CG.parameters(nodes.net.loss), strict=True):
        close(mine.value, theirs.value, dtype)
    for k, (leaf, state) in enumerate(graph.get_state().items()):
        close(state, [states[k] for states in nodes.states], dtype)
        assert_array_equal(leaf.data, state[-1])


@settings
@pytest.mark.parametrize("streams", COUNTS)
def test_every_call_goes_on_from_the_state_of_the_last_one(streams, layout, threads):
    net, graph, nodes = twins(streams, layout=layout, threads=threads)
    feed = net.series(6, streams)
    values = nodes.run(given(nodes, feed))
    sums = [p.grad.copy() for p in CG.parameters(nodes.net.loss)]
    more = nodes.run(given(nodes, feed), learn=False)
    close(graph.accumulate(feed), values[0])
    for mine, theirs in zip(graph.parameters, sums, strict=True):
        close(mine.grad, theirs)
    out = np.empty((6, streams, 1))
    assert graph.predict(feed, net.y, out=out) is out
    close(out[..., 0], more[1])
    states = graph.get_state()
    graph.reset()
    loss, vector = graph.value_and_grad(feed)
    close(vector, np.concatenate([g.ravel() for g in sums]))
    close(loss, values[0].sum())
    graph.reset()
    rows = graph.per_sample_gradients(feed)
    close(rows.sum((0, 1)), vector)
    close(graph.jacobian(feed, net.loss, net.h).shape, (6, streams, 1, 3))
    for leaf, state in graph.get_state().items():
        close(state, states[leaf])
    weights = np.linspace(0, 1, 6 * streams).reshape(6, streams)
    graph.zero_grad()
    graph.reset()
    graph.accumulate(feed, weights=weights)
    flat = np.concatenate([p.grad.ravel() for p in graph.parameters])
    close(flat, np.einsum("ts,tsp->p", weights, rows))
    graph.zero_grad()
    graph.reset()
    graph.accumulate(feed, grads={net.loss: weights[..., None]})
    close(np.concatenate([p.grad.ravel() for p in graph.parameters]), flat)


def test_a_state_is_set_for_each_stream():
    net, graph, _ = twins(4)
    feed, start = net.series(3, 4), np.arange(12).reshape(4, 3) / 12
    found = graph.predict({**feed, net.h: start}, net.new)
    assert_array_equal(graph.get_state()[net.h], found[-1])
    graph.reset()
    graph.set_state({net.h: start})
    assert_array_equal(graph.predict(feed, net.new), found)


def test_masks_are_those_of_samples_in_their_order():
    net, graph, nodes = twins(5, dropout=True, layout="lanes")
    feed = net.series(4, 5)
    close(graph.train(feed, 0.1), nodes.run(given(nodes, feed), 1, 0.1)[0])


def test_parameters_are_learnt_by_streams_and_used_for_one():
    net, graph, _ = twins(6)
    copies = CG.clone(net.loss, share=True)
    x, h, late, new = (copies[node] for node in (net.x, net.h, net.late, net.new))
    single = CG.Graph(copies[net.y], carry={h: new, late: x})
    feed = net.series(5, 6)
    graph.train(feed, 0.05)
    graph.reset()
    whole = graph.predict(feed, net.new)[:, 2]
    close(single.predict({x: feed[net.x][:, 2]}, new), whole)


def test_without_carry_streams_are_samples():
    x, t = CG.Leaf1(2), CG.Leaf1(1)
    y = CG.Affine(x, np.ones((3, 1)))
    graph = CG.Graph(CG.MSE(y, t), streams=3)
    feed = {x: np.arange(24.0).reshape(4, 3, 2) / 24, t: np.ones((4, 3))}
    losses = graph.train(feed, CG.SGD(0.1), 2)
    learnt = y.weight.copy()
    y.weight[...] = 1
    plain = CG.Graph(CG.MSE(y, t))
    rows = {x: feed[x].reshape(12, 2), t: feed[t].reshape(12)}
    assert_array_equal(losses, plain.train(rows, CG.SGD(0.1), 6).reshape(4, 3))
    assert_array_equal(y.weight, learnt)


@pytest.mark.parametrize("layout", ["lanes", "samples"])
@pytest.mark.parametrize("streams", [2, 70])
def test_after_an_exception_all_streams_are_at_the_same_time_step(streams, layout):
    x, total = CG.Leaf1(1), CG.Leaf1(1)
    node = Failing(x)
    new = node + total
    graph = CG.Graph(CG.Norm2(new), carry={total: new}, streams=streams, layout=layout)
    calls = []
    node.check = lambda method: calls.append(method) or (len(calls) == 3 * streams and 1 / 0)
    with pytest.raises(ZeroDivisionError):
        graph.predict({x: np.ones((5, streams))})
    assert_array_equal(graph.get_state()[total], np.full((streams, 1), 2))


@settings
@pytest.mark.parametrize("streams", [2, 70])
def test_the_first_loss_that_is_not_finite_is_named(streams, layout, threads):
    x, total = CG.Leaf1(1), CG.Leaf1(1)
    new = x + total
    graph = CG.Graph(
        CG.Norm2(new), carry={total: new}, streams=streams, layout=layout, threads=threads
    )
    rows = np.ones((9, streams))
    rows[4, 0], rows[3, 1] = np.inf, np.nan
    with pytest.raises(FloatingPointError, match="the loss of sample 3 of stream 1 is not finite"):
        graph.train({x: rows}, 0.1, check_loss=True)
    assert_array_equal(graph.get_state()[total], np.full((streams, 1), 3))


@pytest.mark.parametrize("layout", ["auto", "lanes", "samples"])
def test_a_node_between_is_predicted_where_only_the_carry_reads_it(layout):
    x, h = CG.Leaf1(1), CG.Leaf1(1)
    between = CG.Tanh(x + h)
    new = CG.Scale(between, 0.5)
    graph = CG.Graph(CG.Mean(new), carry={h: new}, streams=16, layout=layout)
    first = np.tanh(1)
    expected = [first, np.tanh(1 + first / 2)]
    found = graph.predict({x: np.ones((2, 16, 1))}, between)
    np.testing.assert_allclose(found[:, :, 0], np.repeat([expected], 16, 0).T)
