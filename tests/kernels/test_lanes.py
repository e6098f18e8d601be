"""Steps over lanes compute for each sample the results of the steps for one sample."""

import itertools

import numpy as np
import pytest
from amounts import some_of
from arrays import assert_equal, assert_within
from lane_arena import Arena, blocks_of, extents, kernels, lanes_of, operand, poisoned

from cgraph._kernels.common.geometry import FilterGeometry
from cgraph._kernels.runtime.step import SEED, GivenSeedStep
from cgraph._kernels.runtime.structs import structs
from cgraph._lowering import lane_steps
from cgraph._lowering.ops import ROWS

pytestmark = [
    pytest.mark.usefixtures("build_name"),
    pytest.mark.thread_unsafe(reason="selects kernels for all threads"),
]

REDUCTIONS = {op.node_class.__name__: op for op in ROWS if op.lanes is lane_steps.reduction}
# The numbers that steps are made with, and the operations whose output has as many elements as others' inputs.
CONSTANTS = {"Huber": (0.75,)}
WIDE_OUTPUTS = ("Softmax", "LogSoftmax", "Expand")
WINDOWS = {
    "pairs": FilterGeometry(6, 4, 2, 2, 3, 2, 2, 0, 0),
    "pairs, a column left over": FilterGeometry(4, 5, 2, 2, 2, 2, 2, 0, 0),
    "overlapping": FilterGeometry(5, 6, 3, 3, 3, 4, 1, 0, 0),
    "padded": FilterGeometry(5, 4, 3, 2, 3, 3, 2, 1, 1),
    "gaps": FilterGeometry(7, 7, 2, 2, 2, 2, 4, 0, 0),
}


def dtypes(test):
    return pytest.mark.parametrize("dtype", [np.float32, np.float64])(test)


SPECIAL = (
    8  # lanes that hold special numbers; in a block of fewer lanes, one half of them or the other
)


def samples(m, lanes, dtype, rng, half=0):
    """Returns rows of lanes for three operands; each of the lines below describes the special numbers of a lane."""
    x, y, z = rng.uniform(-2, 2, (3, m, max(lanes, SPECIAL))).astype(dtype)
    limits = np.finfo(dtype)
    x[:, 1] = np.abs(x[:, 1])
    x[0, 2] = np.nan
    x[-1, 3] = np.inf
    x[:, 4], y[:, 4] = 0, 0
    x[:, 5] *= limits.max / (4 * m)
    y[:, 5] /= limits.max
    x[:, 6] *= limits.tiny
    x[0, 7], y[0, 7] = np.nan, 0
    first = half * (x.shape[1] - lanes)
    return [rows[:, first : first + lanes] for rows in (x, y, z)]


def step_of(name, dtype, m, lanes, inputs, d):
    """Returns the step of a reduction, with as many of the inputs as it has."""
    op = REDUCTIONS[name]
    family = kernels(dtype, lanes if lanes > 1 else None).reduction
    operation = getattr(family, op.node_class._operation).of(*CONSTANTS.get(name, ()))
    return operation.step(m, lanes, inputs[: op.inputs], d)


def one_sample(op, xs, grads, places):
    """Returns output and gradients of the inputs by the step for one sample, whose operands are contiguous.

    As in a Graph, each begins a vector of its own; what lies behind it is NaN.
    """
    dtype, m, size = xs[0].dtype, len(xs[0]), len(grads[-1])
    vector = kernels(dtype).padded_bytes // dtype.itemsize
    room = -(-m // vector) * vector
    inputs = [operand(k * room, 1, *place) for k, place in enumerate(places)]
    step = step_of(op, dtype, m, 1, inputs, operand(3 * room, 1))
    data, grad = np.full((2, 4, room), np.nan, dtype)
    for row, values in zip((*data, *grad), (*xs, np.zeros(size, dtype), *grads), strict=True):
        row[: len(values)] = values
    data, grad = (v.reshape(4, room) for v in Arena(data.ravel(), grad.ravel()).run(step))
    return data[3, :size], *grad[:3, :m]


def all_lanes(op, xs, grads, places, valid):
    """Returns output and gradients of the inputs by the step over all lanes."""
    (m, lanes), dtype, size = xs[0].shape, xs[0].dtype, len(grads[-1])
    inputs = [operand(k * m * lanes, lanes, *place) for k, place in enumerate(places)]
    step = step_of(op, dtype, m, lanes, inputs, operand(3 * m * lanes, lanes))
    rows = [poisoned(r, valid) for r in (*xs, np.zeros((size, lanes), dtype))]
    arena = Arena(np.concatenate(rows).ravel(), np.concatenate(grads).ravel())
    data, grad = (v.reshape(-1, lanes) for v in arena.run(step, valid))
    return data[3 * m :], *grad[: 3 * m].reshape(3, m, lanes)


@some_of(2, ("op", "m", "dtype"), REDUCTIONS, [1, 10, 150], [np.float32, np.float64])
def test_each_lane_of_a_reduction_equals_one_sample(op, m, dtype):
    rng = np.random.default_rng(m)
    size = m if op in WIDE_OUTPUTS else 1
    flags = [(True, True, True), (False, True, True), (True, False, False)]
    close = 32 * np.finfo(dtype).eps
    for lanes, half in itertools.product(blocks_of(dtype), (0, 1)):
        if half and lanes >= SPECIAL:
            continue
        xs = samples(m, lanes, dtype, rng, half)
        grads = [rng.uniform(-1, 1, (rows, lanes)).astype(dtype) for rows in (m, m, m, size)]
        for k, (first, last) in enumerate(itertools.product(flags, flags)):
            places = (first, last, last)
            each = [
                one_sample(op, [x[:, lane] for x in xs], [g[:, lane] for g in grads], places)
                for lane in range(min(lanes, SPECIAL))
            ]
            # Each count once with all gradients wanted, the others for some counts.
            for valid in range(1, lanes + 1) if k == 0 else (1, lanes - 1, lanes):
                found, some = all_lanes(op, xs, grads, places, valid), min(valid, SPECIAL)
                for ours, theirs in zip(found, zip(*each[:some], strict=True), strict=True):
                    assert_within(ours[:, :some], np.transpose(theirs), close, 4 * m * close)


@dtypes
@pytest.mark.parametrize("op", ["Dots", "MSE", "CEE"])
def test_a_node_may_be_both_inputs_of_a_reduction(op, dtype):
    lanes, m = lanes_of(dtype), 3
    x = np.random.default_rng(0).uniform(0.5, 1, (m, lanes)).astype(dtype)
    data = np.concatenate([x, np.zeros((1, lanes), dtype)])
    grad = np.full_like(data, 2)
    step = getattr(kernels(dtype).reduction, op.lower()).step(
        m, lanes, [operand(0, lanes), operand(0, lanes, True)], operand(m * lanes, lanes)
    )
    _, grad = Arena(data.ravel(), grad.ravel()).run(step, lanes)
    slopes = {"Dots": 2 * x, "MSE": 0 * x, "CEE": -1 - np.log(x)}
    np.testing.assert_allclose(grad.reshape(-1, lanes)[:m], 2 * slopes[op], 1e-5, 1e-6)


def pooled(make, x, g, grad, window, lanes, add, images):
    """Returns output and input gradient of a pooling of images over lanes."""
    m, n = window.m_h * window.m_w * images, window.n_h * window.n_w * images
    step = make(operand(0, lanes, add), operand(m * lanes, lanes), images)
    data = np.concatenate([x.ravel(), np.zeros(n * lanes, x.dtype)])
    arena = Arena(data, np.concatenate([grad.ravel(), g.ravel()]))
    data, grad = (v.reshape(-1, lanes) for v in arena.run(step, lanes))
    return data[m:], grad[:m]


@dtypes
@pytest.mark.parametrize("average", [False, True])
@pytest.mark.parametrize("name", WINDOWS)
def test_each_lane_of_each_image_of_a_pooling_equals_one_channel(name, average, dtype):
    window, images, rng = WINDOWS[name], 3, np.random.default_rng(1)
    m, n = window.m_h * window.m_w, window.n_h * window.n_w

    def make(channels, x, d, images=1):
        pooling = kernels(dtype, channels if channels > 1 else None).elementwise
        if average:
            return pooling.AveragePoolingStep(window, True, channels, x, d, images)
        return pooling.MaxPoolingStep(window, -1.0, channels, x, d, images)

    for lanes, add in itertools.product(blocks_of(dtype), (False, True)):
        x = rng.integers(-2, 2, (images * m, lanes)).astype(dtype)  # with many ties
        g = rng.uniform(-1, 1, (images * n, lanes)).astype(dtype)
        grad = rng.uniform(-1, 1, x.shape).astype(dtype)
        x[m, 1], x[m // 2, 2], x[-1, 3] = np.nan, np.inf, -np.inf
        x[:m, 4 % lanes], x[m:, 5 % lanes] = np.nan, -np.inf

        def block(x, d, images, lanes=lanes):
            return make(lanes, x, d, images)

        def channel(x, d, images):
            return make(1, x, d)

        found = pooled(block, x, g, grad, window, lanes, add, images)
        for image, lane in itertools.product(range(images), range(min(lanes, SPECIAL))):
            mine, theirs = slice(image * m, image * m + m), slice(image * n, image * n + n)
            one = pooled(
                channel, x[mine, lane], g[theirs, lane], grad[mine, lane], window, 1, add, 1
            )
            assert_equal(found[0][theirs, lane], one[0][:, 0])
            assert_equal(found[1][mine, lane], one[1][:, 0])


@dtypes
@pytest.mark.parametrize("name", WINDOWS)
@pytest.mark.parametrize("pad_value", [-1.0, 0.0, 1.0])
def test_a_rectified_pooling_is_that_of_a_relu(name, pad_value, dtype):
    window, images, rng = WINDOWS[name], 2, np.random.default_rng(2)
    m, n, lanes = window.m_h * window.m_w, window.n_h * window.n_w, lanes_of(dtype)
    make = kernels(dtype).elementwise.MaxPoolingStep
    x = rng.integers(-2, 2, (images * m, lanes)).astype(dtype)
    x[::3, ::2] = -x[::3, ::2]  # zeros of both signs
    x[m, 1], x[m // 2, 2], x[-1, 3] = np.nan, np.inf, -np.inf
    x[:m, 4], x[m:, 5], x[:, 6] = np.nan, -np.inf, -1
    g = rng.uniform(-1, 1, (images * n, lanes)).astype(dtype)
    grad = rng.uniform(-1, 1, x.shape).astype(dtype)
    with np.errstate(invalid="ignore"):
        relu, passes = np.where(x < 0, 0, x), x >= 0
    for add in (False, True):
        found, expected = (
            pooled(
                lambda source, d, images, rectified=rectified: make(
                    window, pad_value, lanes, source, d, images, rectified
                ),
                *(source, g, grad * add, window, lanes, add, images),
            )
            for source, rectified in ((x, True), (relu, False))
        )
        assert_equal(found[0], expected[0])
        assert_equal(found[1], np.where(passes, expected[1], grad * add))


@dtypes
def test_ties_share_the_gradient_in_each_lane_alone(dtype):
    lanes, window = lanes_of(dtype) // 2, FilterGeometry(2, 2, 2, 2, 1, 1, 2, 0, 0)
    x = np.zeros((4, lanes), dtype)
    x[0, 0], x[1:3, 1], x[:3, 2] = 1, 1, 1
    step = kernels(dtype, lanes).elementwise.MaxPoolingStep(
        window, 0.0, lanes, operand(0, lanes), operand(4 * lanes, lanes)
    )
    data = np.append(x.ravel(), np.zeros(lanes, dtype))
    _, grad = Arena(data, np.full(5 * lanes, 12, dtype)).run(step, 3)
    assert grad.reshape(-1, lanes)[:4, :4].T.tolist() == [
        [12, 0, 0, 0],
        [0, 6, 6, 0],
        [4, 4, 4, 0],
        [3, 3, 3, 3],
    ]


@dtypes
def test_each_lane_has_a_loss(dtype):
    for lanes in blocks_of(dtype):
        step = kernels(dtype).elementwise.SeedStep(lanes, extents((4 * lanes, 3)), lanes)
        _, grad = Arena(np.zeros(5 * lanes, dtype), np.full(5 * lanes, 7, dtype)).run(step, lanes)
        expected = np.full(5 * lanes, 7)
        expected[lanes : 2 * lanes], expected[4 * lanes : 4 * lanes + 3] = 1, 0
        assert grad.tolist() == expected.tolist()


def seeds_of(*seeds):
    """Returns Seeds of (source, first, pitch, count)."""
    columns = zip(*seeds, strict=True)
    names = "source", "first", "pitch", "count"
    return structs(SEED, len(seeds), **dict(zip(names, map(list, columns), strict=True)))


@dtypes
def test_seeds_are_added_to_what_has_been_cleared(dtype):
    data = np.arange(20, dtype=dtype)
    seeds = seeds_of((10, 0, 1, 3), (13, 1, 3, 4), (17, 2, 1, 0))
    step = GivenSeedStep(extents((0, 5), (8, 1)), seeds, data.itemsize)
    after, grad = Arena(data, np.full(20, 7, dtype)).run(step, 1)
    expected = np.full(20, 7.0)
    expected[:5] = expected[8] = 0
    expected[:3] += data[10:13]
    expected[[1, 4, 7, 10]] += data[13:17]
    assert grad.tolist() == expected.tolist()
    assert after.tolist() == data.tolist()
