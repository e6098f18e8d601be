"""An exception at any moment leaves the state after a whole time step, and the parameters that belong to it."""

import numpy as np
import pytest
from interrupts import Alarm, events, seconds, stopped

import cgraph as CG

pytestmark = pytest.mark.thread_unsafe(reason="traces, and sets signal handlers")


def counting(streams, threads=1, layout="auto"):
    """Returns a Graph whose state counts samples, and whose bias falls by eta for each sample that is learnt."""
    x, count = CG.Leaf1(1), CG.Leaf1(1)
    new = x + count
    parameter = CG.Affine(x, [[0.0], [0.0]])
    graph = CG.Graph(
        CG.Sum(parameter + CG.Scale(count, 0.0)),
        carry={count: new},
        streams=streams,
        threads=threads,
        layout=layout,
    )
    return graph, x, count, parameter


CASES = [(None, 1), (3, 1), (70, 1), (600, 2)]


def state_of(graph, count):
    """Returns the number of time steps that the state has counted, the same for all streams."""
    states = graph.get_state()[count].ravel()
    assert (states == states[0]).all()
    return int(states[0])


@pytest.mark.usefixtures("eager_threads")
@pytest.mark.parametrize(("streams", "threads"), CASES)
@pytest.mark.parametrize("method", ["predict", "train", "accumulate"])
def test_a_signal_leaves_whole_time_steps(method, streams, threads):
    graph, x, count, parameter = counting(streams, threads)
    steps = 20_000 // (streams or 1)
    rows = np.ones((steps,) if streams is None else (steps, streams))
    options = {"train": (2.0**-20,)}.get(method, ())
    size = streams or 1

    def call():
        getattr(graph, method)({x: rows}, *options)

    call()
    duration, interrupted = seconds(call), 0
    with Alarm(seed=size) as alarm:
        for _ in range(60):
            if interrupted == 4:
                break
            graph.reset()
            graph.zero_grad()
            graph.set_vector([0.0, 0.0])
            interrupted += alarm.stops(call, duration)
            done = state_of(graph, count)
            assert 0 <= done <= steps
            learnt = -parameter.weight[1, 0] * 2**20 / size
            assert learnt == (done if method == "train" else 0)
    assert interrupted


@pytest.mark.parametrize("streams", [None, 70])
@pytest.mark.parametrize("method", ["predict", "jacobian", "per_sample_gradients", "reset", "set"])
def test_an_exception_at_some_events_of_python_leaves_whole_time_steps(method, streams):
    graph, x, count, parameter = counting(streams)
    rows = np.ones((4,) if streams is None else (4, streams))
    new = {count: np.full(1 if streams is None else (streams, 1), 7.0)}
    calls = {
        "jacobian": lambda: graph.jacobian({x: rows}, parameter, count),
        "reset": graph.reset,
        "set": lambda: graph.set_state(new),
    }
    call = calls.get(method) or (lambda: getattr(graph, method)({x: rows}))
    number = events(call)
    for event in range(1, number + 2, max(1, number // 25)):
        graph.set_state({count: 0 * new[count] + 1})
        stopped(call, event)
        assert state_of(graph, count) in (0, 1, 5, 7)
