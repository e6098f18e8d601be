"""Graph == Node path on random graphs. The seed of a failing graph is its number in the id.

CGRAPH_RANDOM_GRAPHS=500 runs that many of them in both dtypes; by default every tenth of 500, in one.
"""

import os

import numpy as np
import pytest
from amounts import full
from graph_twins import assert_same, random_twins
from random_graphs import Recipe

pytestmark = pytest.mark.usefixtures("guard_pages")
COUNT = int(os.environ.get("CGRAPH_RANDOM_GRAPHS", "0"))
ETA = 0.002  # small, so that rounding does not grow from update to update
SEEDS = range(COUNT) if COUNT else range(0, 500, 10)
DTYPES = ("float64", "float32")
every_seed = pytest.mark.parametrize("seed", SEEDS)
both_dtypes = pytest.mark.parametrize(
    ("seed", "dtype"),
    [
        (seed, dtype) if COUNT or k % 2 == turn else full((seed, dtype))
        for k, seed in enumerate(SEEDS)
        for turn, dtype in enumerate(DTYPES)
    ],
)


def check_passes(twins, rng):
    """Checks two accumulated samples, an update, and one more of each."""
    for samples in (2, 1):
        for _ in range(samples):
            twins.write(twins.draw(rng))
            twins.graph.forward()
            twins.nodes_forward()
            twins.assert_data_are_equal()
            assert not any(node.grad.any() for node in twins.ours)
            twins.graph.backward()
            twins.nodes_backward()
            twins.assert_data_are_equal()
            twins.assert_gradients_are_equal()
        twins.graph.update(ETA)
        twins.nodes_update(ETA)
        twins.assert_values_are_equal()


def check_samples(twins, rng):
    """Checks train, step and accumulate; the sums are compared last, since exposed sums are computed differently."""
    for count, batch in ((2, 1), (3, 2)):
        samples = twins.draw(rng, count)
        losses = twins.graph.train(twins.feed(samples), ETA, batch=batch)
        assert_same(losses, twins.nodes_train(samples, ETA, batch), twins.tolerance, 1.0)
    for count in (1, 2):
        samples = twins.draw(rng, count)
        losses = twins.graph.step(twins.feed(samples), ETA)
        assert_same(losses, twins.nodes_train(samples, ETA, count), twins.tolerance, 1.0)
        twins.assert_data_are_equal()
    samples = twins.draw(rng, 2)
    losses = twins.graph.accumulate(twins.feed(samples))
    assert_same(losses, twins.nodes_train(samples, ETA, 0), twins.tolerance, 1.0)
    twins.assert_equal()
    samples = twins.draw(rng, 1)
    twins.graph.step(twins.feed(samples), ETA)
    twins.nodes_train(samples, ETA, 1)
    twins.assert_values_are_equal()
    twins.assert_sums_are_equal()


@both_dtypes
def test_a_random_graph_equals_its_nodes(seed, dtype):
    for end in Recipe(seed).ends:
        rng = np.random.default_rng([seed, end])
        twins = random_twins(seed, dtype, [end])
        check_passes(twins, rng)
        check_samples(twins, rng)


@both_dtypes
def test_any_node_of_a_random_graph_can_be_predicted_from_several_outputs(seed, dtype):
    rng = np.random.default_rng([seed, 1])
    twins = random_twins(seed, dtype, Recipe(seed).ends)
    twins.write(twins.draw(rng))
    twins.graph.forward()
    twins.nodes_forward()
    twins.assert_data_are_equal()
    for k in rng.integers(0, len(twins.ours), 5):
        samples = twins.draw(rng, 2)
        rows = twins.graph.predict(twins.feed(samples), twins.ours[k])
        assert_same(rows, twins.nodes_predict(samples, k), twins.tolerance, 1.0)


@every_seed
def test_every_build_runs_a_random_graph(seed, build_name):
    twins = random_twins(seed, "float64")
    rng = np.random.default_rng(seed)
    check_passes(twins, rng)
