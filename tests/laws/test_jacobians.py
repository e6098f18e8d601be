"""A law: the Jacobian of any node by any leaf has the gradients of the Node path as rows, in every layout."""

import numpy as np
import pytest
from batch_settings import SETTINGS, Setting
from graph_networks import (
    channels_in_another_order,
    dense_lenet,
    nodes_of,
    some_channels_activated,
    sparse_lenet,
    tanh_and_average_pooling,
)
from graph_twins import TOLERANCE, assert_all_same, parameters_of
from jacobian_twins import differences, jacobian_of_nodes, network
from seed_twins import MAKERS, recipe

import cgraph as CG
from cgraph._lowering import jacobian, layout

pytestmark = pytest.mark.usefixtures("guard_pages", "eager_threads")

both_dtypes = pytest.mark.parametrize("dtype", ["float64", "float32"])
MOST = 24  # elements of a node whose Jacobian is computed


@pytest.fixture
def rows_side_by_side(monkeypatch):
    """Makes one sample fill all lanes, however many samples there are."""
    original = layout.block_of_seeds

    def always(*arguments, **options):
        found = original(*arguments, **options)
        return found and (found[0], layout.NEVER)

    monkeypatch.setattr(jacobian, "block_of_seeds", always)


def drawn(seed, nodes, leaves, count, dtype):
    rng = np.random.default_rng(seed)
    return {k: rng.uniform(-1, 1, (count, nodes[k].size)).astype(dtype) for k in leaves}


def pairs(nodes, leaves, turn, most):
    """Returns some pairs of a node and a leaf, others in each turn: leaves themselves and nodes of any depth."""
    small = [k for k, node in enumerate(nodes) if node.size <= MOST]
    chosen = [(k, leaves[(k + turn) % len(leaves)]) for k in small]
    return chosen[turn % 2 :: max(len(chosen) // most, 1)]


def check(make, dtype, settings, count, most=4):
    """Compares Jacobians with those of the Node path, and parameters and gradient sums with those before."""
    nodes, outputs = make(dtype)
    leaves = [k for k, node in enumerate(nodes) if not node.backward]
    samples = drawn(count, nodes, leaves, count, dtype)
    expected = {}
    for turn, setting in enumerate(settings):
        nodes, _ = make(dtype)
        graph = CG.Graph([nodes[k] for k in outputs], **setting._asdict())
        feed = {nodes[k]: rows for k, rows in samples.items()}
        # Gradient sums that are not 0, of the first samples.
        graph.accumulate(feed, grads={nodes[k]: np.ones((count, nodes[k].size)) for k in outputs})
        before = [(w.copy(), dw.copy()) for w, dw in parameters_of(nodes)]
        for k, leaf in pairs(nodes, leaves, turn, most):
            if (k, leaf) not in expected:
                expected[k, leaf] = jacobian_of_nodes(make, dtype, k, leaf, samples)
            found = graph.jacobian(feed, nodes[k], nodes[leaf])
            assert found.dtype == dtype
            assert_all_same([found], [expected[k, leaf]], 10 * TOLERANCE[dtype])
        after = parameters_of(nodes)
        for (w, dw), (old, old_sum) in zip(after, before, strict=True):
            np.testing.assert_array_equal(w, old)
            np.testing.assert_array_equal(dw, old_sum)


@both_dtypes
@pytest.mark.parametrize("name", MAKERS)
def test_rows_are_gradients_of_the_node_path(name, dtype):
    check(MAKERS[name], dtype, SETTINGS, 1, most=2)
    check(MAKERS[name], dtype, SETTINGS[::2], 9, most=1)


@both_dtypes
@pytest.mark.usefixtures("rows_side_by_side")
@pytest.mark.parametrize("name", MAKERS)
def test_rows_side_by_side_are_those_that_follow_each_other(name, dtype):
    check(MAKERS[name], dtype, [Setting("lanes", 1), Setting("auto", 2)], 3, most=2)


@pytest.mark.full
@both_dtypes
@pytest.mark.parametrize("seed", range(100))
def test_random_graphs(seed, dtype):
    for count in (1, 2, 17):
        check(recipe(seed), dtype, SETTINGS, count)


def network_maker(make):
    def made(dtype):
        nodes = nodes_of(make, dtype)
        return nodes, [len(nodes) - 1]

    return made


NETWORKS = [
    channels_in_another_order,
    dense_lenet,
    some_channels_activated,
    sparse_lenet,
    tanh_and_average_pooling,
]


@pytest.mark.parametrize("make", NETWORKS, ids=lambda make: make.__name__)
@pytest.mark.parametrize("setting", [Setting("lanes", 1), Setting("samples", 2)])
def test_convolutions_give_gradients_of_the_images(make, setting):
    nodes = nodes_of(make, "float32")
    loss, leaves = nodes[-1], [node for node in nodes if not node.backward]
    scores = next(n for n in reversed(nodes) if n.size < 20 and n is not loss and n.backward)
    samples = drawn(0, nodes, [nodes.index(leaf) for leaf in leaves], 5, "float32")
    feed = {nodes[k]: rows for k, rows in samples.items()}
    graph = CG.Graph([loss, scores], **setting._asdict())
    found = graph.jacobian(feed, scores, leaves[0])
    assert found.shape == (5, scores.size, leaves[0].size)
    twins = nodes_of(make, "float32")
    other = twins[nodes.index(scores)]
    reference = CG.Graph([twins[-1], other], layout="samples", threads=1)
    for i in range(5):
        one = {twins[k]: rows[i : i + 1] for k, rows in samples.items()}
        for k in range(scores.size):
            reference.accumulate(one, grads={other: np.eye(scores.size)[k : k + 1]})
            expected = twins[nodes.index(leaves[0])].grad
            assert_all_same([found[i, k]], [expected], 1e-4)


@pytest.mark.parametrize("setting", SETTINGS)
@pytest.mark.parametrize("count", [0, 1, 2, 7, 65])
def test_derivatives_are_slopes(setting, count):
    nodes = network()
    graph = CG.Graph(nodes["loss"], **setting._asdict())
    rng = np.random.default_rng(1)
    feed = {nodes[name]: rng.normal(size=(count, nodes[name].size)) for name in "xt"}
    for name in ("a", "y", "loss"):
        found = graph.jacobian(feed, nodes[name], nodes["x"])
        slopes = differences(graph, feed, nodes[name], nodes["x"])
        np.testing.assert_allclose(found, slopes, rtol=1e-6, atol=1e-8)
    found = graph.input_gradients(feed, nodes["t"])
    slopes = differences(graph, feed, nodes["loss"], nodes["t"])[:, 0]
    np.testing.assert_allclose(found, slopes, rtol=1e-6, atol=1e-8)


@both_dtypes
def test_every_build_gives_the_same(build_name, dtype):
    nodes = network(dtype)
    rng = np.random.default_rng(1)
    rows = rng.normal(size=(11, 3))
    for chosen in ("lanes", "samples"):
        graph = CG.Graph(nodes["y"], layout=chosen)
        found = graph.jacobian({nodes["x"]: rows}, nodes["y"], nodes["x"])
        alone = graph.jacobian({nodes["x"]: rows[:1]}, nodes["y"], nodes["x"])
        x = rows
        slope = np.eye(3)
        for node in CG.ancestors(nodes["y"]):
            if isinstance(node, CG.Affine):
                w = node.weight.astype(np.float64)
                x, slope = x @ w[:-1] + w[-1], w[:-1].T @ slope
            elif isinstance(node, CG.Tanh):
                x = np.tanh(x)
                slope = (1 - x**2)[:, :, None] * slope
        assert_all_same([found, alone], [slope, slope[:1]], TOLERANCE[dtype])
