# The tiles of tiles.h, as indirect_gemm.pxd calls them.

from cgraph._kernels.common.simd cimport real

cdef extern from "channels/tiles.h" nogil:
    enum:
        WIDE_ROWS
    ctypedef struct Prefetch:
        const real *row
        Py_ssize_t pitch
        Py_ssize_t width
        Py_ssize_t rows
        Py_ssize_t rows_per_tile
    ctypedef struct Panel:
        const real *a
        const Py_ssize_t *term_offsets
        const real *b
        Py_ssize_t pitch
        Py_ssize_t depth
        const real *start
        Py_ssize_t width
        Prefetch *prefetch
    void compute_rows(
        const Panel *panel, const Py_ssize_t *row_offsets, real *c, const Py_ssize_t *c_offsets, Py_ssize_t rows
    ) noexcept
    void sum_rows(
        const Panel *panel, const Py_ssize_t *row_offsets, real *c, const Py_ssize_t *c_offsets, Py_ssize_t rows
    ) noexcept
