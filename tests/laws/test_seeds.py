"""A law: learning from weights, or from given gradients of outputs, gives what the Node path gives."""

import numpy as np
import pytest
from amounts import some_of
from batch_settings import SETTINGS
from graph_twins import TOLERANCE, assert_all_same
from seed_twins import MAKERS, Seeded, values_of

import cgraph as CG

pytestmark = pytest.mark.usefixtures("guard_pages", "eager_threads")

DTYPES, COUNTS = ("float64", "float32"), (1, 5, 37)


def drawn(rng, nodes, numbers, count, dtype):
    return {k: rng.uniform(-1, 1, (count, nodes[k].size)).astype(dtype) for k in numbers}


def check_seeds(name, dtype, setting, count, seeded):
    """Compares the data, gradient sums and updates of a Graph with those of the Node path."""
    rng = np.random.default_rng(count)
    make, tolerance = MAKERS[name], 10 * TOLERANCE[dtype]
    theirs = Seeded(make, dtype)
    nodes, outputs = make(dtype)
    graph = CG.Graph([nodes[k] for k in outputs], **setting._asdict())
    samples = drawn(rng, nodes, theirs.leaves, count, dtype)
    numbers = outputs[:: 2 if seeded == "some" else 1]
    gradients = drawn(rng, nodes, numbers, count, dtype)
    feed = {nodes[k]: rows for k, rows in samples.items()}
    grads = {nodes[k]: rows for k, rows in gradients.items()}
    others = list(range(len(nodes)))
    wanted = [nodes[k] for k in others]

    data, more = graph.accumulate(feed, grads=grads, outputs=wanted)
    expected = theirs.run(samples, gradients)
    data = data if isinstance(data, tuple) else (data,)
    assert_all_same(data, [expected[k] for k in numbers], tolerance)
    assert_all_same(more, [expected[k] for k in others], tolerance)
    assert_all_same(values_of(nodes)[1], values_of(theirs.nodes)[1], tolerance)

    graph.update(1e-3)
    theirs.objective.update(1e-3)
    for batch in (1, 3, count):
        graph.train(feed, 1e-3, batch, grads=grads)
        theirs.run(samples, gradients, batch, 1e-3)
        assert_all_same(values_of(nodes)[0], values_of(theirs.nodes)[0], tolerance)


@some_of(3, ("name", "dtype", "count"), MAKERS, DTYPES, COUNTS)
def test_given_gradients_are_those_of_the_node_path(name, dtype, count):
    for number, setting in enumerate(SETTINGS):
        check_seeds(name, dtype, setting, count, ("all", "some")[number % 2])


def loss_of(name):
    make = MAKERS[name]

    def with_loss(dtype):
        nodes, outputs = make(dtype)
        loss = CG.Norm2(CG.Concatenation([nodes[k] for k in outputs]))
        return [*nodes, loss], [len(nodes)]

    return with_loss


@some_of(3, ("name", "dtype", "count"), MAKERS, DTYPES, COUNTS)
def test_weights_are_factors_on_gradients_alone(name, dtype, count):
    rng, make = np.random.default_rng(count), loss_of(name)
    for setting in SETTINGS:
        theirs = Seeded(make, dtype)
        nodes, (end,) = make(dtype)
        graph = CG.Graph(nodes[end], **setting._asdict())
        samples = drawn(rng, nodes, theirs.leaves, count, dtype)
        weights = rng.uniform(-1, 1, count).astype(dtype)
        feed = {nodes[k]: rows for k, rows in samples.items()}
        tolerance = 10 * TOLERANCE[dtype]
        plain = graph.accumulate(feed)
        graph.zero_grad()
        losses = graph.accumulate(feed, weights=weights)
        np.testing.assert_array_equal(losses, plain)
        theirs.run(samples, {end: weights[:, None]})
        assert_all_same(values_of(nodes)[1], values_of(theirs.nodes)[1], tolerance)
        graph.update(1e-3)
        theirs.objective.update(1e-3)
        graph.train(feed, 1e-3, 3, weights=weights)
        theirs.run(samples, {end: weights[:, None]}, 3, 1e-3)
        assert_all_same(values_of(nodes)[0], values_of(theirs.nodes)[0], tolerance)
