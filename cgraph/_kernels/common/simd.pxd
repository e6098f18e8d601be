# The declarations of simd.h. `real` is float or double: Cython leaves its size to the C compiler.

cdef extern from "common/simd.h" nogil:
    ctypedef double real
    const real R_TINY, R_SQUARES_LOW, R_SQUARES_HIGH
    real r_sqrt(real) noexcept
    real r_abs(real) noexcept

    ctypedef struct vec:
        pass
    ctypedef struct vmask:
        pass
    enum:
        V_BYTES
        V_COUNT
        V_PADDED
        V_PADDED_BYTES
        V_LINE_BYTES
        V_FAST_PARTS
    const Py_ssize_t V_LANES
    vec v_load(const real *p) noexcept
    void v_store(real *p, vec v) noexcept
    vec v_set1(real s) noexcept
    vec v_add(vec a, vec b) noexcept
    vec v_sub(vec a, vec b) noexcept
    vec v_mul(vec a, vec b) noexcept
    vec v_div(vec a, vec b) noexcept
    vec v_fma(vec a, vec b, vec c) noexcept
    vmask v_less(vec a, vec b) noexcept
    vmask v_at_least(vec a, vec b) noexcept
    vmask v_equal(vec a, vec b) noexcept
    bint v_all(vmask m) noexcept
    vec v_keep_where(vmask m, vec v) noexcept
    vec v_select(vmask m, vec yes, vec no) noexcept
    vec v_abs(vec v) noexcept
    vec v_larger(vec a, vec b) noexcept
    vec v_smaller(vec a, vec b) noexcept
    vec v_max(vec a, vec b) noexcept
    vec v_relu(vec v) noexcept
    real v_lane0(vec v) noexcept
    vec v_opaque(vec v) noexcept
    vec v_gather(const real *p, Py_ssize_t stride, Py_ssize_t count) noexcept
    void v_scatter(real *p, Py_ssize_t stride, Py_ssize_t count, vec v) noexcept
    vec v_load_part(const real *p, Py_ssize_t count) noexcept
    void v_store_part(real *p, Py_ssize_t count, vec v) noexcept
    vec v_first(vec v, Py_ssize_t count) noexcept
    vec v_first_of(vec v, Py_ssize_t count, vec rest) noexcept
    vec v_largest_lane(vec v) noexcept
    real v_hsum(vec v) noexcept
    vec v_row_sums(const real *x) noexcept
    void v_transpose(const real *x, Py_ssize_t x_stride, real *t, Py_ssize_t t_stride) noexcept
    void v_transpose_part(
        const real *x, Py_ssize_t x_stride, Py_ssize_t rows, real *t, Py_ssize_t t_stride, Py_ssize_t t_rows
    ) noexcept
