"""The state of one stream of samples, which a Graph carries from sample to sample and from call to call."""

import copy

import numpy as np
import pytest
from carried_graphs import TOLERANCE, ByHand, Elman
from numpy.testing import assert_allclose, assert_array_equal
from own_nodes import Failing

import cgraph as CG

LONG = 100_000

both_dtypes = pytest.mark.parametrize("dtype", ["float32", "float64"])
layouts = pytest.mark.parametrize(
    ("layout", "threads"), [("auto", 2), ("lanes", 1), ("samples", 1)]
)


def close(found, expected, dtype="float64"):
    assert_allclose(found, expected, rtol=TOLERANCE[dtype], atol=TOLERANCE[dtype])


# Known recurrences, against loops of NumPy


def test_an_exponential_average_equals_its_loop_over_a_long_series_and_across_calls():
    x, mean = CG.Leaf1(1), CG.Leaf1(1)
    new = CG.Scale(mean, 0.9) + CG.Scale(x, 0.1)
    graph = CG.Graph(new, carry={mean: new})
    series = np.random.default_rng(0).normal(size=LONG)
    expected, state = np.empty(LONG), 0.0
    for i, value in enumerate(series):
        state = expected[i] = 0.9 * state + 0.1 * value
    parts = np.split(series, [10, LONG // 2])
    found = np.concatenate([graph.predict({x: part}) for part in parts])[:, 0]
    assert_allclose(found, expected, rtol=1e-12)
    assert mean.data[0] == found[-1]
    graph.reset()
    assert_array_equal(graph.predict({x: series})[:, 0], found)


def test_a_filter_of_second_order_equals_its_loop():
    """y_t = b · (x_t, x_t-1, x_t-2) - a · (y_t-1, y_t-2), with delay lines of two leaves each."""
    b, a = [0.2, 0.4, 0.2], [-0.5, 0.3]
    x, x1, x2, y1, y2 = (CG.Leaf1(1) for _ in range(5))
    terms = [CG.Scale(n, f) for n, f in zip((x, x1, x2, y1, y2), [*b, 0.5, -0.3], strict=True)]
    y = sum(terms[1:], start=terms[0])
    graph = CG.Graph(y, carry={y2: y1, y1: y, x2: x1, x1: x})
    series = np.random.default_rng(1).normal(size=LONG)
    padded, expected = [0.0, 0.0, *series], [0.0, 0.0]
    for k in range(2, len(padded)):
        new = b[0] * padded[k] + b[1] * padded[k - 1] + b[2] * padded[k - 2]
        expected.append(new - a[0] * expected[-1] - a[1] * expected[-2])
    assert_allclose(graph.predict({x: series})[:, 0], expected[2:], rtol=1e-9, atol=1e-12)


@pytest.mark.parametrize("streams", [None, 5])
def test_all_new_values_are_read_before_any_is_written(streams):
    """Two leaves that change places, and a delay line that is written in its own order and against it."""
    x, *lines = (CG.Leaf1(2) for _ in range(5))
    a, b, late, later = lines
    for k, leaf in enumerate(lines, 1):
        leaf.getInput([k, 10 * k])
    shown = CG.Concatenation([a, b, late, later])
    graph = CG.Graph(shown, carry={a: b, b: a, late: x, later: late}, streams=streams, threads=1)
    series = np.arange(14.0).reshape(7, 2)
    fed = series if streams is None else np.repeat(series[:, None], streams, 1)
    found = graph.predict({x: fed}) if streams is None else graph.predict({x: fed})[:, -1]
    start = np.array([[1, 10], [2, 20], [3, 30], [4, 40]])
    for k, row in enumerate(found.reshape(7, 4, 2)):
        swapped = start[:2] if k % 2 == 0 else start[1::-1]
        delayed = [series[k - 1] if k > 0 else start[2], series[k - 2] if k > 1 else start[3 - k]]
        if k == 1:
            delayed[1] = start[2]
        assert_array_equal(row, [*swapped, *delayed])


# Laws: a Graph with carry == the nodes' own passes with a carry by hand


@layouts
@both_dtypes
@pytest.mark.parametrize("own", [False, True], ids=["compiled", "own"])
def test_learning_equals_the_node_path(own, dtype, layout, threads):
    if own and dtype == "float32":
        pytest.skip("the own node is one of float64")
    net, twin = Elman(dtype, own), Elman(dtype, own)
    graph, nodes = net.graph(layout=layout, threads=threads), ByHand(twin)
    feed = net.series(40)
    given = dict(zip((twin.x, twin.t), feed.values(), strict=True))
    for batch, rules in ((1, (0.05, 0.05)), (7, (CG.Adam(0.01), CG.Adam(0.01)))):
        losses, outputs = graph.train(feed, rules[0], batch, outputs=net.y)
        expected = nodes.run(given, batch, rules[1])
        close(losses, expected[0, :, 0], dtype)
        close(outputs, expected[1], dtype)
    for mine, theirs in zip(graph.parameters, CG.parameters(twin.loss), strict=True):
        close(mine.value, theirs.value, dtype)
    state = graph.get_state()
    for leaf, theirs in zip(net.carry, nodes.states[0], strict=True):
        close(state[leaf], theirs, dtype)
        assert_array_equal(leaf.data, state[leaf])


@layouts
def test_sums_of_gradients_stop_at_the_carry(layout, threads):
    net, twin = Elman(), Elman()
    graph, nodes = net.graph(layout=layout, threads=threads), ByHand(twin)
    feed = net.series(30)
    given = dict(zip((twin.x, twin.t), feed.values(), strict=True))
    close(graph.accumulate(feed), nodes.run(given)[0, :, 0])
    graph.reset()
    loss, vector = graph.value_and_grad(feed)
    sums = [p.grad for p in CG.parameters(twin.loss)]
    for mine, theirs in zip(graph.parameters, sums, strict=True):
        close(mine.grad, theirs)
    close(vector, np.concatenate([g.ravel() for g in sums]))
    graph.reset()
    rows = graph.per_sample_gradients(feed)
    close(rows.sum(0), vector)
    close(graph.get_state()[net.h], nodes.states[0][0])
    graph.reset()
    states, steps = [], graph.predict(feed)
    graph.reset()
    for k in range(30):
        states.append(graph.get_state()[net.h])
        graph.predict({leaf: a[k : k + 1] for leaf, a in feed.items()})
    graph.reset()
    jacobian = graph.jacobian(feed, net.new, net.h)
    weight = net.recurrent.weight[2:5]
    graph.reset()
    new = graph.predict(feed, net.new)
    close(jacobian, (1 - new**2)[:, :, None] * weight.T)
    graph.reset()
    gradients = graph.input_gradients(feed, net.h)
    assert gradients.shape == (30, 3)
    close(loss, steps.sum())
    assert_array_equal(states[1], new[0])


def test_weights_and_given_gradients_scale_those_of_each_sample():
    net = Elman()
    graph, feed = net.graph(), net.series(9)
    rows = graph.per_sample_gradients(feed)
    weights = np.linspace(0, 2, 9)
    graph.reset()
    graph.accumulate(feed, weights=weights)
    close(np.concatenate([p.grad.ravel() for p in graph.parameters]), weights @ rows)
    graph.zero_grad()
    graph.reset()
    given = np.linspace(-1, 1, 9)
    assert_array_equal(graph.accumulate(feed, grads={net.loss: given}).shape, (9, 1))
    close(np.concatenate([p.grad.ravel() for p in graph.parameters]), given @ rows)


def test_a_node_for_the_carry_alone_learns_nothing_and_is_computed_by_every_call():
    """Its gradient is 0, though it reads the loss and shares parameters with what the loss depends on."""
    x, h, seen = CG.Leaf1(1), CG.Leaf1(1), CG.Leaf1(1)
    y = CG.Affine(x + h, [[2.0], [0.0]])
    loss = CG.Dots(y, y)
    graph = CG.Graph(loss, carry={h: y.share(x) + seen, seen: loss})
    assert_array_equal(graph.predict({x: [1, 2]}, x)[:, 0], [1, 2])
    assert_array_equal([h.data[0], seen.data[0]], [2 * 2 + 4, (2 * (2 + 2)) ** 2])
    graph.reset()
    graph.accumulate({x: [1, 2]})
    inputs = np.array([1.0, 2 + 2])
    assert_array_equal(y.gradWeight.ravel(), [(4 * inputs**2).sum(), (4 * inputs).sum()])


# What belongs to a state


def test_a_fed_state_counts_before_the_first_sample():
    net = Elman()
    graph, feed = net.graph(), net.series(5)
    start = np.array([0.1, 0.2, 0.3])
    found = graph.predict({**feed, net.h: start})
    graph.reset()
    graph.set_state({net.h: start})
    assert_array_equal(graph.predict(feed), found)
    graph.predict({net.x: np.empty((0, 2)), net.h: start}, net.y)
    assert_array_equal(net.h.data, start)
    net.h.getInput(2 * start)
    assert_array_equal(graph.get_state()[net.h], 2 * start)


def test_passes_for_the_sample_that_the_leaves_hold_carry_nothing():
    net = Elman()
    graph, start = net.graph(), net.h.data.copy()
    net.x.getInput([1, 2])
    net.t.getInput([0])
    graph.forward()
    graph.backward()
    assert_array_equal(net.h.data, start)
    graph.forward()
    graph.reset()
    with pytest.raises(RuntimeError):
        graph.backward()
    graph.predict(net.series(1))
    with pytest.raises(RuntimeError):  # the leaves hold the state of the next sample
        net.loss.backwardPropagation()


def test_an_exception_in_an_own_node_leaves_the_state_of_the_last_whole_sample():
    x, total = CG.Leaf1(1), CG.Leaf1(1)
    node = Failing(x)
    new = node + total
    graph = CG.Graph(CG.Norm2(new), carry={total: new})

    calls = []
    node.check = lambda method: calls.append(method) or (len(calls) == 3 and 1 / 0)
    with pytest.raises(ZeroDivisionError):
        graph.predict({x: [1, 2, 4, 8]})
    assert total.data[0] == 3


def test_a_loss_that_is_not_finite_leaves_the_state_before_its_sample():
    x, total = CG.Leaf1(1), CG.Leaf1(1)
    new = x + total
    graph = CG.Graph(CG.Norm2(new), carry={total: new})
    with pytest.raises(FloatingPointError, match="loss of sample 2 is"):
        graph.train({x: [1, 2, np.inf, 8]}, 0.1, check_loss=True)
    assert total.data[0] == 3


def test_an_update_that_is_refused_leaves_the_state_before_its_sample():
    x, h = CG.Leaf1(1), CG.Leaf1(1)
    y = CG.Affine(x + CG.Scale(h, 0.0), [[1.0], [1.0]])
    graph = CG.Graph(CG.Dots(y, y), carry={h: x})
    with pytest.raises(FloatingPointError):
        graph.train({x: [1, 2, np.inf, 8]}, CG.SGD(0.01, nonfinite="raise"))
    assert h.data[0] == 2


def test_copies_and_clones_of_nodes_know_no_carry_and_share_no_state():
    net = Elman()
    graph = net.graph()
    graph.predict(net.series(3))
    twins = CG.clone(net.loss, share=True)
    assert_array_equal(twins[net.h].data, net.h.data)
    carry = {twins[leaf]: twins[node] for leaf, node in net.carry.items() if node in twins}
    second = CG.Graph(twins[net.loss], carry=carry)
    before = net.h.data.copy()
    second.train({twins[leaf]: a for leaf, a in net.series(4).items()}, 0.1)
    assert_array_equal(net.h.data, before)
    assert copy.deepcopy(net.loss).size == 1
    assert set(graph.state_dict()) == set(second.state_dict())


@pytest.mark.parametrize("streams", [None, 3])
def test_a_copy_of_a_graph_goes_on_from_its_state_and_is_reset_like_it(streams):
    net = Elman()
    graph, feed = net.graph(streams=streams), net.series(4, streams)
    start = graph.get_state()
    graph.predict(feed)
    twin, nodes = copy.deepcopy((graph, net))
    assert_array_equal(twin.get_state()[nodes.h], graph.get_state()[net.h])
    twin.reset()
    assert_array_equal(twin.get_state()[nodes.h], start[net.h])


def test_the_summary_tells_what_is_carried(capsys):
    Elman().graph().summary()
    Elman().graph(streams=3).summary()
    lines = [line for line in capsys.readouterr().out.splitlines() if line.startswith("carried")]
    assert [line.partition("; ")[2] for line in lines] == [
        "the samples of a call go in order, one at a time",
        "the samples of a call go 3 streams side by side",
    ]


def test_a_gradient_check_leaves_the_state_as_it_was():
    net = Elman()
    graph, state = net.graph(), net.h.data.copy()
    net.x.getInput([0.3, -0.4])
    net.t.getInput([0.5])
    CG.gradcheck(graph)
    assert_array_equal(net.h.data, state)


def test_dropout_draws_the_masks_of_the_node_path():
    net, twin = Elman(dropout=True), Elman(dropout=True)
    graph, nodes, feed = net.graph(), ByHand(twin), net.series(20)
    given = dict(zip((twin.x, twin.t), feed.values(), strict=True))
    close(graph.train(feed, 0.1), nodes.run(given, 1, 0.1)[0, :, 0])


def test_a_learner_takes_a_time_step_with_each_call():
    net, twin = Elman(), Elman()
    graph, other, feed = net.graph(), twin.graph(), net.series(12)
    learner = CG.Learner(graph, net.x, net.t, net.y, CG.Adam(0.01))
    given = dict(zip((twin.x, twin.t), feed.values(), strict=True))
    expected = other.train(given, CG.Adam(0.01))
    found = [learner.learn_one(*row) for row in zip(*feed.values(), strict=True)]
    assert_array_equal(found, expected)
    assert_array_equal(net.h.data, twin.h.data)
    values = [learner.predict_one(x) for x in feed[net.x]]
    assert_array_equal(values, other.predict(given, twin.y)[:, 0])


def test_fit_keeps_the_order_and_begins_each_epoch_with_the_first_state():
    net, twin = Elman(), Elman()
    graph, other, feed = net.graph(), twin.graph(), net.series(30)
    held_out = net.series(10, seed=1)
    options = {"epochs": 2, "batch": 4, "validation": held_out, "progress": False}
    options |= {"metrics": "mse", "output": net.y}
    history = CG.fit(graph, [feed], CG.Adam(0.01), **options)
    given, more = (dict(zip((twin.x, twin.t), f.values(), strict=True)) for f in (feed, held_out))
    rule = CG.Adam(0.01)
    for epoch in range(2):
        other.reset()
        losses = other.train(given, rule, 4)
        close(
            [history["loss"][epoch], history["val_loss"][epoch]],
            [losses.mean(), other.predict(more).mean()],
        )
    close(history["val_mse"], history["val_loss"])


@pytest.mark.parametrize("call", ["input_gradients", "jacobian", "per_sample_gradients"])
def test_a_refused_derivative_leaves_the_state_as_it_was(call):
    x, h, t = CG.Leaf1(2), CG.Leaf1(3), CG.Leaf1(1)
    cell = CG.layers.gru_cell(x, h, rng=0)
    loss = CG.MSE(CG.Affine(cell, np.ones((4, 1))), t)
    graph = CG.Graph(loss, carry={h: cell})
    arguments = {"input_gradients": (x,), "jacobian": (loss, x), "per_sample_gradients": ()}[call]
    with pytest.raises(ValueError, match="must be fed"):
        getattr(graph, call)({x: np.ones((4, 2)), h: np.ones(3)}, *arguments)
    assert not graph.get_state()[h].any()
