"""Kernels of Affine: d = Wᵀ (x; b), with W of shape (m + 1, n), row-major.

x: the input, m elements; d: the output, n elements; g: the gradient with respect to d; dx, dw: the gradients of
x and W, which backward ADDS into. x, d, g and dx may be strided; `packed` is scratch for n elements.
"""
from cgraph._kernels.guard cimport require
from cgraph._kernels.simd cimport V_LANES, real, v_fma, v_hsum, v_load, v_set1, v_store, vec

cdef enum:
    TILE = 4        # vectors of outputs that are summed side by side


# d_j = Σ_i W_ij x_i + W_mj b

cdef inline void output_tile(
    const real[:] x, const real[:, ::1] w, real b, Py_ssize_t j, Py_ssize_t vectors, real *d
) noexcept nogil:
    """The outputs from number j on that fill `vectors` vectors."""
    cdef Py_ssize_t m = x.shape[0], i, v
    cdef vec total[TILE]
    cdef vec factor = v_set1(b)
    for v in range(vectors):
        total[v] = v_fma(v_load(&w[m, j] + v * V_LANES), factor, v_set1(0))
    for i in range(m):
        factor = v_set1(x[i])
        for v in range(vectors):
            total[v] = v_fma(v_load(&w[i, j] + v * V_LANES), factor, total[v])
    for v in range(vectors):
        v_store(d + v * V_LANES, total[v])


cdef void outputs(const real[:] x, const real[:, ::1] w, real b, real[::1] d) noexcept nogil:
    """All outputs. The last tile ends with the last output and may overlap the one before it."""
    cdef Py_ssize_t m = x.shape[0], n = w.shape[1], i, j = 0
    if n >= TILE * V_LANES:
        while j < n:
            output_tile(x, w, b, min(j, n - TILE * V_LANES), TILE, &d[min(j, n - TILE * V_LANES)])
            j += TILE * V_LANES
    elif n >= V_LANES:
        while j < n:
            output_tile(x, w, b, min(j, n - V_LANES), 1, &d[min(j, n - V_LANES)])
            j += V_LANES
    else:
        for j in range(n):
            d[j] = w[m, j] * b
            for i in range(m):
                d[j] += w[i, j] * x[i]


cdef inline void copy(const real[:] source, real[:] target, Py_ssize_t n) noexcept nogil:
    cdef Py_ssize_t j
    for j in range(n):
        target[j] = source[j]


def affine_forward(const real[:] x, const real[:, ::1] w, real b, real[::1] packed, real[:] d):
    require(w.shape[0] == x.shape[0] + 1 and w.shape[1] == d.shape[0] <= packed.shape[0])
    with nogil:
        outputs(x, w, b, packed)
        copy(packed, d, d.shape[0])


# dx_i += Σ_j W_ij g_j

cdef inline real row_dot(const real *w, const real *g, Py_ssize_t n) noexcept nogil:
    cdef vec total = v_set1(0)
    cdef real tail = 0
    cdef Py_ssize_t j = 0
    while j + V_LANES <= n:
        total = v_fma(v_load(w + j), v_load(g + j), total)
        j += V_LANES
    while j < n:
        tail += w[j] * g[j]
        j += 1
    return v_hsum(total) + tail


cdef void input_gradient(const real[:, ::1] w, const real *g, real[:] dx) noexcept nogil:
    cdef Py_ssize_t i
    for i in range(dx.shape[0]):
        dx[i] += row_dot(&w[i, 0], g, w.shape[1])


def affine_backward_input(const real[:, ::1] w, const real[:] g, real[::1] packed, real[:] dx):
    require(w.shape[0] == dx.shape[0] + 1 and w.shape[1] == g.shape[0] <= packed.shape[0])
    with nogil:
        copy(g, packed, g.shape[0])
        input_gradient(w, &packed[0], dx)


# dW_ij += x_i g_j,  dW_mj += b g_j

cdef inline void add_scaled_row(real factor, const real *g, Py_ssize_t n, real *dw) noexcept nogil:
    cdef Py_ssize_t j
    for j in range(n):
        dw[j] += factor * g[j]


cdef void weight_gradient(const real[:] x, real b, const real *g, real[:, ::1] dw) noexcept nogil:
    cdef Py_ssize_t m = x.shape[0], n = dw.shape[1], i
    for i in range(m):
        add_scaled_row(x[i], g, n, &dw[i, 0])
    add_scaled_row(b, g, n, &dw[m, 0])


def affine_backward_weight(const real[:] x, real b, const real[:] g, real[::1] packed, real[:, ::1] dw):
    require(dw.shape[0] == x.shape[0] + 1 and dw.shape[1] == g.shape[0] <= packed.shape[0])
    with nogil:
        copy(g, packed, g.shape[0])
        weight_gradient(x, b, &packed[0], dw)
