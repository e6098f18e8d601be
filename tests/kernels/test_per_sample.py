"""Steps for one sample among steps over lanes: every stretch of a graph gives the results of its nodes."""

from types import SimpleNamespace

import numpy as np
import pytest
from amounts import full
from batch_settings import Setting
from batch_twins import BatchTwins, uniform
from graph_networks import crossed_residual, dense_lenet, nodes_of, residual, strides_of_two
from guard_pages import Guard, needs_guard_pages
from lane_arena import Arena, lanes_of
from per_sample_stretch import stretch

from cgraph._kernels.lanes.per_sample import LAYOUT_COPY, PerSampleStep
from cgraph._kernels.runtime import plan
from cgraph._kernels.runtime.step import PythonStep
from cgraph._kernels.runtime.structs import structs
from cgraph._lowering.fusion import fuse
from cgraph._lowering.program import Kind

pytestmark = pytest.mark.thread_unsafe(reason="replaces what makes the steps of Graphs")
LENGTHS = (1, 2, 4)  # fused groups


def stretches(network):
    """Returns the stretches of consecutive fused groups without leaves: at the beginning, in the middle, at the end."""
    groups = fuse([nodes_of(network, "float64")[-1]]).groups
    inner = [i for i, group in enumerate(groups) if group.kind is not Kind.LEAF]
    found = [(i, j + 1) for i in inner for j in inner if j + 1 - i in (*LENGTHS, len(inner))]
    return found[::5] if network is dense_lenet else found


@needs_guard_pages
@pytest.mark.parametrize(
    ("dtype", "edge"),
    [
        ("float64", "begin"),
        full(("float64", "end")),
        full(("float32", "begin")),
        ("float32", "end"),
    ],
)
@pytest.mark.parametrize(
    "network", [residual, crossed_residual, strides_of_two, dense_lenet], ids=lambda n: n.__name__
)
def test_a_stretch_of_samples_among_lanes_gives_the_sums_of_the_nodes(
    network, dtype, edge, monkeypatch
):
    """Gradient sums of whole blocks of lanes and of a part of one are right, also where they add to earlier sums."""
    nodes = nodes_of(network, dtype)
    count = lanes_of(dtype) + 3
    twins = BatchTwins(lambda: nodes_of(network, dtype), len(nodes) - 1, uniform(nodes), count)
    guard = Guard(edge).install(monkeypatch)
    for first, last in stretches(network):
        stretch(monkeypatch, guard, first, last)
        twins.check_sums(Setting("lanes", 1), count, 3)


# Python steps

LANES, ITEM = 8, 8  # samples side by side in float64
OWN = LANES * ITEM  # bytes of a sample: data in the first half, gradients in the second


class Counting:
    """The interface of a node that a PythonStep uses; call number `raises` raises, and each sample is one call."""

    def __init__(self, raises=-1):
        self._residency = SimpleNamespace(
            before_python_node=lambda: None, after_python_node=lambda: None
        )
        self._frozen = ()
        self.calls, self.raises = 0, raises

    def calcData(self):
        self.calls += 1
        if self.calls == self.raises:
            raise ValueError("in a sample")

    calcPartialDerivative = calcData


def arena_and_step(node):
    """Returns an arena and a step that reads one element and writes another."""
    step = PythonStep(node)
    data = np.arange(2.0 * LANES)
    arena = Arena(data, -1 - data)
    scratch = np.zeros(LANES * OWN // ITEM)
    addresses = [x.__array_interface__["data"][0] for x in (arena.data, arena.grad, scratch)]
    memory = plan.Memory(addresses[0], addresses[1], addresses[0], addresses[1], addresses[2])
    copies = [
        structs(LAYOUT_COPY, 1, lanes_offset=lanes, offset=own, channels=1, size=1, pitch=1)
        for lanes, own in ((0, 0), (LANES, 1))
    ]
    many = PerSampleStep(plan.Steps([step]), LANES, ITEM, 0, OWN, OWN // 2, OWN // 2, *copies)
    return arena, memory, step, many, scratch.reshape(LANES, -1)


@pytest.mark.parametrize("valid", [1, 3, LANES])
def test_samples_that_exist_enter_and_leave_and_no_others(valid):
    node = Counting()
    arena, memory, _, many, own = arena_and_step(node)
    data, grad = arena.data.copy(), arena.grad.copy()
    own[:, 1] = np.arange(100, 100 + LANES)  # the results of the steps
    plan.forward(plan.Steps([many]), memory, valid)
    np.testing.assert_array_equal(own[:, 0], np.where(np.arange(LANES) < valid, data[:LANES], 0))
    data[LANES : LANES + valid] = own[:valid, 1]
    np.testing.assert_array_equal(arena.data, data)
    plan.backward(plan.Steps([many]), memory, valid)
    np.testing.assert_array_equal(own[:valid, 4], grad[:valid])
    np.testing.assert_array_equal(own[:valid, 5], grad[LANES : LANES + valid])
    assert not own[valid:, 4:].any()
    np.testing.assert_array_equal(arena.grad, grad)
    assert node.calls == 2 * valid


@pytest.mark.parametrize("run", [plan.forward, plan.backward])
def test_an_error_in_one_sample_ends_the_pass(run):
    """The steps behind the one that raises are not run, in either order."""
    node = Counting(raises=3)
    _, memory, step, many, _ = arena_and_step(node)
    before, behind = Counting(), Counting()
    run(plan.Steps([PythonStep(before), many, PythonStep(behind)]), memory, LANES)
    assert node.calls == 3
    assert (before.calls, behind.calls) == ((1, 0) if run is plan.forward else (0, 1))
    assert isinstance(step.error, ValueError)
