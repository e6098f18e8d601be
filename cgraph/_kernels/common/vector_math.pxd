# The declarations of the functions on vectors that are more than arithmetic. Each gives the same bits for equal inputs,
# in whatever lane they are, so the remainder of an array is one more vector (`get` and `put` in operands.pxd).

from cgraph._kernels.common.simd cimport real, vec

cdef extern from "common/exponentials.h" nogil:
    vec v_exp(vec x) noexcept
    vec v_exp_nonpositive(vec x) noexcept
    vec v_expm1(vec x) noexcept

cdef extern from "common/logarithms.h" nogil:
    vec v_log(vec x) noexcept
    vec v_log1p(vec x) noexcept

cdef extern from "common/sigmoids.h" nogil:
    vec v_tanh(vec x) noexcept
    vec v_sigmoid(vec x) noexcept
    vec v_softplus(vec x) noexcept

cdef extern from "common/error_function.h" nogil:
    vec v_erf(vec x) noexcept

cdef extern from "common/distributions.h" nogil:
    const real LOGISTIC_BOUND, NORMAL_BOUND
    vec v_bounded(vec x, real bound) noexcept
    vec v_logistic(vec x, vec *density) noexcept
    vec v_normal(vec x, vec *density) noexcept

cdef extern from "common/roots.h" nogil:
    vec v_sqrt(vec x) noexcept
