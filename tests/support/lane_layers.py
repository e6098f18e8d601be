"""Layers over lanes in arenas of their own, and their results in plain NumPy loops.

All numbers are small integers, so that every sum is exact in any order; memory that must not be read, or must be
overwritten, is NaN.
"""

from typing import NamedTuple

import numpy as np
import reference_filters
from guard_pages import guarded
from lane_arena import kernels, lanes_of, operand, padded

from cgraph._kernels.common.geometry import FilterGeometry
from cgraph._kernels.runtime.memory import Memory
from cgraph._kernels.runtime.plan import Binding, Schedule, Steps, backward, forward, prepare, run
from cgraph._kernels.runtime.request import Feeds, Request
from cgraph._kernels.runtime.step import RowPort


class Layer(NamedTuple):
    """A layer; `channels` has the number of the buffer of each input channel, and a number may occur twice."""

    window: reference_filters.FilterGeometry
    channels: tuple[int, ...]
    c_out: int
    layout: str = "group"
    bias: float = 1.0
    connected: np.ndarray | None = None
    columns: int = 1  # lanes, in lines; more than one are an even number


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


class Bench:
    """A layer in an arena of its own, and the results that its step must have, sample by sample.

    It has as many lanes as the layer says, or `lanes`. With `edge`, its arrays are guarded at that end.
    """

    def __init__(self, layer, dtype, add=False, unwanted=(), lanes=None, edge=None):
        o = layer.window
        self.layer, self.dtype, self.o, self.edge = layer, np.dtype(dtype), o, edge
        self.lanes = lanes or lanes_of(dtype) * layer.columns
        self.size, self.area = o.m_h * o.m_w, o.n_h * o.n_w
        self.buffers = max(layer.channels) + 1
        self.d_offset = (self.buffers + 1) * self.size  # an unused buffer lies between
        self.lay_out()
        self.data, self.grad = (
            self.array((self.d_offset + layer.c_out * self.area) * self.lanes) for _ in "12"
        )
        self.values, self.sums = (self.array(self.length) for _ in "12")
        family = kernels(self.dtype, self.lanes).lanes_layer
        geometry = o.m_h, o.m_w, o.k_h, o.k_w, o.n_h, o.n_w, o.s, o.p, o.q
        window = FilterGeometry(*geometry)
        scratch = family.lane_layer_scratch(window, self.lanes, layer.c_out, layer.connected)
        self.scratch = self.array(8 + scratch)
        self.scratch[:] = 0
        self.adds = [add or c in layer.channels[:i] for i, c in enumerate(layer.channels)]
        inputs = [
            operand(c * self.size * self.lanes, self.lanes, adds, *2 * [c not in unwanted])
            for c, adds in zip(layer.channels, self.adds, strict=True)
        ]
        step = family.LaneLayerStep(
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
        self.step, self.steps = step, Steps([step])
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
        """Returns an array of NaN that begins at a cache line, or is guarded."""
        if self.edge:
            found = guarded(size, self.dtype, self.edge)
            found[:] = np.nan
            return found
        line = lanes_of(self.dtype)
        memory = np.full(size + line, np.nan, self.dtype)
        start = -(memory.ctypes.data // self.dtype.itemsize) % line
        return memory[start : start + size]

    def fill(self, valid, seed=0):
        """Draws small integers for the parameters and for `valid` samples, and shows all of these."""
        rng, c_out = np.random.default_rng(seed), self.layer.c_out
        self.w = rng.integers(-3, 4, self.weight_positions.shape).astype(float)
        if self.layer.connected is not None:
            self.w *= self.layer.connected
        self.b = rng.integers(-3, 4, c_out).astype(float)
        self.values[:] = 0
        self.values[self.weight_positions], self.values[self.bias_positions] = self.w, self.b
        self.x = rng.integers(-3, 4, (self.buffers, self.size, valid)).astype(float)
        self.g = rng.integers(-3, 4, (c_out, self.area, valid)).astype(float)
        self.show(valid)

    def show(self, valid):
        """Fills the arenas with the first `valid` of the samples that were drawn, and else with NaN."""
        self.valid = valid
        self.data[:], self.grad[:] = np.nan, np.nan
        self.inputs(self.data)[:, :, :valid] = self.x[:, :, :valid]
        self.outputs(self.grad)[:, :, :valid] = self.g[:, :, :valid]

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

    def descend(self, eta):
        """Runs a batch of the valid samples that are shown, and its update by fused SGD."""
        port = RowPort(0, self.dtype.itemsize)
        binding = Binding(self.steps, self.memory, self.lanes, [], [port], [], self.memory)
        feeds, out = Feeds([], [], self.valid), np.empty(self.valid, self.dtype)
        request = Request(None, feeds, out, True, False, self.valid, eta)
        schedule = Schedule(request, [binding], bytes(1), self.valid, one_by_one=True)
        run(prepare(request, schedule, Steps([]), grads_are_zero=True))
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
        read = (o.n_h - 1) * o.s + o.k_h, (o.n_w - 1) * o.s + o.k_w
        shape = max(read[0], o.p + o.m_h), max(read[1], o.q + o.m_w)
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
        d, dx, dw, db = self.reference_by_sample()
        return d, dx, dw.sum(-1), db.sum(-1)

    def reference_by_sample(self):
        """Returns the output, and the gradients of inputs, weights and biases by each sample."""
        d = np.empty(self.g.shape)
        d[:] = self.layer.bias * self.b[:, None, None]
        dx, dw = np.zeros(self.x.shape), np.zeros((*self.w.shape, self.valid))
        for tap, c, block, k, positions, under in self.pairs():
            d[k, positions] += self.w[tap, c, k] * self.x[block, under]
            dx[block, under] += self.w[tap, c, k] * self.g[k, positions]
            dw[tap, c, k] += np.sum(self.x[block, under] * self.g[k, positions], 0)
        return d, dx, dw, self.layer.bias * self.g.sum(1)
