"""Kernels of Convolution2d: C input channels, one output channel.

xs: the C input channels, m_h × m_w each; w: the C k_h k_w elements of the kernel and behind them the bias; d: the
output, n_h × n_w; g: the gradient with respect to d; dxs, dw: the gradients of xs and w, which backward ADDS into on
the Node path. Nodes' data may be strided. Data that are read more than once are copied into `scratch`, an array of
convolution2d_scratch elements. There each channel has a frame: the polyphase copy of its padded input (space to depth,
geometry.pyx), in which element t of the kernel reads taps[t] elements behind the output position. So a convolution of
any stride and padding is a sum of shifted copies of the frames. The positions between two rows of outputs are computed
with the rest and dropped. Behind the frames, scratch has room for one plane of outputs or gradients: `wide`, in rows of
the frame's pitch.
"""
from libc.string cimport memset

from cgraph._kernels.common.arrays cimport take_constants, take_input, take_output, take_variables
from cgraph._kernels.common.geometry cimport FilterGeometry
from cgraph._kernels.common.guard cimport require
from cgraph._kernels.common.operands cimport (
    Input, Output, data_of, descend_learning, grad_of, gradient, input_from, move, output, output_from, put1
)
from cgraph._kernels.common.simd cimport V_LANES, V_PADDED, real, v_first, v_fma, v_hsum, v_load, v_set1, v_store, vec
from cgraph._kernels.runtime.step cimport Context, LearningStep, Operand, OperandFields, OperandList, adds_to_sums

cdef enum:
    TILE = 8        # vectors of sums that a loop holds in registers
    HALF = 4        # those of the last tile, where they are enough
    SLACK = TILE * V_PADDED     # elements behind a buffer that a tile may touch
    CHANNELS = 16   # channels whose arrays are looked at before the GIL is released


def convolution2d_scratch(FilterGeometry geometry, Py_ssize_t channels, /):
    """Returns the number of elements of scratch that the kernels of a convolution need."""
    return channels * geometry.frame + SLACK + geometry.reach + geometry.plane + SLACK


# Copies between a channel and its frame. For each column phase, `count` columns of the domain, every s-th from `column`
# on, lie side by side in a row of the frame.

cdef inline void copy_row(Output x, real *row, Py_ssize_t n, bint fill) noexcept nogil:
    """Copies n elements of the channel x into a row of its frame if `fill`; else writes, or adds, them to x."""
    if fill:
        move(Input(x.start, x.stride), Output(row, 1, False), n)
    else:
        move(Input(row, 1), x, n)


cdef inline void copy_phases(
    real *x, Py_ssize_t stride, FilterGeometry f, real *frame, bint fill, bint accumulate
) noexcept nogil:
    """Copies the channel x into its frame if `fill`; else writes the frame to x, or adds it. `stride` is that of x."""
    cdef Py_ssize_t phase, column, count, i, y_phase, y
    cdef real *domain_row
    cdef real *row
    if f.s == 1 and f.pitch == f.m_w:   # no padding between two rows: all of them are one row
        copy_row(Output(x, stride, accumulate), frame + f.p * f.pitch, f.m_h * f.m_w, fill)
        return
    for phase in range(f.phases_w):
        column = (phase - f.q % f.s + f.s) % f.s
        count = max(f.m_w - column + f.s - 1, 0) // f.s
        y_phase = f.p % f.s
        y = f.p // f.s
        for i in range(f.m_h):
            if y_phase < f.phases_h:
                row = frame + (y_phase * f.phases_w + phase) * f.plane + y * f.pitch + (column + f.q) // f.s
                domain_row = x + (i * f.m_w + column) * stride
                copy_row(Output(domain_row, f.s * stride, accumulate), row, count, fill)
            y_phase += 1
            if y_phase == f.s:
                y_phase = 0
                y += 1


cdef void fill_frame(Input x, FilterGeometry f, real *frame) noexcept nogil:
    """Writes the frame of one channel: zeros in the padding, and x."""
    memset(frame, 0, f.frame * sizeof(real))
    copy_phases(<real *>x.start, x.stride, f, frame, True, False)


cdef void unpack_frame(real *frame, FilterGeometry f, Output dx) noexcept nogil:
    """Writes, or adds, the gradient of one channel from its frame to dx; elements in the padding are dropped."""
    cdef Py_ssize_t i
    if not dx.accumulate and (f.phases_h < f.s or f.phases_w < f.s):   # the frame lacks elements that no window reads
        for i in range(f.m_h * f.m_w):
            put1(dx, i, 0)
    copy_phases(dx.start, dx.stride, f, frame, False, dx.accumulate)


cdef int fill_frames(list xs, FilterGeometry f, real *frame) except -1:
    """Writes the frames of all channels, one behind the other."""
    cdef Input channels[CHANNELS]
    cdef Py_ssize_t first, count, c
    for first in range(0, len(xs), CHANNELS):
        count = min(len(xs) - first, CHANNELS)
        for c in range(count):
            require(take_input(xs[first + c], &channels[c]) == f.m_h * f.m_w)
        with nogil:
            for c in range(count):
                fill_frame(channels[c], f, frame)
                frame += f.frame
    return 0


cdef int require_sizes(
    Py_ssize_t channels, Py_ssize_t parameters, Py_ssize_t outputs, Py_ssize_t scratch, FilterGeometry f
) except -1:
    """Raises unless the numbers of parameters, outputs and elements of scratch fit the geometry."""
    require(parameters == channels * f.k_h * f.k_w + 1 and outputs == f.n_h * f.n_w)
    return require(scratch >= convolution2d_scratch(f, channels))


# D[a, b] = Σ_c Σ_i Σ_j K[c, i, j] X_c[a s + i - p, b s + j - q] + bias

cdef inline void output_tile(
    const real *frame, const Py_ssize_t *taps, Py_ssize_t count, const real *w, real *d, Py_ssize_t vectors
) noexcept nogil:
    """Computes some vectors of outputs; the kernel's first tap on the first of them lies at `frame`."""
    cdef Py_ssize_t t, v
    cdef vec total[TILE]
    cdef vec factor = v_set1(w[count])
    cdef const real *x
    for v in range(vectors):
        total[v] = factor
    for t in range(count):
        factor = v_set1(w[t])
        x = frame + taps[t]
        for v in range(vectors):
            total[v] = v_fma(factor, v_load(x + v * V_LANES), total[v])
    for v in range(vectors):
        v_store(d + v * V_LANES, total[v])


cdef void outputs(
    const real *frame, const Py_ssize_t *taps, Py_ssize_t count, const real *w, FilterGeometry f, real *wide, Output d
) noexcept nogil:
    """Computes all outputs, at first into `wide`, together with the positions between two rows."""
    cdef Py_ssize_t last = (f.n_h - 1) * f.pitch + f.n_w, start = 0, a
    while start + HALF * V_LANES < last:
        output_tile(frame + start, taps, count, w, wide + start, TILE)
        start += TILE * V_LANES
    if start < last:
        output_tile(frame + start, taps, count, w, wide + start, HALF)
    for a in range(f.n_h):
        move(Input(wide + a * f.pitch, 1), output_from(d, a * f.n_w), f.n_w)


def convolution2d_forward(list xs, w, const Py_ssize_t[::1] taps, FilterGeometry geometry, scratch, d, /):
    cdef const real *kernel
    cdef real *frame
    cdef Output out
    cdef Py_ssize_t channels = len(xs), count = take_constants(w, &kernel)
    require_sizes(channels, count, take_output(d, False, &out), take_variables(scratch, &frame), geometry)
    require(taps.shape[0] == count - 1)
    fill_frames(xs, geometry, frame)
    with nogil:
        outputs(frame, &taps[0], count - 1, kernel, geometry, frame + channels * geometry.frame + SLACK, out)


# dX_c[a s + i - p, b s + j - q] += K[c, i, j] G[a, b]: each element of the frame gathers the terms of all its windows

cdef inline void input_tile(
    const real *g, const real *k, FilterGeometry f, Py_ssize_t row_phase, Py_ssize_t column_phase, real *dx,
    Py_ssize_t vectors
) noexcept nogil:
    """Computes some vectors of one plane of a channel's frame; g: the gradient at the first element's position."""
    cdef Py_ssize_t i = row_phase, j, v
    cdef vec total[TILE]
    cdef vec factor
    for v in range(vectors):
        total[v] = v_set1(0)
    while i < f.k_h:
        j = column_phase
        while j < f.k_w:
            factor = v_set1(k[i * f.k_w + j])
            for v in range(vectors):
                total[v] = v_fma(factor, v_load(g + v * V_LANES), total[v])
            g -= 1
            j += f.s
        g += (f.k_w - column_phase + f.s - 1) // f.s - f.pitch
        i += f.s
    for v in range(vectors):
        v_store(dx + v * V_LANES, total[v])


cdef void channel_gradient(const real *g, const real *k, FilterGeometry f, real *frame) noexcept nogil:
    """Computes the gradient of one channel as a frame."""
    cdef Py_ssize_t i, j, start
    for i in range(f.phases_h):
        for j in range(f.phases_w):
            start = 0
            while start + HALF * V_LANES < f.plane:
                input_tile(g + start, k, f, i, j, frame + start, TILE)
                start += TILE * V_LANES
            if start < f.plane:
                input_tile(g + start, k, f, i, j, frame + start, HALF)
            frame += f.plane


cdef void channel_gradient_by_terms(const real *g, const real *k, FilterGeometry f, real *frame) noexcept nogil:
    """Computes the gradient of one channel as a frame, one term after the other, for a kernel that is not all finite.

    `channel_gradient` also multiplies kernel elements by the zeros around G, and would so spread an element that is NaN
    or infinite to inputs that have no term with that element.
    """
    cdef Py_ssize_t i, j, a, b
    cdef real *dx
    memset(frame, 0, f.frame * sizeof(real))
    for i in range(f.k_h):
        for j in range(f.k_w):
            dx = frame + (i % f.s * f.phases_w + j % f.s) * f.plane + i // f.s * f.pitch + j // f.s
            for a in range(f.n_h):
                for b in range(f.n_w):
                    dx[a * f.pitch + b] += k[i * f.k_w + j] * g[a * f.pitch + b]


cdef bint all_finite(const real *k, Py_ssize_t count) noexcept nogil:
    """Whether no kernel element is NaN or infinite."""
    cdef Py_ssize_t t
    for t in range(count):
        if k[t] - k[t] != 0:
            return False
    return True


cdef void widen(Input g, FilterGeometry f, real *wide) noexcept nogil:
    """Copies G into the rows of a frame, with zeros before the first row, between the rows and behind the last."""
    cdef Py_ssize_t a
    memset(wide - f.reach, 0, (f.reach + f.plane + SLACK) * sizeof(real))
    for a in range(f.n_h):
        move(input_from(g, a * f.n_w), Output(wide + a * f.pitch, 1, False), f.n_w)


cdef void input_gradient(const real *wide, const real *k, FilterGeometry f, real *frame, Output dx) noexcept nogil:
    """Writes, or adds, the gradient of one channel; `frame` is scratch."""
    if all_finite(k, f.k_h * f.k_w):
        channel_gradient(wide, k, f, frame)
    else:
        channel_gradient_by_terms(wide, k, f, frame)
    unpack_frame(frame, f, dx)


def convolution2d_backward_input(w, g, FilterGeometry geometry, scratch, list dxs, /):
    cdef const real *kernel
    cdef real *frame, *wide
    cdef Input grad
    cdef Output channels[CHANNELS]
    cdef Py_ssize_t first, count, c
    require_sizes(len(dxs), take_constants(w, &kernel), take_input(g, &grad), take_variables(scratch, &frame), geometry)
    wide = frame + len(dxs) * geometry.frame + SLACK + geometry.reach
    with nogil:
        widen(grad, geometry, wide)
    for first in range(0, len(dxs), CHANNELS):
        count = min(len(dxs) - first, CHANNELS)
        for c in range(count):
            require(take_output(dxs[first + c], True, &channels[c]) == geometry.m_h * geometry.m_w)
        with nogil:
            for c in range(count):
                input_gradient(wide, kernel, geometry, frame, channels[c])
                kernel += geometry.k_h * geometry.k_w


# dK[c, i, j] += Σ_a Σ_b X_c[a s + i - p, b s + j - q] G[a, b],  dbias += Σ_a Σ_b G[a, b];  packed: G, row behind row

cdef inline void kernel_tile(
    const real *frame, const Py_ssize_t *taps, Py_ssize_t count, const real *g, FilterGeometry f, Output dw
) noexcept nogil:
    """Computes the gradients of the first TILE of `count` taps. Of fewer, the last is repeated and dropped."""
    cdef Py_ssize_t rest = f.n_w % V_LANES, full = f.n_w - f.n_w % V_LANES, _a, b, v
    cdef vec total[TILE]
    cdef const real *x[TILE]
    cdef vec factor
    for v in range(TILE):
        total[v] = v_set1(0)
        x[v] = frame + taps[min(v, count - 1)]
    for _a in range(f.n_h):
        b = 0
        while b < full:
            factor = v_load(g + b)
            for v in range(TILE):
                total[v] = v_fma(v_load(x[v] + b), factor, total[v])
            b += V_LANES
        if rest:
            factor = v_first(v_load(g + full), rest)
            for v in range(TILE):
                total[v] = v_fma(v_first(v_load(x[v] + full), rest), factor, total[v])
        for v in range(TILE):
            x[v] += f.pitch
        g += f.n_w
    for v in range(min(TILE, count)):
        put1(dw, v, v_hsum(total[v]))


cdef void kernel_gradient(
    const real *frame, const real *packed, const Py_ssize_t *taps, Py_ssize_t count, FilterGeometry f, Output dw
) noexcept nogil:
    """Computes the gradients of all kernel elements."""
    cdef Py_ssize_t first = 0
    while first < count:
        kernel_tile(frame, taps + first, count - first, packed, f, output_from(dw, first))
        first += TILE


cdef real bias_gradient(const real *packed, FilterGeometry f) noexcept nogil:
    """Returns the gradient of the bias, summed row by row."""
    cdef Py_ssize_t a, i
    cdef real total = 0, row_sum
    for a in range(f.n_h):
        row_sum = 0
        for i in range(a * f.n_w, (a + 1) * f.n_w):
            row_sum += packed[i]
        total += row_sum
    return total


def convolution2d_backward_kernel(list xs, g, const Py_ssize_t[::1] taps, FilterGeometry geometry, scratch, dw, /):
    cdef real *frame, *packed
    cdef Input grad
    cdef Output sums
    cdef Py_ssize_t count = take_output(dw, True, &sums), outputs = take_input(g, &grad)
    require_sizes(len(xs), count, outputs, take_variables(scratch, &frame), geometry)
    require(taps.shape[0] == count - 1)
    packed = frame + len(xs) * geometry.frame + SLACK
    fill_frames(xs, geometry, frame)
    with nogil:
        move(grad, Output(packed, 1, False), outputs)
        put1(sums, count - 1, bias_gradient(packed, geometry))
        kernel_gradient(frame, packed, &taps[0], count - 1, geometry, sums)


# The step of a Graph

cdef class ConvolutionStep(LearningStep):
    """The step of one Convolution2d. Scratch keeps the frames of the inputs between forward and backward."""
    cdef FilterGeometry geometry
    cdef OperandList inputs
    cdef const Py_ssize_t[::1] taps
    cdef OperandFields d
    cdef Py_ssize_t channels, count, parameters_offset, scratch_offset

    def __init__(
        self, FilterGeometry geometry, inputs, Operand d not None, const Py_ssize_t[::1] taps,
        Py_ssize_t parameters_offset, Py_ssize_t scratch_offset,
    ):
        """inputs: an Operand for each channel.

        parameters_offset, scratch_offset: of the node's parameters and scratch in those of the arena, in elements.
        """
        self.geometry, self.inputs, self.taps = geometry, OperandList(inputs), taps
        self.channels, self.count = len(inputs), taps.shape[0]
        self.d = d.fields
        self.parameters_offset, self.scratch_offset = parameters_offset, scratch_offset

    cdef void forward(self, Context *context) noexcept nogil:
        cdef real *frame = <real *>context.scratch + self.scratch_offset
        cdef real *wide = frame + self.channels * self.geometry.frame + SLACK
        cdef const real *w = <real *>context.parameters + self.parameters_offset
        self.fill_frames(context, frame)
        outputs(frame, &self.taps[0], self.count, w, self.geometry, wide, output(context, &self.d))

    cdef void backward(self, Context *context) noexcept nogil:
        cdef real *frame = <real *>context.scratch + self.scratch_offset
        cdef const real *w = <real *>context.parameters + self.parameters_offset
        cdef Input g = grad_of(context, &self.d)
        # The kernel gradient needs the frames of the inputs, which input gradients then overwrite; and these need the
        # parameters before the update.
        self.parameter_gradients(context, g, frame)
        self.input_gradients(context, g, w, frame)
        if context.fused_sgd:
            descend_learning(self, context, self.parameters_offset, self.count, 1)

    cdef void parameter_gradients(self, Context *context, Input g, real *frame) noexcept nogil:
        """Computes the gradient sums of the kernel and of the bias, as far as they learn."""
        cdef real *packed = frame + self.channels * self.geometry.frame + SLACK
        cdef real *dw = <real *>context.parameter_grads + self.parameters_offset
        cdef bint accumulate = adds_to_sums(self, context)
        if self.weights_learn or self.biases_learn:
            move(g, Output(packed, 1, False), self.geometry.n_h * self.geometry.n_w)
        if self.biases_learn:
            put1(Output(dw, 1, accumulate), self.count, bias_gradient(packed, self.geometry))
        if self.weights_learn:
            if context.apart:
                self.fill_frames(context, frame)
            kernel_gradient(frame, packed, &self.taps[0], self.count, self.geometry, Output(dw, 1, accumulate))

    cdef void fill_frames(self, Context *context, real *frame) noexcept nogil:
        cdef Py_ssize_t c
        for c in range(self.channels):
            fill_frame(data_of(context, &self.inputs.fields[c]), self.geometry, frame + c * self.geometry.frame)

    cdef void input_gradients(self, Context *context, Input g, const real *w, real *frame) noexcept nogil:
        cdef real *wide = frame + self.channels * self.geometry.frame + SLACK + self.geometry.reach
        cdef bint widened = False
        cdef Output dx
        cdef Py_ssize_t c
        for c in range(self.channels):
            dx = gradient(context, &self.inputs.fields[c])
            if dx.start == NULL:
                continue
            if not widened:
                widen(g, self.geometry, wide)
                widened = True
            input_gradient(wide, w + c * self.geometry.k_h * self.geometry.k_w, self.geometry, frame, dx)
