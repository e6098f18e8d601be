# The tiles of microkernels.h and weight_gradient.h, as the steps over lanes call them.

from cgraph._kernels.common.simd cimport real
from cgraph._kernels.lanes.tables cimport Position, Term

cdef extern from "lanes/microkernels.h" nogil:
    enum:
        MAX_ROWS
    ctypedef struct Row:
        const real *w
        real *y
        real start
        bint accumulate
    ctypedef struct RowPanel:
        Row row[MAX_ROWS]
        Py_ssize_t rows
        const real *x
        const Term *term
        const Term *end
        Py_ssize_t vectors
    void prefetch_weights(const RowPanel *panel) noexcept
    void gemm_tiles(const RowPanel *panel, const Position *position, Py_ssize_t positions) noexcept

    ctypedef struct GradientTile:
        const real *x
        const real *g
        const Py_ssize_t *tap_offsets
        const Term *grad_offsets
        const Position *position
        const Position *end
        Py_ssize_t vectors
        real *total
        Py_ssize_t pitch
    Py_ssize_t gradient_taps(const GradientTile *p, Py_ssize_t taps, Py_ssize_t outputs) noexcept

cdef extern from "lanes/weight_gradient.h" nogil:
    ctypedef struct WeightGradient:
        const real *x
        const real *biases
        const Py_ssize_t *row_x
        const Py_ssize_t *row_w
        Py_ssize_t rows
        const real *g
        real *parameter_grads
        real *parameters
        real eta
        Py_ssize_t depth, width, stride
        bint accumulate, fused_sgd
    bint sums_by_lanes(Py_ssize_t outputs, Py_ssize_t samples) noexcept
    void weight_gradient_rows(const WeightGradient *p) noexcept
