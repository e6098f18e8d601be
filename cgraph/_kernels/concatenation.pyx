"""Kernels that join vectors: d = (x_1; x_2; …), and the gradient cut up again, ADDED into each input's."""
from cgraph._kernels.guard cimport require
from cgraph._kernels.simd cimport real


cdef void copy(const real[:] x, real[:] d, Py_ssize_t start) noexcept nogil:
    cdef Py_ssize_t i
    for i in range(x.shape[0]):
        d[start + i] = x[i]


cdef void add_part(const real[:] g, Py_ssize_t start, real[:] dx) noexcept nogil:
    cdef Py_ssize_t i
    for i in range(dx.shape[0]):
        dx[i] += g[start + i]


def concatenation_forward(list xs, real[:] d):
    cdef const real[:] x
    cdef Py_ssize_t start = 0
    for x in xs:
        require(start + x.shape[0] <= d.shape[0])
        with nogil:
            copy(x, d, start)
        start += x.shape[0]


def concatenation_backward(const real[:] g, list dxs):
    cdef real[:] dx
    cdef Py_ssize_t start = 0
    for dx in dxs:
        require(start + dx.shape[0] <= g.shape[0])
        with nogil:
            add_part(g, start, dx)
        start += dx.shape[0]
