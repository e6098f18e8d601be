"""An exception at any moment of an update leaves parameters and state as before it, or as after it."""

import numpy as np
import pytest
from interrupts import stopped
from own_nodes import Scale

import cgraph as CG


class Case:
    """A small network; one update by Adam over nodes, or of a Graph, with or without a node of a user's class."""

    def __init__(self, path, own):
        self.x = CG.Leaf1(2)
        hidden = CG.Affine(self.x, [[0.5, -0.25], [0.75, 1.0], [0.1, 0.2]])
        hidden = Scale(hidden, [1.5, 0.5]) if own else hidden
        self.loss = CG.Dots(hidden, hidden)
        self.parameters = CG.parameters(self.loss)
        self.optimizer = CG.Adam(0.1, max_grad_norm=1.0)
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


@pytest.mark.parametrize("own", [False, True], ids=["compiled", "own"])
@pytest.mark.parametrize("path", ["nodes", "graph"])
@pytest.mark.parametrize("earlier", [0, 1])
def test_updates(path, own, earlier):
    """The first update makes the state; later ones find it."""
    right = Case(path, own)
    expected = {}
    for _ in range(earlier + 2):
        expected[right.optimizer.updates] = right.state()[0]
        right.fill()
        right.update()
    event, done = 1, False
    while not done:
        case = Case(path, own)
        for _ in range(earlier):
            case.fill()
            case.update()
        case.fill()
        sums = [p.grad.copy() for p in case.parameters]
        done = stopped(case.update, event)
        updates = case.optimizer.updates
        values, state = case.state()
        assert values == expected[updates], event
        counts = {count for name, count in state.items() if name.endswith("updates")}
        assert counts <= {updates, 0} if updates == 0 else counts == {updates}, event
        after = [p.grad for p in case.parameters]
        if updates == earlier:
            assert all(map(np.array_equal, after, sums)), event
        else:
            assert not any(grad.any() for grad in after), event
        event += 1
    assert event > 20
