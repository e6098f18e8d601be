"""Kernels of Affine: d = Wᵀ (x; b), with W of shape (m + 1, n), row-major; those of recurrent cells are in cells.pxi.

x: the input, m elements; d: the output, n elements; g: the gradient with respect to d; dx, dw: the gradients of
x and W, which backward ADDS into on the Node path. x, d, g and dx may be strided. All loops take W row by row, so that
W streams from memory. Behind the last whole vector of a row, loops take the rest as a part of one where that is fast;
elsewhere, and where the stride of d or g is not 1, they go element by element.
"""
from cgraph._kernels.common.guard cimport require
from cgraph._kernels.common.operands cimport (
    Input, Output, added_to, data_of, get, grad_of, gradient, input_of, output, overwritten, put, put1
)
from cgraph._kernels.common.simd cimport (
    V_FAST_PARTS, V_LANES, real, v_add, v_fma, v_hsum, v_load_part, v_mul, v_set1, v_store_part, vec
)
from cgraph._kernels.runtime.step cimport (
    Context, LearningStep, MatrixKernels, Operand, OperandFields, adds_to_sums
)

cdef enum:
    ROWS = 8        # rows of W that are read in one pass over d or g
    PAIR = 2        # rows of W that are read and written in one pass over g


cdef void copy(Input x, Output d, Py_ssize_t n) noexcept nogil:
    """Copies n elements, or adds them."""
    cdef Py_ssize_t i = 0
    while i < n:
        put(d, i, n, get(x, i, n))
        i += V_LANES


# d_j = Σ_i W_ij x_i + W_mj b

cdef inline void add_rows_vector(
    const real *w, Py_ssize_t n, const real *factor, Py_ssize_t rows, real *d, Py_ssize_t count
) noexcept nogil:
    """Adds `count` elements of `rows` rows of W to d, in two sums, since each FMA waits for the one before it."""
    cdef Py_ssize_t r
    cdef vec even = v_load_part(d, count), odd = v_set1(0)
    for r in range(0, rows, 2):
        even = v_fma(v_load_part(w + r * n, count), v_set1(factor[r]), even)
    for r in range(1, rows, 2):
        odd = v_fma(v_load_part(w + r * n, count), v_set1(factor[r]), odd)
    v_store_part(d, count, v_add(even, odd))


cdef inline void add_rows(
    const real *w, Py_ssize_t n, Input x, Py_ssize_t rows, Output d
) noexcept nogil:
    """d_j += Σ_r W_rj x_r over `rows` rows of W."""
    cdef Py_ssize_t j = 0, r
    cdef real total
    cdef real factor[ROWS]
    for r in range(rows):
        factor[r] = x.start[r * x.stride]
    while d.stride == 1 and j + V_LANES <= n:
        add_rows_vector(w + j, n, factor, rows, d.start + j, V_LANES)
        j += V_LANES
    if V_FAST_PARTS and d.stride == 1 and j < n:
        add_rows_vector(w + j, n, factor, rows, d.start + j, n - j)
        j = n
    while j < n:
        total = 0
        for r in range(rows):
            total += w[r * n + j] * factor[r]
        d.start[j * d.stride] += total
        j += 1


cdef void outputs(const real *w, Py_ssize_t m, Py_ssize_t n, Input x, real b, Output d) noexcept nogil:
    cdef Py_ssize_t i = 0, j
    for j in range(n):
        d.start[j * d.stride] = w[m * n + j] * b
    while i + ROWS <= m:
        add_rows(w + i * n, n, Input(x.start + i * x.stride, x.stride), ROWS, d)
        i += ROWS
    while i < m:
        add_rows(w + i * n, n, Input(x.start + i * x.stride, x.stride), 1, d)
        i += 1


def affine_forward(const real[:] x, const real[:, ::1] w, real b, real[::1] packed, real[:] d, /):
    """packed: scratch for n elements."""
    cdef Py_ssize_t m = x.shape[0], n = d.shape[0]
    require(w.shape[0] == m + 1 and w.shape[1] == n <= packed.shape[0])
    with nogil:
        outputs(&w[0, 0], m, n, input_of(x), b, overwritten(packed))
        copy(input_of(packed), overwritten(d), n)


# dx_i += Σ_j W_ij g_j

cdef inline void dot_rows_vector(
    const real *w, Py_ssize_t n, const real *g, Py_ssize_t rows, vec *total, Py_ssize_t count
) noexcept nogil:
    """Adds the products of `count` elements of `rows` rows of W and of g to the total of each row."""
    cdef Py_ssize_t r
    for r in range(rows):
        total[r] = v_fma(v_load_part(w + r * n, count), v_load_part(g, count), total[r])


cdef inline void dot_rows(
    const real *w, Py_ssize_t n, Input g, Py_ssize_t rows, Output dx, Py_ssize_t i
) noexcept nogil:
    """Writes, or adds, the gradients of `rows` inputs, from input i on, whose rows of W begin at w."""
    cdef Py_ssize_t j = 0, r
    cdef vec total[ROWS]
    cdef real tail[ROWS]
    for r in range(rows):
        total[r] = v_set1(0)
        tail[r] = 0
    while g.stride == 1 and j + V_LANES <= n:
        dot_rows_vector(w + j, n, g.start + j, rows, total, V_LANES)
        j += V_LANES
    if V_FAST_PARTS and g.stride == 1 and j < n:
        dot_rows_vector(w + j, n, g.start + j, rows, total, n - j)
        j = n
    while j < n:
        for r in range(rows):
            tail[r] += w[r * n + j] * g.start[j * g.stride]
        j += 1
    for r in range(rows):
        put1(dx, i + r, v_hsum(total[r]) + tail[r])


cdef void input_gradient(const real *w, Py_ssize_t m, Py_ssize_t n, Input g, Output dx) noexcept nogil:
    cdef Py_ssize_t i = 0
    while i + ROWS <= m:
        dot_rows(w + i * n, n, g, ROWS, dx, i)
        i += ROWS
    while i < m:
        dot_rows(w + i * n, n, g, 1, dx, i)
        i += 1


def affine_backward_input(const real[:, ::1] w, const real[:] g, real[::1] packed, real[:] dx, /):
    """packed: scratch for n elements."""
    cdef Py_ssize_t m = dx.shape[0], n = g.shape[0]
    require(w.shape[0] == m + 1 and w.shape[1] == n <= packed.shape[0])
    with nogil:
        copy(input_of(g), overwritten(packed), n)
        input_gradient(&w[0, 0], m, n, input_of(packed), added_to(dx))


# dW_ij += x_i g_j,  dW_mj += b g_j

cdef inline void scale_vector(
    real factor, const real *g, real *row, bint accumulate, Py_ssize_t count
) noexcept nogil:
    """Computes `count` elements of a row."""
    cdef vec before = v_load_part(row, count) if accumulate else v_set1(0)
    v_store_part(row, count, v_fma(v_set1(factor), v_load_part(g, count), before))


cdef inline void scale(real factor, Input g, Py_ssize_t n, real *row, bint accumulate) noexcept nogil:
    """row_j = factor g_j, or row_j += factor g_j."""
    cdef Py_ssize_t j = 0
    while g.stride == 1 and j + V_LANES <= n:
        scale_vector(factor, g.start + j, row + j, accumulate, V_LANES)
        j += V_LANES
    if V_FAST_PARTS and g.stride == 1 and j < n:
        scale_vector(factor, g.start + j, row + j, accumulate, n - j)
        j = n
    while j < n:
        put1(Output(row, 1, accumulate), j, factor * g.start[j * g.stride])
        j += 1


cdef void weight_gradient(
    Input x, Py_ssize_t m, real b, Input g, Py_ssize_t n, real *dw, bint accumulate
) noexcept nogil:
    """dW, row after row: stores to several rows at a time compete for lines of the cache."""
    cdef Py_ssize_t i
    for i in range(m):
        scale(x.start[i * x.stride], g, n, dw + i * n, accumulate)
    scale(b, g, n, dw + m * n, accumulate)


def affine_backward_weight(const real[:] x, real b, const real[:] g, real[::1] packed, real[:, ::1] dw, /):
    """packed: scratch for n elements."""
    cdef Py_ssize_t m = x.shape[0], n = g.shape[0]
    require(dw.shape[0] == m + 1 and dw.shape[1] == n <= packed.shape[0])
    with nogil:
        copy(input_of(g), overwritten(packed), n)
        weight_gradient(input_of(x), m, b, input_of(packed), n, &dw[0, 0], True)


cdef void sample_gradient(
    const char *x, Py_ssize_t m, double b, const char *g, Py_ssize_t n, Py_ssize_t stride, char *packed, char *dw,
    bint accumulate
) noexcept nogil:
    """Computes dW for one of the samples that lie side by side. packed: scratch for n elements."""
    cdef Input xs = Input(<const real *>x, stride), gs = Input(<const real *>g, stride)
    if n == 1:      # a column, in one loop over x
        scale(gs.start[0], xs, m, <real *>dw, accumulate)
        scale(<real>b, gs, n, <real *>dw + m, accumulate)
    else:
        copy(gs, Output(<real *>packed, 1, False), n)
        weight_gradient(xs, m, <real>b, Input(<const real *>packed, 1), n, <real *>dw, accumulate)


cdef MatrixKernels kernels = MatrixKernels.__new__(MatrixKernels)
kernels.gradient = sample_gradient
MATRIX_KERNELS = kernels


# Input gradient and fused SGD in one pass over W:   dx_i += Σ_j W_ij g_j,  then W_ij -= η x_i g_j;   W_mj -= η b g_j

cdef inline void fused_sgd_vector(
    real *w, Py_ssize_t n, const real *factor, const real *g, real eta, Py_ssize_t rows, vec *total, bint requires_grad,
    Py_ssize_t count
) noexcept nogil:
    """Updates `count` elements of `rows` rows of W, and before that adds their products with g to the totals."""
    cdef Py_ssize_t r
    cdef vec gradients = v_load_part(g, count), row
    for r in range(rows):
        row = v_load_part(w + r * n, count)
        if requires_grad:
            total[r] = v_fma(row, gradients, total[r])
        v_store_part(w + r * n, count, v_fma(v_set1(-eta), v_mul(v_set1(factor[r]), gradients), row))


cdef inline void fused_sgd_rows(
    real *w, Py_ssize_t n, Input x, Input g, real eta, Py_ssize_t rows, Output dx, Py_ssize_t i, bint requires_grad
) noexcept nogil:
    """Updates `rows` rows of W, from w on, and before that computes the gradients of their inputs, from input i on.

    requires_grad: whether these gradients are computed.
    """
    cdef Py_ssize_t j = 0, r
    cdef vec total[PAIR]
    cdef real factor[PAIR]
    cdef real tail[PAIR]
    for r in range(rows):
        factor[r] = x.start[(i + r) * x.stride]
        total[r] = v_set1(0)
        tail[r] = 0
    while g.stride == 1 and j + V_LANES <= n:
        fused_sgd_vector(w + j, n, factor, g.start + j, eta, rows, total, requires_grad, V_LANES)
        j += V_LANES
    if V_FAST_PARTS and g.stride == 1 and j < n:
        fused_sgd_vector(w + j, n, factor, g.start + j, eta, rows, total, requires_grad, n - j)
        j = n
    while j < n:
        for r in range(rows):
            tail[r] += w[r * n + j] * g.start[j * g.stride]
            w[r * n + j] -= eta * (factor[r] * g.start[j * g.stride])
        j += 1
    if requires_grad:
        for r in range(rows):
            put1(dx, i + r, v_hsum(total[r]) + tail[r])


cdef inline void fused_sgd(
    real *w, Py_ssize_t m, Py_ssize_t n, Input x, real b, Input g, real eta, Output dx, bint requires_grad
) noexcept nogil:
    """Updates W, and computes the gradients of all inputs if `requires_grad`."""
    cdef Py_ssize_t i = 0
    while i + PAIR <= m:
        fused_sgd_rows(w + i * n, n, x, g, eta, PAIR, dx, i, requires_grad)
        i += PAIR
    while i < m:
        fused_sgd_rows(w + i * n, n, x, g, eta, 1, dx, i, requires_grad)
        i += 1
    scale(-eta * b, g, n, w + m * n, True)


# The step of a Graph

cdef class AffineStep(LearningStep):
    """The step of one Affine, for one sample, or of a product of a cell.

    The row of biases is computed with the others if either learns: without fused SGD, gradient sums of what does not
    learn are never read.
    """
    cdef OperandFields x, d
    cdef Py_ssize_t m, n, parameters_offset
    cdef real bias

    def __init__(
        self, Operand x not None, Operand d not None, Py_ssize_t m, Py_ssize_t n, Py_ssize_t parameters_offset,
        double bias
    ):
        """parameters_offset: that of W, and of its gradient sums."""
        self.x, self.d = x.fields, d.fields
        self.m, self.n, self.parameters_offset, self.bias = m, n, parameters_offset, <real>bias

    cdef void forward(self, Context *context) noexcept nogil:
        cdef const real *w = <real *>context.parameters + self.parameters_offset
        outputs(w, self.m, self.n, data_of(context, &self.x), self.bias, output(context, &self.d))

    cdef void backward(self, Context *context) noexcept nogil:
        cdef Input x = data_of(context, &self.x), g = grad_of(context, &self.d)
        cdef Output dx = gradient(context, &self.x)
        cdef real *w = <real *>context.parameters + self.parameters_offset
        cdef real *dw = <real *>context.parameter_grads + self.parameters_offset
        if context.fused_sgd and self.weights_learn:
            if dx.start == NULL:        # as in the first layer: a loop without input gradients
                fused_sgd(w, self.m, self.n, x, self.bias, g, <real>context.eta, dx, False)
            else:
                fused_sgd(w, self.m, self.n, x, self.bias, g, <real>context.eta, dx, True)
            return
        if dx.start != NULL:
            input_gradient(w, self.m, self.n, g, dx)
        if self.weights_learn or self.biases_learn:
            weight_gradient(x, self.m, self.bias, g, self.n, dw, adds_to_sums(self, context))


include "nodes/cells.pxi"
