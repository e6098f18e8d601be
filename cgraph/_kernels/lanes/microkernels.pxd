# What lane_tile.h and lane_product.h offer to the layers.

from cgraph._kernels.common.simd cimport real

cdef extern from "lanes/microkernels.h" nogil:
    ctypedef struct Term:
        Py_ssize_t w, x
    ctypedef struct Spot:
        Py_ssize_t x, to

    ctypedef struct Row:
        const real *w
        real *to
        real start
        bint add
    ctypedef struct Strip:
        Row row[6]
        Py_ssize_t rows
        const real *x
        const Term *term
        const Term *end
    void fetch_ahead(const Strip *strip) noexcept
    void all_sums(const Strip *strip, const Spot *spot, Py_ssize_t spots) noexcept

    ctypedef struct Patch:
        const real *x
        const real *g
        const Py_ssize_t *under
        const Term *out
        const Spot *spot
        const Spot *end
        Py_ssize_t vectors
        real *total
        Py_ssize_t pitch
    Py_ssize_t some_slopes(const Patch *p, Py_ssize_t taps, Py_ssize_t outs) noexcept

cdef extern from "lanes/weight_gradient.h" nogil:
    ctypedef struct Product:
        const real *x
        const real *g
        real *sums
        real *values
        real eta
        Py_ssize_t depth, width, step
        bint add, learn
    void product_rows(const Product *p, const Term *row, Py_ssize_t rows) noexcept
