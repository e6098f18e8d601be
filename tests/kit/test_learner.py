"""A Learner does what calls of its Graph with one sample do, to the bit, whatever happens between its calls."""

import threading
from functools import partial

import numpy as np
import pytest
from interrupts import Alarm, events, seconds, stopped
from streams import KINDS, RULES, Net, samples, state_of

import cgraph as CG

LAYOUTS = ("auto", "samples", "lanes")


@pytest.mark.parametrize("layout", LAYOUTS)
@pytest.mark.parametrize("dtype", ["float64", "float32"])
@pytest.mark.parametrize("rule", RULES)
@pytest.mark.parametrize("kind", KINDS)
def test_calls_are_those_of_the_graph_to_the_bit(kind, rule, dtype, layout):
    one, other = Net(kind, dtype, layout=layout), Net(kind, dtype, layout=layout)
    ours, theirs = RULES[rule](), RULES[rule]()
    learner = one.learner(ours)
    for number, (x, y) in enumerate(samples(9, dtype=dtype)):
        loss, output = other.graph.step(other.feed(x, y), theirs, outputs=other.y)
        if number % 2:
            assert learner.learn_one(x, y) == loss[0]
        else:
            assert learner.step_one(x, y).tolist() == output[0].tolist()
        assert one.state() == other.state()
        assert (
            learner.predict_one(x).tolist()
            == other.graph.predict({other.x: [x]}, other.y)[0].tolist()
        )
    assert state_of(ours) == state_of(theirs)


def test_losses_without_outputs_are_the_same():
    one, other = Net(), Net()
    learner = one.learner(0.05)
    for x, y in samples(5):
        assert learner.learn_one(x, y) == other.graph.step(other.feed(x, y), 0.05)[0]


def test_step_one_returns_the_prediction_before_learning():
    net = Net()
    learner = net.learner(0.1)
    for x, y in samples(4):
        before = learner.predict_one(x)
        np.testing.assert_array_equal(learner.step_one(x, y), before)
        assert np.abs(learner.predict_one(x) - before).max() > 1e-3


def test_predictions_are_arrays_of_their_own():
    net = Net()
    learner = net.learner(0.1)
    (x, y), (x2, _) = samples(2)
    first = learner.predict_one(x)
    kept = first.copy()
    learner.predict_one(x2)
    learner.step_one(x, y)
    np.testing.assert_array_equal(first, kept)
    first[...] = 7  # is no array of the Graph
    assert learner.predict_one(x).tolist() != first.tolist()


# What happens between calls


def look(net, twin):
    for each in (net, twin):
        CG.parameters(each.loss)[0].value[...] *= 0.5


def keep(net, twin):
    """A view that lives on is brought up to date at the end of each call, and may be written into."""
    for each in (net, twin):
        each.kept = [CG.parameters(each.loss)[0].value, CG.parameters(each.loss)[1].grad]


def write(net, twin):
    for each in (net, twin):
        if hasattr(each, "kept"):
            each.kept[0][0, 0] += 0.25


def accumulate(net, twin):
    for each in (net, twin):
        each.graph.accumulate(each.feed([1, 2, 3], [4, 5]))


def step(net, twin):
    for each in (net, twin):
        each.graph.step({each.x: np.ones((40, 3)), each.t: np.ones((40, 2))}, 0.01)


def freeze(net, twin):
    for each in (net, twin):
        p = CG.parameters(each.loss)[0]
        p.trainable = not p.trainable


def by_nodes(net, twin):
    for each in (net, twin):
        each.x.forwardPropagation()
        each.t.forwardPropagation()
        each.loss.backwardPropagation()
        each.loss.update(0.01)


def half_pass(net, twin):
    """A forward pass over the nodes that waits for the target is forgotten."""
    for each in (net, twin):
        each.x.forwardPropagation()


def share(net, twin):
    for each in (net, twin):
        each.clones = [*getattr(each, "clones", []), CG.clone(each.y, share=True)]


EVENTS = (look, keep, write, accumulate, step, freeze, by_nodes, share)


@pytest.mark.parametrize("rule", ["descent", "adam"])
def test_whatever_happens_between_calls_counts(rule):
    rng = np.random.default_rng(3)
    for seed in range(6):
        one, other = Net(), Net()
        ours, theirs = RULES[rule](), RULES[rule]()
        learner = one.learner(ours)
        for x, y in samples(30, seed):
            EVENTS[rng.integers(len(EVENTS))](one, other)
            for _ in range(2):
                expected = other.graph.step(other.feed(x, y), theirs)[0]
                assert learner.learn_one(x, y) == expected
            assert one.state() == other.state()
            for ours_kept, theirs_kept in zip(
                getattr(one, "kept", ()), getattr(other, "kept", ()), strict=True
            ):
                np.testing.assert_array_equal(ours_kept, theirs_kept)


@pytest.mark.filterwarnings("ignore")
def test_a_half_pass_is_forgotten():
    one, other = Net(), Net()
    learner = one.learner(0.05)
    for x, y in samples(4):
        half_pass(one, other)
        assert learner.learn_one(x, y) == other.graph.step(other.feed(x, y), 0.05)[0]
        assert one.graph is learner.graph


def test_nodes_show_the_last_sample():
    one, other = Net(), Net()
    learner = one.learner(0.05)
    for x, y in samples(3):
        learner.learn_one(x, y)
        other.graph.step(other.feed(x, y), 0.05)
        assert one.y.data.tolist() == other.y.data.tolist()
        assert one.loss.grad.tolist() == other.loss.grad.tolist()
        learner.predict_one(y[[0, 1, 1]])
        other.graph.predict({other.x: [y[[0, 1, 1]]]}, other.y)
        assert one.x.data.tolist() == other.x.data.tolist()
        assert one.y.grad.tolist() == other.y.grad.tolist()
        one.graph.sample(0)
        other.graph.sample(0)
        assert one.y.data.tolist() == other.y.data.tolist()


def test_a_backward_pass_over_nodes_may_follow():
    one, other = Net(), Net()
    learner = one.learner(0.05)
    for x, y in samples(3):
        learner.learn_one(x, y)
        other.graph.step(other.feed(x, y), 0.05)
        for each in (one, other):
            each.loss.backwardPropagation()
        assert one.state() == other.state()
        adam = CG.Adam()
        twin = CG.Adam()
        adam.update(one.loss)
        twin.update(other.loss)
        assert one.state() == other.state()


def test_settings_of_an_optimiser_count_from_the_next_call_on():
    one, other = Net(), Net()
    ours, theirs = CG.Adam(1e-2), CG.Adam(1e-2)
    learner = one.learner(ours)
    for number, (x, y) in enumerate(samples(12)):
        for each in (ours, theirs):
            if number % 3 == 1:
                each.lr = 1e-3 * number
            elif number % 3 == 2:
                each.weight_decay = 0.01 * number
        learner.learn_one(x, y)
        other.graph.step(other.feed(x, y), theirs)
        assert one.state() == other.state()


def test_one_optimiser_may_serve_graph_and_learner():
    one, other = Net(), Net()
    ours, theirs = CG.Adam(1e-2), CG.Adam(1e-2)
    learner, second = one.learner(ours), one.learner(CG.SGD(0.1, momentum=0.9))
    momentum = CG.SGD(0.1, momentum=0.9)
    for x, y in samples(6):
        learner.learn_one(x, y)
        one.graph.step(one.feed(y[[0, 1, 1]], y), ours)
        second.learn_one(x, y)
        other.graph.step(other.feed(x, y), theirs)
        other.graph.step(other.feed(y[[0, 1, 1]], y), theirs)
        other.graph.step(other.feed(x, y), momentum)
        assert one.state() == other.state()


def test_parameters_shared_with_another_graph_are_published():
    net = Net()
    copy = CG.clone(net.y, share=True)
    served = CG.Graph(copy[net.y])
    learner = net.learner(0.1)
    for x, y in samples(5):
        learner.learn_one(x, y)
        expected = learner.predict_one(x)
        np.testing.assert_array_equal(served.predict({copy[net.x]: [x]})[0], expected)


# Refusals


def test_a_stale_graph_is_refused():
    net = Net()
    learner = net.learner(0.1)
    ((x, y),) = samples(1)
    learner.learn_one(x, y)
    before = net.state()
    CG.Graph(net.loss)
    for call in (
        lambda: learner.learn_one(x, y),
        lambda: learner.step_one(x, y),
        lambda: learner.predict_one(x),
    ):
        with pytest.raises(
            RuntimeError, match=r"^Learner\.\w+_one: its nodes belong to a newer Graph"
        ):
            call()
    assert net.state() == before
    assert learner.metrics.samples == 1


def test_a_graph_that_is_running_is_refused():
    net = Net("own")
    learner = net.learner(0.1, metrics=[lambda output, target: learner.predict_one([1, 2, 3])])
    ((x, y),) = samples(1)
    for _ in range(2):
        with pytest.raises(RuntimeError, match=r"^Learner\.predict_one: is already running"):
            learner.learn_one(x, y)
    quick = Net()
    inner = quick.learner(0.1, metrics=[lambda output, target: inner.learn_one(x, y)])
    for _ in range(2):
        with pytest.raises(RuntimeError, match=r"^Learner\.learn_one: is already running"):
            inner.learn_one(x, y)


def test_threads_take_turns_or_are_refused():
    net = Net()
    learner = net.learner(1e-4)
    ((x, y),) = samples(1)
    learned = []

    def work():
        for _ in range(300):
            try:
                learner.learn_one(x, y)
            except RuntimeError:
                continue
            learned.append(1)

    workers = [threading.Thread(target=work) for _ in range(3)]
    for worker in workers:
        worker.start()
    for worker in workers:
        worker.join()
    assert learner.metrics.samples == len(learned)


@pytest.mark.parametrize("rule", [CG.Adam(nonfinite="raise"), CG.SGD(0.1, nonfinite="raise")])
def test_a_refused_gradient_changes_nothing(rule):
    net = Net()
    learner = net.learner(rule)
    stream = list(samples(3))
    for x, y in stream[:2]:
        learner.learn_one(x, y)
    before = net.state(), state_of(rule), dict(learner.metrics)
    for _ in range(2):
        with pytest.raises(FloatingPointError, match="gradients must be finite"):
            learner.learn_one([np.nan, 0, 0], y)
        assert (net.state(), state_of(rule), dict(learner.metrics)) == before
    assert net.y.grad.tolist() == [0, 0]
    twin, theirs = Net(), type(rule)(**({"lr": 0.1} if type(rule) is CG.SGD else {}))
    for x, y in stream:
        twin.graph.step(twin.feed(x, y), theirs)
    learner.learn_one(*stream[2])
    assert net.state() == twin.state()


# Signals


@pytest.mark.parametrize(
    ("kind", "earlier", "name", "apart"),
    [
        ("plain", 0, "learn_one", 13),
        ("plain", 2, "learn_one", 1),
        ("plain", 2, "step_one", 1),
        ("dropout", 2, "step_one", 2),
        ("own", 2, "learn_one", 5),
    ],
)
def test_an_exception_at_any_moment_leaves_all_of_a_sample_or_nothing(kind, earlier, name, apart):
    stream = list(samples(earlier + 2))

    def fresh():
        net, adam = Net(kind), CG.Adam(1e-2)
        learner = net.learner(adam, metrics=["mae"])
        for x, y in stream[:earlier]:
            learner.learn_one(x, y)
        return net, adam, learner

    def found(net, adam):
        return net.state(), state_of(adam).get("updates", [0])

    net, adam, learner = fresh()
    count = events(lambda: getattr(learner, name)(*stream[earlier]))
    untouched, (after, _, last) = found(*fresh()[:2]), (net, adam, learner)
    learnt = found(after, adam)
    last.learn_one(*stream[-1])
    both = found(after, adam)
    for event in range(1, count + 1, apart):
        net, adam, learner = fresh()
        assert not stopped(partial(getattr(learner, name), *stream[earlier]), event)
        state = found(net, adam)
        assert state in (untouched, learnt)
        assert learner.metrics.samples in (earlier, earlier + (state == learnt))
        if state == untouched and kind != "dropout":
            learner.learn_one(*stream[earlier])
        if kind != "dropout":
            learner.learn_one(*stream[-1])
            assert found(net, adam) == both


def test_signals_leave_all_of_a_sample_or_nothing():
    net = Net()
    learner = net.learner(1e-3)
    ((x, y),) = samples(1)
    twin = Net()
    taken = seconds(lambda: learner.learn_one(x, y))
    twin.graph.step(twin.feed(x, y), 1e-3)
    with Alarm(1) as alarm:
        for _ in range(100):
            alarm.stops(lambda: learner.learn_one(x, y), taken)
            expected = net.state()
            while twin.state() != expected:
                before = twin.state()
                twin.graph.step(twin.feed(x, y), 1e-3)
                assert twin.state() != before
                assert twin.loss.data[0] > 1e-9
