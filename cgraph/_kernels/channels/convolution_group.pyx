"""The step of a fused group of sibling Convolution2d nodes: one geometry, one ordered list of C input channels for all.

D[o][a, b] = bias_o + Σ_c Σ_i Σ_j K[o][c, i, j] X_c[a s + i - p, b s + j - q]

x, dx: the input and its gradient, channels last, either in the arena or in a *padded copy*, which has the zeros of the
padding around it; d, g: the output and its gradient, [a][b][o], `pitch` elements a position; w, dw: the kernels,
[i][j][c][o], and behind them the biases, in rows of `pitch`. The elements of d, g and w behind channel c_out are
computed with the others and never read into a channel.

Design: the output, the kernels' gradient and the input's gradient are all indirect GEMMs (indirect_gemm.pxd) over one
layout: with channels last, a vector holds neighbouring channels and a GEMM's row needs an offset alone, so that no
matrix of windows is ever written. The tables of offsets are made once (offsets.py): `kernel_offsets`, from a window's
first element to its others; `window_offsets`, of the windows' first elements; `result_offsets`, of the rows of d and of
dw; `grad_offsets` and `input_offsets`, of outputs' gradients and of the input elements that they contribute to;
`grad_term_offsets`, from such a gradient to those that contribute to the same elements. The input's gradient is split
into *subconvolutions*, input rows whose terms come from one set of kernel rows, for each to be a GEMM without gaps.
"""
from libc.string cimport memset

from cgraph._kernels.channels import offsets
from cgraph._kernels.channels.indirect_gemm cimport IndirectGemm, multiply, packed_size
from cgraph._kernels.channels.tables cimport RowGroup
from cgraph._kernels.channels.tables import ROW_GROUP
from cgraph._kernels.common.geometry cimport FilterGeometry
from cgraph._kernels.common.operands cimport descend_learning
from cgraph._kernels.common.rows cimport add_channels, add_row_sums, copy_channels, rows_are_finite
from cgraph._kernels.common.simd cimport V_LANES, V_PADDED, real
from cgraph._kernels.runtime import structs
from cgraph._kernels.runtime.step cimport (
    Context, LearningStep, Operand, OperandFields, OperandList, adds_to_sums
)

cdef enum:
    CHUNK_BYTES = 65536     # bytes of a chunk of the output's gradient, which the gradients of kernels and biases read


cdef inline Py_ssize_t round_up(Py_ssize_t n) noexcept nogil:
    """Returns n, rounded up to the elements to which rows are padded."""
    return (n + V_PADDED - 1) // V_PADDED * V_PADDED


cdef Py_ssize_t padded_size(FilterGeometry f, Py_ssize_t c_in) noexcept:
    """The size of a padded copy and of the vector behind it, which tiles may touch."""
    return round_up(f.padded_h * f.padded_w * round_up(c_in)) + round_up(V_LANES)


def convolution_group_scratch(FilterGeometry geometry, Py_ssize_t c_in, Py_ssize_t c_out):
    """Returns the number of elements of scratch that a ConvolutionGroupStep needs."""
    return 2 * padded_size(geometry, c_in) + zeros_size(geometry, c_in, c_out) + largest_panel(geometry, c_in, c_out)


cdef Py_ssize_t zeros_size(FilterGeometry f, Py_ssize_t c_in, Py_ssize_t c_out) noexcept:
    """Returns the number of elements of the widest row that a GEMM begins with zeros."""
    return round_up(max(f.k_w * c_in, c_out))


cdef Py_ssize_t largest_panel(FilterGeometry f, Py_ssize_t c_in, Py_ssize_t c_out) noexcept:
    """Returns the number of elements of the largest panel that one of the GEMMs packs."""
    return round_up(packed_size(max(f.k_h * f.k_w * c_in, f.n_h * f.n_w, f.k_h * c_out)))


cdef void gemm(const IndirectGemm *p, const RowGroup *groups, Py_ssize_t count) noexcept nogil:
    """Computes a GEMM; `multiply` is inlined here alone, and not into each of the callers."""
    multiply(p, groups, count)


cdef void gemm_of_all(const IndirectGemm *p, Py_ssize_t rows) noexcept nogil:
    """Computes a GEMM of which all rows have all terms."""
    cdef RowGroup group = RowGroup(0, rows, 0, p.depth)
    gemm(p, &group, 1)


cdef class ConvolutionGroupStep(LearningStep):
    """Convolves c_in channels to c_out channels; with fused SGD, its backward pass updates the kernels, too."""
    cdef FilterGeometry f
    cdef OperandList inputs
    cdef const unsigned char[:, ::1] connected  # whether each (c_in, c_out) is connected; None if all are
    cdef const Py_ssize_t[::1] missing  # the offset of each missing connection's weight within the weights of one tap
    cdef const Py_ssize_t[::1] kernel_offsets, window_offsets, result_offsets
    cdef const Py_ssize_t[::1] grad_term_offsets, grad_offsets, input_offsets, kernel_rows
    cdef const RowGroup[::1] subconvolutions
    cdef OperandFields x, d     # the operands of the first channels
    cdef Py_ssize_t c_in, c_out
    cdef Py_ssize_t channel_runs    # 1 if the input's channels lie side by side, else c_in
    cdef Py_ssize_t terms       # the terms of an output, k_h k_w c_in
    cdef Py_ssize_t positions   # the positions of the output, n_h n_w
    cdef Py_ssize_t width       # c_out, rounded up to whole vectors
    cdef Py_ssize_t padded_stride
    cdef Py_ssize_t parameters_offset, padded_input_offset, padded_grad_offset
    cdef Py_ssize_t zeros_offset, packed_offset
    cdef bint in_place          # the arena's input needs no padding, and is read where it lies
    cdef bint direct            # tiles write the input's gradient into the arena, since its rows are whole vectors
    cdef bint one_to_one        # each element of the input's gradient has terms of one output position alone

    def __init__(
        self, FilterGeometry geometry, inputs, Operand d not None, Py_ssize_t c_out, Py_ssize_t parameters_offset,
        Py_ssize_t scratch_offset, connected
    ):
        """inputs: an Operand for each input channel; connected: whether each (c_in, c_out) is, or None for all."""
        cdef FilterGeometry f = geometry
        self.f, self.inputs, self.d, self.connected = f, OperandList(inputs), d.fields, connected
        self.x = self.inputs.fields[0]
        self.c_in, self.c_out, self.parameters_offset = len(inputs), c_out, parameters_offset
        self.terms, self.positions = f.k_h * f.k_w * self.c_in, f.n_h * f.n_w
        self.width = (c_out + V_LANES - 1) // V_LANES * V_LANES
        self.channel_runs = 1 if offsets.lie_side_by_side(inputs) else self.c_in
        self.in_place = self.channel_runs == 1 and f.padded_h == f.m_h and f.padded_w == f.m_w
        self.padded_stride = self.c_in
        if self.in_place or self.channel_runs == 1 and self.x.stride <= round_up(self.c_in):
            self.padded_stride = self.x.stride      # whole rows are copied at once
        self.padded_input_offset = scratch_offset
        self.padded_grad_offset = self.padded_input_offset + padded_size(f, self.c_in)
        self.zeros_offset = self.padded_grad_offset + padded_size(f, self.c_in)
        self.packed_offset = self.zeros_offset + zeros_size(f, self.c_in, c_out)
        whole = self.c_in % V_LANES == 0
        self.direct = whole and self.in_place and self.x.stride == self.c_in
        self.one_to_one = whole and self.in_place and f.k_h == f.k_w == f.s == 1 and f.n_h == f.m_h and f.n_w == f.m_w
        tables = offsets.tables(
            f, self.c_in, c_out, self.d.stride, self.padded_stride, V_LANES, connected
        )
        self.missing, self.kernel_offsets = tables.missing, tables.kernel_offsets
        self.window_offsets, self.result_offsets = tables.window_offsets, tables.result_offsets
        self.grad_term_offsets, self.grad_offsets = tables.grad_term_offsets, tables.grad_offsets
        self.input_offsets, self.kernel_rows = tables.input_offsets, tables.kernel_rows
        self.subconvolutions = structs.checked(ROW_GROUP, tables.subconvolutions)
        self.table_bytes = self.inputs.nbytes + sum(table.nbytes for table in tables)
        if connected is not None:
            self.table_bytes += connected.nbytes

    cdef bint requires_grad(self, Context *context) noexcept nogil:
        cdef const OperandFields *inputs = self.inputs.fields
        cdef Py_ssize_t c
        for c in range(self.c_in):
            if inputs[c].requires_grad[context.parameters_only]:
                return True
        return False

    cdef void forward(self, Context *context) noexcept nogil:
        cdef real *w = <real *>context.parameters + self.parameters_offset
        cdef real *d = <real *>context.data + self.d.offset
        cdef const real *x = self.copy_input(context)
        cdef Py_ssize_t rows = self.f.padded_h * self.f.padded_w
        if self.missing.shape[0] and not rows_are_finite(x, self.padded_stride, rows, self.c_in):
            self.outputs_by_terms(x, w, d)
        else:
            self.outputs(x, w, d, context)

    cdef void backward(self, Context *context) noexcept nogil:
        cdef real *w = <real *>context.parameters + self.parameters_offset
        cdef real *dw = <real *>context.parameter_grads + self.parameters_offset
        cdef const real *g = <const real *>context.grad + self.d.offset
        cdef Py_ssize_t weights = self.terms * self.d.stride
        if self.requires_grad(context):
            self.input_gradient(g, w, context)
        if self.weights_learn or self.biases_learn:
            self.parameter_gradients(context, g, dw)
        if context.fused_sgd:
            descend_learning(self, context, self.parameters_offset, weights, self.d.stride)

    # The padded copy of the input

    cdef const real *padded_input(self, Context *context) noexcept nogil:
        if self.in_place:
            return <real *>context.data + self.x.offset
        return <real *>context.scratch + self.padded_input_offset

    cdef const real *copy_input(self, Context *context) noexcept nogil:
        """Copies the input between the zeros of the padded copy, unless it is read in place."""
        cdef Py_ssize_t c, y, channels = self.c_in // self.channel_runs
        cdef Py_ssize_t row = self.f.padded_w * self.padded_stride
        cdef real *padded = <real *>context.scratch + self.padded_input_offset
        cdef real *inner = padded + (self.f.p * self.f.padded_w + self.f.q) * self.padded_stride
        cdef const OperandFields *inputs = self.inputs.fields
        cdef const real *x
        if self.in_place:
            return self.padded_input(context)
        for c in range(self.channel_runs):
            x = <real *>context.data + inputs[c].offset
            for y in range(self.f.m_h):
                copy_channels(
                    x + y * self.f.m_w * inputs[c].stride, inputs[c].stride, inner + y * row + c, self.padded_stride,
                    self.f.m_w, channels
                )
        return padded

    cdef IndirectGemm new_gemm(self, Context *context) noexcept nogil:
        """Returns a GEMM that has room for a panel, and 0 in all other fields."""
        cdef IndirectGemm p
        memset(&p, 0, sizeof(p))
        p.packed = <real *>context.scratch + self.packed_offset
        return p

    # D[a, b] = bias + Σ_c Σ_i Σ_j K[c, i, j] X_c[a s + i - p, b s + j - q]

    cdef void outputs(self, const real *x, const real *w, real *d, Context *context) noexcept nogil:
        cdef IndirectGemm p = self.new_gemm(context)
        p.a, p.row_offsets, p.term_offsets = x, &self.window_offsets[0], &self.kernel_offsets[0]
        p.b, p.pitch, p.start = w, self.d.stride, w + self.terms * self.d.stride
        p.c, p.c_offsets = d, &self.result_offsets[0]
        p.width, p.depth = self.width, self.terms
        gemm_of_all(&p, self.positions)

    cdef void outputs_by_terms(self, const real *x, const real *w, real *d) noexcept nogil:
        """Computes the output, missing connections left out: zeros times an x that is not finite would be NaN."""
        cdef Py_ssize_t pitch = self.d.stride, i, t, o
        cdef const real *window
        for i in range(self.positions):
            window = x + self.window_offsets[i]
            for o in range(self.c_out):
                d[i * pitch + o] = w[self.terms * pitch + o]
                for t in range(self.terms):
                    if self.connected[t % self.c_in, o]:
                        d[i * pitch + o] += w[t * pitch + o] * window[self.kernel_offsets[t]]

    # dK[c, i, j] += Σ_a Σ_b X_c[a s + i - p, b s + j - q] G[a, b]

    cdef void parameter_gradients(self, Context *context, const real *g, real *dw) noexcept nogil:
        """Sums over chunks of positions: a cache still holds the chunk of g that the biases' gradient then reads."""
        cdef const real *x = self.padded_input(context)
        cdef real *biases = dw + self.terms * self.d.stride
        cdef bint overwrite = not adds_to_sums(self, context)
        cdef Py_ssize_t size = max(CHUNK_BYTES // (self.d.stride * <Py_ssize_t>sizeof(real)), 1), first = 0, t, i
        if context.apart and self.weights_learn:
            self.copy_input(context)
        if overwrite and self.biases_learn:
            memset(biases, 0, self.d.stride * sizeof(real))
        while first < self.positions:
            size = min(size, self.positions - first)
            if self.weights_learn:
                self.kernel_gradient(context, x, g, dw, first, size, overwrite and first == 0)
            if self.biases_learn:
                add_row_sums(g + first * self.d.stride, self.d.stride, size, self.width, biases)
            first += size
        if self.weights_learn:
            for t in range(self.f.k_h * self.f.k_w):
                for i in range(self.missing.shape[0]):
                    dw[t * self.c_in * self.d.stride + self.missing[i]] = 0

    cdef void kernel_gradient(
        self, Context *context, const real *x, const real *g, real *dw, Py_ssize_t first, Py_ssize_t size,
        bint overwrite
    ) noexcept nogil:
        """Adds the terms of `size` positions to the gradient of the kernels, or overwrites it with them."""
        cdef IndirectGemm p = self.new_gemm(context)
        p.a, p.row_offsets, p.term_offsets = x, &self.kernel_offsets[0], &self.window_offsets[first]
        p.b, p.pitch = g + first * self.d.stride, self.d.stride
        if overwrite:
            p.start = <const real *>context.scratch + self.zeros_offset
        p.c, p.c_offsets = dw, &self.result_offsets[0]
        p.width, p.depth, p.any_order = self.width, size, True
        gemm_of_all(&p, self.terms)

    # dX_c[a s + i - p, b s + j - q] += K[c, i, j] G[a, b], in whole rows of a window, [j][c]

    cdef void input_gradient(self, const real *g, const real *w, Context *context) noexcept nogil:
        cdef real *padded = <real *>context.scratch + self.padded_grad_offset
        cdef const real *zeros = <real *>context.scratch + self.zeros_offset
        cdef bint by_terms = self.missing.shape[0] and not rows_are_finite(g, self.d.stride, self.positions, self.c_out)
        if self.direct:
            padded = <real *>context.grad + self.x.offset
        if self.direct and self.x.accumulate or by_terms or not self.one_to_one:
            zeros = NULL
        if zeros == NULL and not (self.direct and self.x.accumulate):
            memset(padded, 0, self.f.padded_h * self.f.padded_w * self.c_in * sizeof(real))
        if by_terms:
            self.padded_gradient_by_terms(g, w, padded)
        else:
            self.padded_gradient(g, w, zeros, padded, context)
        if not self.direct:
            self.copy_gradient(padded, context)

    cdef void padded_gradient(
        self, const real *g, const real *w, const real *start, real *padded, Context *context
    ) noexcept nogil:
        """Computes a padded gradient of c_in elements a position, `start` as in IndirectGemm."""
        cdef IndirectGemm p = self.new_gemm(context)
        if self.subconvolutions.shape[0] == 0:      # all windows lie in the padding
            return
        p.a, p.row_offsets, p.term_offsets = g, &self.grad_offsets[0], &self.grad_term_offsets[0]
        p.b, p.pitch, p.start, p.any_order = w, self.d.stride, start, True
        p.runs, p.run = &self.kernel_rows[0], self.c_out
        p.c, p.c_offsets = padded, &self.input_offsets[0]
        p.width, p.depth = self.f.k_w * self.c_in, self.f.k_h * self.c_out
        gemm(&p, &self.subconvolutions[0], self.subconvolutions.shape[0])

    cdef void padded_gradient_by_terms(self, const real *g, const real *w, real *padded) noexcept nogil:
        """Adds to a padded gradient, missing connections left out: zeros times a g that is not finite would be NaN."""
        cdef Py_ssize_t a, b, i, t, k, row = self.f.k_w * self.c_in, pitch = self.d.stride
        cdef real *dx
        for a in range(self.f.n_h):
            for b in range(self.f.n_w):
                for i in range(self.f.k_h):
                    dx = padded + ((a * self.f.s + i) * self.f.padded_w + b * self.f.s) * self.c_in
                    for t in range(row):
                        for k in range(self.c_out):
                            if self.connected[t % self.c_in, k]:
                                dx[t] += w[(i * row + t) * pitch + k] * g[(a * self.f.n_w + b) * pitch + k]

    cdef void copy_gradient(self, const real *padded, Context *context) noexcept nogil:
        """Copies the padded gradient, without its padding, to the channels that require their gradients."""
        cdef Py_ssize_t c, y, channels = self.c_in // self.channel_runs
        cdef const real *x = padded + (self.f.p * self.f.padded_w + self.f.q) * self.c_in
        cdef const OperandFields *inputs = self.inputs.fields
        cdef real *dx
        for c in range(self.channel_runs):
            if not inputs[c].requires_grad[context.parameters_only]:
                continue
            for y in range(self.f.m_h):
                dx = <real *>context.grad + inputs[c].offset + y * self.f.m_w * inputs[c].stride
                if inputs[c].accumulate:
                    add_channels(
                        x + y * self.f.padded_w * self.c_in + c, self.c_in, dx, inputs[c].stride, self.f.m_w, channels
                    )
                else:
                    copy_channels(
                        x + y * self.f.padded_w * self.c_in + c, self.c_in, dx, inputs[c].stride, self.f.m_w, channels
                    )
