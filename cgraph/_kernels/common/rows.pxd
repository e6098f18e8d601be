# Rows of a few elements, `stride` or `pitch` elements apart: the channels of a position, or the weights of one tap.

from libc.string cimport memcpy

from cgraph._kernels.common.simd cimport (
    V_LANES, real, v_add, v_first, v_hsum, v_load, v_set1, v_store, v_sub, v_transpose, v_transpose_part,
    vec
)

cdef enum:
    SUMS = 4    # partial sums side by side, since each addition waits for the one before it


cdef inline bint rows_are_finite(const real *x, Py_ssize_t pitch, Py_ssize_t rows, Py_ssize_t columns) noexcept nogil:
    """Whether all elements of the rows are finite; the elements between two rows do not count."""
    cdef vec difference = v_set1(0), v      # x - x summed up: NaN as soon as an element is not finite, else 0
    cdef real rest = 0
    cdef Py_ssize_t i, j
    if pitch == columns:
        columns *= rows
        rows = 1
    for i in range(rows):
        j = 0
        while j < columns and j + V_LANES <= (rows - 1 - i) * pitch + columns:     # within the rows
            v = v_first(v_load(x + j), columns - j)
            difference = v_add(difference, v_sub(v, v))
            j += V_LANES
        for j in range(j, columns):
            rest += x[j] - x[j]
        x += pitch
    return v_hsum(difference) + rest == 0


cdef inline void copy_channels(
    const real *x, Py_ssize_t x_stride, real *y, Py_ssize_t y_stride, Py_ssize_t count, Py_ssize_t channels
) noexcept nogil:
    """Copies the channels of `count` positions. Of several channels, gaps between positions of y may be overwritten."""
    cdef Py_ssize_t _i, c
    if x_stride == y_stride and (channels > 1 or x_stride == 1):
        memcpy(y, x, ((count - 1) * x_stride + channels) * sizeof(real))
        return
    for _i in range(count):
        for c in range(channels):
            y[c] = x[c]
        x += x_stride
        y += y_stride


cdef inline void add_channels(
    const real *x, Py_ssize_t x_stride, real *y, Py_ssize_t y_stride, Py_ssize_t count, Py_ssize_t channels
) noexcept nogil:
    """Adds the channels of `count` positions to y."""
    cdef Py_ssize_t _i, c
    if x_stride == y_stride == channels:
        channels *= count
        count = 1
    for _i in range(count):
        for c in range(channels):
            y[c] += x[c]
        x += x_stride
        y += y_stride


cdef inline void transpose(
    const real *w, Py_ssize_t pitch, real *t, Py_ssize_t t_pitch, Py_ssize_t rows, Py_ssize_t columns
) noexcept nogil:
    """Copies the rows of w to the columns of t, whose rows and columns up to whole vectors may be overwritten."""
    cdef Py_ssize_t i = 0, j
    while i < rows:
        j = 0
        while j < columns:
            if rows - i < V_LANES:
                v_transpose_part(w + i * pitch + j, pitch, rows - i, t + j * t_pitch + i, t_pitch, V_LANES)
            else:
                v_transpose(w + i * pitch + j, pitch, t + j * t_pitch + i, t_pitch)
            j += V_LANES
        i += V_LANES


cdef inline void add_row_sums(
    const real *g, Py_ssize_t pitch, Py_ssize_t rows, Py_ssize_t width, real *total
) noexcept nogil:
    """total[o] += Σ_t g[t pitch + o], SUMS rows at a time."""
    cdef vec partial[SUMS]
    cdef Py_ssize_t column = 0, t, i
    while column < width:
        for i in range(SUMS):
            partial[i] = v_set1(0)
        t = 0
        while t + SUMS <= rows:
            for i in range(SUMS):
                partial[i] = v_add(partial[i], v_load(g + (t + i) * pitch + column))
            t += SUMS
        for t in range(t, rows):
            partial[0] = v_add(partial[0], v_load(g + t * pitch + column))
        for i in range(SUMS):
            v_store(total + column, v_add(v_load(total + column), partial[i]))
        column += V_LANES
