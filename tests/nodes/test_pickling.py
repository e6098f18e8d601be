"""Deep copies and pickles of nodes, parameters and optimisers: one graph in, one graph out, at any depth."""

import copy
import gc
import io
import pickle
import sys
import threading
import weakref

import numpy as np
import pytest
from interrupts import events, stopped

import cgraph as CG
from cgraph._subclassing.copying import _LIVE


class Gained(CG.Node):
    """d = w x."""

    _parameters = (("w", "dw"),)

    def __init__(self, node):
        super().__init__(node.size, node.height, node.width, [node])
        self.w, self.dw = np.ones(node.size), np.zeros(node.size)

    def calcData(self):
        self.data = self.w * self.backward[0].data


def network():
    rng = np.random.default_rng(1)
    x, t = CG.Leaf1(3), CG.Leaf1(2)
    first = CG.Affine(x, rng.normal(size=(4, 3)))
    second = Gained(first.share(CG.Dropout(first, 0.25, 3)))
    second.w[...] = [1, 2, 3]
    y = CG.Affine(second, rng.normal(size=(4, 2)))
    CG.parameters(y)[1].trainable = False
    return {"x": x, "t": t, "first": first, "second": second, "y": y, "loss": CG.MSE(y, t)}


def in_python(value):
    """Returns what the pickler in Python, which others are derived from, makes of a value."""
    file = io.BytesIO()
    pickle._Pickler(file).dump(value)
    return pickle._Unpickler(io.BytesIO(file.getvalue())).load()


def in_joblib(value):
    """Returns what joblib, which writes arrays in its own way, makes of a value."""
    joblib = pytest.importorskip("joblib")
    file = io.BytesIO()
    joblib.dump(value, file)
    file.seek(0)
    return joblib.load(file)


WAYS = {
    "deepcopy": copy.deepcopy,
    "in Python": in_python,
    "joblib": in_joblib,
    **{
        f"protocol {protocol}": lambda value, protocol=protocol: pickle.loads(
            pickle.dumps(value, protocol)
        )
        for protocol in range(pickle.HIGHEST_PROTOCOL + 1)
    },
}
ORDERS = [
    ["x", "t", "first", "second", "y", "loss"],
    ["loss", "y", "second", "first", "t", "x"],
    ["second", "first", "loss", "x", "t", "y"],
]


@pytest.mark.parametrize("order", ORDERS, ids=lambda order: order[0])
@pytest.mark.parametrize("way", WAYS.values(), ids=WAYS)
def test_nodes_of_one_graph_come_back_as_one_graph(way, order):
    nodes = network()
    graph = CG.Graph(nodes["loss"])
    feed = {"x": np.ones((5, 3)), "t": np.ones((5, 2))}
    graph.train({nodes[name]: rows for name, rows in feed.items()}, 0.01)
    copied = way({name: nodes[name] for name in order})
    assert list(copied) == order
    members = CG.ancestors(copied["loss"])
    assert len(members) == len(CG.ancestors(nodes["loss"]))
    assert set(copied.values()) <= set(members)
    assert set(members).isdisjoint(CG.ancestors(nodes["loss"]))
    theirs = CG.Graph(copied["loss"])
    assert [p.trainable for p in theirs.parameters] == [True, False, True]
    assert len(theirs.parameters[0].nodes) == 2
    expected = graph.train({nodes[name]: rows for name, rows in feed.items()}, 0.01)
    actual = theirs.train({copied[name]: rows for name, rows in feed.items()}, 0.01)
    assert actual.tobytes() == expected.tobytes()


@pytest.mark.parametrize("way", WAYS.values(), ids=WAYS)
def test_a_node_comes_with_its_ancestors_alone(way):
    nodes = network()
    nodes["x"].getInput([1, 2, 3])
    y = way(nodes["y"])
    assert y.forward == []
    assert len(CG.ancestors(y)) == 6
    assert CG.evaluate(y).tobytes() == CG.evaluate(nodes["y"]).tobytes()


@pytest.mark.parametrize("way", WAYS.values(), ids=WAYS)
def test_parameters_are_shared_between_graphs_that_share_nothing_else(way):
    first = CG.Affine(CG.Leaf1(1), [[1.0], [2.0]])
    twins = [first, *[first.share(CG.Leaf1(1)) for _ in range(3)]]
    for nodes in (twins, twins[::-1]):
        copied = way(nodes)
        copied[0].weight[...] = 7
        assert all((node.weight == 7).all() for node in copied)
        assert set(CG.parameters(copied[0])[0].nodes) == set(copied)
    assert first.weight.tolist() == [[1], [2]]


@pytest.mark.parametrize("way", WAYS.values(), ids=WAYS)
def test_parameters_and_optimizers_come_with_their_nodes(way):
    nodes = network()
    adam = CG.Adam(CG.schedules.linear(0.1, 0, 9), groups={nodes["y"]: {"lr": 0.5}})
    adam.note = nodes["x"]
    feed = {"x": np.ones((5, 3)), "t": np.ones((5, 2))}
    graph = CG.Graph(nodes["loss"])
    graph.train({nodes[name]: rows for name, rows in feed.items()}, adam, batch=2)
    copied, rule, weight, y = way([nodes, adam, CG.parameters(nodes["y"])[0], nodes["y"]])
    assert y is copied["y"]
    assert weight in CG.parameters(y)
    assert rule.note is copied["x"]
    expected = graph.train({nodes[name]: rows for name, rows in feed.items()}, adam, batch=2)
    theirs = CG.Graph(copied["loss"])
    actual = theirs.train({copied[name]: rows for name, rows in feed.items()}, rule, batch=2)
    assert actual.tobytes() == expected.tobytes()
    assert (rule.updates, repr(rule)) == (adam.updates, repr(adam))


@pytest.mark.parametrize("way", [copy.deepcopy, in_python, WAYS["protocol 5"]])
def test_a_list_of_all_nodes_of_a_deep_graph_comes_back(way):
    nodes = [CG.Leaf1(1)]
    for _ in range(sys.getrecursionlimit()):
        nodes.append(CG.Tanh(nodes[-1]))
    for given in (nodes, nodes[::-1]):
        copied = way(given)
        assert len(CG.ancestors(copied[0] if given is not nodes else copied[-1])) == len(nodes)
        chain = set(CG.ancestors(copied[-1])) | set(CG.ancestors(copied[0]))
        assert set(copied) <= chain
        assert len(chain) == len(nodes)


def test_nothing_lives_on_after_a_pickle():
    gc.collect()
    before = len(_LIVE.parts)
    nodes = network()
    pickle.dumps(nodes)
    with pytest.raises((pickle.PicklingError, AttributeError)):
        pickle.dumps([nodes, lambda: None])
    gc.collect()
    assert len(_LIVE.parts) == before
    dead = weakref.ref(nodes["x"])
    nodes["x"].cut()
    del nodes
    gc.collect()
    assert dead() is None


def test_a_pickler_that_is_used_again_knows_its_nodes():
    nodes, file = network(), io.BytesIO()
    pickler = pickle.Pickler(file)
    pickler.dump(nodes["y"])
    nodes["y"].weight[...] = 5
    pickler.dump(nodes["loss"])
    inside = pickle.loads(pickle.dumps(nodes))
    assert (inside["y"].weight == 5).all()
    assert inside["y"] in CG.ancestors(inside["loss"])
    unpickler = pickle.Unpickler(io.BytesIO(file.getvalue()))
    y, loss = unpickler.load(), unpickler.load()
    assert y in CG.ancestors(loss)


@pytest.mark.thread_unsafe(reason="starts threads")
def test_threads_pickle_one_graph_at_once():
    nodes, sizes = network(), []

    def work():
        for _ in range(20):
            copied = pickle.loads(pickle.dumps(nodes))
            sizes.append(len({*CG.ancestors(copied["loss"]), *copied.values()}))

    threads = [threading.Thread(target=work) for _ in range(3)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert sizes == [8] * 60


@pytest.mark.parametrize("work", [copy.deepcopy, pickle.dumps])
def test_an_interrupt_changes_nothing(work):
    nodes = network()
    end = nodes["loss"]
    forward = [[*node.forward] for node in CG.ancestors(end)]
    count = events(lambda: work(end))
    for event in range(1, count, 29):
        assert not stopped(lambda: work(end), event)
    assert [[*node.forward] for node in CG.ancestors(end)] == forward
    assert len(CG.ancestors(copy.deepcopy(end))) == len(forward)
    CG.Graph(end).forward()


def test_shared_parameters_are_pickled_once():
    x = CG.Leaf1(100)
    first = CG.Affine(x, np.ones((101, 100)))
    end = first
    for _ in range(9):
        end = first.share(end)
    size = len(pickle.dumps(first))
    assert len(pickle.dumps(end)) < 1.2 * size
    assert len(pickle.dumps([end, first])) < 1.2 * size
    assert len(CG.parameters(pickle.loads(pickle.dumps(end)))[0].nodes) == 10


class Carrying(CG.Exp):
    """Has any object as an argument of its constructor."""

    def __init__(self, node, thing):
        super().__init__(node)
        self.thing = thing

    def _config(self):
        return {"thing": self.thing}


class Writing:
    """Writes into a node while it is pickled itself."""

    node = None

    def __reduce__(self):
        self.node.weight[...] = 9
        return int, (5,)


def test_the_values_are_those_of_one_moment():
    thing = Writing()
    end = thing.node = CG.Affine(Carrying(CG.Leaf1(1), thing), np.ones((2, 1)))
    copied = pickle.loads(pickle.dumps(end))
    assert copied.backward[0].thing == 5
    assert copied.weight.tolist() == [[1], [1]]
    assert end.weight.tolist() == [[9], [9]]


class Local:
    """Makes a class that pickle cannot find."""

    @staticmethod
    def make():
        class Hidden(CG.Exp):
            pass

        return Hidden(CG.Leaf1(1))


def test_classes_that_cannot_be_imported_are_refused_by_pickle():
    with pytest.raises((pickle.PicklingError, AttributeError), match="Hidden"):
        pickle.dumps(Local.make())
    assert type(copy.deepcopy(Local.make())).__name__ == "Hidden"
