"""A batch == one pass of the nodes for each sample, with any number of samples and threads, in any layout.

By default each graph runs with some of the settings, on a few numbers of samples. `pytest -m full` takes all numbers,
on 300 random graphs, in both dtypes; ops and networks in every build of the kernels, too. That takes half an hour on
one core.
"""

import itertools
import os

import numpy as np
import pytest
from amounts import full
from batch_settings import COUNTS, EVERY, MOST, SETTINGS, Setting, some_batches
from batch_twins import ETA, BatchTwins, leaves_of, some_nodes, uniform
from graph_networks import NETWORKS, nodes_of, residual, sparse_lenet, wide
from graph_twins import parameters_of
from op_row import network_of
from op_table import DTYPES, cases
from random_graphs import CompiledRecipe, Recipe, nodes_above

from cgraph import _kernels

pytestmark = pytest.mark.usefixtures("guard_pages", "eager_threads")
BUILDS = _kernels.available()
KINDS = list(itertools.product(DTYPES, BUILDS))
CASES = list(cases())
SEEDS = range(int(os.environ.get("CGRAPH_RANDOM_GRAPHS", "300")))
SOME_SEEDS = range(0, 300, 14)


def in_kind(name, row, kind):
    return pytest.param(*row, *kind, id=f"{name}-{'-'.join(kind)}")


def in_turn(rows):
    """Returns each row (id, ...) with one dtype and one build, in turn."""
    return [in_kind(name, row, KINDS[k % len(KINDS)]) for k, (name, *row) in enumerate(rows)]


def usual_in_turn(cases):
    """Of the op table the cases of usual shapes; the others are among all_cases."""
    return in_turn([each for each in cases if each[2].usual])


def in_both_dtypes(rows):
    """Returns each row in both dtypes, with one build."""
    return [
        in_kind(name, row, (dtype, BUILDS[k % len(BUILDS)]))
        for k, (name, *row) in enumerate(rows)
        for dtype in DTYPES
    ]


def in_every_kind(rows):
    return [in_kind(name, row, kind) for (name, *row), kind in itertools.product(rows, KINDS)]


def over(rows, names, choose_layout=in_turn):
    return pytest.mark.parametrize(
        (*names, "dtype", "build_name"), choose_layout(rows), indirect=["build_name"]
    )


NETWORK_ROWS = [(network.__name__, network) for network in NETWORKS]
SEED_ROWS = [(str(seed), seed) for seed in SEEDS]
some_cases, all_cases = (over(CASES, ["row", "case"], c) for c in (usual_in_turn, in_every_kind))
some_networks, all_networks = (over(NETWORK_ROWS, ["network"], c) for c in (in_turn, in_every_kind))
some_seeds = over([(str(seed), seed) for seed in SOME_SEEDS], ["seed"])
all_seeds = over(SEED_ROWS, ["seed"], in_both_dtypes)


def twins_of_case(row, case, dtype, count=MOST):
    """Returns twins of the row's node under a loss, whose leaf of slopes is never fed."""
    nodes = network_of(row, case, dtype)

    def draw(rng):
        return {k: x.ravel().astype(dtype) for k, x in enumerate(row.draw(case, rng))}

    def make():
        return network_of(row, case, dtype)

    tolerance = max(row.tolerance[dtype], {"float64": 1e-12, "float32": 1e-5}[dtype])
    return BatchTwins(make, len(nodes) - 1, draw, count, tolerance)


def twins_of_network(network, dtype, count=MOST):
    nodes = nodes_of(network, dtype)
    return BatchTwins(lambda: nodes_of(network, dtype), len(nodes) - 1, uniform(nodes), count)


def recipe_of(seed):
    """Returns a random recipe; every fifth may contain own nodes."""
    return CompiledRecipe(seed) if seed % 5 else Recipe(seed)


def twins_of_seed(seed, dtype, count=MOST):
    recipe = recipe_of(seed)
    ends = recipe.ends[seed % len(recipe.ends) :][:1]
    nodes, (end,) = nodes_above(recipe, ends, dtype)
    return BatchTwins(lambda: nodes_above(recipe, ends, dtype)[0], end, uniform(nodes), count)


def check(twins, batches, seed=0):
    """Checks all results of a batch; `batches` has settings with numbers of samples."""
    rng = np.random.default_rng(seed)
    most = len(twins.reference.losses)
    for setting, count in batches:
        twins.check_sums(setting, count, int(rng.choice([n for n in COUNTS if n <= most])))
        twins.check_step(setting, count)
        twins.check_predictions(setting, count, rng.choice(some_nodes(twins.ours), 2))
        twins.check_samples(setting, count, {0, count - 1, int(rng.integers(count))})


def largest_of(batches):
    """The number of samples of the largest of these batches, or more."""
    return max(17, *(count for _, count in batches))


def check_updates(twins, settings):
    """Checks training with updates after 3 and after 16 samples, and after the remainder."""
    for setting in settings:
        twins.check_train(setting, 17, 3)
        twins.check_train(setting, 40, 16)


@some_cases
def test_batches_of_an_op_equal_its_nodes(row, case, dtype, build_name):
    twins = twins_of_case(row, case, dtype, 17)
    seed = sum(map(ord, build_name)) + len(twins.ours)
    check(twins, some_batches(seed, most=17)[seed % 3 :: 3])


@pytest.mark.full
@all_cases
def test_all_batches_of_an_op_equal_its_nodes(row, case, dtype, build_name):
    twins = twins_of_case(row, case, dtype)
    check(twins, EVERY)
    check_updates(twins, SETTINGS)


@some_networks
def test_batches_of_a_network_equal_its_nodes(network, dtype, build_name):
    seed = list(NETWORKS).index(network)
    large = "lenet" in network.__name__
    batches = some_batches(seed, 17 if large else MOST)[seed % 3 :: 3]
    twins = twins_of_network(network, dtype, largest_of(batches))
    check(twins, batches)
    check_updates(twins, SETTINGS[seed % 6 :][:1])


@pytest.mark.full
@all_networks
def test_all_batches_of_a_network_equal_its_nodes(network, dtype, build_name):
    twins = twins_of_network(network, dtype)
    check(twins, EVERY)
    check_updates(twins, SETTINGS)


@some_seeds
def test_batches_of_a_random_graph_equal_its_nodes(seed, dtype, build_name):
    batches = some_batches(seed)[seed % 3 :: 3]
    twins = twins_of_seed(seed, dtype, largest_of(batches))
    check(twins, batches, seed)
    check_updates(twins, SETTINGS[seed % 6 :][:1])


@pytest.mark.full
@all_seeds
def test_all_batches_of_a_random_graph_equal_its_nodes(seed, dtype, build_name):
    twins = twins_of_seed(seed, dtype)
    check(twins, EVERY, seed)
    check_updates(twins, SETTINGS)


def holding(make, numbers, seed):
    """Returns a function like `make`, whose nodes have drawn values in these leaves."""

    def filled():
        nodes = make()
        for k in numbers:
            nodes[k].data[...] = np.random.default_rng([seed, k]).uniform(-1, 1, nodes[k].size)
        return nodes

    return filled


@some_seeds
def test_leaves_that_are_not_fed_keep_their_data_for_all_samples(seed, dtype, build_name):
    recipe = recipe_of(seed + 1)
    nodes, (end,) = nodes_above(recipe, recipe.ends[:1], dtype)
    leaves = leaves_of(nodes)
    fed, kept = leaves[: (len(leaves) + 1) // 2], leaves[(len(leaves) + 1) // 2 :]
    make = holding(lambda: nodes_above(recipe, recipe.ends[:1], dtype)[0], kept, seed)
    twins = BatchTwins(make, end, uniform(nodes, fed), 17)
    check(twins, some_batches(seed, most=17)[seed % 2 :: 2], seed)
    for k in kept:
        np.testing.assert_array_equal(twins.ours[k].data, twins.reference.data[k][0])


@some_seeds
def test_a_graph_of_several_outputs_predicts_any_node_for_a_batch(seed, dtype, build_name):
    recipe = recipe_of(seed)
    nodes, (end,) = nodes_above(recipe, recipe.ends[:1], dtype)
    inner = [k for k, node in enumerate(nodes) if node.backward][len(nodes) // 2 :]
    make = lambda: nodes_above(recipe, recipe.ends[:1], dtype)[0]  # noqa: E731
    twins = BatchTwins(make, end, uniform(nodes), 17)
    for setting, count in some_batches(seed, most=17)[seed % 2 :: 2]:
        twins.check_predictions(setting, count, some_nodes(nodes), [*inner, end])


def results(twins, setting):
    """Returns all results of a batch that begins with the initial parameters."""
    samples = {k: np.resize(x, (MOST, *x.shape[1:])) for k, x in twins.reference.samples.items()}
    graph, feed = twins.compile(setting), twins.feed(samples, MOST)
    found = [graph.accumulate(feed), *(total.copy() for _, total in parameters_of(twins.ours))]
    found += [graph.predict(feed), graph.train(feed, ETA, batch=32), graph.step(feed, ETA)]
    found += [value.copy() for value, _ in parameters_of(twins.ours)]
    twins.restore()
    return [array.tobytes() for array in found]


REPEATED = [
    (sparse_lenet, "auto", "float32"),
    (wide, "lanes", "float32"),
    (wide, "samples", "float64"),
    (residual, "lanes", "float64"),
    (residual, "auto", "float32"),
]


@pytest.mark.parametrize(
    ("network", "layout", "dtype"), REPEATED, ids=[f"{n.__name__}-{x}-{d}" for n, x, d in REPEATED]
)
@pytest.mark.parametrize("repeats", [5, full(20)])
def test_the_same_call_gives_the_same_bits(network, layout, dtype, repeats):
    """Results are equal bit for bit, in whatever order the threads finish."""
    twins, setting = twins_of_network(network, dtype, 17), Setting(layout, 2)
    first = results(twins, setting)
    for _ in range(repeats):
        assert results(twins, setting) == first
