"""The lifetime of graphs: no memory leaks, and no node is left waiting by an interrupted pass."""

import gc
import os
import signal
import sys
import sysconfig
import threading
import tracemalloc
import weakref
from functools import partial

import numpy as np
import pytest
from amounts import full
from own_nodes import Failing
from small_graphs import counters, vector

import cgraph as CG
from cgraph._propagation import passes
from cgraph.parameter import own_parameters

pytestmark = pytest.mark.thread_unsafe(reason="watches the memory of the process, forks")

ROUNDS = 2000
# Bytes that 100 graphs, of about 3,000 each, may leave. The collector of a free-threaded CPython keeps chunks of 4 kB
# for what it frees later.
TRACED = 50_000 if sysconfig.get_config_var("Py_GIL_DISABLED") else 2_000


def small_network():
    """A leaf and the loss of a network with a convolution, pooling, an affine layer and an own node."""
    x = CG.Leaf2(6, 6)
    filtered = CG.ReLU(CG.Convolution2d([x], np.full((1, 3, 3), 0.1), 0.5))
    pooled = Failing(CG.MaxPooling2d(filtered, 2, 2, 2))
    scores = CG.Affine(CG.Concatenation([pooled, pooled]), np.full((9, 2), 0.1))
    return x, CG.Norm2(CG.Softmax(scores))


def run(x, loss):
    x.forwardPropagation()
    loss.backwardPropagation()
    loss.update(0.01)


def drop_to_the_collector():
    run(*small_network())


def cut_apart():
    x, loss = small_network()
    run(x, loss)
    loss.cut()


def refuse():
    x = CG.Leaf2(6, 6)
    for refused in (
        lambda: CG.Affine(x, [[1.0]]),
        lambda: CG.MaxPooling2d(x, 7, 7, 1),
        lambda: x.getInput("x"),
    ):
        with pytest.raises((TypeError, ValueError)):
            refused()


def break_off():
    x, loss = small_network()
    next(
        node for node in CG.ancestors(loss) if isinstance(node, Failing)
    ).fails_in = "calcPartialDerivative"
    with pytest.raises(ZeroDivisionError):
        run(x, loss)


def resident_memory():
    """Returns the resident memory in bytes; 0 where the system does not report it."""
    try:
        with open("/proc/self/statm", encoding="ascii") as file:
            return int(file.read().split()[1]) * os.sysconf("SC_PAGE_SIZE")
    except OSError:
        return 0


def memory_after(work, rounds):
    """Returns Python's allocated blocks and the bytes of the process after this number of rounds of the work."""
    for _ in range(rounds):
        work()
    gc.collect()
    return sys.getallocatedblocks(), resident_memory()


@pytest.mark.parametrize(
    ("work", "rounds"),
    [
        *((work, 1000) for work in (drop_to_the_collector, cut_apart, refuse, break_off)),
        full((drop_to_the_collector, 10_000)),
    ],
)
def test_memory_is_flat_however_many_graphs_come_and_go(work, rounds):
    blocks_before, bytes_before = memory_after(work, rounds // 10)
    blocks, resident = memory_after(work, rounds)
    assert blocks - blocks_before < rounds / 10  # a leak of one object would be ten times as many
    assert resident - bytes_before < 400 * rounds + 1_000_000  # each graph holds about 3,000


def test_memory_is_flat_however_many_passes_go_through_a_graph():
    x, loss = small_network()
    blocks_before, bytes_before = memory_after(lambda: run(x, loss), 100)
    blocks, resident = memory_after(lambda: run(x, loss), ROUNDS)
    assert blocks - blocks_before < ROUNDS / 10
    assert resident - bytes_before < 500_000


@pytest.mark.parametrize("work", [drop_to_the_collector, cut_apart, refuse, break_off])
def test_not_a_byte_of_a_graph_is_left(work):
    """The measurement is that of tracemalloc, which sees NumPy's buffers, too, and is too slow for more rounds."""
    tracemalloc.start()
    try:
        memory_after(work, 50)
        before = tracemalloc.get_traced_memory()[0]
        memory_after(work, 100)
        after = tracemalloc.get_traced_memory()[0]
    finally:
        tracemalloc.stop()
    assert after - before < TRACED


def references():
    x, loss = small_network()
    run(x, loss)
    return [weakref.ref(node) for node in CG.ancestors(loss)]


@pytest.fixture
def collector_off():
    gc.collect()
    gc.disable()
    yield
    gc.enable()


def test_a_graph_without_references_is_freed_by_the_collector(collector_off):
    nodes = references()
    assert all(node() is not None for node in nodes)
    gc.collect()
    assert [node() for node in nodes if node() is not None] == []


def test_cut_frees_a_graph_by_the_count_of_references_alone(collector_off):
    x, loss = small_network()
    run(x, loss)
    nodes = [weakref.ref(node) for node in CG.ancestors(loss)]
    probe = weakref.ref(CG.ReLU(loss))  # held by its input alone
    loss.cut()
    del x
    alive = [node() for node in nodes if node() is not None]
    assert alive == [loss]
    assert probe() is None


def compiled(case):
    """Returns (nodes, Graph or None): nodes of a Graph that has been trained and has gradient sums."""
    x = CG.Leaf2(6, 6)
    siblings = [CG.ReLU(CG.Convolution2d([x], np.full((1, 6, 6), k), 0.5)) for k in (1.0, 2.0)]
    scores = CG.Affine(CG.Concatenation(siblings), np.full((3, 2), 0.1))
    loss = CG.Dots(scores, scores)
    graph = CG.Graph(loss, layout="lanes" if case == "after a batch" else "samples")
    if case == "replaced":
        graph = CG.Graph(CG.Norm2(loss))
    feed = {x: np.ones((20, 6, 6))}
    graph.step(feed, 1e-9)
    graph.accumulate(feed)
    return graph.nodes, graph if case == "kept" else None


CASES = pytest.mark.parametrize("case", ["dropped", "kept", "replaced", "after a batch"])


@CASES
def test_cut_frees_nodes_of_a_graph_with_the_last_reference(case, collector_off):
    nodes, graph = compiled(case)
    known = [weakref.ref(node) for node in nodes]
    nodes[3].cut()
    del graph, nodes
    assert [node() for node in known if node() is not None] == []


@CASES
def test_nodes_that_are_cut_keep_what_they_have_learnt(case):
    nodes, graph = compiled(case)
    learnt = CG.parameters(nodes[-1])
    kept = [(p.value.copy(), p.grad.copy()) for p in learnt]
    data = [x.data.copy() for x in nodes]
    nodes[0].cut()
    if graph is not None:
        graph.update(1e-9)
        kept = [(value - 1e-9 * total, 0) for value, total in kept]
        graph.forward()
        assert not nodes[0].grad.any()
        graph.backward()
        assert nodes[0].grad.any()
        kept = [
            (value, p.grad.copy()) for (value, _), p in zip(kept, graph.parameters, strict=True)
        ]
        data = [x.data.copy() for x in nodes]
        del graph
    gc.collect()
    for node, was in zip(nodes, data, strict=True):
        np.testing.assert_array_equal(node.data, was)
        if case == "after a batch":
            with pytest.raises(RuntimeError, match="grad is not kept for a batch"):
                _ = node.grad
        elif case == "kept":
            assert node.grad.any()
    for (node, name, *_), (value, total) in zip(learnt, kept, strict=True):
        np.testing.assert_allclose(getattr(node, name), value, rtol=1e-12)
        np.testing.assert_array_equal(dict(sums_of(node))[name], total)


def sums_of(node):
    return [(p.name, p.grad) for p in own_parameters(node)]


def test_a_graph_of_cut_nodes_gives_way_to_a_newer_one():
    x = CG.Leaf1(2)
    loss = CG.Norm2(x)
    graph = CG.Graph(loss)
    loss.cut()
    np.testing.assert_allclose(graph.predict({x: [[3.0, 4.0]]}), [[5.0]])
    CG.Graph(CG.ReLU(x))
    with pytest.raises(RuntimeError, match="belong to a newer Graph"):
        graph.forward()


@pytest.mark.parametrize("begin", [0, 3, -1])
def test_cut_unlinks_all_connected_nodes_wherever_it_begins(begin):
    x, loss = small_network()
    stranger = CG.ReLU(vector(1.0))
    x.forwardPropagation()
    nodes = CG.ancestors(loss)
    y = vector(1.0)
    waiting = CG.Concatenation([nodes[-1], y])
    y.forwardPropagation()
    assert waiting.b_count == 1
    nodes[begin].cut()
    for node in [*nodes, waiting, y]:
        assert (node.forward, node.backward) == ([], [])
    assert set(counters(*nodes, waiting)) == {(0, 0)}
    with pytest.raises(RuntimeError, match="needs a completed forward pass first"):
        loss.backwardPropagation()
    assert stranger.backward[0].forward == [stranger]


@pytest.mark.skipif(not hasattr(os, "fork"), reason="this platform does not fork")
@pytest.mark.filterwarnings("ignore:.*fork.*:DeprecationWarning")
def test_a_forked_process_goes_on_with_its_own_copy_of_a_graph():
    x, loss = small_network()
    x.getInput(np.linspace(-1, 1, 36))
    run(x, loss)
    expected = [p.value.copy() for p in CG.parameters(loss)]
    reading, writing = os.pipe()
    child = os.fork()
    if child == 0:
        try:
            run(x, loss)
            os.write(writing, loss.data.tobytes() + CG.parameters(loss)[0].value.tobytes())
        finally:
            os._exit(0)
    os.close(writing)
    with os.fdopen(reading, "rb") as pipe:
        told = pipe.read()
    assert os.waitpid(child, 0)[1] == 0
    for p, value in zip(CG.parameters(loss), expected, strict=True):
        np.testing.assert_array_equal(p.value, value)
    run(x, loss)
    assert told == loss.data.tobytes() + CG.parameters(loss)[0].value.tobytes()


class Interrupted(Failing):
    """An own node with a KeyboardInterrupt in the method that `fails_in` names."""

    def check(self, method):
        if self.fails_in == method:
            signal.raise_signal(signal.SIGINT)


def around_an_interrupt():
    """(leaves, own node, loss): nodes wait on both sides when the own node works."""
    x, y = vector(1.0, 2.0), vector(3.0, 4.0)
    h = CG.Add(x, y)
    own = Interrupted(h)
    return (x, y), own, CG.Dots(CG.Sub(h, own), CG.Add(own, h))


def run_passes(leaves, loss):
    for leaf in leaves:
        leaf.forwardPropagation()
    loss.backwardPropagation()
    loss.update(0.1)


@pytest.mark.parametrize("method", ["calcData", "calcPartialDerivative", "updateParameters"])
def test_ctrl_c_in_an_own_node_leaves_nothing_waiting(method, ctrl_c):
    leaves, own, loss = around_an_interrupt()
    run_passes(leaves, loss)
    own.fails_in = method
    with pytest.raises(KeyboardInterrupt):
        run_passes(leaves, loss)
    assert set(counters(*CG.ancestors(loss))) == {(0, 0)}
    own.fails_in = None
    run_passes(leaves, loss)
    assert set(counters(*CG.ancestors(loss))) == {(0, 0)}
    assert [leaf.grad.tolist() for leaf in leaves] == [[0, 0], [0, 0]]


FOLDERS = (os.path.dirname(passes.__file__), os.path.dirname(CG.nodes.__file__))


class CtrlC:
    """A trace function that raises KeyboardInterrupt before line number `count` of passes and methods of nodes."""

    def __init__(self, count):
        self.count = count

    def __call__(self, frame, event, argument):
        if not frame.f_code.co_filename.startswith(FOLDERS):
            return None
        if event == "line":
            self.count -= 1
            if self.count < 0:
                raise KeyboardInterrupt
        return self


def interrupted(work, count):
    """Whether the work was interrupted before line number `count`."""
    tracer = sys.gettrace()
    sys.settrace(CtrlC(count))
    try:
        work()
    except KeyboardInterrupt:
        return True
    finally:
        sys.settrace(tracer)
    return False


@pytest.mark.parametrize("kind", ["forward", "backward", "update"])
def test_ctrl_c_before_any_line_of_a_pass_leaves_nothing_waiting(kind):
    """An interrupt before the first node of a pass leaves everything unchanged; a later one leaves no node waiting."""
    count = 0
    while True:
        (x, y), _, loss = around_an_interrupt()
        work = {
            "forward": y.forwardPropagation,
            "backward": loss.backwardPropagation,
            "update": partial(loss.update, 0.1),
        }[kind]
        x.forwardPropagation()
        if kind != "forward":
            y.forwardPropagation()
        before = counters(*CG.ancestors(loss))
        if not interrupted(work, count):
            break
        left = counters(*CG.ancestors(loss))
        assert set(left) == {(0, 0)} or (left == before and count < 5)
        count += 1
    assert count > 10
    assert set(counters(*CG.ancestors(loss))) == {(0, 0)}


def test_a_node_that_raises_in_one_thread_does_not_disturb_another_threads_graph():
    failures, stop = [], threading.Event()

    def fail():
        leaves, own, loss = around_an_interrupt()
        own.check = lambda method: 1 / 0
        while not stop.is_set():
            with pytest.raises(ZeroDivisionError):
                run_passes(leaves, loss)
            if set(counters(*CG.ancestors(loss))) != {(0, 0)}:
                failures.append("counters")

    thread = threading.Thread(target=fail)
    thread.start()
    try:
        leaves, _, loss = around_an_interrupt()
        for _ in range(500):
            run_passes(leaves, loss)
            assert loss.data.tolist() == [0]
    finally:
        stop.set()
        thread.join()
    assert failures == []
