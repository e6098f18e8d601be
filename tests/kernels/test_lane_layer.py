"""The step of Affine and Convolution2d over samples side by side, against plain NumPy loops.

All numbers are small integers, so that every sum is exact in any order; memory that must not be read, or
must be overwritten, is NaN.
"""

from typing import NamedTuple

import numpy as np
import pytest
import reference_filters
from amounts import full
from lane_arena import lanes_of, operand, padded
from numpy.testing import assert_array_equal

from cgraph._kernels import build
from cgraph._kernels.common.geometry import FilterGeometry
from cgraph._kernels.lanes import offsets
from cgraph._kernels.runtime.memory import Memory
from cgraph._kernels.runtime.plan import Steps, backward, forward


class Layer(NamedTuple):
    """A layer; `channels` has the number of the buffer of each input channel, and a number may occur twice."""

    window: reference_filters.FilterGeometry
    channels: tuple[int, ...]
    c_out: int
    layout: str = "group"
    bias: float = 1.0
    connected: np.ndarray | None = None
    columns: int = 1  # lanes, in lines


def affine(m, n, bias=1.0, columns=1):
    one = reference_filters.FilterGeometry.of((1, 1), (1, 1))
    return Layer(one, tuple(range(m)), n, "affine", bias, columns=columns)


def group(m, k, c_in, c_out, missing=None, columns=1, channels=None, **geometry):
    window = reference_filters.FilterGeometry.of(m, k, **geometry)
    channels = tuple(range(c_in)) if channels is None else channels
    connected = None if missing is None else np.ones((c_in, c_out), np.uint8)
    for pair in missing or ():
        connected[pair] = 0
    return Layer(window, channels, c_out, connected=connected, columns=columns)


def lone(m, k, c_in, **geometry):
    return group(m, k, c_in, 1, **geometry)._replace(layout="lone")


LENET = [(c, o) for o in range(16) for c in range(6) if not (o == 15 or (c - o) % 6 < 3 + o // 6)]
LAYERS = {
    "affine-1-1": affine(1, 1),
    "affine-7-3": affine(7, 3, bias=2.0),
    "affine-5-13": affine(5, 13, bias=-1.0),
    "affine-13-16": affine(13, 16),
    "affine-70-33": affine(70, 33, bias=3.0),
    "affine-300-9": affine(300, 9),
    "affine-9-300": affine(9, 300, columns=4),
    "affine-20-17-wide": affine(20, 17, columns=3),
    "1x1": group((3, 4), (1, 1), 3, 5),
    "1x1-stride": group((5, 5), (1, 1), 2, 4, stride=2),
    "one-output": group((5, 5), (5, 5), 4, 12),
    "padded": group((6, 5), (3, 3), 3, 7, height=6, width=5),
    "padded-even": group((4, 4), (2, 2), 2, 6, height=4, width=4),
    "larger-than-input": group((2, 2), (3, 3), 2, 3, height=2, width=2),
    "outside": group((2, 2), (2, 2), 2, 3, top=3, left=3, height=6, width=6),
    "stride": group((7, 7), (3, 3), 2, 8, stride=2),
    "stride-padded": group((7, 8), (3, 2), 2, 5, stride=2, height=4, width=5),
    "stride-beyond-kernel": group((7, 7), (2, 2), 2, 2, stride=3, height=3, width=3),
    "deep": group((3, 3), (3, 3), 130, 2, height=3, width=3),
    "wide": group((4, 9), (2, 3), 3, 17, columns=2),
    "scattered": group((4, 4), (3, 3), 3, 6, channels=(5, 0, 3)),
    "repeated": group((4, 4), (3, 3), 4, 6, channels=(1, 0, 1, 2)),
    "repeated-sparse": group(
        (4, 4), (2, 2), 4, 3, channels=(0, 1, 1, 0), missing=[(0, 0), (3, 1), (3, 2)]
    ),
    "sparse": group((5, 5), (3, 3), 3, 4, missing=[(0, 1), (2, 1), (1, 3)], height=5, width=5),
    "sparse-lenet": group((7, 7), (5, 5), 6, 16, missing=LENET),
    "sparse-deep": group(
        (3, 3), (3, 3), 100, 3, missing=[(c, c % 3) for c in range(100)], height=3, width=3
    ),
    "unconnected": group((3, 3), (2, 2), 2, 3, missing=[(0, 1), (1, 1), (0, 0), (0, 2)]),
    "lone": lone((6, 6), (3, 3), 3, height=6, width=6),
    "lone-large": lone((12, 12), (5, 5), 1),
    **{f"outputs-{n}": group((4, 4), (3, 3), 2, n) for n in range(1, 18)},
}


class Bench:
    """A layer in an arena of its own, and the results that its step must have, sample by sample."""

    def __init__(self, layer, dtype, add=False, unwanted=()):
        o = layer.window
        self.layer, self.dtype, self.o = layer, np.dtype(dtype), o
        self.lanes = lanes_of(dtype) * layer.columns
        self.size, self.area = o.m_h * o.m_w, o.n_h * o.n_w
        self.buffers = max(layer.channels) + 1
        self.d_offset = (self.buffers + 1) * self.size  # an unused buffer lies between
        self.lay_out()
        self.data, self.grad = (
            self.array((self.d_offset + layer.c_out * self.area) * self.lanes) for _ in "12"
        )
        self.values, self.sums = (self.array(self.length) for _ in "12")
        kernels = build(self.dtype).lanes_layer
        geometry = o.m_h, o.m_w, o.k_h, o.k_w, o.n_h, o.n_w, o.s, o.p, o.q
        window = FilterGeometry(*geometry)
        scratch = kernels.lane_layer_scratch(window, self.lanes, layer.c_out, layer.connected)
        self.scratch = self.array(scratch + 8)
        self.scratch[:] = 0
        self.adds = [add or c in layer.channels[:i] for i, c in enumerate(layer.channels)]
        inputs = [
            operand(c * self.size * self.lanes, self.lanes, adds, *2 * [c not in unwanted])
            for c, adds in zip(layer.channels, self.adds, strict=True)
        ]
        step = kernels.LaneLayerStep(
            window,
            self.lanes,
            inputs,
            operand(self.d_offset * self.lanes, self.lanes),
            layer.c_out,
            4,
            8,
            *self.steps,
            layer.bias,
            layer.connected,
        )
        arrays = self.data, self.grad, self.values, self.sums, self.scratch
        self.steps = Steps([step])
        self.memory = Memory(*(a.ctypes.data for a in arrays))

    def lay_out(self):
        """Computes the positions of the weights, [tap, c, o], and of the biases."""
        k, c_in, c_out = self.o.k_h * self.o.k_w, len(self.layer.channels), self.layer.c_out
        pitch = padded(c_out, self.dtype) if self.layer.layout == "group" else c_out
        self.steps = (c_in * pitch, pitch, pitch) if self.layer.layout != "lone" else (1, k, 1)
        tap, c, o = np.ogrid[:k, :c_in, :c_out]
        self.weight_positions = 4 + tap * self.steps[0] + c * self.steps[1] + o
        self.bias_positions = 4 + k * c_in * pitch + np.arange(c_out)
        self.length = 4 + (k * c_in + 1) * pitch

    def array(self, size):
        """Returns an array of NaN that begins at a cache line."""
        line = lanes_of(self.dtype)
        memory = np.full(size + line, np.nan, self.dtype)
        start = -(memory.ctypes.data // self.dtype.itemsize) % line
        return memory[start : start + size]

    def fill(self, valid, seed=0):
        """Fills all memory of the valid samples that is read with small integers."""
        rng, c_out = np.random.default_rng(seed), self.layer.c_out
        self.valid = valid
        self.w = rng.integers(-3, 4, self.weight_positions.shape).astype(float)
        if self.layer.connected is not None:
            self.w *= self.layer.connected
        self.b = rng.integers(-3, 4, c_out).astype(float)
        self.values[:] = 0
        self.values[self.weight_positions], self.values[self.bias_positions] = self.w, self.b
        self.x = rng.integers(-3, 4, (self.buffers, self.size, valid)).astype(float)
        self.g = rng.integers(-3, 4, (c_out, self.area, valid)).astype(float)
        self.inputs(self.data)[:, :, :valid] = self.x
        self.outputs(self.grad)[:, :, :valid] = self.g

    def inputs(self, arena):
        return arena[: self.buffers * self.size * self.lanes].reshape(
            self.buffers, self.size, self.lanes
        )

    def outputs(self, arena):
        return arena[self.d_offset * self.lanes :].reshape(self.layer.c_out, self.area, self.lanes)

    def forward(self):
        forward(self.steps, self.memory, self.valid)
        return self.outputs(self.data)[:, :, : self.valid]

    def backward(self, grads_are_zero):
        self.memory.grads_are_zero = grads_are_zero
        backward(self.steps, self.memory, self.valid)
        return self.inputs(self.grad)[:, :, : self.valid]

    def pairs(self):
        """Yields (c, buffer, o, tap, rows of the output, rows of the input) for each product."""
        for i, j, out, domain in self.o.taps():
            tap = i * self.o.k_w + j
            positions = np.arange(self.area).reshape(self.o.n_h, self.o.n_w)[out].ravel()
            under = np.arange(self.size).reshape(self.o.m_h, self.o.m_w)[domain].ravel()
            for c, block in enumerate(self.layer.channels):
                for k in range(self.layer.c_out):
                    if self.layer.connected is None or self.layer.connected[c, k]:
                        yield tap, c, block, k, positions, under

    def framed(self):
        """Returns the output and the weight gradients, computed from inputs padded with zeros."""
        o, c_out = self.o, self.layer.c_out
        shape = (o.n_h - 1) * o.s + o.k_h, (o.n_w - 1) * o.s + o.k_w
        x = np.zeros((self.buffers, *shape, self.lanes))
        within = np.s_[:, o.p : o.p + o.m_h, o.q : o.q + o.m_w]
        x[within] = self.inputs(self.data).reshape(self.buffers, o.m_h, o.m_w, self.lanes)
        g = self.outputs(self.grad).reshape(c_out, o.n_h, o.n_w, self.lanes)
        d, dw = np.zeros(g.shape), np.zeros(self.w.shape)
        d += self.layer.bias * self.b[:, None, None, None]
        w = self.values[self.weight_positions]
        for tap, c, k in np.ndindex(w.shape):
            if self.layer.connected is None or self.layer.connected[c, k]:
                i, j = divmod(tap, o.k_w)
                rows = np.s_[i : i + (o.n_h - 1) * o.s + 1 : o.s]
                under = x[self.layer.channels[c]][rows, j : j + (o.n_w - 1) * o.s + 1 : o.s]
                d[k] += w[tap, c, k] * under
                dw[tap, c, k] = np.sum(under * g[k])
        return d.reshape(c_out, self.area, self.lanes), dw

    def reference(self):
        """Returns the output, and the gradients of inputs, weights and biases."""
        d = np.empty(self.g.shape)
        d[:] = self.layer.bias * self.b[:, None, None]
        dx, dw = np.zeros(self.x.shape), np.zeros(self.w.shape)
        for tap, c, block, k, positions, under in self.pairs():
            d[k, positions] += self.w[tap, c, k] * self.x[block, under]
            dx[block, under] += self.w[tap, c, k] * self.g[k, positions]
            dw[tap, c, k] += np.sum(self.x[block, under] * self.g[k, positions])
        return d, dx, dw, self.layer.bias * self.g.sum((1, 2))


def valid_counts(dtype):
    lanes = lanes_of(dtype)
    return [1, lanes - 1, lanes]


CASES = [
    pytest.param(layer, dtype, valid, id=f"{name}-{dtype}-{valid}")
    for name, layer in LAYERS.items()
    for dtype in ("float32", "float64")
    for valid in valid_counts(dtype)
]
# Each layer has six; by default every other one, beginning with the first or with the second.
SOME_CASES = [case if (k + k // 6) % 2 == 0 else full(case) for k, case in enumerate(CASES)]


@pytest.mark.parametrize(("layer", "dtype", "valid"), SOME_CASES)
def test_a_layer_has_the_values_and_gradients_of_plain_loops(layer, dtype, valid):
    bench = Bench(layer, dtype)
    bench.fill(bench.lanes - (lanes_of(dtype) - valid))
    d, dx, dw, db = bench.reference()
    assert_array_equal(bench.forward(), d)
    found = bench.backward(True)
    read = sorted(set(layer.channels))
    assert_array_equal(found[read], dx[read])
    assert_array_equal(bench.sums[bench.weight_positions], dw)
    assert_array_equal(bench.sums[bench.bias_positions], db)
    before = bench.sums[bench.weight_positions], bench.sums[bench.bias_positions], np.array(found)
    bench.backward(True)
    after = bench.sums[bench.weight_positions], bench.sums[bench.bias_positions], found
    for once, again in zip(before, after, strict=True):
        assert once.tobytes() == np.array(again).tobytes()


SPARSE = [case for case in CASES if case.values[0].connected is not None]


@pytest.mark.parametrize(("layer", "dtype", "valid"), SPARSE)
def test_terms_that_are_made_when_they_are_summed_are_those_that_are_kept(
    layer, dtype, valid, monkeypatch
):
    """A layer of many groups makes its terms while they are summed."""
    monkeypatch.setattr(offsets, "MAX_STORED_TERMS", 0)
    test_a_layer_has_the_values_and_gradients_of_plain_loops(layer, dtype, valid)


# Each layer, with the dtypes and counts in turn.
@pytest.mark.parametrize(("layer", "dtype", "valid"), CASES[::5])
def test_a_layer_adds_to_gradients(layer, dtype, valid):
    bench = Bench(layer, dtype, add=True)
    bench.fill(valid)
    _, dx, dw, db = bench.reference()
    bench.inputs(bench.grad)[:] = 5
    bench.sums[:] = 3
    bench.forward()
    found = bench.backward(False)
    read = sorted(set(layer.channels))
    assert_array_equal(found[read], 5 + dx[read])
    assert_array_equal(bench.sums[bench.weight_positions], 3 + dw)
    assert_array_equal(bench.sums[bench.bias_positions], 3 + db)


@pytest.mark.parametrize("name", ["affine-70-33", "padded", "scattered", "sparse", "lone"])
def test_a_gradient_that_is_not_wanted_is_left_alone(name):
    layer = LAYERS[name]
    unwanted = layer.channels[::2]
    bench = Bench(layer, "float32", unwanted=unwanted)
    bench.fill(bench.lanes)
    _, dx, dw, _ = bench.reference()
    bench.inputs(bench.grad)[:] = 5
    dx[list(unwanted)] = 5
    bench.forward()
    read = list(layer.channels)
    assert_array_equal(bench.backward(True)[read], dx[read])
    assert_array_equal(bench.sums[bench.weight_positions], dw)


@pytest.mark.parametrize("value", [np.nan, np.inf])
@pytest.mark.parametrize("name", ["sparse", "padded", "sparse-lenet", "affine-13-16"])
def test_what_is_not_finite_stays_with_its_sample_and_with_what_reads_it(name, value):
    layer = LAYERS[name]
    bench = Bench(layer, "float64")
    bench.fill(bench.lanes)
    linked = np.ones(bench.w.shape[1:]) if layer.connected is None else layer.connected
    bench.values[bench.weight_positions[:, linked > 0]] = (
        1  # no weight is 0 but where a connection is missing
    )
    bench.inputs(bench.data)[0, :, 2] = value
    bench.outputs(bench.grad)[1, :, 3] = value
    reached = ~np.isfinite(bench.forward())
    assert reached.any((0, 1)).tolist() == [lane == 2 for lane in range(bench.lanes)]
    assert reached[:, :, 2].any(1).tolist() == (linked[0] > 0).tolist()
    reached = ~np.isfinite(bench.backward(True))
    assert reached.any((0, 1)).tolist() == [lane == 3 for lane in range(bench.lanes)]
    assert reached[:, :, 3].any(1).tolist() == (linked[:, 1] > 0).tolist()
    slopes = bench.sums[bench.weight_positions]
    spoilt = np.zeros(linked.shape, bool)
    spoilt[0], spoilt[:, 1] = True, True
    assert np.array_equal(~np.isfinite(slopes).all(0), spoilt & (linked > 0))
    assert not slopes[:, linked == 0].any()


@pytest.mark.filterwarnings("ignore:invalid value:RuntimeWarning")
@pytest.mark.parametrize("value", [np.nan, np.inf])
@pytest.mark.parametrize("name", ["padded", "sparse", "repeated", "lone", "outside"])
def test_padding_is_multiplied_by_what_is_not_finite(name, value):
    bench = Bench(LAYERS[name], "float64")
    bench.fill(bench.lanes)
    bench.values[bench.weight_positions[1, 0, 0]] = value
    bench.outputs(bench.grad)[0, 0, 3] = value
    d, dw = bench.framed()
    assert_array_equal(bench.forward(), d)
    bench.backward(True)
    assert_array_equal(bench.sums[bench.weight_positions], dw)
