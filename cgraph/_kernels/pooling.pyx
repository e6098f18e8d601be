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


def max_pooling_forward(const real[:] x, Window window, real pad_value, real[:] d, unsigned int[:, ::1] count):
    cdef Window w = window
    cdef Py_ssize_t a, b
    cdef Span rows, columns
    require(x.shape[0] == w.m_h * w.m_w and d.shape[0] == w.n_h * w.n_w)
    require(count.shape[0] == w.n_h and count.shape[1] == w.n_w)
    with nogil:
        for a in range(w.n_h):
            rows = clip(a * w.s - w.p, w.k_h, w.m_h)
            for b in range(w.n_w):
                columns = clip(b * w.s - w.q, w.k_w, w.m_w)
                d[a * w.n_w + b] = window_maximum(x, rows, columns, w.m_w, pad_value, &count[a, b])


# dx += g / count for each element of the window that equals the maximum

def max_pooling_backward(
    const real[:] x, const real[:] d, const unsigned int[:, ::1] count, Window window, const real[:] g, real[:] dx
):
    cdef Window w = window
    cdef Py_ssize_t a, b, i, j
    cdef Span rows, columns
    cdef real share, top
    require(x.shape[0] == dx.shape[0] == w.m_h * w.m_w and d.shape[0] == g.shape[0] == w.n_h * w.n_w)
    require(count.shape[0] == w.n_h and count.shape[1] == w.n_w)
    with nogil:
        for a in range(w.n_h):
            rows = clip(a * w.s - w.p, w.k_h, w.m_h)
            for b in range(w.n_w):
                if count[a, b] == 0:
                    continue
                columns = clip(b * w.s - w.q, w.k_w, w.m_w)
                top = d[a * w.n_w + b]
                share = g[a * w.n_w + b] / <real>count[a, b]
                for i in range(rows.start, rows.stop):
                    for j in range(columns.start, columns.stop):
                        if x[i * w.m_w + j] == top:
                            dx[i * w.m_w + j] += share


# d = (1 / (k_h k_w)) Σ over the window, where an element outside the domain counts as 0

def average_pooling_forward(const real[:] x, Window window, real[:] d):
    cdef Window w = window
    cdef Py_ssize_t a, b, i, j
    cdef Span rows, columns
    cdef real total, row
    require(x.shape[0] == w.m_h * w.m_w and d.shape[0] == w.n_h * w.n_w)
    with nogil:
        for a in range(w.n_h):
            rows = clip(a * w.s - w.p, w.k_h, w.m_h)
            for b in range(w.n_w):
                columns = clip(b * w.s - w.q, w.k_w, w.m_w)
                total = 0
                for i in range(rows.start, rows.stop):
                    row = 0
                    for j in range(columns.start, columns.stop):
                        row += x[i * w.m_w + j]
                    total += row
                d[a * w.n_w + b] = total / <real>(w.k_h * w.k_w)


# dx += g / (k_h k_w) for each element of the window

def average_pooling_backward(const real[:] g, Window window, real[:] dx):
    cdef Window w = window
    cdef Py_ssize_t a, b, i, j
    cdef Span rows, columns
    cdef real share
    require(dx.shape[0] == w.m_h * w.m_w and g.shape[0] == w.n_h * w.n_w)
    with nogil:
        for a in range(w.n_h):
            rows = clip(a * w.s - w.p, w.k_h, w.m_h)
            for b in range(w.n_w):
                columns = clip(b * w.s - w.q, w.k_w, w.m_w)
                share = g[a * w.n_w + b] / <real>(w.k_h * w.k_w)
                for i in range(rows.start, rows.stop):
                    for j in range(columns.start, columns.stop):
                        dx[i * w.m_w + j] += share
