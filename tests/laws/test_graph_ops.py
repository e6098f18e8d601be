"""Graph == Node path for every row of the op table, in both dtypes and every build of the kernels."""

import numpy as np
import pytest
from amounts import over_kinds
from batch_twins import some_nodes
from graph_twins import Twins, assert_same
from op_row import network_of
from op_table import cases

pytestmark = pytest.mark.usefixtures("guard_pages")
every_kind = over_kinds(cases(), float32_in=4)


def twins_of(row, case, dtype, **options):
    nodes = network_of(row, case, dtype)
    tolerance = max(row.tolerance[dtype], {"float64": 1e-12, "float32": 1e-5}[dtype])
    return Twins(lambda: network_of(row, case, dtype), [len(nodes) - 1], tolerance, **options)


def samples_of(row, case, dtype, twins, count):
    """Draws samples like the row's inputs."""
    rng = np.random.default_rng(count)
    drawn = [row.draw(case, rng) for _ in range(count)]
    return {
        k: np.array([xs[k].ravel() for xs in drawn]).astype(dtype) for k in range(len(case.shapes))
    }


@every_kind
def test_passes_over_one_sample_equal_the_nodes(row, case, dtype, build_name):
    """Two samples are accumulated, an update follows, then a third sample; all arrays are equal each time."""
    twins = twins_of(row, case, dtype)
    samples = samples_of(row, case, dtype, twins, 3)
    for i in range(3):
        twins.write({k: rows[i] for k, rows in samples.items()})
        twins.graph.forward()
        twins.nodes_forward()
        twins.assert_data_are_equal()
        assert not any(node.grad.any() for node in twins.ours)
        twins.graph.backward()
        twins.nodes_backward()
        twins.assert_equal()
        if i:
            twins.graph.update(0.05)
            twins.nodes_update(0.05)
            twins.assert_equal()


@every_kind
def test_calls_with_samples_equal_the_nodes(row, case, dtype, build_name):
    twins = twins_of(row, case, dtype)
    eta = 1e-3
    for count, batch in ((1, 1), (3, 1), (3, 2), (2, 3)):
        samples = samples_of(row, case, dtype, twins, count)
        losses = twins.graph.train(twins.feed(samples), eta, batch=batch)
        assert_same(losses, twins.nodes_train(samples, eta, batch), twins.tolerance)
        twins.assert_values_are_equal()
        twins.assert_data_are_equal()
    for count in (1, 3):
        samples = samples_of(row, case, dtype, twins, count)
        losses = twins.graph.step(twins.feed(samples), eta)
        assert_same(losses, twins.nodes_train(samples, eta, count), twins.tolerance)
        twins.assert_values_are_equal()
    twins.assert_sums_are_equal()
    samples = samples_of(row, case, dtype, twins, 3)
    losses = twins.graph.accumulate(twins.feed(samples))
    assert_same(losses, twins.nodes_train(samples, eta, 0), twins.tolerance)
    twins.assert_equal()
    losses = twins.graph.step(twins.feed(samples), eta)
    assert_same(losses, twins.nodes_train(samples, eta, 3), twins.tolerance)
    twins.assert_values_are_equal()
    twins.assert_sums_are_equal()


@every_kind
def test_predictions_equal_the_nodes(row, case, dtype, build_name, thorough):
    twins = twins_of(row, case, dtype)
    for k in range(len(twins.ours)) if thorough else some_nodes(twins.ours):
        for count in (1, 3):
            samples = samples_of(row, case, dtype, twins, count)
            rows = twins.graph.predict(twins.feed(samples), twins.ours[k])
            assert_same(rows, twins.nodes_predict(samples, k), twins.tolerance)
