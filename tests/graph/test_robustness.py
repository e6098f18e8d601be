"""Unusual uses of a Graph and its nodes either have the intended effect or are refused with a message; none crashes."""

import gc
import signal
import threading
import weakref

import numpy as np
import pytest
from graph_networks import nodes_of, strides_of_two
from graph_twins import Twins
from small_graphs import affine_graph, vector

import cgraph as CG

# Outputs of every kind


def test_a_leaf_alone_is_a_graph():
    x = CG.Leaf1(1)
    graph = CG.Graph(x)
    assert graph.leaves == graph.nodes == [x]
    assert graph.accumulate({x: [[3], [4]]}).tolist() == [3, 4]
    assert x.grad.tolist() == [1]
    assert graph.predict({x: [[5]]}).tolist() == [[5]]
    graph.forward()
    graph.backward()
    graph.update(1.0)
    assert x.data.tolist() == [5]


def test_outputs_may_be_given_twice_and_be_leaves_or_inputs_of_each_other():
    x = vector(1.0, -2.0)
    y = CG.ReLU(x)
    graph = CG.Graph(iter([y, x, y, CG.Tanh(y)]))
    assert graph.nodes[:2] == [x, y]
    graph.forward()
    assert y.data.tolist() == [1, 0]
    assert graph.predict({x: [[-1, 3]]}, y).tolist() == [[0, 3]]


def test_nodes_that_are_added_later_do_not_enter():
    graph, x, t, y = affine_graph()
    late = CG.Norm2(y)
    before = len(graph.nodes)
    graph.accumulate({x: np.ones((1, 3)), t: np.ones((1, 2))})
    gradient = x.grad.copy()
    assert late not in graph.nodes
    assert len(graph.nodes) == before
    assert late.data.tolist() == [0]
    late.calcData()
    late.grad[...] = 1
    late.calcPartialDerivative()
    graph.accumulate({x: np.ones((1, 3)), t: np.ones((1, 2))})
    np.testing.assert_array_equal(x.grad, gradient)
    with pytest.raises(ValueError, match="node must be one of this graph"):
        graph.predict({x: np.ones((1, 3))}, late)


# Moving from Graph to Graph


def test_what_nodes_hold_survives_the_move_to_a_newer_graph():
    count = len(nodes_of(strides_of_two, "float32"))
    twins = Twins(lambda: nodes_of(strides_of_two, "float32"), [count - 1])
    rng = np.random.default_rng(1)
    older = twins.graph
    for _ in range(3):
        samples = twins.draw(rng, 2)
        twins.graph.train(twins.feed(samples), 0.05)
        twins.nodes_train(samples, 0.05, 1)
        twins.graph.accumulate(twins.feed(samples))
        twins.nodes_train(samples, 0.05, 0)
        twins.graph = twins.compiled()
        twins.assert_equal()
    for call in (
        older.forward, older.backward, lambda: older.update(0.1), lambda: older.predict({}),
        lambda: older.step({}, 0.1), lambda: older.train({}, 0.1), lambda: older.accumulate({}),
    ):  # fmt: skip
        with pytest.raises(RuntimeError, match="its nodes belong to a newer Graph"):
            call()
    twins.assert_equal()
    older.summary()
    assert older.nodes
    assert older.leaves


def test_two_graphs_that_share_some_nodes_take_them_from_each_other():
    x = vector(1.0, 2.0)
    shared = CG.Affine(x, [[1.0], [1.0], [0.5]])
    first, second = CG.Norm2(shared), CG.Tanh(shared)
    one = CG.Graph(first)
    one.accumulate({x: [[1, 2]]})
    sums = shared.gradWeight.copy()
    two = CG.Graph(second)
    np.testing.assert_array_equal(shared.gradWeight, sums)
    with pytest.raises(RuntimeError, match="newer"):
        one.forward()
    two.step({x: [[1, 2]]}, 0.0)
    again = CG.Graph(first)
    again.forward()
    assert first.data.tolist() == [3.5]
    with pytest.raises(RuntimeError, match="newer"):
        two.forward()


def test_a_graph_that_is_refused_leaves_the_nodes_with_the_older_one():
    graph, x, t, y = affine_graph()
    y.backward.append(x)
    for arguments in (([y, 3],), ([y],)):
        with pytest.raises((TypeError, ValueError)):
            CG.Graph(*arguments)
    with pytest.raises(ValueError, match="leaf_grads"):
        CG.Graph(t, leaf_grads=[y])
    graph.step({x: np.ones((1, 3)), t: np.ones((1, 2))}, 0.1)


def test_a_graph_outlives_the_names_of_its_nodes_and_goes_with_the_last_reference():
    nodes = nodes_of(strides_of_two, "float64")
    graph, feed = CG.Graph(nodes[-1]), {}
    for leaf in graph.leaves:
        feed[leaf] = np.ones((2, leaf.size))
    expected = graph.predict(feed)
    data, seen = nodes[3].data, [weakref.ref(graph), *map(weakref.ref, nodes)]
    del nodes, leaf
    gc.collect()
    np.testing.assert_array_equal(graph.predict(feed), expected)
    graph.step(feed, 0.1)
    del graph, feed
    gc.collect()
    assert [ref() for ref in seen if ref() is not None] == []
    assert np.isfinite(data).all()


def test_detaching_and_cutting_the_nodes_does_not_concern_the_graph():
    twins = Twins(lambda: nodes_of(strides_of_two, "float64"), [-1])
    samples = twins.draw(np.random.default_rng(2), 2)
    expected = twins.graph.predict(twins.feed(samples))
    for unlink in (twins.ours[-1].detach, twins.ours[-1].cut, twins.ours[0].cut):
        unlink()
        np.testing.assert_array_equal(twins.graph.predict(twins.feed(samples)), expected)
        for k in (5, 9):
            rows = twins.graph.predict(twins.feed(samples), twins.ours[k])
            assert rows.any()
    twins.graph.step(twins.feed(samples), 0.01)
    twins.nodes_train(samples, 0.01, 2)
    twins.assert_values_are_equal()


def train_for_ever(graph, feed, batch, eta=0.1):
    while True:
        graph.train(feed, eta, batch=batch)


def test_ctrl_c_ends_a_long_call_and_leaves_a_usable_graph(ctrl_c):
    graph, x, t, y = affine_graph()
    rows = np.zeros((30_000_000 // 8, 3))
    feed = {x: rows, t: np.zeros((len(rows), 2))}
    for batch in (1, 7):
        main = threading.main_thread().ident
        timer = threading.Timer(0.02, signal.pthread_kill, [main, signal.SIGINT])
        timer.start()
        with pytest.raises(KeyboardInterrupt):
            train_for_ever(graph, feed, batch)
        timer.join()
        with pytest.raises(RuntimeError, match="needs a forward"):
            graph.backward()
        y.zero_grad()
        y.weight[...] = 1
        assert graph.step({x: np.ones((1, 3)), t: np.zeros((1, 2))}, 0.0).tolist() == [16]


def test_after_ctrl_c_parameters_that_were_handed_out_are_those_that_were_learnt(ctrl_c):
    x = CG.Leaf2(4, 5)
    maps = [CG.Convolution2d([x], np.full((1, 2, 2), k), 0.1) for k in (0.1, 0.2, 0.3)]
    graph = CG.Graph(CG.Norm2(CG.Concatenation(maps)))
    views = [[getattr(p, name) for p in graph.parameters] for name in ("value", "grad")]
    feed = {x: np.random.default_rng(0).uniform(-1, 1, (300_000, 20))}
    timer = threading.Timer(0.02, signal.pthread_kill, [threading.get_ident(), signal.SIGINT])
    timer.start()
    with pytest.raises(KeyboardInterrupt):
        train_for_ever(graph, feed, 1, eta=1e-9)
    for name, held in zip(("value", "grad"), views, strict=True):
        for p, view in zip(graph.parameters, held, strict=True):
            np.testing.assert_array_equal(view, getattr(p, name))
    assert views[0][0].ravel()[0] != 0.1


# Lists of neighbours that were edited by hand


def chain(op, *args, inputs=1):
    image = CG.Leaf2(6, 6)
    return op(image, *args) if inputs == 1 else op(image, CG.Leaf2(6, 6), *args)


EDITED = {
    "ReLU": lambda: chain(CG.ReLU),
    "Softmax": lambda: chain(CG.Softmax),
    "Norm2": lambda: chain(CG.Norm2),
    "Add": lambda: chain(CG.Add, inputs=2),
    "CEE": lambda: chain(CG.CEE, inputs=2),
    "Affine": lambda: chain(CG.Affine, np.ones((37, 2))),
    "MaxPooling2d": lambda: chain(CG.MaxPooling2d, 2, 2, 2),
    "AveragePooling2d": lambda: chain(CG.AveragePooling2d, 2, 2, 2),
    "Convolution2d": lambda: CG.Convolution2d([CG.Leaf2(6, 6)] * 2, np.ones((2, 3, 3)), 0),
    "Concatenation": lambda: CG.Concatenation([CG.Leaf2(6, 6)] * 2),
}


@pytest.mark.parametrize("name", EDITED)
def test_inputs_exchanged_for_others_of_another_size_or_number_are_refused(name):
    for edit in (
        lambda inputs: inputs.__setitem__(0, CG.Leaf2(3, 3)),
        lambda inputs: inputs.__setitem__(-1, CG.Leaf2(60, 60)),
        lambda inputs: inputs.append(CG.Leaf2(6, 6)),
        list.pop,
        list.clear,
    ):
        node = EDITED[name]()
        edit(node.backward)
        with pytest.raises(ValueError, match=f"Graph: inputs of {name}.* must be those that it"):
            CG.Graph(node)
        assert node._residency is None


def test_nodes_in_a_circle_are_refused():
    x = CG.Leaf1(2)
    a = CG.Add(x, x)
    b = CG.ReLU(a)
    a.backward[1] = b
    with pytest.raises(ValueError, match=r"Graph: .* circle"):
        CG.Graph(b)


class Waiting(CG.Node):
    """An own node that signals that it is computing, and waits for permission to go on."""

    def __init__(self, x):
        super().__init__(x.size, x.height, x.width, [x])
        self.begun, self.may_go_on = threading.Event(), threading.Event()

    def calcData(self):
        self.begun.set()
        assert self.may_go_on.wait(60)
        self.data = self.backward[0].data + 1


def test_a_graph_that_runs_in_one_thread_is_refused_to_another():
    x = CG.Leaf1(1)
    node = Waiting(x)
    graph = CG.Graph(node)
    results = []
    thread = threading.Thread(target=lambda: results.append(graph.predict({x: [[1], [2]]})))
    thread.start()
    try:
        assert node.begun.wait(60)
        with pytest.raises(RuntimeError, match=r"Graph\.predict: is already running"):
            graph.predict({x: [[5]]})
    finally:
        node.may_go_on.set()
        thread.join()
    assert [result.tolist() for result in results] == [[[2], [3]]]
    assert graph.predict({x: [[5]]}).tolist() == [[6]]


@pytest.mark.parametrize("layout", ["lanes", "samples"])
def test_a_graph_of_nodes_that_were_cut_runs_batches_that_it_has_not_run_before(layout):
    def network():
        rng = np.random.default_rng(0)
        x = CG.Leaf2(5, 5)
        below = [CG.Convolution2d([x], rng.normal(size=(1, 3, 3)), 0.1) for _ in range(3)]
        sparse = [
            CG.Convolution2d(pair, rng.normal(size=(2, 2, 2)), 0.1)
            for pair in (below[:2], below[1:], below[::2])
        ]
        return x, CG.Graph(CG.Norm2(CG.Concatenation(sparse)), layout=layout)

    rows = np.random.default_rng(1).normal(size=(20, 5, 5))
    (x, ours), (y, theirs) = network(), network()
    x.cut()
    np.testing.assert_array_equal(ours.step({x: rows}, 0.1), theirs.step({y: rows}, 0.1))
    np.testing.assert_array_equal(ours.predict({x: rows}), theirs.predict({y: rows}))


@pytest.mark.parametrize("layout", ["x", "LANES", "", None, 1, ["lanes"]])
def test_a_layout_that_is_none_is_refused_and_leaves_the_nodes_where_they_are(layout):
    graph, x, t, _y = affine_graph()
    with pytest.raises((TypeError, ValueError)) as refused:
        CG.Graph(graph.nodes[-1], layout=layout)
    start = 'Graph: layout must be "auto", "lanes" or "samples", got '
    assert str(refused.value).startswith(start)
    if layout == "x":
        assert str(refused.value) == f"{start}'x'"
    graph.step({x: np.ones((1, 3)), t: np.ones((1, 2))}, 0.1)
