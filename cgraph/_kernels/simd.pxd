# What simd.h offers to the kernels. `real` is float or double: Cython asks the C compiler for its size.

cdef extern from "simd.h" nogil:
    ctypedef double real
    const real R_TINY, R_SQUARES_LOW, R_SQUARES_HIGH
    real r_exp(real) noexcept
    real r_log(real) noexcept
    real r_sqrt(real) noexcept
    real r_tanh(real) noexcept
    real r_abs(real) noexcept

    ctypedef struct vec:
        pass
    const Py_ssize_t V_LANES
    vec v_load(const real *p) noexcept
    void v_store(real *p, vec v) noexcept
    vec v_set1(real s) noexcept
    vec v_fma(vec a, vec b, vec c) noexcept
    vec v_first(vec v, Py_ssize_t count) noexcept
    real v_hsum(vec v) noexcept
