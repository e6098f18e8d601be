"""Copies and moving averages of the parameters of Graphs: what is refused, interrupted, and looked at."""

import threading

import numpy as np
import pytest
from interrupts import events, stopped
from test_copy_parameters import NETWORKS, as_is, bits, graph, in_graph, mlp, narrow, values

import cgraph as CG


@pytest.mark.thread_unsafe(reason="traces")
@pytest.mark.parametrize("sides", [(graph, graph), (as_is, in_graph), (graph, as_is)])
@pytest.mark.parametrize("network", NETWORKS)
@pytest.mark.parametrize("tau", [0.5, 1])
def test_all_parameters_move_or_none_wherever_a_signal_comes(network, sides, tau):
    (*_, y, loss), (*_, z, other) = network("float64"), network("float64", 1)
    source, target = sides[0](loss, y), sides[1](other, z)
    CG.polyak_update(source, target, 0.25)
    held = [p.value for p in CG.parameters(other)]
    before = values(other)

    def call():
        CG.polyak_update(source, target, tau)

    total = events(call)
    moved = bits(other)
    outcomes = set()
    for event in [*range(1, total, 1 + total // 60), total]:
        for view, value in zip(held, before, strict=True):
            view[...] = value
        stopped(call, event)
        if isinstance(target, CG.Graph):
            target.zero_grad()
        now = bits(other)
        assert now == [view.tobytes() for view in held]
        assert now in (moved, [value.tobytes() for value in before])
        outcomes.add(now == moved)
    assert outcomes == {False, True}


class Calling(CG.Node):
    """The identity, which calls a function while it computes."""

    def __init__(self, node, function):
        super().__init__(node.size, node.height, node.width, [node])
        self.function = function

    def calcData(self):
        self.data = self.backward[0].data
        self.function()


@pytest.mark.parametrize("as_source", [True, False])
@pytest.mark.parametrize("as_graph", [True, False])
def test_a_graph_that_is_running_is_refused(as_source, as_graph):
    x = CG.Leaf1(2)
    y, other = (CG.Affine(node, np.ones((3, 2))) for node in (x, CG.Leaf1(2)))
    twin = CG.Graph(other)
    messages = []

    def call():
        pair = [running if as_graph else y, twin]
        try:
            CG.copy_parameters(*(pair if as_source else pair[::-1]))
        except RuntimeError as error:
            messages.append(str(error))

    running = CG.Graph(Calling(y, call))
    other.weight = np.zeros((3, 2))
    running.predict({x: [[1, 2]]})
    side = "source" if as_source else "target"
    assert messages == [
        f"copy_parameters, {side}: is already running, in another thread or in a node's own method"
    ]
    assert np.all(y.weight == 1)
    assert not other.weight.any()
    CG.copy_parameters(running, twin)


def test_stale_graphs_are_refused():
    (*_, loss), (*_, other) = mlp("float64"), mlp("float64", 1)
    source, target = CG.Graph(loss), CG.Graph(other)
    newer = CG.Graph(loss)
    before = bits(other), bits(loss)
    for _ in range(2):
        for pair, side in (((source, target), "source"), ((target, source), "target")):
            for move in (CG.copy_parameters, lambda s, t: CG.polyak_update(s, t, 0.5)):
                with pytest.raises(RuntimeError, match=f"{side}: its nodes belong to a newer Gra"):
                    move(*pair)
        with pytest.raises(RuntimeError, match="source: its nodes belong to a newer Graph"):
            CG.copy_parameters(source, newer)
    assert (bits(other), bits(loss)) == before
    CG.copy_parameters(newer, target)


@pytest.mark.thread_unsafe(reason="starts threads")
def test_two_threads_never_see_or_make_a_mixture():
    """A target is copied from two sources in turn by two threads; one that comes at the wrong time is refused."""
    ends = [mlp("float32", seed)[-1] for seed in range(3)]
    first, second, target = graphs = [CG.Graph(end) for end in ends]
    for k, each in enumerate(graphs):
        for parameter in each.parameters:
            parameter.value[...] = k

    messages = []

    def run(source):
        for _ in range(300):
            try:
                CG.copy_parameters(source, target)
            except RuntimeError as error:
                messages.append(str(error))

    threads = [threading.Thread(target=run, args=(each,)) for each in (first, second)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert all("is already running" in message for message in messages)
    found = {float(number) for value in values(ends[2]) for number in value.flat}
    assert found in ({0.0}, {1.0})


def learner(w):
    class Learner(CG.Node):
        _parameters = (("w", "dw"),)

    node = Learner(0, 1, 1)
    node.w, node.dw = w, np.zeros(np.shape(w))
    return node


def read_only():
    w = np.zeros(2)
    w.flags.writeable = False
    return learner(w)


REFUSED = {
    "source": (None, narrow, TypeError, "{}: source must be a Node or a Graph, got None"),
    "target": (narrow, [], TypeError, "{}: target must be a Node or a Graph, got []"),
    "numbers": (
        lambda: CG.Tanh(narrow()),
        lambda: CG.Affine(narrow(), np.ones((3, 2))),
        ValueError,
        "{}: source and target must have equally many parameters, got 1 and 2",
    ),
    "shapes": (
        lambda: CG.Affine(narrow(), np.ones((3, 2))),
        lambda: CG.Affine(narrow(), np.ones((3, 4))),
        ValueError,
        "{}: parameter 1 of source and target must have one shape, got (3, 2) and (3, 4)",
    ),
    "dtypes": (
        narrow,
        lambda: narrow("float32"),
        TypeError,
        "{}: parameter 0 of source and target must have one dtype, got float64 and float32",
    ),
    "read-only": (
        lambda: learner(np.ones(2)),
        read_only,
        ValueError,
        "{}: parameter 0 of target must be writable, got a read-only array",
    ),
    "no array": (
        lambda: learner([1, 2]),
        lambda: learner(np.ones(2)),
        TypeError,
        "Learner: w must be an array, since _parameters names it, got [1, 2]",
    ),
}


@pytest.mark.parametrize("as_graphs", [True, False])
@pytest.mark.parametrize(("source", "target", "kind", "message"), REFUSED.values(), ids=REFUSED)
def test_sides_that_do_not_fit_are_refused_before_anything_changes(
    source, target, kind, message, as_graphs
):
    sides = [each() if callable(each) else each for each in (source, target)]
    nodes = [each for each in sides if isinstance(each, CG.Node)]
    before = [repr([p._peek() for p in CG.parameters(node)]) for node in nodes]
    if as_graphs and "read-only" not in message and "an array" not in message:
        sides = [CG.Graph(each) if isinstance(each, CG.Node) else each for each in sides]
    for name, call in (
        ("copy_parameters", CG.copy_parameters),
        ("polyak_update", lambda s, t: CG.polyak_update(s, t, 0.5)),
    ):
        with pytest.raises(kind) as refused:
            call(*sides)
        assert str(refused.value) == message.format(name)
    assert [repr([p._peek() for p in CG.parameters(node)]) for node in nodes] == before


@pytest.mark.parametrize(
    ("tau", "kind", "message"),
    [
        (-0.1, ValueError, "polyak_update: tau must be in [0, 1], got -0.1"),
        (1.5, ValueError, "polyak_update: tau must be in [0, 1], got 1.5"),
        (np.nan, ValueError, "polyak_update: tau must be in [0, 1], got nan"),
        (np.inf, ValueError, "polyak_update: tau must be in [0, 1], got inf"),
        ("1", TypeError, "polyak_update: tau must be a real number, got '1'"),
        (None, TypeError, "polyak_update: tau must be a real number, got None"),
    ],
)
def test_other_weights_are_refused(tau, kind, message):
    with pytest.raises(kind) as refused:
        CG.polyak_update(narrow(), narrow(), tau)
    assert str(refused.value) == message


def test_an_average_of_integers_is_refused_and_a_copy_is_made():
    source, target = learner(np.array([1, 2])), learner(np.array([5, 6]))
    with pytest.raises(TypeError, match="dtype must be float64 or float32"):
        CG.polyak_update(source, target, 0.5)
    CG.copy_parameters(source, target)
    assert target.w.tolist() == [1, 2]


def test_arrays_of_own_nodes_may_be_strided():
    source, target = learner(np.arange(8.0).reshape(2, 4).T), learner(np.ones((8, 2))[::2])
    CG.polyak_update(source, target, 0.5)
    assert target.w.tolist() == ((np.arange(8.0).reshape(2, 4).T + 1) / 2).tolist()
