"""Calls one after the other: what a Graph remembers of a call serves another one only where both ask for the same."""

import gc
import inspect
import os
import threading
import types

import numpy as np
import pytest
from batch_settings import every_setting
from lane_arena import kernels
from tasks import SECONDS

import cgraph as CG
from cgraph._execution.batches import MAX_REMEMBERED
from cgraph._kernels.runtime import plan
from cgraph._kernels.runtime.memory import Memory
from cgraph._kernels.runtime.request import Feeds, Request
from cgraph._kernels.runtime.step import RowPort

ETA = 1e-2


class Net:
    """A small network of two inputs, its Graph, and samples for it in float64."""

    def __init__(self, dtype="float64", **options):
        rng = np.random.default_rng(0)
        self.image, self.x, self.t = leaves = (
            CG.Leaf2(2, 3, dtype=dtype),
            CG.Leaf1(4, dtype=dtype),
            CG.Leaf1(2, dtype=dtype),
        )
        self.h = CG.Tanh(CG.Affine(CG.Concatenation(leaves[:2]), rng.normal(size=(11, 5))))
        self.y = CG.Affine(self.h, rng.normal(size=(6, 2)))
        self.loss = CG.MSE(self.y, self.t)
        for leaf in leaves:
            leaf.data[...] = rng.normal(size=leaf.size)
        self.rows = {leaf: rng.normal(size=(40, leaf.size)).astype(dtype) for leaf in leaves}
        self.graph = CG.Graph(self.loss, **options)

    def feed(self, count=1, first=0, leaves=None):
        return {leaf: self.rows[leaf][first : first + count].copy() for leaf in leaves or self.rows}

    def state(self):
        arrays = [a.copy() for p in self.graph.parameters for a in (p.value, p.grad)]
        return [*arrays, *(leaf.data.copy() for leaf in self.graph.leaves)]


def swapped(feed):
    return dict(reversed(feed.items()))


def in_height_and_width(net, feed):
    return {leaf: rows.reshape(-1, leaf.height, leaf.width) for leaf, rows in feed.items()}


def as_views(net, feed):
    """The same samples as views of larger arrays."""
    return {leaf: np.concatenate([rows, rows])[: len(rows)] for leaf, rows in feed.items()}


def resized(net, feed):
    """The same samples in arrays that have been moved to other addresses."""
    for rows in feed.values():
        shape = rows.shape
        rows.resize((5000 // shape[1], shape[1]), refcheck=False)
        rows.resize(shape, refcheck=False)
    return feed


# Each call differs in one respect from those before and behind it.
CALLS = {
    "step": lambda n: n.graph.step(n.feed(), ETA),
    "other samples": lambda n: n.graph.step(n.feed(first=1), ETA),
    "other rate": lambda n: n.graph.step(n.feed(), ETA / 2),
    "other leaves": lambda n: n.graph.step(n.feed(leaves=[n.x, n.t]), ETA),
    "fewer leaves": lambda n: n.graph.step(n.feed(leaves=[n.x]), ETA),
    "leaves in another order": lambda n: n.graph.step(swapped(n.feed()), ETA),
    "other mapping": lambda n: n.graph.step(types.MappingProxyType(n.feed()), ETA),
    "more samples": lambda n: n.graph.step(n.feed(3), ETA),
    "many samples": lambda n: n.graph.step(n.feed(37), ETA),
    "one by one": lambda n: n.graph.train(n.feed(37), ETA),
    "small batches": lambda n: n.graph.train(n.feed(37), ETA, 2),
    "large batches": lambda n: n.graph.train(n.feed(37), ETA, 20),
    "sums": lambda n: n.graph.accumulate(n.feed()),
    "sums of many": lambda n: n.graph.accumulate(n.feed(37)),
    "loss": lambda n: n.graph.predict(n.feed()),
    "prediction": lambda n: n.graph.predict(n.feed(leaves=[n.image, n.x]), n.y),
    "hidden": lambda n: n.graph.predict(n.feed(leaves=[n.image, n.x]), n.h),
    "hidden of many": lambda n: n.graph.predict(n.feed(37, leaves=[n.image, n.x]), n.h),
    "leaf": lambda n: n.graph.predict(n.feed(2), n.image),
    "lists": lambda n: n.graph.step({x: rows.tolist() for x, rows in n.feed().items()}, ETA),
    "other dtype": lambda n: n.graph.step({x: rows * 1j.imag for x, rows in n.feed().items()}, ETA),
    "float16": lambda n: n.graph.step({x: r.astype("f2") for x, r in n.feed().items()}, ETA),
    "shape": lambda n: n.graph.step(in_height_and_width(n, n.feed()), ETA),
    "views": lambda n: n.graph.step(as_views(n, n.feed()), ETA),
    "resized": lambda n: n.graph.step(resized(n, n.feed()), ETA),
}


@every_setting
def test_a_call_after_any_other_is_like_the_first_one(setting, eager_threads):
    """A Graph that is built anew for each call remembers nothing."""
    ours, theirs = Net(**setting._asdict()), Net(**setting._asdict())
    order = [*CALLS, *np.random.default_rng(1).choice(list(CALLS), 60)]
    for name in order:
        for parameter, other in zip(ours.graph.parameters, theirs.graph.parameters, strict=True):
            np.testing.assert_array_equal(parameter.value, other.value)
        theirs.graph = CG.Graph(theirs.loss, **setting._asdict())
        for _ in range(2):
            np.testing.assert_array_equal(CALLS[name](ours), CALLS[name](theirs), err_msg=name)
        for a, b in zip(ours.state(), theirs.state(), strict=True):
            np.testing.assert_array_equal(a, b, err_msg=name)


def test_more_calls_than_are_remembered_are_served():
    net = Net(threads=1)
    expected = net.graph.predict(net.feed(40), net.y)
    for count in [*range(1, 2 * MAX_REMEMBERED), 1, 2]:
        found = net.graph.predict(net.feed(count), net.y)
        np.testing.assert_allclose(found, expected[:count], 1e-12)


def test_an_array_of_the_last_call_that_has_changed_is_read_as_it_is():
    net, twin = Net(), Net()
    feed, other = net.feed(), twin.feed(first=1)
    net.graph.predict(feed, net.y)
    for leaf, theirs in zip(feed, other, strict=True):
        feed[leaf][...] = other[theirs]
    expected = twin.graph.predict(other, twin.y)
    np.testing.assert_array_equal(net.graph.predict(feed, net.y), expected)
    for leaf in feed:
        feed[leaf].resize((2, leaf.size), refcheck=False)
    assert net.graph.predict(feed, net.y).shape == (2, 2)
    np.testing.assert_allclose(net.graph.predict(feed, net.y)[:1], expected, 1e-12)
    feed[net.x].resize((1, 4), refcheck=False)
    with pytest.raises(ValueError, match="same number of samples for each leaf"):
        net.graph.predict(feed, net.y)
    feed[net.x].resize((2, 3), refcheck=False)
    with pytest.raises(ValueError, match=r"must have shape \(B, 4\)"):
        net.graph.predict(feed, net.y)


def test_an_array_may_be_freed_after_a_call():
    net = Net()
    expected = net.graph.predict(net.feed(), net.y)
    for _ in range(20):
        np.testing.assert_array_equal(net.graph.predict(net.feed(), net.y), expected)
        gc.collect()


def test_no_buffer_of_an_array_is_held_after_a_call():
    """Else a bytearray under the array could not be resized."""
    net = Net()
    memory = [bytearray(rows.tobytes()) for rows in net.feed().values()]
    arrays = [np.frombuffer(each).reshape(1, -1) for each in memory]
    net.graph.step(dict(zip(net.rows, arrays, strict=True)), ETA)
    net.graph.predict(net.feed())
    del arrays
    for each in memory:
        each.append(0)


@pytest.mark.parametrize("dtype", ["float64", "float32"])
def test_predictions_go_into_arrays_that_are_no_longer_those_of_the_last_call(dtype):
    net = Net(dtype)
    feed, out = net.feed(2), np.zeros((2, 2), dtype)
    expected = net.graph.predict(feed, net.y)
    assert net.graph.predict(feed, net.y, out) is out
    np.testing.assert_array_equal(out, expected)
    larger = np.zeros((4, 2), dtype)
    net.graph.predict(feed, net.y, larger[1:3])
    np.testing.assert_array_equal(larger[1:3], expected)
    assert not larger[[0, 3]].any()
    both = np.zeros(12, dtype)
    rows = both[2:10].reshape(2, 4)
    for start in range(9):
        rows[...] = feed[net.x]
        into = both[start : start + 4].reshape(2, 2)
        net.graph.predict({**feed, net.x: rows}, net.y, into)
        np.testing.assert_array_equal(into, expected)
    out.flags.writeable = False
    for wrong in (out, out.astype("f2"), out.tolist(), np.asfortranarray(expected)):
        with pytest.raises(TypeError, match=f"C-contiguous, writable {dtype} array"):
            net.graph.predict(feed, net.y, wrong)
    for shape in ((1, 2), (2, 3), (2, 2, 1), (4,)):
        with pytest.raises(ValueError, match=r"out must have shape \(B, size\) = \(2, 2\), got"):
            net.graph.predict(feed, net.y, np.zeros(shape, dtype))


def test_predictions_may_go_into_an_array_of_a_subclass():
    net = Net()
    out = np.zeros((1, 2)).view(type("Mine", (np.ndarray,), {}))
    assert net.graph.predict(net.feed(), net.y, out) is out
    np.testing.assert_array_equal(out, net.graph.predict(net.feed(), net.y))


def test_a_parameter_that_is_frozen_between_two_calls_stays():
    net = Net()
    parameter = net.graph.parameters[0]
    for frozen in (False, True, False):
        parameter.trainable = not frozen
        before = parameter.value.copy()
        for _ in range(2):
            net.graph.step(net.feed(), ETA)
        assert (parameter.value == before).all() == frozen


def test_a_newer_graph_takes_the_calls_over():
    net = Net()
    feed = net.feed()
    for _ in range(2):
        net.graph.step(feed, ETA)
    newer = CG.Graph(net.y)
    for call in (lambda: net.graph.step(feed, ETA), lambda: net.graph.predict(feed)):
        with pytest.raises(RuntimeError, match="its nodes belong to a newer Graph"):
            call()
    twin = Net()
    for _ in range(2):
        twin.graph.step(twin.feed(), ETA)
    inputs = [net.image, net.x]
    np.testing.assert_array_equal(
        newer.predict(net.feed(leaves=inputs)), twin.graph.predict(twin.feed(), twin.y)
    )


@pytest.mark.thread_unsafe(reason="starts threads")
def test_a_call_may_come_from_another_thread_than_the_last_one():
    ours, theirs = Net(), Net()
    feed, losses = ours.feed(), []
    for _ in range(3):
        thread = threading.Thread(target=lambda: losses.append(ours.graph.step(feed, ETA)))
        thread.start()
        thread.join(SECONDS)
        losses.append(ours.graph.step(feed, ETA))
    expected = [theirs.graph.step(theirs.feed(), ETA) for _ in range(6)]
    np.testing.assert_array_equal(losses, expected)


@pytest.mark.thread_unsafe(reason="starts a process")
@pytest.mark.skipif(not hasattr(os, "fork"), reason="this platform does not fork")
@pytest.mark.filterwarnings("ignore:.*fork:DeprecationWarning")
def test_a_forked_process_makes_the_calls_of_its_parent_anew():
    net, twin = Net(), Net()
    for each in (net, twin):
        each.graph.step(each.feed(), ETA)
    child = os.fork()
    if child == 0:
        same = True
        try:
            twin.graph = CG.Graph(twin.loss)
            for _ in range(3):
                loss = net.graph.step(net.feed(), ETA)
                same = same and (loss == twin.graph.step(twin.feed(), ETA)).all()
        finally:
            os._exit(0 if same else 1)
    assert os.waitpid(child, 0)[1] == 0
    for a, b in zip(net.state(), twin.state(), strict=True):
        np.testing.assert_array_equal(a, b)


def test_what_is_refused_is_refused_after_a_call_like_it():
    net = Net()
    feed = net.feed()
    net.graph.step(feed, ETA)
    before = net.state()
    wrong = {
        "feed must map leaves of this graph": {**feed, CG.Leaf1(4): feed[net.x]},
        "feed must map leaves to arrays": [feed],
        "must hold at least one leaf": {},
        "must hold real numbers": {**feed, net.x: np.array([[1j] * 4])},
        "must hold the same number of samples": {**feed, net.x: np.ones((2, 4))},
        r"must have shape \(B, 6\) or \(B, 2, 3\), got \(1, 3, 2\)": {
            **feed,
            net.image: np.ones((1, 3, 2)),
        },
    }
    for message, other in wrong.items():
        with pytest.raises((TypeError, ValueError), match=message):
            net.graph.step(other, ETA)
        with pytest.raises((TypeError, ValueError), match=message):
            net.graph.predict(other)
    for a, b in zip(net.state(), before, strict=True):
        np.testing.assert_array_equal(a, b)


def test_a_schedule_serves_requests_that_differ_in_samples_results_and_eta_alone():
    def request(
        node=None, leaves="xt", count=1, backward=True, parameters_only=True, batch=1, eta=1
    ):
        feeds = Feeds(list(leaves), [np.zeros((count, 2)) for _ in leaves], count)
        return Request(node, feeds, np.zeros(count), backward, parameters_only, batch, eta)

    schedule = plan.Schedule(request(), [], bytes(1), 1)
    for same in (request(), request(parameters_only=False), request(eta=2)):
        assert plan.find([schedule], same) is schedule
    others = [
        *(request(leaves=leaves) for leaves in ("x", "t", "tx", "xtu", "xu", "")),
        *(request(node="y"), request(count=2), request(backward=False), request(batch=2)),
    ]
    for other in others:
        assert plan.find([schedule], other) is None
        another = plan.Schedule(other, [], bytes(1), 1)
        assert plan.find([schedule, another], other) is another
        assert plan.find([another], request()) is None
    assert plan.find([], request()) is None


@pytest.mark.parametrize(
    ("count", "choice"),
    [(1, b""), (1, bytes([1])), (2, bytes([0, 2])), (0, bytes([1])), (9, b"\0")],
)
def test_a_schedule_chooses_among_its_bindings(count, choice):
    memory, nothing = Memory(0, 0, 0, 0, 0), plan.Steps([])
    binding = plan.Binding(nothing, memory, 1, [], [RowPort(0, 8)], [], memory)
    request = Request(None, Feeds([], [], 1), np.zeros(1))
    with pytest.raises(ValueError, match=f"no choice among {count} bindings, up to 8, got"):
        plan.Schedule(request, [binding] * count, choice, 1)


def test_the_choice_says_which_binding_takes_the_next_samples():
    """Each binding has memory of its own here, which tells the results apart."""
    bindings, memories, port = [], [], kernels("float64").elementwise.LanePort(0, 1, 8)
    for lanes, value in ((8, 80), (4, 40), (1, 10)):
        memories.append(np.full(8, value, np.float64))
        memory = Memory(memories[-1].ctypes.data, 0, 0, 0, 0)
        bindings.append(plan.Binding(plan.Steps([]), memory, lanes, [], [port], [], memory))
    choice = bytes([2, 2, 2, 1, 1, 0, 1, 1, 0])
    for count, blocks in ((2, (1, 1)), (3, (4,)), (5, (8,)), (7, (4, 4)), (20, (8, 8, 4))):
        out = np.zeros((count, 1))
        request = Request(None, Feeds([], [], count), out)
        schedule = plan.Schedule(request, bindings, choice, 100)
        plan.run(plan.prepare(request, schedule, plan.Steps([]), True))
        expected = np.repeat([10 * lanes for lanes in blocks], blocks)
        assert out.ravel().tolist() == expected[:count].tolist()


def test_an_array_that_becomes_smaller_after_its_check_is_not_read():
    data = np.zeros(8)
    memory = Memory(data.ctypes.data, 0, 0, 0, 0)
    nothing, port = plan.Steps([]), RowPort(0, 16)
    binding = plan.Binding(nothing, memory, 1, [port], [port], [], memory)
    for rows, out in ((1, 2), (2, 1)):
        feeds = Feeds([], [np.zeros((rows, 2))], 2)
        request = Request(None, feeds, np.zeros((out, 2)))
        schedule = plan.Schedule(request, [binding], bytes(1), 1)
        with pytest.raises(ValueError, match="has become smaller since the call began"):
            plan.prepare(request, schedule, nothing, True)


def test_the_methods_of_a_graph_describe_themselves():
    assert str(inspect.signature(CG.Graph.train)).startswith("(self, feed: ")
    assert CG.Graph.step.__doc__.startswith("Runs forward and backward passes")
    assert CG.Graph.step.__qualname__ == "Graph.step"
    with pytest.raises(TypeError, match="argument"):
        CG.Graph.step()
    with pytest.raises(TypeError, match="step: needs either eta or optimizer, got neither"):
        Net().graph.step({})
