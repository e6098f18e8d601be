"""Kernels that reduce over the elements of their inputs: Dots, MSE, CEE, Norm2, Softmax.

x, y: inputs of m elements; d: the output; g: the gradient with respect to it; dx, dy: the inputs' gradients, which
backward ADDS into. Views may be strided, and dx and dy may be one buffer. Scalars come and go as views of one element.
Sums run over blocks, so that the rounding error grows with BLOCK + m / BLOCK and not with m.
"""
from cgraph._kernels.guard cimport require
from cgraph._kernels.simd cimport R_SQUARES_HIGH, R_SQUARES_LOW, R_TINY, r_abs, r_exp, r_log, r_sqrt, real

cdef enum:
    BLOCK = 64


cdef inline Py_ssize_t blocks(Py_ssize_t m) noexcept nogil:
    """How many blocks m elements fill."""
    return (m + BLOCK - 1) // BLOCK


# d = Σ x_i y_i;   dx_i += y_i g,  dy_i += x_i g

cdef real dots(const real[:] x, const real[:] y) noexcept nogil:
    cdef Py_ssize_t m = x.shape[0], block, i
    cdef real total = 0, part
    for block in range(blocks(m)):
        part = 0
        for i in range(block * BLOCK, min((block + 1) * BLOCK, m)):
            part += x[i] * y[i]
        total += part
    return total


cdef void dots_gradient(const real[:] x, const real[:] y, real g, real[:] dx, real[:] dy) noexcept nogil:
    cdef Py_ssize_t i
    for i in range(x.shape[0]):
        dx[i] += y[i] * g
        dy[i] += x[i] * g


def dots_forward(const real[:] x, const real[:] y, real[:] d):
    require(x.shape[0] == y.shape[0] and d.shape[0] == 1)
    with nogil:
        d[0] = dots(x, y)


def dots_backward(const real[:] x, const real[:] y, const real[:] g, real[:] dx, real[:] dy):
    require(x.shape[0] == y.shape[0] == dx.shape[0] == dy.shape[0] and g.shape[0] == 1)
    with nogil:
        dots_gradient(x, y, g[0], dx, dy)


# d = (1/m) Σ (x_i - y_i)²;   dx_i += 2 (x_i - y_i) g / m,  dy_i -= the same

cdef real mse(const real[:] x, const real[:] y) noexcept nogil:
    cdef Py_ssize_t m = x.shape[0], block, i
    cdef real total = 0, part, difference
    for block in range(blocks(m)):
        part = 0
        for i in range(block * BLOCK, min((block + 1) * BLOCK, m)):
            difference = x[i] - y[i]
            part += difference * difference
        total += part
    return total / <real>m


cdef void mse_gradient(const real[:] x, const real[:] y, real g, real[:] dx, real[:] dy) noexcept nogil:
    cdef Py_ssize_t m = x.shape[0], i
    cdef real scale = 2 * g / <real>m, share
    for i in range(m):
        share = (x[i] - y[i]) * scale
        dx[i] += share
        dy[i] -= share


def mse_forward(const real[:] x, const real[:] y, real[:] d):
    require(x.shape[0] == y.shape[0] and d.shape[0] == 1)
    with nogil:
        d[0] = mse(x, y)


def mse_backward(const real[:] x, const real[:] y, const real[:] g, real[:] dx, real[:] dy):
    require(x.shape[0] == y.shape[0] == dx.shape[0] == dy.shape[0] and g.shape[0] == 1)
    with nogil:
        mse_gradient(x, y, g[0], dx, dy)


# d = -Σ y_i ln x̂_i over y_i ≠ 0, x̂ = max(x, tiny), a NaN kept
# dx_i += -(y_i g) / x̂_i where y_i ≠ 0,  dy_i += -ln(x̂_i) g.   (y g) / x̂ and not (y / x̂) g: finite where |y g| ≤ 1.

cdef inline real clamp(real x) noexcept nogil:
    return R_TINY if x < R_TINY else x


cdef real cee(const real[:] x, const real[:] y) noexcept nogil:
    cdef Py_ssize_t m = x.shape[0], block, i
    cdef real total = 0, part
    for block in range(blocks(m)):
        part = 0
        for i in range(block * BLOCK, min((block + 1) * BLOCK, m)):
            if y[i] != 0:
                part -= y[i] * r_log(clamp(x[i]))
        total += part
    return total


cdef void cee_gradient(const real[:] x, const real[:] y, real g, real[:] dx, real[:] dy) noexcept nogil:
    cdef Py_ssize_t i
    cdef real prediction, target
    for i in range(x.shape[0]):
        prediction = clamp(x[i])
        target = y[i]
        if target != 0:
            dx[i] -= target * g / prediction
        dy[i] -= r_log(prediction) * g


def cee_forward(const real[:] x, const real[:] y, real[:] d):
    require(x.shape[0] == y.shape[0] and d.shape[0] == 1)
    with nogil:
        d[0] = cee(x, y)


def cee_backward(const real[:] x, const real[:] y, const real[:] g, real[:] dx, real[:] dy):
    require(x.shape[0] == y.shape[0] == dx.shape[0] == dy.shape[0] and g.shape[0] == 1)
    with nogil:
        cee_gradient(x, y, g[0], dx, dy)


# d = sqrt(Σ x_i²), the elements divided by the largest where their squares would leave the range of the dtype
# dx_i += (x_i / d) g,  and nothing where d = 0

cdef real sum_of_squares(const real[:] x, real scale) noexcept nogil:
    cdef Py_ssize_t m = x.shape[0], block, i
    cdef real total = 0, part
    for block in range(blocks(m)):
        part = 0
        for i in range(block * BLOCK, min((block + 1) * BLOCK, m)):
            part += (x[i] / scale) * (x[i] / scale)
        total += part
    return total


cdef real largest(const real[:] x) noexcept nogil:
    cdef Py_ssize_t i
    cdef real top = 0
    for i in range(x.shape[0]):
        if r_abs(x[i]) > top:
            top = r_abs(x[i])
    return top


cdef real norm2(const real[:] x) noexcept nogil:
    cdef real total = sum_of_squares(x, 1), top
    if total > R_SQUARES_LOW and total < R_SQUARES_HIGH or total != total:
        return r_sqrt(total)
    top = largest(x)
    if top == 0 or top - top != 0:      # all zeros, or an infinite element
        return top
    return top * r_sqrt(sum_of_squares(x, top))


cdef void norm2_gradient(const real[:] x, real d, real g, real[:] dx) noexcept nogil:
    cdef Py_ssize_t i
    if d != 0:
        for i in range(x.shape[0]):
            dx[i] += x[i] / d * g


def norm2_forward(const real[:] x, real[:] d):
    require(d.shape[0] == 1)
    with nogil:
        d[0] = norm2(x)


def norm2_backward(const real[:] x, const real[:] d, const real[:] g, real[:] dx):
    require(x.shape[0] == dx.shape[0] and d.shape[0] == 1 and g.shape[0] == 1)
    with nogil:
        norm2_gradient(x, d[0], g[0], dx)


# d_i = exp(x_i - max) / Σ_j exp(x_j - max);   dx_i += d_i (g_i - Σ_j d_j g_j)

cdef void softmax(const real[:] x, real[:] d) noexcept nogil:
    cdef Py_ssize_t m = x.shape[0], block, i
    cdef real top = x[0], total = 0, part
    for i in range(1, m):
        if x[i] > top:
            top = x[i]
    for block in range(blocks(m)):
        part = 0
        for i in range(block * BLOCK, min((block + 1) * BLOCK, m)):
            d[i] = r_exp(x[i] - top)
            part += d[i]
        total += part
    for i in range(m):
        d[i] = d[i] / total


cdef void softmax_gradient(const real[:] d, const real[:] g, real[:] dx) noexcept nogil:
    cdef Py_ssize_t i
    cdef real mean = dots(d, g)
    for i in range(d.shape[0]):
        dx[i] += d[i] * (g[i] - mean)


def softmax_forward(const real[:] x, real[:] d):
    require(0 < x.shape[0] == d.shape[0])
    with nogil:
        softmax(x, d)


def softmax_backward(const real[:] d, const real[:] g, real[:] dx):
    require(d.shape[0] == g.shape[0] == dx.shape[0])
    with nogil:
        softmax_gradient(d, g, dx)
