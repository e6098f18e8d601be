"""The step of a group of Convolution2d nodes of one geometry: C input channels, one ordered list for all of them.

D[o][a, b] = bias_o + Σ_c Σ_i Σ_j K[o][c, i, j] X_c[a s + i - p, b s + j - q]

x, dx: the input and its gradient, a position's channels side by side, in the arena or in a *frame*, a copy with the
padding's zeros; d, g: the output and its gradient, [a][b][o], `pitch` elements a position; w, dw: the kernels,
[i][j][c][o], and behind them the biases, in rows of `pitch`. What lies in d, g and w behind channel c_out is computed
with the rest and never read into a channel. The output and both gradients are products as in product.pxd, which read
and write through tables of offsets: `taps`, from a window's first element to the others; `windows`, of the first
elements; `lines`, of the rows of d and of dw; `senders` and `receivers`, of outputs and of the inputs under them.
"""
from libc.string cimport memset

from cgraph._kernels.channels import offsets
from cgraph._kernels.channels.indirect_gemm cimport IndirectGemm, multiply
from cgraph._kernels.common.geometry cimport FilterGeometry
from cgraph._kernels.common.operands cimport descend
from cgraph._kernels.common.rows cimport add_channels, add_row_sums, all_finite, copy_channels, transpose
from cgraph._kernels.common.simd cimport V_LANES, real
from cgraph._kernels.runtime.step cimport Context, Operand, Step, Table, bytes_of, operand


cdef inline Py_ssize_t padded(Py_ssize_t n) noexcept nogil:
    """n elements as whole 32 bytes."""
    cdef Py_ssize_t unit = 32 // <Py_ssize_t>sizeof(real)
    return (n + unit - 1) // unit * unit


# The windows of a Filter2d reach the end of its input: so far goes the frame, too.

cdef inline Py_ssize_t frame_height(FilterGeometry o) noexcept:
    return (o.n_h - 1) * o.s + o.k_h


cdef inline Py_ssize_t frame_width(FilterGeometry o) noexcept:
    return (o.n_w - 1) * o.s + o.k_w


cdef Py_ssize_t frame_size(FilterGeometry o, Py_ssize_t c_in) noexcept:
    """A frame, and a vector behind it that tiles may touch."""
    return padded(frame_height(o) * frame_width(o) * padded(c_in)) + padded(V_LANES)


def convolution_group_scratch(FilterGeometry geometry, Py_ssize_t c_in, Py_ssize_t c_out, Py_ssize_t pitch):
    """The number of elements of scratch that ConvolutionGroupStep needs."""
    return 2 * frame_size(geometry, c_in) + (1 + geometry.k_h * c_out + padded(1)) * padded(geometry.k_w * c_in)


# Where an input channel's elements lie, and what is wanted of their gradient.
cdef struct Channel:
    Py_ssize_t offset, stride, accumulate
    Py_ssize_t requires_grad[2]

# Input rows that get something from the same rows of the kernel: `rows` rows of `senders`, from `first` on; `depth`
# rows of the transposed kernels, from `kernel` on.
cdef struct Band:
    Py_ssize_t first, rows, kernel, depth


cdef void product(const IndirectGemm *p) noexcept nogil:
    """multiply, compiled once for all who call it."""
    multiply(p)


cdef class ConvolutionGroupStep(Step):
    """c_in channels to c_out channels. Gradients of the kernels may be applied at once, if the sums are fresh."""
    cdef FilterGeometry o
    cdef Table inputs
    cdef Table connected        # whether each (c_in, c_out) is, if some are not
    cdef Table missing          # of each missing connection: its place in the rows of one tap
    cdef Table taps, windows, lines, sent, senders, receivers, bands
    cdef Operand x, d             # of the first channels
    cdef Py_ssize_t c_in, c_out
    cdef Py_ssize_t runs        # 1 if the input's channels lie side by side, else c_in
    cdef Py_ssize_t terms       # of an output: k_h k_w c_in
    cdef Py_ssize_t area        # n_h n_w
    cdef Py_ssize_t width       # c_out in whole vectors
    cdef Py_ssize_t frame_h, frame_w, frame_stride
    cdef Py_ssize_t parameters_offset, frame_at, gradient_at, zeros_at, transposed_at, transposed_pitch
    cdef bint in_place          # the arena's input is a frame
    cdef bint direct            # and its gradient one that tiles may write to: of whole vectors
    cdef bint one_to_one        # each element of the gradient has terms of one output alone

    def __init__(
        self, FilterGeometry geometry, inputs, d, Py_ssize_t c_out, Py_ssize_t parameters_offset, Py_ssize_t scratch_offset, connected
    ):
        """inputs, d: the fields of `_lowering.buffers.Operand`. connected: None, or which (c_in, c_out) are."""
        cdef FilterGeometry o = geometry
        self.o, self.x, self.d = o, operand(inputs[0]), operand(d)
        self.c_in, self.c_out, self.parameters_offset = len(inputs), c_out, parameters_offset
        self.terms, self.area = o.k_h * o.k_w * self.c_in, o.n_h * o.n_w
        self.width = (c_out + V_LANES - 1) // V_LANES * V_LANES
        self.runs = 1 if offsets.lie_side_by_side(inputs) else self.c_in
        self.frame_h, self.frame_w = frame_height(o), frame_width(o)
        self.in_place = self.runs == 1 and self.frame_h == o.m_h and self.frame_w == o.m_w
        self.frame_stride = self.c_in
        if self.in_place or self.runs == 1 and self.x.stride == padded(self.c_in):
            self.frame_stride = self.x.stride   # whole rows are copied at once
        self.frame_at = scratch_offset
        self.gradient_at = self.frame_at + frame_size(o, self.c_in)
        self.zeros_at = self.gradient_at + frame_size(o, self.c_in)
        self.transposed_pitch = padded(o.k_w * self.c_in)
        self.transposed_at = self.zeros_at + self.transposed_pitch
        whole = self.c_in % V_LANES == 0
        self.direct = whole and self.in_place and self.x.stride == self.c_in
        self.one_to_one = whole and self.in_place and o.k_h == o.k_w == o.s == 1
        (
            self.inputs, self.connected, self.missing, self.taps, self.windows, self.lines, self.sent, self.senders,
            self.receivers, self.bands
        ) = map(Table, offsets.tables(
            o, inputs, c_out, self.d.stride, self.frame_stride, self.frame_w, V_LANES, connected
        ))
        self.table_bytes = bytes_of([
            self.inputs, self.connected, self.missing, self.taps, self.windows, self.lines, self.sent, self.senders,
            self.receivers, self.bands
        ])

    cdef bint requires_grad(self, Context *context) noexcept nogil:
        cdef const Channel *inputs = <const Channel *>self.inputs.data
        cdef Py_ssize_t c
        for c in range(self.c_in):
            if inputs[c].requires_grad[context.parameters_only]:
                return True
        return False

    cdef void forward(self, Context *context) noexcept nogil:
        cdef real *w = <real *>context.parameters + self.parameters_offset
        cdef real *d = <real *>context.data + self.d.offset
        cdef const real *x = self.fill_frame(context)
        if self.missing.size and not all_finite(x, self.frame_stride, self.frame_h * self.frame_w, self.c_in):
            self.outputs_by_terms(x, w, d)
        else:
            self.outputs(x, w, d)

    cdef void backward(self, Context *context) noexcept nogil:
        cdef real *w = <real *>context.parameters + self.parameters_offset
        cdef real *dw = <real *>context.parameter_grads + self.parameters_offset
        cdef const real *g = <const real *>context.grad + self.d.offset
        if self.requires_grad(context):
            self.input_gradient(g, w, context)
        self.kernel_gradient(self.fill_frame(context) if context.apart else self.frame(context), g, dw, context.grads_are_zero)
        if context.fused_sgd:
            descend(w, dw, <real>context.eta, (self.terms + 1) * self.d.stride)

    # The frame

    cdef const real *frame(self, Context *context) noexcept nogil:
        if self.in_place:
            return <real *>context.data + self.x.offset
        return <real *>context.scratch + self.frame_at

    cdef const real *fill_frame(self, Context *context) noexcept nogil:
        """Copies the input between the zeros of the frame, unless it needs none."""
        cdef Py_ssize_t c, y, channels = self.c_in // self.runs
        cdef Py_ssize_t row = self.frame_w * self.frame_stride
        cdef real *frame = <real *>context.scratch + self.frame_at
        cdef real *at = frame + (self.o.p * self.frame_w + self.o.q) * self.frame_stride
        cdef const Channel *inputs = <const Channel *>self.inputs.data
        cdef const real *x
        if self.in_place:
            return self.frame(context)
        for c in range(self.runs):
            x = <real *>context.data + inputs[c].offset
            for y in range(self.o.m_h):
                copy_channels(
                    x + y * self.o.m_w * inputs[c].stride, inputs[c].stride, at + y * row + c, self.frame_stride,
                    self.o.m_w, channels
                )
        return frame

    # D[a, b] = bias + Σ_c Σ_i Σ_j K[c, i, j] X_c[a s + i - p, b s + j - q]

    cdef void outputs(self, const real *x, const real *w, real *d) noexcept nogil:
        cdef IndirectGemm p
        p.a, p.row_offsets, p.along = x, self.windows.data, self.taps.data
        p.b, p.pitch, p.origin = w, self.d.stride, w + self.terms * self.d.stride
        p.c, p.to = d, self.lines.data
        p.rows, p.width, p.depth = self.area, self.width, self.terms
        product(&p)

    cdef void outputs_by_terms(self, const real *x, const real *w, real *d) noexcept nogil:
        """The same, without the products with missing kernels' zeros, which are NaN where x is not finite."""
        cdef Py_ssize_t pitch = self.d.stride, i, t, o
        for i in range(self.area):
            for o in range(self.c_out):
                d[i * pitch + o] = w[self.terms * pitch + o]
                for t in range(self.terms):
                    if self.connected.data[t % self.c_in * self.c_out + o]:
                        d[i * pitch + o] += w[t * pitch + o] * x[self.windows.data[i] + self.taps.data[t]]

    # dK[c, i, j] += Σ_a Σ_b X_c[a s + i - p, b s + j - q] G[a, b]

    cdef void kernel_gradient(self, const real *x, const real *g, real *dw, bint grads_are_zero) noexcept nogil:
        cdef Py_ssize_t t, i
        cdef IndirectGemm p
        if grads_are_zero:
            memset(dw, 0, (self.terms + 1) * self.d.stride * sizeof(real))
        p.a, p.row_offsets, p.along = x, self.taps.data, self.windows.data
        p.b, p.pitch, p.origin = g, self.d.stride, NULL
        p.c, p.to = dw, self.lines.data
        p.rows, p.width, p.depth = self.terms, self.width, self.area
        product(&p)
        add_row_sums(g, self.d.stride, self.area, self.width, dw + self.terms * self.d.stride)
        for t in range(self.o.k_h * self.o.k_w):
            for i in range(self.missing.size):
                dw[t * self.c_in * self.d.stride + self.missing.data[i]] = 0

    # dX_c[a s + i - p, b s + j - q] += K[c, i, j] G[a, b]: each output sends to whole rows of its window

    cdef void input_gradient(self, const real *g, const real *w, Context *context) noexcept nogil:
        cdef real *frame = <real *>context.scratch + self.gradient_at
        cdef const real *zeros = <real *>context.scratch + self.zeros_at
        cdef bint by_terms = self.missing.size and not all_finite(g, self.d.stride, self.area, self.c_out)
        if self.direct:
            frame = <real *>context.grad + self.x.offset
        if self.direct and self.x.accumulate or by_terms or not self.one_to_one:
            zeros = NULL
        if zeros == NULL and not (self.direct and self.x.accumulate):
            memset(frame, 0, self.frame_h * self.frame_w * self.c_in * sizeof(real))
        if by_terms:
            self.frame_gradient_by_terms(g, w, frame)
        else:
            self.frame_gradient(g, w, <real *>context.scratch + self.transposed_at, zeros, frame)
        if not self.direct:
            self.deliver(frame, context)

    cdef void frame_gradient(
        self, const real *g, const real *w, real *transposed, const real *origin, real *frame
    ) noexcept nogil:
        """Adds to a frame of c_in elements a position; `transposed` takes the kernels as [i][o][j][c]."""
        cdef Py_ssize_t row = self.o.k_w * self.c_in, phase, i
        cdef const Band *band = <const Band *>self.bands.data
        cdef const Band *end = band + self.bands.size // 4
        cdef real *t = transposed
        cdef IndirectGemm p
        for phase in range(self.o.s):
            i = phase
            while i < self.o.k_h:
                transpose(w + i * row * self.d.stride, self.d.stride, t, self.transposed_pitch, row, self.c_out)
                t += self.c_out * self.transposed_pitch
                i += self.o.s
        p.a, p.along, p.pitch, p.origin = g, self.sent.data, self.transposed_pitch, origin
        p.c, p.width = frame, row
        while band < end:
            p.row_offsets, p.to = self.senders.data + band.first, self.receivers.data + band.first
            p.rows, p.depth = band.rows, band.depth
            p.b = transposed + band.kernel * self.transposed_pitch
            product(&p)
            band += 1

    cdef void frame_gradient_by_terms(self, const real *g, const real *w, real *frame) noexcept nogil:
        """The same, without the products with missing kernels' zeros, which are NaN where g is not finite."""
        cdef Py_ssize_t a, b, i, t, k, row = self.o.k_w * self.c_in
        cdef real *dx
        for a in range(self.o.n_h):
            for b in range(self.o.n_w):
                for i in range(self.o.k_h):
                    dx = frame + ((a * self.o.s + i) * self.frame_w + b * self.o.s) * self.c_in
                    for t in range(row):
                        for k in range(self.c_out):
                            if self.connected.data[t % self.c_in * self.c_out + k]:
                                dx[t] += w[(i * row + t) * self.d.stride + k] * g[(a * self.o.n_w + b) * self.d.stride + k]

    cdef void deliver(self, const real *frame, Context *context) noexcept nogil:
        """From the frame to the channels that want their gradient."""
        cdef Py_ssize_t c, y, channels = self.c_in // self.runs
        cdef const real *x = frame + (self.o.p * self.frame_w + self.o.q) * self.c_in
        cdef const Channel *inputs = <const Channel *>self.inputs.data
        cdef real *dx
        for c in range(self.runs):
            if not inputs[c].requires_grad[context.parameters_only]:
                continue
            for y in range(self.o.m_h):
                dx = <real *>context.grad + inputs[c].offset + y * self.o.m_w * inputs[c].stride
                if inputs[c].accumulate:
                    add_channels(
                        x + y * self.frame_w * self.c_in + c, self.c_in, dx, inputs[c].stride, self.o.m_w, channels
                    )
                else:
                    copy_channels(
                        x + y * self.frame_w * self.c_in + c, self.c_in, dx, inputs[c].stride, self.o.m_w, channels
                    )
