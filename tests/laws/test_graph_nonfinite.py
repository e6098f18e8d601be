"""NaN and inf reach exactly the elements that they reach in the nodes' own passes, and no neighbours in memory."""

import numpy as np
import pytest
from amounts import full
from graph_networks import (
    SOME_NETWORKS,
    nodes_of,
    sparse_lenet,
)
from graph_twins import Twins, assert_same, parameters_of, random_twins

import cgraph as CG

pytestmark = [
    pytest.mark.filterwarnings("ignore::RuntimeWarning"),
    pytest.mark.usefixtures("guard_pages"),
]
every_network = pytest.mark.parametrize(
    "network", SOME_NETWORKS, ids=lambda network: network.__name__
)
every_value = pytest.mark.parametrize(
    "value", [np.nan, np.inf, -np.inf], ids=["nan", "inf", "-inf"]
)
both_dtypes = pytest.mark.parametrize("dtype", ["float64", "float32"])
# By default each value in one of the dtypes.
every_value_and_dtype = pytest.mark.parametrize(
    ("value", "dtype"),
    [(np.nan, "float64"), (np.inf, "float32"), (-np.inf, "float64"), full((np.nan, "float32")),
     full((np.inf, "float64")), full((-np.inf, "float32"))],
)  # fmt: skip


def twins_of(network, dtype):
    return Twins(lambda: nodes_of(network, dtype), [len(nodes_of(network, dtype)) - 1])


def run(twins):
    twins.graph.forward()
    twins.nodes_forward()
    twins.assert_data_are_equal()
    twins.graph.backward()
    twins.nodes_backward()
    for ours, theirs in zip(twins.ours, twins.theirs, strict=True):
        assert_same(ours.grad, theirs.grad, twins.tolerance, 1.0)
    for ours, theirs in zip(parameters_of(twins.ours), parameters_of(twins.theirs), strict=True):
        assert_same(ours[1], theirs[1], twins.tolerance, 1.0)


@every_value_and_dtype
@every_network
def test_in_one_element_of_the_input(network, value, dtype):
    twins = twins_of(network, dtype)
    rng = np.random.default_rng(0)
    for at in (0, 7):
        values = twins.draw(rng)
        values[0][at] = value
        twins.write(values)
        run(twins)
    twins.write(twins.draw(rng))
    for node in (*twins.ours, *twins.theirs):
        node.zero_grad()
    run(twins)  # no trace of it remains


@every_value_and_dtype
@every_network
def test_in_one_parameter_of_each_node(network, value, dtype):
    count = sum(bool(node._parameters) for node in nodes_of(network, dtype))
    for number in range(0, count, max(count // 4, 1)):
        twins = twins_of(network, dtype)
        for nodes in (twins.ours, twins.theirs):
            node = [n for n in nodes if n._parameters][number]
            (node.kernel if hasattr(node, "kernel") else node.weight).flat[1] = value
        twins.write(twins.draw(np.random.default_rng(number)))
        run(twins)


@both_dtypes
@every_value
def test_in_the_gradient_that_reaches_one_channel_of_a_group(value, dtype):
    """The gradient comes through a weight that is not finite, and the gradients of the other channels stay finite."""

    def make():
        nodes = nodes_of(sparse_lenet, dtype)
        group = [n for n in nodes if isinstance(n, CG.Convolution2d)]
        weights = np.ones(group[20].size)
        weights[3] = value
        slope = CG.Leaf2(group[20].height, group[20].width, dtype=dtype)
        slope.getInput(weights)
        ends = [CG.Norm2(node) for node in group if node is not group[20]]
        return [*group, *nodes[:1], slope, *ends, CG.Add(CG.Dots(group[20], slope), ends[-1])]

    twins = Twins(make, [-1])
    twins.graph.forward()
    for leaf in twins.graph.leaves:
        if leaf.height == 28:
            leaf.data[...] = 0.5
    theirs = CG.ancestors(twins.theirs[-1])
    for node in theirs:
        if isinstance(node, CG.Leaf2) and node.height == 28:
            node.data[...] = 0.5
    for node in theirs:
        node.calcData()
    twins.graph.forward()
    twins.graph.backward()
    for node in theirs:
        node.grad[...] = 0
    theirs[-1].grad[...] = 1
    for node in reversed(theirs):
        node.calcPartialDerivative()
    for ours, other in zip(CG.ancestors(twins.ours[-1]), theirs, strict=True):
        assert_same(ours.data, other.data, twins.tolerance, 1.0)
        assert_same(ours.grad, other.grad, twins.tolerance, 1.0)


@every_value_and_dtype
@pytest.mark.parametrize("seed", range(0, 100, 4))
def test_in_the_input_of_a_random_graph(seed, value, dtype):
    twins = random_twins(seed, dtype)
    rng = np.random.default_rng(seed)
    values = twins.draw(rng)
    leaf = values[twins.leaves[0]]
    leaf[rng.integers(0, leaf.size)] = value
    twins.write(values)
    run(twins)


@both_dtypes
def test_in_one_sample_of_a_batch_and_not_in_the_next(dtype):
    twins = twins_of(sparse_lenet, dtype)
    samples = twins.draw(np.random.default_rng(1), 3)
    samples[twins.leaves[0]][1, 300] = np.nan
    losses = twins.graph.accumulate(twins.feed(samples))
    assert np.isnan(losses).tolist() == [False, True, False]
    rows = twins.graph.predict(twins.feed(samples))
    assert np.isnan(rows[:, 0]).tolist() == [False, True, False]
