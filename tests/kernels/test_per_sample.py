"""The steps that run single samples among steps over lanes: what they copy, in which order, and how they end."""

from types import SimpleNamespace

import numpy as np
import pytest
from lane_arena import Arena

from cgraph._kernels.lanes.per_sample import LAYOUT_COPY, PerSampleStep, PerSampleTail
from cgraph._kernels.runtime import plan
from cgraph._kernels.runtime.step import PythonStep
from cgraph._kernels.runtime.structs import structs

ITEM = 8  # bytes of float64
# Half a line, a line and four lines of samples, and how many of them exist.
BLOCKS = [(lanes, valid) for lanes in (4, 8, 32) for valid in (1, 3, lanes - 1, lanes)]
every_block = pytest.mark.parametrize(("lanes", "valid"), BLOCKS)


class Noting:
    """The interface of a node that a PythonStep uses, which doubles an element and notes its calls.

    Call number `raises` raises.
    """

    def __init__(self, own=None, raises=-1):
        self._residency = SimpleNamespace(
            before_python_node=lambda: None, after_python_node=lambda: None
        )
        self._frozen, self._sharing = (), None
        self.own, self.raises = own, raises
        self.calls = []

    def calcData(self):
        self.call("forward")
        if self.own:
            self.own.data[1] = 2 * self.own.data[0]

    def calcPartialDerivative(self):
        self.call("backward")
        if self.own:
            self.own.grad[0] += 2 * self.own.grad[1]

    def call(self, method):
        self.calls.append((method, self.own and self.own.data[0]))
        if len(self.calls) == self.raises:
            raise ValueError("in a sample")


def lanes_and_step(step_class, lanes, raises=-1):
    """Returns an arena of lanes, the node of a step that doubles the first row there, and that step."""
    data = np.arange(2.0 * lanes)
    own = Arena(np.zeros(2), np.zeros(2))
    node = Noting(own, raises)
    copies = [
        structs(LAYOUT_COPY, 1, lanes_offset=row, offset=element, channels=1, size=1, pitch=1)
        for row, element in ((0, 0), (lanes, 1))
    ]
    step = step_class(plan.Steps([PythonStep(node)]), own.memory, lanes, ITEM, *copies)
    return Arena(data, -1 - data), node, step


@every_block
def test_samples_that_exist_enter_and_leave_and_no_others(lanes, valid):
    arena, node, step = lanes_and_step(PerSampleStep, lanes)
    data, grad = arena.data.copy(), arena.grad.copy()
    plan.forward(plan.Steps([step]), arena.memory, valid)
    data[lanes : lanes + valid] = 2 * data[:valid]
    np.testing.assert_array_equal(arena.data, data)
    assert node.calls == [("forward", i) for i in range(valid)]
    del node.calls[:]
    plan.backward(plan.Steps([step]), arena.memory, valid)
    grad[:valid] += 2 * grad[lanes : lanes + valid]
    np.testing.assert_array_equal(arena.grad, grad)
    np.testing.assert_array_equal(arena.data, data)
    again = [(way, i) for i in reversed(range(valid)) for way in ("forward", "backward")]
    assert node.calls == again[1:]


@every_block
def test_at_the_end_each_sample_goes_forward_and_backward_at_once(lanes, valid):
    arena, node, step = lanes_and_step(PerSampleTail, lanes)
    data, grad = arena.data.copy(), arena.grad.copy()
    node.own.grad[:] = 0, 0.5  # what a seed step would write
    plan.forward(plan.Steps([step]), arena.memory, valid)
    data[lanes : lanes + valid] = 2 * data[:valid]
    grad[:valid] = 1 + np.arange(valid)  # the node adds 2 · 0.5, and nothing sets it to 0 here
    np.testing.assert_array_equal(arena.data, data)
    np.testing.assert_array_equal(arena.grad, grad)
    assert node.calls == [(way, i) for i in range(valid) for way in ("forward", "backward")]
    plan.backward(plan.Steps([step]), arena.memory, valid)
    assert len(node.calls) == 2 * valid


@pytest.mark.parametrize("run", [plan.forward, plan.backward])
@pytest.mark.parametrize("step_class", [PerSampleStep, PerSampleTail])
def test_an_error_in_one_sample_ends_the_pass_and_comes_out_once(run, step_class):
    """The steps behind the one that raises are not run, in either order."""
    arena, node, step = lanes_and_step(step_class, lanes=8, raises=3)
    before, behind = Noting(), Noting()
    steps = plan.Steps([PythonStep(before), step, PythonStep(behind)])
    if step_class is PerSampleTail and run is plan.backward:
        run(steps, arena.memory, 8)
        assert not node.calls
        return
    with pytest.raises(ValueError, match="in a sample"):
        run(steps, arena.memory, 8)
    assert len(node.calls) == 3
    calls = len(before.calls), len(behind.calls)
    assert calls == ((1, 0) if run is plan.forward else (0, 1))
    node.raises = -1
    run(plan.Steps([PythonStep(before)]), arena.memory, 8)  # no error is left
