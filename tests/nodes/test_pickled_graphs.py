"""Deep copies and pickles of Graphs and Learners: compiled anew of copied nodes, they go on with the same bits."""

import copy
import os
import pickle
import subprocess
import sys

import numpy as np
import pytest
from test_pickling import WAYS, network

import cgraph as CG

FEED = {"x": np.ones((5, 3)), "t": np.ones((5, 2))}


def rows(nodes, feed=FEED):
    return {nodes[name]: array for name, array in feed.items()}


@pytest.mark.parametrize("first", ["graph", "x", "optimizer"])
@pytest.mark.parametrize("way", WAYS.values(), ids=WAYS)
def test_a_copy_of_a_graph_goes_on_with_the_same_bits(way, first):
    nodes, adam = network(), CG.Adam(CG.schedules.cosine(0.1, 9))
    graph = CG.Graph(nodes["loss"], threads=2, layout="samples", leaf_grads=[nodes["x"]])
    graph.train(rows(nodes), adam, 2)
    whole = {"optimizer": adam, "graph": graph, "x": nodes["x"], "t": nodes["t"]}
    new = way({first: whole[first]} | whole)
    theirs = new["graph"]
    assert new["x"] in theirs.leaves
    assert set(theirs.nodes).isdisjoint(graph.nodes)
    assert new["optimizer"].updates == 3
    assert [p.trainable for p in theirs.parameters] == [True, False, True]
    for _ in range(2):
        ours = graph.train(rows(nodes), adam, 2)
        assert theirs.train(rows(new), new["optimizer"], 2).tobytes() == ours.tobytes()
    assert repr(theirs) == repr(graph)
    graph.accumulate({name: array[:1] for name, array in rows(nodes).items()})
    theirs.accumulate({name: array[:1] for name, array in rows(new).items()})
    assert new["x"].grad.tobytes() == nodes["x"].grad.tobytes()


def test_a_graph_of_several_outputs_is_copied_without_the_nodes_behind_it():
    nodes = network()
    graph = CG.Graph([nodes["y"], nodes["second"]])
    new = copy.deepcopy(graph)
    assert len(new.nodes) == len(graph.nodes) == 6
    assert new.nodes[-1].forward == []
    feed = {new.leaves[0]: FEED["x"]}
    expected = graph.predict({nodes["x"]: FEED["x"]}, nodes["y"])
    assert new.predict(feed, new.nodes[-1]).tobytes() == expected.tobytes()


class Named(CG.Graph):
    """An own class, whose constructor takes other arguments."""

    def __init__(self, name, loss):
        super().__init__(loss)
        self.name = name


def test_a_graph_of_an_own_class_keeps_its_attributes():
    graph = Named("first", network()["loss"])
    for new in (copy.deepcopy(graph), pickle.loads(pickle.dumps(graph))):
        assert (type(new), new.name) == (Named, "first")


def learner_of(nodes, **settings):
    graph = CG.Graph(nodes["loss"])
    return CG.Learner(graph, nodes["x"], nodes["t"], nodes["y"], CG.Adam(lr=0.1), **settings)


def furthest(output, target):
    """A metric of one's own."""
    return np.abs(output - target).max()


@pytest.mark.parametrize("way", WAYS.values(), ids=WAYS)
def test_a_copy_of_a_learner_goes_on_with_the_same_bits(way):
    learner = learner_of(network(), metrics=["mae", "accuracy", furthest], fading=0.5)
    learner.learn_one([1, 2, 3], [4, 5])
    new = way({"graph": learner.graph, "learner": learner})
    theirs = new["learner"]
    assert theirs.graph is new["graph"]
    assert (theirs.metrics.samples, dict(theirs.metrics)) == (1, dict(learner.metrics))
    for k in range(3):
        ours = learner.step_one([k, 2, 3], [4, k])
        assert theirs.step_one([k, 2, 3], [4, k]).tobytes() == ours.tobytes()
    assert dict(theirs.metrics) == dict(learner.metrics)
    theirs.optimizer.lr = 0.2
    assert learner.optimizer.lr == 0.1


def test_copies_of_a_stale_graph_are_refused():
    nodes = network()
    learner = learner_of(nodes)
    CG.Graph(nodes["y"])
    for work in (copy.deepcopy, pickle.dumps):
        with pytest.raises(
            RuntimeError, match="Graph, copy or pickle: its nodes belong to a newer"
        ):
            work({"learner": learner})


def test_an_estimator_with_a_learner_is_cloned():
    base = pytest.importorskip("sklearn.base")

    class Estimator(base.BaseEstimator):
        def __init__(self, learner):
            self.learner = learner

    first = Estimator(learner_of(network()))
    second = base.clone(first)
    second.learner.learn_one([1, 2, 3], [4, 5])
    assert (first.learner.metrics.samples, second.learner.metrics.samples) == (0, 1)


@pytest.mark.thread_unsafe(reason="starts a process")
def test_another_process_compiles_a_graph_with_its_own_threads():
    x, t = CG.Leaf1(3), CG.Leaf1(2)
    graph = CG.Graph(CG.MSE(CG.Affine(x, np.ones((4, 2))), t))
    code = (
        "import pickle, sys; graph, x, t = pickle.load(sys.stdin.buffer)\n"
        "print(graph.predict({x: [[1, 2, 3]], t: [[0, 0]]})[0, 0], graph._executable.batches.threads)"
    )
    run = subprocess.run(
        [sys.executable, "-c", code],
        input=pickle.dumps((graph, x, t)),
        env=os.environ | {"CGRAPH_NUM_THREADS": "3"},
        capture_output=True,
        check=True,
    )
    assert run.stdout.split() == [b"49.0", b"3"]


def test_a_graph_is_copied_after_its_derivatives_were_asked_for():
    x = CG.Leaf1(2)
    y = CG.Affine(x, np.ones((3, 1)))
    graph = CG.Graph(y)
    feed = {x: [[1.0, 2.0]]}
    graph.jacobian(feed, y, x)
    graph.per_sample_gradients(feed)
    graph.set_vector(2 * graph.get_vector())
    for copied in (copy.deepcopy(graph), pickle.loads(pickle.dumps(graph))):
        np.testing.assert_array_equal(copied.get_vector(), graph.get_vector())
        assert (
            copied.jacobian(
                {copied.leaves[0]: [[1.0, 2.0]]}, copied.nodes[-1], copied.leaves[0]
            ).sum()
            == 4
        )


def test_a_copy_of_a_graph_with_a_state_goes_on_from_it():
    x, before = CG.Leaf1(1), CG.Leaf1(1)
    total = x + before
    graph = CG.Graph(total, carry={before: total}, streams=2)
    graph.predict({x: np.ones((3, 2, 1))})
    for copied in (copy.deepcopy(graph), pickle.loads(pickle.dumps(graph))):
        leaf = next(each for each in copied.leaves if each not in copied.get_state())
        assert copied.predict({leaf: np.ones((1, 2, 1))}).ravel().tolist() == [4, 4]
        copied.reset()
        assert copied.predict({leaf: np.ones((1, 2, 1))}).ravel().tolist() == [1, 1]
