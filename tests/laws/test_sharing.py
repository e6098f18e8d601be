"""Laws: nodes with the same parameters are like nodes with parameters of their own, whose gradients are summed."""

import numpy as np
import pytest
from amounts import some_of
from batch_settings import SETTINGS
from graph_twins import TOLERANCE, Twins, assert_all_same, joined
from shared_networks import MAKERS, apart, nodes_of, random_nodes

import cgraph as CG

pytestmark = pytest.mark.usefixtures("guard_pages", "eager_threads")

every_maker = pytest.mark.parametrize("name", MAKERS)
both_dtypes = pytest.mark.parametrize("dtype", ["float64", "float32"])


def run(nodes, rng):
    """Runs forward and backward passes over nodes, for numbers drawn for their leaves."""
    leaves = [node for node in nodes if not node.backward]
    for leaf in leaves:
        leaf.data = rng.uniform(-1, 1, leaf.size)
    for leaf in leaves:
        leaf.forwardPropagation()
    nodes[-1].backwardPropagation()


@every_maker
@both_dtypes
def test_sums_are_those_of_copies_together(name, dtype):
    ours, theirs = nodes_of(name, dtype), nodes_of(name, dtype, apart)
    for number in (1, 2):
        run(ours, np.random.default_rng(number))
        run(theirs, np.random.default_rng(number))
    assert_all_same([n.grad for n in ours], [n.grad for n in theirs], 10 * TOLERANCE[dtype])
    copies = {p: [] for p in CG.parameters(ours[-1])}
    for our, their in zip(ours, theirs, strict=True):
        for mine, its in zip(our._parameters, their._parameters, strict=True):
            (parameter,) = [p for p in copies if our in p.nodes and p._value_name == mine[0]]
            copies[parameter].append(getattr(their, its[1]))
    sums = [np.sum(arrays, axis=0) for arrays in copies.values()]
    assert_all_same([p.grad for p in copies], sums, 10 * TOLERANCE[dtype])

    values = [p.value.copy() for p in copies]
    ours[-1].update(0.01)
    learnt = [
        value - 0.01 * grad * p.trainable
        for p, value, grad in zip(copies, values, sums, strict=True)
    ]
    assert_all_same([p.value for p in copies], learnt, 10 * TOLERANCE[dtype])
    assert all((p.grad == 0).all() for p in copies if p.trainable)


@some_of(3, ("name", "dtype", "setting"), MAKERS, ["float64", "float32"], SETTINGS)
def test_a_graph_is_like_its_nodes(name, dtype, setting):
    check(lambda: nodes_of(name, dtype), dtype, setting)


@pytest.mark.parametrize("seed", range(40))
def test_random_graphs_are_like_their_nodes(seed):
    dtype, setting = ("float64", "float32")[seed % 2], SETTINGS[seed % len(SETTINGS)]
    ends = random_nodes(seed, dtype)[1]
    check(lambda: random_nodes(seed, dtype)[0], dtype, setting, ends)


def check(make, dtype, setting, ends=None):
    """Compares the calls of a Graph with passes over equal nodes."""
    last = len(make()) - 1
    twins = Twins(make, ends or [last], 100 * TOLERANCE[dtype], **setting._asdict())
    rng = np.random.default_rng(1)
    for count, batch in ((1, 1), (5, 2), (19, 19), (37, 1), (24, 0)):
        samples = twins.draw(rng, count)
        found = (
            twins.graph.train(twins.feed(samples), 1e-3, batch)
            if batch
            else twins.graph.accumulate(twins.feed(samples))
        )
        expected = twins.nodes_train(samples, 1e-3, batch)
        assert_all_same([found], [expected], twins.tolerance)
        if not batch:
            twins.assert_sums_are_equal()
            twins.graph.update(1e-3)
            twins.nodes_update(1e-3)
        if count == 19:
            twins.assert_values_are_equal()
    twins.assert_values_are_equal()


@every_maker
def test_gradients_are_slopes(name):
    nodes = nodes_of(name, "float64")
    rng = np.random.default_rng(0)
    for leaf in nodes:
        if not leaf.backward:
            leaf.data = rng.uniform(-1, 1, leaf.size)
    CG.gradcheck(nodes[-1])
    CG.gradcheck(CG.Graph(nodes[-1]))


@every_maker
@pytest.mark.parametrize("layout", ["lanes", "samples"])
def test_rows_and_sums_of_gradients_have_each_parameter_once(name, layout):
    nodes, drawn = nodes_of(name, "float64"), np.random.default_rng(0)
    graph = CG.Graph(nodes[-1], layout=layout)
    feed = {leaf: drawn.uniform(-1, 1, (13, leaf.size)) for leaf in graph.leaves}
    rows, (_, gradient) = graph.per_sample_gradients(feed), graph.value_and_grad(feed)
    learning = [p for p in graph.parameters if p.trainable]
    for i in (0, 5, 12):
        graph.zero_grad()
        graph.accumulate({leaf: values[i : i + 1] for leaf, values in feed.items()})
        assert_all_same([rows[i]], [joined(p.grad for p in learning)], 1e-11)
    assert_all_same([gradient], [rows.sum(axis=0)], 1e-11)
    vector = graph.get_vector()
    graph.set_vector(2 * vector)
    assert_all_same([2 * vector], [joined(p.value for p in learning)], 0)


@every_maker
@pytest.mark.parametrize("layout", ["lanes", "samples"])
def test_jacobians_are_those_of_copies(name, layout):
    ours, theirs = nodes_of(name, "float64"), nodes_of(name, "float64", apart)
    graphs = [CG.Graph(nodes[-1], layout=layout) for nodes in (ours, theirs)]
    drawn = np.random.default_rng(0)
    rows = [drawn.uniform(-1, 1, (9, leaf.size)) for leaf in graphs[0].leaves]
    found, expected = (
        [
            graph.jacobian(dict(zip(graph.leaves, rows, strict=True)), node, graph.leaves[0])
            for node in (nodes[-1].backward[0], nodes[-1])
        ]
        for graph, nodes in zip(graphs, (ours, theirs), strict=True)
    )
    assert_all_same(found, expected, 1e-11)
