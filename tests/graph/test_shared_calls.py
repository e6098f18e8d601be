"""Calls of Graphs that share parameters: at the same time, refused, interrupted, and after the end of others."""

import gc
import threading
import weakref
from concurrent.futures import ThreadPoolExecutor

import numpy as np
import pytest
from interrupts import events, stopped
from shared_networks import difference
from test_shared_graphs import NETWORKS, batch, fed, regression

import cgraph as CG

LONG = 60_000  # samples of a call that takes some 10 ms


@pytest.mark.parametrize("layout", ["lanes", "samples"])
def test_predictions_beside_learning_see_whole_calls(layout):
    x, y, t, loss = difference()
    trainer = CG.Graph(loss, threads=1)
    servers = [CG.clone(y, share=True) for _ in range(4)]
    feed = {x: np.full((64, 8), 0.1), t: np.zeros((64, 1))}
    done = threading.Event()

    def serve(new):
        graph, count = CG.Graph(new[y], layout=layout, threads=1), 0
        row = np.full((3, 8), 0.1)
        while not done.is_set() or count < 20:
            found = graph.predict({new[x]: row})
            assert (found == 0).all(), found
            count += 1
        weights = [p.value.copy() for p in graph.parameters]
        return graph.predict({new[x]: row}), weights

    with ThreadPoolExecutor(5) as pool:
        futures = [pool.submit(serve, new) for new in servers]
        try:
            for _ in range(300):
                trainer.train(feed, 1e-7, batch=16)
        finally:
            done.set()
        for future in futures:
            _, weights = future.result()
            for found, p in zip(weights, trainer.parameters, strict=True):
                np.testing.assert_array_equal(found, p.value)
    assert not np.array_equal(trainer.parameters[0].value, np.ones((9, 24)))


def running(graph, feed, eta=1e-9):
    """A thread in which a long call of a Graph runs, once it has begun."""
    thread = threading.Thread(target=lambda: graph.train(feed, eta, batch=1))
    thread.start()
    while not graph._executable.memory.busy and thread.is_alive():
        pass
    return thread


def meanwhile(graph, feed, check):
    """Calls `check` while a long call of a Graph runs, again if the call has ended too early."""
    for _ in range(20):
        thread = running(graph, feed)
        check()
        was_running = graph._executable.memory.busy
        thread.join()
        if was_running:
            return
    pytest.fail("no call was long enough")


def test_two_calls_that_learn_are_refused():
    x, y, t, loss = regression()
    twin = CG.clone(loss, share=True)
    graph, other = CG.Graph(loss, threads=1), CG.Graph(twin[loss], threads=1)
    long, short = batch(x, t, LONG), batch(twin[x], twin[t])
    refused = "another call is learning parameters that it shares with this Graph"

    def check():
        for call in (
            lambda: other.train(short, 0.1),
            lambda: other.step(short, 0.1),
            lambda: other.accumulate(short),
            lambda: other.update(0.1),
            other.zero_grad,
        ):
            if graph._executable.memory.busy:
                with pytest.raises(RuntimeError, match=refused):
                    call()
        assert np.isfinite(other.predict(short, twin[y])).all()
        other.forward()

    meanwhile(graph, long, check)
    other.train(short, 0.1)


def test_a_twin_is_refused_while_the_only_graph_learns():
    x, y, t, loss = regression()
    graph = CG.Graph(loss, threads=1)
    affine = y

    def check():
        before = len(affine.backward[0].forward)
        for call, message in (
            (
                lambda: affine.share(affine.backward[0]),
                "Affine: share: its Graph must not be running",
            ),
            (
                lambda: CG.clone(y, share=True),
                "clone: nodes must not belong to a Graph that is running",
            ),
        ):
            if graph._executable.memory.busy:
                with pytest.raises(RuntimeError, match=message):
                    call()
        assert len(affine.backward[0].forward) == before

    meanwhile(graph, batch(x, t, LONG), check)


def test_further_twins_and_graphs_may_come_while_one_learns():
    x, y, t, loss = regression()
    graph = CG.Graph(loss, threads=1)
    first = CG.clone(y, share=True)

    def check():
        new = CG.clone(y, share=True)
        found = CG.Graph(new[y]).predict({new[x]: np.ones((2, 4))})
        assert np.isfinite(found).all()

    meanwhile(graph, batch(x, t, LONG), check)
    assert first[y].weight is not None


def test_graphs_that_are_gone_leave_nothing_behind():
    x, y, t, loss = regression()
    graph, feed = CG.Graph(loss), batch(x, t)
    account = y._loans["weight"]
    for _ in range(5):
        twin = CG.clone(loss, share=True)
        other = CG.Graph(twin[loss])
        other.train(fed([twin[x], twin[t]], feed), 0.1)
        arena = weakref.ref(other._executable.arena)
        twin[loss].cut()
        del twin, other
        gc.collect()
        assert arena() is None
    assert CG.parameters(loss)[0].nodes == (
        loss.backward[0].backward[0].backward[0].backward[0],
    ) or (len(CG.parameters(loss)[0].nodes) == 1)
    graph.train(feed, 0.1)
    assert sum(mirror() is not None for mirror in account.mirrors) == 1
    alone = CG.clone(loss)
    assert_same_training(graph, feed, alone, x, t, loss)


def assert_same_training(graph, feed, new, x, t, loss):
    other = CG.Graph(new[loss])
    graph.train(feed, 0.1)
    other.train(fed([new[x], new[t]], feed), 0.1)
    for p, q in zip(graph.parameters, other.parameters, strict=True):
        np.testing.assert_allclose(p.value, q.value, rtol=1e-12)


def test_twins_keep_what_a_graph_has_learnt_that_is_gone():
    x, y, t, loss = regression()
    twin = CG.clone(y, share=True)
    graph = CG.Graph(loss)
    graph.train(batch(x, t), 0.1)
    expected = graph.predict({x: np.ones((1, 4))}, y)
    loss.cut()
    del graph, x, y, t, loss
    gc.collect()
    x, y = CG.ancestors(list(twin.values())[-1])[0], list(twin.values())[-1]
    np.testing.assert_array_equal(CG.Graph(y).predict({x: np.ones((1, 4))}), expected)


@pytest.mark.parametrize("make", NETWORKS.values(), ids=NETWORKS)
def test_a_twin_of_a_compiled_node_sees_views_handed_out_before(make):
    x, _, t, loss = make()
    graph, feed = CG.Graph(loss), batch(x, t)
    graph.train(feed, 0.01)
    views = [p.value for p in CG.parameters(loss)]
    twin = CG.clone(loss, share=True)
    other = CG.Graph(twin[loss])
    own = fed([twin[x], twin[t]], feed)
    for number, view in enumerate(views):
        view[...] = 0.1 + 0.1 * number
        np.testing.assert_allclose(graph.predict(feed), other.predict(own), rtol=1e-12)
    other.train(own, 0.01)
    for view, p in zip(views, CG.parameters(loss), strict=True):
        np.testing.assert_array_equal(view, p.value)
    np.testing.assert_allclose(graph.predict(feed), other.predict(own), rtol=1e-12)


def test_a_stale_graph_names_the_way_out():
    x, _, t, loss = regression()
    graph = CG.Graph(loss)
    CG.Graph(loss)
    with pytest.raises(RuntimeError, match=r"newer Graph; .*CG\.clone\(node, share=True\)"):
        graph.train(batch(x, t), 0.1)


@pytest.mark.parametrize("make", NETWORKS.values(), ids=NETWORKS)
def test_an_interrupted_twin_leaves_all_as_it_was(make):
    x, _, t, loss = make()
    graph, feed = CG.Graph(loss), batch(x, t)
    graph.train(feed, 0.01)
    count = events(lambda: CG.clone(make()[3], share=True))
    moments = np.unique(np.linspace(1, count, 60).astype(int))
    for event in moments:
        before = graph.predict(feed)
        stopped(lambda: CG.clone(loss, share=True), int(event))
        np.testing.assert_allclose(graph.predict(feed), before, rtol=1e-12)
        reference = CG.clone(loss)
        assert_same_training(graph, feed, reference, x, t, loss)


@pytest.mark.parametrize("make", NETWORKS.values(), ids=NETWORKS)
def test_an_interrupted_call_leaves_one_state_for_all(make):
    x, _, t, loss = make()
    twin = CG.clone(loss, share=True)
    graph, other = CG.Graph(loss), CG.Graph(twin[loss])
    feed = batch(x, t)
    own = fed([twin[x], twin[t]], feed)

    def learn():
        graph.train(feed, 1e-3, batch=2)

    learn()
    for event in range(1, events(learn) + 1):
        stopped(learn, event)
        np.testing.assert_allclose(graph.predict(feed), other.predict(own), rtol=1e-12)
        other.step(own, 1e-4)
        np.testing.assert_allclose(graph.predict(feed), other.predict(own), rtol=1e-12)
        for p, q in zip(graph.parameters, other.parameters, strict=True):
            assert p is q


def test_samples_of_an_optimiser_are_those_of_the_graph_that_updates():
    x, _, t, loss = regression()
    twin = CG.clone(loss, share=True)
    graph, other = CG.Graph(loss), CG.Graph(twin[loss])
    feed = batch(x, t, 4)
    graph.accumulate(feed)
    other.accumulate(fed([twin[x], twin[t]], batch(x, t, 3, seed=1)))
    sums = [p.grad.copy() for p in graph.parameters]
    before = [p.value.copy() for p in graph.parameters]
    graph.update(CG.SGD(0.5))
    for p, value, grad in zip(graph.parameters, before, sums, strict=True):
        np.testing.assert_allclose(p.value, value - 0.5 * grad / 4, rtol=1e-9)
        assert (p.grad == 0).all()


def test_one_optimiser_keeps_its_state_for_all_graphs():
    def run(share):
        x, _, t, loss = regression()
        graphs = [CG.Graph(loss)]
        leaves = [(x, t)] * 2
        if share:
            twin = CG.clone(loss, share=True)
            graphs.append(CG.Graph(twin[loss]))
            leaves[1] = twin[x], twin[t]
        adam = CG.Adam(0.01)
        for number in range(6):
            graph = graphs[number % len(graphs)]
            graph.step(fed(leaves[number % 2], batch(x, t, seed=number)), adam)
        assert adam.updates == 6
        return [p.value for p in CG.parameters(loss)]

    for ours, theirs in zip(run(True), run(False), strict=True):
        np.testing.assert_allclose(ours, theirs, rtol=1e-12)


class Interjecting(CG.Node):
    """The identity, which calls a function once when it is computed."""

    function = None

    def __init__(self, node):
        super().__init__(node.size, node.height, node.width, [node])

    def calcData(self):
        self.data = self.backward[0].data
        function, self.function = self.function, None
        if function is not None:
            function()

    def calcPartialDerivative(self):
        self.backward[0].grad += self.grad


@pytest.mark.parametrize("ends", ["within the call", "after it"])
@pytest.mark.parametrize("held", [False, True])
def test_what_is_learnt_within_a_prediction_outlives_its_graph(ends, held):
    x, y, t, loss = regression()
    feed = batch(x, t)
    node = Interjecting(y)
    graph = CG.Graph(node)
    twins = [CG.clone(loss, share=True)]
    own = fed([twins[0][x], twins[0][t]], feed)
    others = [CG.Graph(twins[0][loss])]
    views = [p.value for p in CG.parameters(y)] if held else []
    learnt = []

    def drop():
        twins.pop()[loss].cut()
        others.clear()
        own.clear()
        gc.collect()
        assert len(CG.parameters(y)[0].nodes) == 1

    def learn():
        others[0].train(own, 0.1)
        learnt.append(others[0].get_vector())
        if ends == "within the call":
            drop()

    node.function = learn
    graph.predict({x: feed[x][:1]})
    if others:
        drop()
    found = np.concatenate([p.value.ravel() for p in CG.parameters(y)])
    np.testing.assert_array_equal(found, learnt[0])
    np.testing.assert_array_equal(graph.get_vector(), learnt[0])
    for view, p in zip(views, CG.parameters(y), strict=held):
        np.testing.assert_array_equal(view, p.value)


def test_input_gradients_do_not_wait_for_learning():
    x, _, t, loss = regression()
    twin = CG.clone(loss, share=True)
    graph, other = CG.Graph(loss, threads=1), CG.Graph(twin[loss], threads=1)
    short = batch(twin[x], twin[t])
    meanwhile(graph, batch(x, t, LONG), lambda: other.input_gradients(short, twin[x]))
