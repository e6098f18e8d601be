"""An exception at any moment of an update leaves parameters and state as before it, or as after it."""

from functools import partial

import numpy as np
import pytest
from amounts import some_of
from interrupts import stopped
from own_nodes import Scale

import cgraph as CG


class Traces(CG.Optimizer):
    """A rule in Python, with state."""

    def apply(self, values, gradients, samples):
        trace = self.state("trace")
        trace += gradients
        values -= self.rate * trace


class Case:
    """A small network; one update over nodes, or of a Graph, with or without a node of a user's class."""

    def __init__(self, path, own, rule):
        self.x = CG.Leaf1(2)
        hidden = CG.Affine(self.x, [[0.5, -0.25], [0.75, 1.0], [0.1, 0.2]])
        hidden = Scale(hidden, [1.5, 0.5]) if own else hidden
        self.loss = CG.Dots(hidden, hidden)
        self.parameters = CG.parameters(self.loss)
        self.optimizer = rule(0.1, max_grad_norm=1.0)
        self.graph = CG.Graph(self.loss) if path == "graph" else None

    def fill(self):
        self.x.getInput([1.0, 2.0])
        self.x.forwardPropagation()
        self.loss.backwardPropagation()

    def update(self):
        if self.graph is None:
            self.optimizer.update(self.loss)
        else:
            self.graph.update(self.optimizer)

    def state(self):
        state = self.optimizer.state_dict()
        return [p.value.tolist() for p in self.parameters], {
            k: v.tolist() for k, v in state.items()
        }


@some_of(
    2,
    ("path", "own", "earlier", "rule"),
    *(["nodes", "graph"], [False, True], [0, 1], [CG.Adam, Traces]),
)
def test_updates(path, own, earlier, rule):
    """The first update makes the state; later ones find it. An update in Python uses up the sums, if it raises."""
    right = Case(path, own, rule)
    expected, expected_state = {}, {}
    for _ in range(earlier + 2):
        expected[right.optimizer.updates] = right.state()[0]
        expected_state[right.optimizer.updates] = right.state()[1]
        right.fill()
        right.update()
    event, done = 1, False
    while not done:
        case = Case(path, own, rule)
        for _ in range(earlier):
            case.fill()
            case.update()
        case.fill()
        sums = [p.grad.copy() for p in case.parameters]
        done = stopped(case.update, event)
        updates = case.optimizer.updates
        values, state = case.state()
        assert values == expected[updates], event
        if updates:
            assert state == expected_state[updates], event
        counts = {count for name, count in state.items() if name.endswith("updates")}
        assert counts <= {updates, 0} if updates == 0 else counts == {updates}, event
        after = [p.grad for p in case.parameters]
        used_up = not any(grad.any() for grad in after)
        if updates == earlier:
            kept = all(map(np.array_equal, after, sums))
            assert kept or (used_up and (own or rule is Traces)), event
        else:
            assert used_up, event
        event += 1
    assert event > 20


def test_an_interrupted_call_has_used_up_the_passes_over_nodes():
    """A pass over the nodes went into the first batch, so that a later update over the nodes does not count it."""
    case = Case("graph", False, CG.SGD)
    loss, x = case.loss, case.x
    case.fill()
    rows = np.ones((4, 2))
    rows[3] = np.nan
    with pytest.raises(FloatingPointError):
        case.graph.train({x: rows}, CG.SGD(0.01, nonfinite="raise"), 2)
    case.fill()
    before, gradients = case.state()[0], [p.grad.copy() for p in case.parameters]
    CG.SGD(1.0).update(loss)
    for p, old, gradient in zip(case.parameters, before, gradients, strict=True):
        np.testing.assert_allclose(p.value, np.array(old) - gradient, rtol=1e-14)


@pytest.mark.parametrize("rule", [CG.Adam, Traces])
def test_training(rule):
    """After an exception in a call of three batches, all is as after one of them."""

    def started():
        case = Case("graph", True, rule)
        case.rows = np.linspace(-1, 1, 12).reshape(6, 2)
        return case

    right, expected = started(), []
    for first in (0, 2, 4, 6):
        expected.append(right.state())
        right.graph.step({right.x: right.rows[first : first + 2]}, right.optimizer)
    event, done, found = 1, False, set()
    while not done:
        case = started()
        call = partial(case.graph.train, {case.x: case.rows}, case.optimizer, 2)
        done = stopped(call, event)
        updates = case.optimizer.updates
        values, state = case.state()
        assert values == expected[updates][0], event
        assert updates == 0 or state == expected[updates][1], event
        assert not any(p.grad.any() for p in case.parameters), event
        found.add(updates)
        event += 1
    assert found == {0, 1, 2, 3}
