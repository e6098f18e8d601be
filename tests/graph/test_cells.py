"""GRUCell and LSTMCell in Graphs: frozen parameters, nodes that are read twice, views, updates in place."""

from itertools import product

import numpy as np
import pytest

import cgraph as CG

NAMES = ("W_ih", "W_hh", "b_ih", "b_hh")
KINDS = {"GRU": (CG.GRUCell, 3, 1), "LSTM": (CG.LSTMCell, 4, 2)}
M, N, B = 3, 6, 19


def network(kind, steps=2, dtype="float64"):
    """Returns the leaves, the first cell, and a loss over a few time steps."""
    op, gates, states = KINDS[kind]
    rng = np.random.default_rng(4)
    shapes = (gates * N, M), (gates * N, N), (gates * N,), (gates * N,)
    params = [rng.uniform(-0.6, 0.6, shape) for shape in shapes]
    inputs = [CG.Leaf1(M, dtype=dtype) for _ in range(steps)]
    state = first = CG.Leaf1(states * N, dtype=dtype)
    target = CG.Leaf1(states * N, dtype=dtype)
    cell = None
    for x in inputs:
        state = cell.share(x, state) if cell else op(x, state, *params)
        cell = cell or state
    return [*inputs, first, target], cell, CG.MSE(state, target)


def samples_of(leaves, count=B):
    rng = np.random.default_rng(5)
    return {leaf: rng.normal(size=(count, leaf.size)) for leaf in leaves}


def node_sums(kind, frozen=(), steps=2):
    """Returns the gradient sums of the nodes' own passes over all samples."""
    leaves, cell, loss = network(kind, steps)
    freeze(cell, frozen)
    feed = samples_of(leaves)
    for k in range(B):
        for leaf in leaves:
            leaf.getInput(feed[leaf][k])
            leaf.forwardPropagation()
        loss.backwardPropagation()
    return {p.name: p.grad.copy() for p in CG.parameters(cell)}


def freeze(cell, names):
    for p in CG.parameters(cell):
        p.trainable = p.name not in names


SOME = [
    (),
    *((name,) for name in NAMES),
    ("W_ih", "b_hh"),
    ("W_ih", "W_hh"),
    ("b_ih", "b_hh"),
    NAMES,
]


@pytest.mark.parametrize("kind", KINDS)
def test_what_does_not_learn_has_no_gradient_sums_and_the_rest_is_the_same(kind, build_name):
    expected = node_sums(kind)
    for frozen, layout in product(SOME, ("nodes", "samples", "lanes")):
        if layout == "nodes":
            sums = node_sums(kind, frozen)
        else:
            leaves, cell, loss = network(kind)
            graph, feed = CG.Graph(loss, layout=layout), samples_of(leaves)
            freeze(cell, frozen)
            before = {p.name: p.value.copy() for p in CG.parameters(cell)}
            graph.accumulate(feed)
            sums = {p.name: p.grad.copy() for p in CG.parameters(cell)}
            graph.update(0.0)
            graph.train(feed, 0.01, batch=B)
            for p in CG.parameters(cell):
                after = before[p.name] - 0.01 * (0 if p.name in frozen else expected[p.name])
                np.testing.assert_allclose(p.value, after, rtol=1e-10, atol=1e-12)
        for name in NAMES:
            wanted = 0 * expected[name] if name in frozen else expected[name]
            np.testing.assert_allclose(sums[name], wanted, rtol=1e-10, atol=1e-12)


@pytest.mark.parametrize("layout", ["samples", "lanes"])
@pytest.mark.parametrize("kind", KINDS)
def test_updates_in_place_are_those_of_summed_gradients(kind, layout, build_name):
    results = []
    for fused in (True, False):
        leaves, cell, loss = network(kind, steps=1)
        graph, feed = CG.Graph(loss, layout=layout), samples_of(leaves)
        if fused:
            graph.train(feed, 0.01, batch=B)
        else:
            graph.accumulate(feed)
            graph.update(0.01)
        results.append(graph.get_vector())
        assert all((p.grad == 0).all() for p in CG.parameters(cell))
    np.testing.assert_allclose(*results, rtol=1e-11, atol=1e-13)


def twice(kind):
    """The input and the state are one node."""
    op, gates, states = KINDS[kind]
    x, rng = CG.Leaf1(states * N), np.random.default_rng(1)
    h = CG.Tanh(x)
    params = (rng.normal(size=(gates * N, size)) / 3 for size in (states * N, N))
    return x, op(h, h, *params)


def overlapping(kind):
    """The input and the state are parts of one node that overlap."""
    op, gates, states = KINDS[kind]
    x, rng = CG.Leaf1(states * N + 4), np.random.default_rng(1)
    whole = CG.Tanh(x)
    state, part = CG.Slice(whole, 2, 2 + states * N), CG.Slice(whole, 0, 5)
    params = (rng.normal(size=(gates * N, size)) / 3 for size in (5, N))
    return x, op(part, state, *params)


def strided(kind):
    """The state is a channel of a group of convolutions, and the output a part of a larger node."""
    op, gates, states = KINDS[kind]
    x, rng = CG.Leaf2(3, 2 * states), np.random.default_rng(1)
    maps = [CG.Convolution2d([x], rng.normal(size=(1, 1, 1)), 0.1) for _ in range(3)]
    channels = [CG.Sigmoid(each) for each in maps]
    params = (rng.normal(size=(gates * N, size)) / 3 for size in (N * states, N))
    cell = op(channels[0], channels[1], *params)
    return x, CG.Concatenation([cell, *channels])


@pytest.mark.parametrize("make", [twice, overlapping, strided])
@pytest.mark.parametrize("kind", KINDS)
def test_inputs_that_lie_anywhere(kind, make, build_name):
    found = []
    for layout in ("nodes", "samples", "lanes"):
        x, end = make(kind)
        loss = CG.Norm2(end)
        samples = np.random.default_rng(2).normal(size=(B, x.size))
        if layout != "nodes":
            graph = CG.Graph(loss, layout=layout)
            losses, slopes = (
                graph.predict({x: samples}, loss),
                graph.input_gradients({x: samples}, x),
            )
            graph.accumulate({x: samples})
        else:
            losses, slopes = np.empty((B, 1)), np.empty((B, x.size))
            for k in range(B):
                x.data = samples[k]
                x.forwardPropagation()
                loss.backwardPropagation()
                losses[k], slopes[k] = loss.data, x.grad
        found.append([losses, slopes, *(p.grad.copy() for p in CG.parameters(loss))])
    for other in found[1:]:
        for ours, theirs in zip(other, found[0], strict=True):
            np.testing.assert_allclose(ours.reshape(theirs.shape), theirs, rtol=1e-10, atol=1e-12)


@pytest.mark.parametrize("kind", KINDS)
def test_data_written_between_the_passes_of_a_graph_count(kind):
    leaves, cell, loss = network(kind)
    graph, feed = CG.Graph(loss), samples_of(leaves)
    for leaf in leaves:
        leaf.getInput(feed[leaf][0])
    graph.forward()
    written = cell.data.copy()
    for leaf in leaves:
        leaf.data[...] = feed[leaf][1]
    graph.backward()
    np.testing.assert_array_equal(cell.data, written)
    # The second cell still reads what the first one had computed, and the first cell its new inputs.
    twin_leaves, twin, _ = network(kind)
    for leaf, own in zip(twin_leaves, leaves, strict=True):
        leaf.getInput(own.data)
    twin.data[...] = written
    second = twin.forward[0]
    second.calcData()
    loss_twin = second.forward[0]
    loss_twin.data[...] = 0
    second.data[...] = loss.backward[0].data
    for node in (loss_twin, second, twin):
        node.grad[...] = 1 if node is loss_twin else 0
    for node in (loss_twin, second, twin):
        node.calcPartialDerivative()
    for ours, theirs in zip(leaves[:3], twin_leaves[:3], strict=True):
        np.testing.assert_allclose(ours.grad, theirs.grad, rtol=1e-10, atol=1e-13)


@pytest.mark.parametrize("kind", KINDS)
def test_calls_of_a_graph_know_cells(kind, tmp_path):
    """Jacobians, gradients of samples, optimisers that spare biases, clones, files, the check of gradients."""
    leaves, cell, loss = network(kind)
    graph, feed = CG.Graph(loss), samples_of(leaves)
    rows = graph.per_sample_gradients(feed)
    expected = np.concatenate([node_sums(kind)[name].ravel() for name in NAMES])
    np.testing.assert_allclose(rows.sum(axis=0), expected, rtol=1e-10, atol=1e-12)
    after = loss.backward[0]
    jacobian = graph.jacobian(feed, after, leaves[0])
    twins = CG.clone([after])
    for leaf in leaves[:-1]:
        twins[leaf].getInput(feed[leaf][3])
    step, numeric = 1e-6, np.empty((after.size, M))
    for k in range(M):
        ends = []
        for sign in (1, -1):
            moved = feed[leaves[0]][3].copy()
            moved[k] += sign * step
            twins[leaves[0]].getInput(moved)
            ends.append(CG.evaluate(twins[after]))
        numeric[:, k] = (ends[0] - ends[1]) / (2 * step)
    np.testing.assert_allclose(jacobian[3], numeric, rtol=1e-6, atol=1e-9)
    CG.save(tmp_path / "cells.npz", {"loss": loss})
    loaded = CG.load(tmp_path / "cells.npz").nodes["loss"]
    for ours, theirs in zip(CG.parameters(loaded), CG.parameters(loss), strict=True):
        assert ours.name == theirs.name
        np.testing.assert_array_equal(ours.value, theirs.value)
    biases = [p.value.copy() for p in CG.parameters(cell)[2:]]
    weights = [p.value.copy() for p in CG.parameters(cell)[:2]]
    graph.zero_grad()
    graph.accumulate({leaf: values[:1] for leaf, values in feed.items()}, weights=np.zeros(1))
    graph.update(CG.SGD(0.1, weight_decay=0.5, decay_bias=False))
    for p, before in zip(CG.parameters(cell)[:2], weights, strict=True):
        np.testing.assert_allclose(p.value, 0.95 * before)
    for p, before in zip(CG.parameters(cell)[2:], biases, strict=True):
        np.testing.assert_array_equal(p.value, before)


def test_parameters_can_be_assigned_and_biases_are_zeros_at_first():
    cell = CG.GRUCell(
        CG.Leaf1(2, dtype="float32"), CG.Leaf1(1, dtype="float32"), *([[1] * 2] * 3, [[1]] * 3)
    )
    assert cell.b_ih.tolist() == cell.b_hh.tolist() == [0] * 3
    cell.W_ih, cell.W_hh = np.arange(6).reshape(3, 2), np.ones((3, 1))
    cell.b_ih, cell.b_hh = [1, 2, 3], [4, 5, 6]
    cell.gradW_ih, cell.gradW_hh, cell.gradB_ih, cell.gradB_hh = (
        np.ones((3, 2)),
        np.ones((3, 1)),
        *np.ones((2, 3)),
    )
    cell.updateParameters(1)
    assert cell.W_ih.tolist() == [[-1, 0], [1, 2], [3, 4]]
    assert (cell.W_hh == 0).all()
    assert cell.b_ih.tolist() == [0, 1, 2]
    assert cell.b_hh.tolist() == [3, 4, 5]
    assert not any(
        grad.any() for grad in (cell.gradW_ih, cell.gradW_hh, cell.gradB_ih, cell.gradB_hh)
    )
    assert [p.name for p in CG.parameters(cell)] == [*NAMES]
