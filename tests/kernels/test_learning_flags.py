"""Parameters that do not learn are left alone, and those of an earlier step are added to, by every step that learns."""

from itertools import product
from typing import NamedTuple

import numpy as np
import pytest
from lane_arena import aligned, extents, kernels, lanes_of, operand, padded
from numpy.testing import assert_array_equal

from cgraph._kernels.common.geometry import FilterGeometry
from cgraph._kernels.runtime import plan
from cgraph._kernels.runtime.memory import Memory
from cgraph._kernels.runtime.request import Feeds, Request
from cgraph._kernels.runtime.step import LearningStep, RowPort

pytestmark = [
    pytest.mark.usefixtures("build_name"),
    pytest.mark.thread_unsafe(reason="selects kernels for all threads"),
]

FIRST = 5  # the offset of the first weight; as many parameters of others lie behind the last bias
PADDED = FilterGeometry(5, 4, 3, 2, 5, 4, 1, 1, 0)
INNER = FilterGeometry(5, 4, 3, 2, 3, 3, 1, 0, 0)
ONE = FilterGeometry(1, 1, 1, 1, 1, 1, 1, 0, 0)
ONE_TO_ONE = FilterGeometry(3, 3, 1, 1, 3, 3, 1, 0, 0)
SPARSE = np.array([[1, 1, 0], [1, 0, 1], [1, 1, 1], [0, 1, 1]], np.uint8)
MODES = ["overwrite", "add", "fused"]


class Layer(NamedTuple):
    """A step, and the numbers of elements that it uses; the inputs come first among the data."""

    step: LearningStep
    inputs: int
    outputs: int
    weights: int
    biases: int
    scratch: int = 1
    lanes: int = 1


def affine(dtype, stride=1, m=11, n=19):
    step = kernels(dtype).affine.AffineStep(
        operand(0, stride), operand(m * stride, stride), m, n, FIRST, 1.5
    )
    return Layer(step, m * stride, n * stride, (m + 1) * n, 0)


def convolution(dtype, stride=1, f=PADDED, channels=3):
    family, size = kernels(dtype).convolution, f.m_h * f.m_w * stride
    inputs = [operand(c * size, stride) for c in range(channels)]
    taps = np.arange(channels * f.k_h * f.k_w)
    taps = taps // (f.k_h * f.k_w) * f.frame + taps % f.k_w + taps // f.k_w % f.k_h * f.pitch
    step = family.ConvolutionStep(f, inputs, operand(channels * size, stride), taps, FIRST, 0)
    scratch = family.convolution2d_scratch(f, channels)
    return Layer(step, channels * size, f.n_h * f.n_w * stride, len(taps), 1, scratch)


def group(dtype, f=PADDED, c_in=4, c_out=3, connected=None):
    family = kernels(dtype).channels_convolution_group
    x_pitch, pitch = padded(c_in, dtype), padded(c_out, dtype)
    size, outputs = f.m_h * f.m_w * x_pitch, f.n_h * f.n_w * pitch
    inputs = [operand(c, x_pitch) for c in range(c_in)]
    step = family.ConvolutionGroupStep(f, inputs, operand(size, pitch), c_out, FIRST, 0, connected)
    scratch = family.convolution_group_scratch(f, c_in, c_out)
    return Layer(step, size, outputs, f.k_h * f.k_w * c_in * pitch, pitch, scratch)


def lanes(dtype, f=PADDED, c_in=4, c_out=3, pitch=3, connected=None):
    family, count = kernels(dtype).lanes_layer, lanes_of(dtype)
    size, taps = f.m_h * f.m_w * count, f.k_h * f.k_w
    scratch = family.lane_layer_scratch(f, count, c_out, connected)
    strides = (1, taps, 1) if c_out == 1 else (c_in * pitch, pitch, pitch)
    step = family.LaneLayerStep(
        f,
        count,
        [operand(c * size, count) for c in range(c_in)],
        operand(c_in * size, count),
        c_out,
        FIRST,
        0,
        *strides,
        1.5,
        connected,
    )
    outputs = c_out * f.n_h * f.n_w * count
    return Layer(step, c_in * size, outputs, taps * c_in * pitch, pitch, scratch, count)


def layer_norm(dtype, count=1, m=11):
    """Without lanes, or over `count` lanes."""
    scratch = 2 * max(count, lanes_of(dtype))
    step = kernels(dtype).reduction.LayerNormStep(
        m, count, operand(0, count), operand(m * count, count), FIRST, 0, 1e-3
    )
    return Layer(step, m * count, m * count, m, m, scratch, count)


LAYERS = {
    "layer norm": layer_norm,
    "layer norm, lanes": lambda dtype: layer_norm(dtype, lanes_of(dtype)),
    "layer norm, two lines": lambda dtype: layer_norm(dtype, 2 * lanes_of(dtype), 37),
    "affine": affine,
    "affine, strided": lambda dtype: affine(dtype, 3),
    "affine, one output": lambda dtype: affine(dtype, n=1),
    "convolution": convolution,
    "convolution, strided": lambda dtype: convolution(dtype, 2, INNER),
    "group": group,
    "group, in place": lambda dtype: group(dtype, INNER, 8, 5),
    "group, 1 × 1": lambda dtype: group(dtype, ONE_TO_ONE, 8, 8),
    "group, sparse": lambda dtype: group(dtype, connected=SPARSE),
    "lanes": lanes,
    "lanes, gaps": lambda dtype: lanes(dtype, pitch=8),
    "lanes, sparse": lambda dtype: lanes(dtype, pitch=8, connected=SPARSE),
    "lanes, single": lambda dtype: lanes(dtype, c_out=1, pitch=1),
    "lanes, affine": lambda dtype: lanes(dtype, ONE, 11, 19, 19),
    "lanes, affine with gaps": lambda dtype: lanes(dtype, ONE, 11, 19, 24),
}


class Passes:
    """The arrays of one forward and backward pass of a step, all of them filled with random numbers before."""

    def __init__(self, name, dtype, mode, weights_learn=True, biases_learn=True, accumulate=False):
        self.layer = layer = LAYERS[name](dtype)
        step = layer.step
        step.weights_learn, step.biases_learn = weights_learn, biases_learn
        step.accumulate = accumulate
        rng = np.random.default_rng(1)
        size = layer.inputs + layer.outputs + 64
        learning = FIRST + layer.weights + layer.biases + FIRST
        data, grad, parameters, sums = (
            aligned(rng.normal(size=count).astype(dtype))
            for count in (size, size, learning, learning)
        )
        sums[::3] = np.nan
        self.grad, self.parameters, self.sums = grad, parameters, sums
        self.before = parameters.copy(), sums.copy()
        scratch = aligned(np.zeros(layer.scratch + 64, dtype))
        arrays = data, grad, parameters, sums, scratch
        self.run(Memory(*(x.ctypes.data for x in arrays)), mode, np.dtype(dtype))

    def run(self, memory, mode, dtype):
        count, steps = self.layer.lanes, plan.Steps([self.layer.step])
        memory.grads_are_zero = mode != "add"
        if mode != "fused":
            plan.forward(steps, memory, count)
            plan.backward(steps, memory, count)
            return
        port = RowPort(0, dtype.itemsize)
        binding = plan.Binding(steps, memory, count, [], [port], [], memory)
        out = np.empty(count, dtype)
        request = Request(None, Feeds([], [], count), out, True, False, count, 0.125)
        schedule = plan.Schedule(request, [binding], bytes(1), 1, one_by_one=True)
        plan.run(plan.prepare(request, schedule, plan.Steps([]), grads_are_zero=True))

    def learning(self):
        """Returns the elements of weights and of biases, and the others."""
        end = FIRST + self.layer.weights
        every = np.arange(self.sums.size)
        weights, biases = every[FIRST:end], every[end : end + self.layer.biases]
        return weights, biases, np.delete(every, np.concatenate([weights, biases]))


def assert_same_bits(x, y):
    assert_array_equal(x.view(np.uint8), y.view(np.uint8))


def every_layer(test):
    test = pytest.mark.parametrize("dtype", [np.float32, np.float64])(test)
    return pytest.mark.parametrize("name", LAYERS)(test)


@every_layer
@pytest.mark.parametrize("mode", MODES)
def test_parameters_that_do_not_learn_are_left_alone_and_nothing_else_changes(name, dtype, mode):
    """Where the weights of an Affine do not learn, fused SGD has no loop that would round in another order.

    Both flags of its step are alike: the biases are the last row of the weights.
    """
    full, unfused = Passes(name, dtype, mode), Passes(name, dtype, "overwrite")
    for flags in product([True, False], repeat=2):
        if flags[0] != flags[1] and type(full.layer.step).__name__ == "AffineStep":
            continue
        part = Passes(name, dtype, mode, *flags)
        assert_same_bits(part.grad, full.grad if flags[0] else unfused.grad)
        weights, biases, others = part.learning()
        for elements, learns in ((weights, flags[0]), (biases, flags[1]), (others, False)):
            expected = (full.parameters, full.sums) if learns else part.before
            assert_same_bits(part.parameters[elements], expected[0][elements])
            assert_same_bits(part.sums[elements], expected[1][elements])


@every_layer
def test_fused_sgd_changes_all_that_learns(name, dtype):
    passes = Passes(name, dtype, "fused")
    weights, biases, _ = passes.learning()
    changed = passes.parameters != passes.before[0]
    assert changed[weights].any()
    assert changed[biases].any() == (biases.size > 0)


@every_layer
def test_a_step_that_accumulates_adds_to_sums_that_count_as_zero(name, dtype):
    added, accumulated = (
        Passes(name, dtype, "add"),
        Passes(name, dtype, "overwrite", accumulate=True),
    )
    assert_same_bits(accumulated.sums, added.sums)
    assert_same_bits(accumulated.grad, added.grad)
    overwritten = Passes(name, dtype, "overwrite")
    assert not np.array_equal(added.sums, overwritten.sums, equal_nan=True)


@pytest.mark.parametrize("name", LAYERS)
def test_at_first_all_parameters_learn_and_nothing_accumulates(name):
    step = LAYERS[name](np.float64).step
    assert isinstance(step, LearningStep)
    assert (step.weights_learn, step.biases_learn, step.accumulate) == (True, True, False)


RUNS = {
    "none": [],
    "all": [(0, 50)],
    "empty": [(0, 0), (7, 0), (50, 0)],
    "adjacent": [(0, 3), (3, 1), (4, 17), (21, 0), (21, 29)],
    "apart": [(49, 1), (2, 9), (12, 30)],
}


@pytest.mark.parametrize("dtype", [np.float32, np.float64])
@pytest.mark.parametrize("grads_are_zero", [True, False])
@pytest.mark.parametrize("name", RUNS)
def test_an_update_changes_the_runs_that_learn_alone(name, grads_are_zero, dtype):
    rng = np.random.default_rng(2)
    w, dw = (aligned(rng.integers(-8, 9, 50).astype(dtype)) for _ in "12")
    learning = np.zeros(50, bool)
    for first, count in RUNS[name]:
        learning[first : first + count] = True
    dw[~learning] = np.nan
    expected, before = np.where(learning, w - 0.5 * dw, w), dw.copy()
    memory = Memory(0, 0, w.ctypes.data, dw.ctypes.data, 0)
    step = kernels(dtype).elementwise.SGDStep(extents(*RUNS[name]))
    plan.apply_update(plan.Steps([step]), memory, 0.5, grads_are_zero)
    assert_array_equal(w, expected)
    assert_same_bits(dw, before if grads_are_zero else np.where(learning, 0, before).astype(dtype))
