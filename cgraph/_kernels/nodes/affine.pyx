"""Kernels of Affine: d = Wᵀ (x; b), with W of shape (m + 1, n), row-major.

x: the input, m elements; d: the output, n elements; g: the gradient with respect to d; dx, dw: the gradients of
x and W, which backward ADDS into on the Node path. x, d, g and dx may be strided. All loops take W row by row, so that
it streams from memory; where d or g has gaps, and behind the last whole vector of a row, they go element by element.
"""
from cgraph._kernels.common.guard cimport require
from cgraph._kernels.common.operands cimport (
    Source, Target, added_to, data_of, get, grad_of, gradient, output, overwritten, put, put1, source
)
from cgraph._kernels.common.simd cimport V_LANES, real, v_add, v_fma, v_hsum, v_load, v_mul, v_set1, v_store, vec
from cgraph._kernels.runtime.step cimport Arena, Place, Step, place

cdef enum:
    ROWS = 8        # rows of W that share a pass over d or g
    PAIR = 2        # the same, where they are written, too


cdef void copy(Source x, Target d, Py_ssize_t n) noexcept nogil:
    cdef Py_ssize_t i = 0
    while i < n:
        put(d, i, n, get(x, i, n))
        i += V_LANES


# d_j = Σ_i W_ij x_i + W_mj b

cdef inline void add_rows(
    const real *w, Py_ssize_t n, Source x, Py_ssize_t rows, Target d
) noexcept nogil:
    """d_j += Σ_r W_rj x_r over some rows of W; in two sums, since each FMA waits for the one before it."""
    cdef Py_ssize_t j = 0, r
    cdef vec even, odd
    cdef real total
    cdef real factor[ROWS]
    for r in range(rows):
        factor[r] = x.at[r * x.step]
    while d.step == 1 and j + V_LANES <= n:
        even, odd = v_load(d.at + j), v_set1(0)
        for r in range(0, rows, 2):
            even = v_fma(v_load(w + r * n + j), v_set1(factor[r]), even)
        for r in range(1, rows, 2):
            odd = v_fma(v_load(w + r * n + j), v_set1(factor[r]), odd)
        v_store(d.at + j, v_add(even, odd))
        j += V_LANES
    while j < n:
        total = 0
        for r in range(rows):
            total += w[r * n + j] * factor[r]
        d.at[j * d.step] += total
        j += 1


cdef void outputs(const real *w, Py_ssize_t m, Py_ssize_t n, Source x, real b, Target d) noexcept nogil:
    cdef Py_ssize_t i = 0, j
    for j in range(n):
        d.at[j * d.step] = w[m * n + j] * b
    while i + ROWS <= m:
        add_rows(w + i * n, n, Source(x.at + i * x.step, x.step), ROWS, d)
        i += ROWS
    while i < m:
        add_rows(w + i * n, n, Source(x.at + i * x.step, x.step), 1, d)
        i += 1


def affine_forward(const real[:] x, const real[:, ::1] w, real b, real[::1] packed, real[:] d):
    """packed: scratch for n elements."""
    cdef Py_ssize_t m = x.shape[0], n = d.shape[0]
    require(w.shape[0] == m + 1 and w.shape[1] == n <= packed.shape[0])
    with nogil:
        outputs(&w[0, 0], m, n, source(x), b, overwritten(packed))
        copy(source(packed), overwritten(d), n)


# dx_i += Σ_j W_ij g_j

cdef inline void dot_rows(
    const real *w, Py_ssize_t n, Source g, Py_ssize_t rows, Target dx, Py_ssize_t i
) noexcept nogil:
    """The gradients of some inputs from number i on; w: the row of the first of them."""
    cdef Py_ssize_t j = 0, r
    cdef vec total[ROWS]
    cdef real tail[ROWS]
    for r in range(rows):
        total[r] = v_set1(0)
        tail[r] = 0
    while g.step == 1 and j + V_LANES <= n:
        for r in range(rows):
            total[r] = v_fma(v_load(w + r * n + j), v_load(g.at + j), total[r])
        j += V_LANES
    while j < n:
        for r in range(rows):
            tail[r] += w[r * n + j] * g.at[j * g.step]
        j += 1
    for r in range(rows):
        put1(dx, i + r, v_hsum(total[r]) + tail[r])


cdef void input_gradient(const real *w, Py_ssize_t m, Py_ssize_t n, Source g, Target dx) noexcept nogil:
    cdef Py_ssize_t i = 0
    while i + ROWS <= m:
        dot_rows(w + i * n, n, g, ROWS, dx, i)
        i += ROWS
    while i < m:
        dot_rows(w + i * n, n, g, 1, dx, i)
        i += 1


def affine_backward_input(const real[:, ::1] w, const real[:] g, real[::1] packed, real[:] dx):
    """packed: scratch for n elements."""
    cdef Py_ssize_t m = dx.shape[0], n = g.shape[0]
    require(w.shape[0] == m + 1 and w.shape[1] == n <= packed.shape[0])
    with nogil:
        copy(source(g), overwritten(packed), n)
        input_gradient(&w[0, 0], m, n, source(packed), added_to(dx))


# dW_ij += x_i g_j,  dW_mj += b g_j

cdef inline void scale(real factor, Source g, Py_ssize_t n, real *row, bint add) noexcept nogil:
    cdef Py_ssize_t j = 0
    while g.step == 1 and j + V_LANES <= n:
        v_store(row + j, v_fma(v_set1(factor), v_load(g.at + j), v_load(row + j) if add else v_set1(0)))
        j += V_LANES
    while j < n:
        put1(Target(row, 1, add), j, factor * g.at[j * g.step])
        j += 1


cdef void weight_gradient(
    Source x, Py_ssize_t m, real b, Source g, Py_ssize_t n, real *dw, bint add
) noexcept nogil:
    """Row after row: stores to several rows at a time get into each other's way in the cache."""
    cdef Py_ssize_t i
    for i in range(m):
        scale(x.at[i * x.step], g, n, dw + i * n, add)
    scale(b, g, n, dw + m * n, add)


def affine_backward_weight(const real[:] x, real b, const real[:] g, real[::1] packed, real[:, ::1] dw):
    """packed: scratch for n elements."""
    cdef Py_ssize_t m = x.shape[0], n = g.shape[0]
    require(dw.shape[0] == m + 1 and dw.shape[1] == n <= packed.shape[0])
    with nogil:
        copy(source(g), overwritten(packed), n)
        weight_gradient(source(x), m, b, source(packed), n, &dw[0, 0], True)


# Both at once, and descent:   dx_i += Σ_j W_ij g_j,  then W_ij -= η x_i g_j;   W_mj -= η b g_j

cdef inline void learn_rows(
    real *w, Py_ssize_t n, Source x, Source g, real eta, Py_ssize_t rows, Target dx, Py_ssize_t i, bint wanted
) noexcept nogil:
    """Of some rows of W, from w on: the gradients of their inputs, number i and so on, if wanted, and the step."""
    cdef Py_ssize_t j = 0, r
    cdef vec slope, row
    cdef vec total[PAIR]
    cdef real factor[PAIR]
    cdef real tail[PAIR]
    for r in range(rows):
        factor[r] = x.at[(i + r) * x.step]
        total[r] = v_set1(0)
        tail[r] = 0
    while g.step == 1 and j + V_LANES <= n:
        slope = v_load(g.at + j)
        for r in range(rows):
            row = v_load(w + r * n + j)
            if wanted:
                total[r] = v_fma(row, slope, total[r])
            v_store(w + r * n + j, v_fma(v_set1(-eta), v_mul(v_set1(factor[r]), slope), row))
        j += V_LANES
    while j < n:
        for r in range(rows):
            tail[r] += w[r * n + j] * g.at[j * g.step]
            w[r * n + j] -= eta * (factor[r] * g.at[j * g.step])
        j += 1
    if wanted:
        for r in range(rows):
            put1(dx, i + r, v_hsum(total[r]) + tail[r])


cdef inline void learn(
    real *w, Py_ssize_t m, Py_ssize_t n, Source x, real b, Source g, real eta, Target dx, bint wanted
) noexcept nogil:
    cdef Py_ssize_t i = 0
    while i + PAIR <= m:
        learn_rows(w + i * n, n, x, g, eta, PAIR, dx, i, wanted)
        i += PAIR
    while i < m:
        learn_rows(w + i * n, n, x, g, eta, 1, dx, i, wanted)
        i += 1
    scale(-eta * b, g, n, w + m * n, True)


# The step of a Graph

cdef class AffineStep(Step):
    cdef Place x, d
    cdef Py_ssize_t m, n, values_at
    cdef real bias

    def __init__(self, x, d, Py_ssize_t m, Py_ssize_t n, Py_ssize_t values_at, double bias):
        """x, d: the fields of _places.Place; values_at: where W lies in `values`, and its gradient in `sums`."""
        self.x, self.d = place(x), place(d)
        self.m, self.n, self.values_at, self.bias = m, n, values_at, <real>bias

    cdef void forward(self, Arena *arena) noexcept nogil:
        cdef const real *w = <real *>arena.values + self.values_at
        outputs(w, self.m, self.n, data_of(arena, &self.x), self.bias, output(arena, &self.d))

    cdef void backward(self, Arena *arena) noexcept nogil:
        cdef Source x = data_of(arena, &self.x), g = grad_of(arena, &self.d)
        cdef Target dx = gradient(arena, &self.x)
        cdef real *w = <real *>arena.values + self.values_at
        if arena.learn and dx.at == NULL:       # as in the first layer: a loop without the sums
            learn(w, self.m, self.n, x, self.bias, g, <real>arena.eta, dx, False)
            return
        if arena.learn:
            learn(w, self.m, self.n, x, self.bias, g, <real>arena.eta, dx, True)
            return
        if dx.at != NULL:
            input_gradient(w, self.m, self.n, g, dx)
        weight_gradient(x, self.m, self.bias, g, self.n, <real *>arena.sums + self.values_at, not arena.fresh)
