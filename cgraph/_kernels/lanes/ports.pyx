"""The ports of samples that lie side by side: feeds are transposed from rows of samples into lanes, fetches back.

Design: a transposition reads and writes squares of one vector by one vector, so that both sides move whole vectors. At
the edges squares overlap instead of reaching beyond the arrays, which are the user's own.
"""
from cgraph._kernels.common.simd cimport V_LANES, real, v_set1, v_store, v_transpose
from cgraph._kernels.runtime.step cimport Context, Port


# t = xᵀ, whose rows are t_stride apart

cdef void transpose_within(
    const real *x, Py_ssize_t x_stride, Py_ssize_t rows, Py_ssize_t columns, real *t, Py_ssize_t t_stride
) noexcept nogil:
    """Transposes x, and touches nothing beside x and t: the last squares of a row or column overlap those before."""
    cdef Py_ssize_t i, j, row, column
    if rows < V_LANES or columns < V_LANES:
        for i in range(rows):
            for j in range(columns):
                t[j * t_stride + i] = x[i * x_stride + j]
        return
    j = 0
    while j < columns:
        i, column = 0, min(j, columns - V_LANES)
        while i < rows:
            row = min(i, rows - V_LANES)
            v_transpose(x + row * x_stride + column, x_stride, t + column * t_stride + row, t_stride)
            i += V_LANES
        j += V_LANES


cdef class LanePort(Port):
    """The port of a node whose samples lie side by side."""
    cdef Py_ssize_t offset, size, lanes

    def __init__(self, Py_ssize_t offset, Py_ssize_t size, Py_ssize_t lanes):
        """offset, size: the offset of element 0 and the number of elements, both in reals."""
        self.offset, self.size, self.lanes, self.nbytes = offset, size, lanes, size * <Py_ssize_t>sizeof(real)

    cdef void feed(self, Context *context, const char *rows, Py_ssize_t count) noexcept nogil:
        cdef real *lanes = <real *>context.data + self.offset
        transpose_within(<const real *>rows, self.size, count, self.size, lanes, self.lanes)

    cdef void fetch(self, Context *context, char *rows, Py_ssize_t count) noexcept nogil:
        cdef const real *lanes = <real *>context.data + self.offset
        transpose_within(lanes, self.lanes, self.size, count, <real *>rows, self.size)

    cdef void broadcast(self, Context *context, const char *row) noexcept nogil:
        cdef const real *x = <const real *>row
        cdef real *lanes = <real *>context.data + self.offset
        cdef Py_ssize_t i, lane
        for i in range(self.size):
            lane = 0
            while lane < self.lanes:
                v_store(lanes + i * self.lanes + lane, v_set1(x[i]))
                lane += V_LANES
