"""Kernels of MaxPooling2d and AveragePooling2d over one channel.

x: the input, m_h × m_w; d: the output, n_h × n_w; count: how many elements within the domain equal the maximum;
g: the gradient with respect to d; dx: the input's gradient, which backward ADDS into. Views may be strided.
"""
from libc.math cimport INFINITY

from cgraph._kernels.guard cimport require
from cgraph._kernels.simd cimport real
from cgraph._kernels.window cimport Window


cdef struct Span:
    Py_ssize_t start, stop      # the rows (or columns) of the domain within one window
    bint padded                 # whether the window reaches beyond them


cdef inline Span clip(Py_ssize_t start, Py_ssize_t length, Py_ssize_t size) noexcept nogil:
    """The part of [start, start + length) that lies within [0, size)."""
    cdef Span span
    span.start = max(start, 0)
    span.stop = max(min(start + length, size), span.start)
    span.padded = span.stop - span.start < length
    return span


cdef inline int require_sizes(Py_ssize_t inputs, Py_ssize_t outputs, Window w) except -1:
    return require(inputs == w.m_h * w.m_w and outputs == w.n_h * w.n_w)


# d = max over the window, where an element outside the domain counts as pad_value

cdef real window_maximum(
    const real[:] x, Span rows, Span columns, Py_ssize_t width, real pad_value, unsigned int *count
) noexcept nogil:
    cdef Py_ssize_t i, j
    cdef real top = pad_value if rows.padded or columns.padded else -<real>INFINITY
    cdef real value
    count[0] = 0
    for i in range(rows.start, rows.stop):
        for j in range(columns.start, columns.stop):
            value = x[i * width + j]
            if value > top:
                top = value
                count[0] = 1
            elif value == top:
                count[0] += 1
            elif value != value:
                count[0] = 0
                return value
    return top


cdef void max_pooling(
    const real[:] x, Window w, real pad_value, real[:] d, unsigned int[:, ::1] count
) noexcept nogil:
    cdef Py_ssize_t a, b
    cdef Span rows, columns
    for a in range(w.n_h):
        rows = clip(a * w.s - w.p, w.k_h, w.m_h)
        for b in range(w.n_w):
            columns = clip(b * w.s - w.q, w.k_w, w.m_w)
            d[a * w.n_w + b] = window_maximum(x, rows, columns, w.m_w, pad_value, &count[a, b])


# dx += g / count for each element of the window that equals the maximum

cdef inline void share_out(
    const real[:] x, Span rows, Span columns, Py_ssize_t width, real top, real share, real[:] dx
) noexcept nogil:
    cdef Py_ssize_t i, j
    for i in range(rows.start, rows.stop):
        for j in range(columns.start, columns.stop):
            if x[i * width + j] == top:
                dx[i * width + j] += share


cdef void max_pooling_gradient(
    const real[:] x, const real[:] d, const unsigned int[:, ::1] count, Window w, const real[:] g, real[:] dx
) noexcept nogil:
    cdef Py_ssize_t a, b, output
    cdef Span rows, columns
    for a in range(w.n_h):
        rows = clip(a * w.s - w.p, w.k_h, w.m_h)
        for b in range(w.n_w):
            columns = clip(b * w.s - w.q, w.k_w, w.m_w)
            output = a * w.n_w + b
            if count[a, b] > 0:
                share_out(x, rows, columns, w.m_w, d[output], g[output] / <real>count[a, b], dx)


def max_pooling_forward(const real[:] x, Window window, real pad_value, real[:] d, unsigned int[:, ::1] count):
    require_sizes(x.shape[0], d.shape[0], window)
    require(count.shape[0] == window.n_h and count.shape[1] == window.n_w)
    with nogil:
        max_pooling(x, window, pad_value, d, count)


def max_pooling_backward(
    const real[:] x, const real[:] d, const unsigned int[:, ::1] count, Window window, const real[:] g, real[:] dx
):
    require_sizes(x.shape[0], d.shape[0], window)
    require_sizes(dx.shape[0], g.shape[0], window)
    require(count.shape[0] == window.n_h and count.shape[1] == window.n_w)
    with nogil:
        max_pooling_gradient(x, d, count, window, g, dx)


# d = (1 / (k_h k_w)) Σ over the window, where an element outside the domain counts as 0

cdef inline real window_sum(const real[:] x, Span rows, Span columns, Py_ssize_t width) noexcept nogil:
    """The sum over the rows' sums, whose rounding errors are smaller than those of one long sum."""
    cdef Py_ssize_t i, j
    cdef real total = 0, row
    for i in range(rows.start, rows.stop):
        row = 0
        for j in range(columns.start, columns.stop):
            row += x[i * width + j]
        total += row
    return total


cdef void average_pooling(const real[:] x, Window w, real[:] d) noexcept nogil:
    cdef Py_ssize_t a, b
    cdef Span rows, columns
    for a in range(w.n_h):
        rows = clip(a * w.s - w.p, w.k_h, w.m_h)
        for b in range(w.n_w):
            columns = clip(b * w.s - w.q, w.k_w, w.m_w)
            d[a * w.n_w + b] = window_sum(x, rows, columns, w.m_w) / <real>(w.k_h * w.k_w)


# dx += g / (k_h k_w) for each element of the window

cdef inline void add_to_window(
    real share, Span rows, Span columns, Py_ssize_t width, real[:] dx
) noexcept nogil:
    cdef Py_ssize_t i, j
    for i in range(rows.start, rows.stop):
        for j in range(columns.start, columns.stop):
            dx[i * width + j] += share


cdef void average_pooling_gradient(const real[:] g, Window w, real[:] dx) noexcept nogil:
    cdef Py_ssize_t a, b
    cdef Span rows, columns
    for a in range(w.n_h):
        rows = clip(a * w.s - w.p, w.k_h, w.m_h)
        for b in range(w.n_w):
            columns = clip(b * w.s - w.q, w.k_w, w.m_w)
            add_to_window(g[a * w.n_w + b] / <real>(w.k_h * w.k_w), rows, columns, w.m_w, dx)


def average_pooling_forward(const real[:] x, Window window, real[:] d):
    require_sizes(x.shape[0], d.shape[0], window)
    with nogil:
        average_pooling(x, window, d)


def average_pooling_backward(const real[:] g, Window window, real[:] dx):
    require_sizes(dx.shape[0], g.shape[0], window)
    with nogil:
        average_pooling_gradient(g, window, dx)
