# The ports of samples that lie side by side: feeds are transposed from rows of samples into lanes, fetches back.
#
# Design: a transposition reads and writes squares of one vector by one vector, so that both sides move whole vectors.
# The lanes have room for whole vectors. The rows are the user's own array, beyond which nothing is touched: the last
# square of wide rows overlaps the one before; a vector of a narrow row goes on into the next rows, and the last rows
# are copied by elements.
from libc.string cimport memcpy

from cgraph._kernels.common.simd cimport V_LANES, real, v_set1, v_store, v_transpose_part
from cgraph._kernels.runtime.step cimport Context, Port


cdef inline Py_ssize_t rows_of_vectors(Py_ssize_t count, Py_ssize_t size) noexcept nogil:
    """Returns how many of `count` rows, one behind the other, have a whole vector up to the end of the last row."""
    cdef Py_ssize_t beyond = V_LANES - size
    return count if beyond <= 0 else max(count - (beyond + size - 1) // size, 0)


cdef void rows_to_lanes(
    const real *rows, Py_ssize_t count, Py_ssize_t size, real *lanes, Py_ssize_t pitch
) noexcept nogil:
    """Copies rows of `size` elements to lanes, in which an element's samples begin `pitch` behind those of the last."""
    cdef Py_ssize_t whole = rows_of_vectors(count, size), width = min(size, V_LANES), i = 0, j, first
    if size == 1:
        memcpy(lanes, rows, count * sizeof(real))
        return
    while i < whole:
        j = 0
        while j < size:
            first = min(j, size - width)
            v_transpose_part(rows + i * size + first, size, whole - i, lanes + first * pitch + i, pitch, width)
            j += V_LANES
        i += V_LANES
    for i in range(whole, count):
        for j in range(size):
            lanes[j * pitch + i] = rows[i * size + j]


cdef void lanes_to_rows(
    const real *lanes, Py_ssize_t pitch, real *rows, Py_ssize_t count, Py_ssize_t size
) noexcept nogil:
    """Copies lanes back to rows; of a narrow row, what the vector has behind it is overwritten by the next row."""
    cdef Py_ssize_t whole = rows_of_vectors(count, size), width = min(size, V_LANES), i = 0, j, first
    if size == 1:
        memcpy(rows, lanes, count * sizeof(real))
        return
    while i < whole:
        j = 0
        while j < size:
            first = min(j, size - width)
            v_transpose_part(lanes + first * pitch + i, pitch, width, rows + i * size + first, size, whole - i)
            j += V_LANES
        i += V_LANES
    for i in range(whole, count):
        for j in range(size):
            rows[i * size + j] = lanes[j * pitch + i]


cdef class LanePort(Port):
    """The port of a node whose samples lie side by side."""
    cdef Py_ssize_t offset, size, lanes

    def __init__(self, Py_ssize_t offset, Py_ssize_t size, Py_ssize_t lanes):
        """offset, size: the offset of element 0 and the number of elements, both in reals."""
        self.offset, self.size, self.lanes, self.nbytes = offset, size, lanes, size * <Py_ssize_t>sizeof(real)

    cdef void feed(self, Context *context, const char *rows, Py_ssize_t count) noexcept nogil:
        cdef real *lanes = <real *>context.data + self.offset
        rows_to_lanes(<const real *>rows, count, self.size, lanes, self.lanes)

    cdef void fetch(self, Context *context, char *rows, Py_ssize_t count) noexcept nogil:
        cdef const real *lanes = <real *>context.data + self.offset
        lanes_to_rows(lanes, self.lanes, <real *>rows, count, self.size)

    cdef void broadcast(self, Context *context, const char *row) noexcept nogil:
        cdef const real *x = <const real *>row
        cdef real *lanes = <real *>context.data + self.offset
        cdef Py_ssize_t i, lane
        for i in range(self.size):
            lane = 0
            while lane < self.lanes:
                v_store(lanes + i * self.lanes + lane, v_set1(x[i]))
                lane += V_LANES
