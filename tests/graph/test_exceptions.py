"""An exception at any line of a call: no gradient is applied twice, and none of an older call reappears."""

import sys

import numpy as np
import pytest
from amounts import full
from interrupts import Stopped, stopped

import cgraph as CG

pytestmark = [
    pytest.mark.thread_unsafe(reason="traces"),
    pytest.mark.usefixtures("eager_threads"),
]
ETA, COUNT, BATCH = 0.125, 40, 16
ROWS = np.random.default_rng(0).uniform(-1, 1, (2, COUNT, 6))


def network(layout, threads):
    """Returns a graph whose gradient sums are not 0, and its only leaf."""
    rng = np.random.default_rng(1)
    x = CG.Leaf1(6)
    first = CG.Affine(x, rng.uniform(-1, 1, (7, 5)))
    second = CG.Affine(CG.Tanh(first), rng.uniform(-1, 1, (6, 3)))
    graph = CG.Graph(CG.Norm2(second), layout=layout, threads=threads)
    graph.step({x: ROWS[0]}, ETA)
    return graph, x


def weights(graph):
    return np.concatenate([p.value.ravel() for p in CG.parameters(graph.nodes[-1])])


def accumulate(graph, x):
    return graph.accumulate({x: ROWS[1]})


def step(graph, x):
    return graph.step({x: ROWS[1]}, ETA)


def train(graph, x):
    return graph.train({x: ROWS[1]}, ETA, BATCH)


def update(graph, x):
    return graph.update(ETA)


def ends(call, layout, threads):
    """Returns the values that parameters may have after an interrupted call and an update."""
    graph, x = network(layout, threads)
    if call is update:
        graph.accumulate({x: ROWS[1]})
        graph.update(ETA)
        return [weights(graph)]
    found = [weights(graph)]
    size = BATCH if call is train else COUNT
    for first in range(0, COUNT, size):
        graph.accumulate({x: ROWS[1][first : first + size]})
        graph.update(ETA)
        found.append(weights(graph))
    return found


@pytest.mark.parametrize(("threads", "every"), [(1, 3), (2, 5), full((1, 1)), full((2, 1))])
@pytest.mark.parametrize("layout", ["lanes", "samples"])
@pytest.mark.parametrize("call", [accumulate, step, train, update])
def test_whatever_line_is_the_last_each_gradient_counts_once_or_not_at_all(
    call, layout, threads, every, thorough
):
    """Or one in `every` lines; by default fewer of those in which the first batch over lanes has its steps made."""
    if call is train and layout == "lanes" and not thorough:
        every *= 7
    allowed = ends(call, layout, threads)
    event, complete = 0, False
    while not complete:
        event += every
        graph, x = network(layout, threads)
        if call is update:
            graph.accumulate({x: ROWS[1]})
        complete = stopped(lambda graph=graph, x=x: call(graph, x), event)
        graph.update(ETA)
        found = weights(graph)
        distances = [np.abs(found - each).max() for each in allowed]
        assert min(distances) < 1e-12, event
    assert event > 5


@pytest.mark.parametrize("layout", ["lanes", "samples"])
@pytest.mark.parametrize("call", [accumulate, step, update])
def test_sums_that_are_looked_at_in_the_middle_of_a_call_are_right_after_it(call, layout):
    """Another thread, or a signal handler, may read gradient sums in the middle of a call."""
    plain, x = network(layout, 1)
    plain.accumulate({x: ROWS[1]})
    call(plain, x)
    expected = [p.grad.copy() for p in CG.parameters(plain.nodes[-1])]
    for event in range(1, 60, 4):
        graph, x = network(layout, 1)
        graph.accumulate({x: ROWS[1]})
        left, exposed = event, []

        def look(frame, *_, graph=graph, exposed=exposed):
            nonlocal left
            left -= 1
            if left == 0:
                sys.settrace(None)
                exposed += [p.grad for p in CG.parameters(graph.nodes[-1])]
            return look if "cgraph" in frame.f_globals["__name__"] else None

        sys.settrace(look)
        call(graph, x)
        sys.settrace(None)
        found = exposed or [p.grad for p in CG.parameters(graph.nodes[-1])]
        for ours, theirs in zip(found, expected, strict=True):
            np.testing.assert_allclose(ours, theirs, 1e-12, 1e-12)


def test_sums_that_are_looked_at_while_a_call_reads_arrays_stay_0_if_it_is_stopped():
    """A signal handler reads the gradient sums, and the call is stopped at that same moment."""
    x = CG.Leaf2(4, 4)
    maps = [CG.Convolution2d([x], np.ones((1, 2, 2)), 0.0) for _ in range(3)]
    graph = CG.Graph(CG.Norm2(CG.Concatenation(maps)), threads=1)
    rows = np.random.default_rng(0).uniform(-1, 1, (4, 4, 4))
    graph.step({x: rows}, ETA)
    begin = graph._executable.residency.begin

    def look_and_stop():
        assert not maps[0].gradKernel.any()
        raise Stopped

    for where in ("before", "after"):

        def stopped_begin(where=where):
            if where == "after":
                begin()
            look_and_stop()

        graph._executable.residency.begin = stopped_begin
        with pytest.raises(Stopped):
            graph.predict({x: rows})
        del graph._executable.residency.begin
        assert not any(node.gradKernel.any() for node in maps)


@pytest.mark.parametrize("call", ["forward", "predict", "step", "accumulate", "sample"])
def test_after_a_call_that_was_stopped_the_nodes_own_backward_pass_needs_another(call):
    class Stopping(CG.Node):
        stops = False

        def __init__(self, node1):
            super().__init__(node1.size, 1, 1, [node1])

        def calcData(self):
            if self.stops:
                raise Stopped
            self.data = self.backward[0].data

    x = CG.Leaf1(1)
    node = Stopping(x)
    loss = CG.Dots(node, node)
    graph = CG.Graph(loss)
    graph.accumulate({x: [[1.0]]})
    node.stops = True
    arguments = {
        "forward": (),
        "sample": (0,),
        "step": ({x: [[2.0]]}, ETA),
    }.get(call, ({x: [[2.0]]},))
    with pytest.raises(Stopped):
        getattr(graph, call)(*arguments)
    with pytest.raises(RuntimeError, match="needs a completed forward pass first"):
        loss.backwardPropagation()
