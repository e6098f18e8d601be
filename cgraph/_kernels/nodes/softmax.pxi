# Kernels that normalise the exponentials of their input to a sum of 1: Softmax, LogSoftmax, SoftmaxCEE.
#
# x: the input, m elements; y: the target, m elements; d: the output; all else is as in reduction.pyx.
from cgraph._kernels.common.operands cimport Input, Output
from cgraph._kernels.common.reductions cimport (
    get_at, get_scalar, maximum_of, pace, put_at, put_powers, put_shares, set_scalar, sum_of, sum_term
)
from cgraph._kernels.common.simd cimport (
    V_LANES, real, v_add, v_div, v_equal, v_fma, v_mul, v_select, v_set1, v_sub, vec
)
from cgraph._kernels.common.vector_math cimport v_exp_nonpositive, v_log


cdef inline vec product_term(vec x, vec y, vec c, vec total) noexcept nogil:
    return v_fma(x, y, total)


cdef inline vec scaled_share(vec x, vec y, vec d, vec g) noexcept nogil:
    return v_mul(x, g)


cdef inline vec sum_of_powers(Input x, vec maximum, Py_ssize_t m, bint over_lanes) noexcept nogil:
    """Returns Σ_j exp(x_j - maximum), which is between 1 and m."""
    return put_powers(x, maximum, Output(NULL, 0, False), m, m, over_lanes)


# d_i = exp(x_i - max) / Σ_j exp(x_j - max);   dx_i += d_i (g_i - Σ_j d_j g_j)

cdef void softmax_output(const Sources *v, Output d, Py_ssize_t m, bint over_lanes) noexcept nogil:
    cdef Input power = Input(d.start, d.stride)
    # The total is between 1 and m, so that the product with its inverse loses no range.
    cdef vec maximum = maximum_of(v.x, m, v.room, over_lanes)
    cdef vec inverse = v_div(v_set1(1), put_powers(v.x, maximum, d, m, v.room, over_lanes))
    put_shares(scaled_share, power, power, inverse, inverse, d, v.room, over_lanes)


cdef inline vec softmax_share(vec d, vec g, vec mean, vec _) noexcept nogil:
    """mean: Σ_j d_j g_j."""
    return v_mul(d, v_sub(g, mean))


cdef void softmax_gradient(const Sources *v, Output dx, Py_ssize_t m, bint over_lanes) noexcept nogil:
    cdef vec mean = sum_of(product_term, v.d, v.g, v_set1(0), m, over_lanes)
    put_shares(softmax_share, v.d, v.g, mean, mean, dx, m, over_lanes)


softmax = reduction(TO_ALL, softmax_output, softmax_gradient)


# d_i = (x_i - max) - ln Σ_j exp(x_j - max);   dx_i += g_i - exp(d_i) Σ_j g_j

cdef inline vec log_share(vec x, vec y, vec maximum, vec log_total) noexcept nogil:
    return v_sub(v_sub(x, maximum), log_total)


cdef inline vec log_softmax_share(vec d, vec g, vec _, vec total) noexcept nogil:
    """total: Σ_j g_j."""
    return v_sub(g, v_mul(v_exp_nonpositive(d), total))


cdef void log_softmax_output(const Sources *v, Output d, Py_ssize_t m, bint over_lanes) noexcept nogil:
    cdef vec maximum = maximum_of(v.x, m, m, over_lanes)
    put_shares(log_share, v.x, v.x, maximum, v_log(sum_of_powers(v.x, maximum, m, over_lanes)), d, m, over_lanes)


cdef void log_softmax_gradient(const Sources *v, Output dx, Py_ssize_t m, bint over_lanes) noexcept nogil:
    cdef vec total = sum_of(sum_term, v.g, v.g, v_set1(0), m, over_lanes)
    put_shares(log_softmax_share, v.d, v.g, total, total, dx, m, over_lanes)


log_softmax = reduction(TO_ALL, log_softmax_output, log_softmax_gradient)


# d = -Σ y_i ln p_i over y_i ≠ 0, p = softmax(x), -ln p_i = (max - x_i) + ln Σ_j exp(x_j - max)
# dx_i += g (p_i Σ_j y_j - y_i),  dy_i += -g ln p_i

cdef inline vec below_maximum_term(vec x, vec y, vec maximum, vec total) noexcept nogil:
    cdef vec zero = v_set1(0)
    return v_select(v_equal(y, zero), total, v_fma(v_sub(maximum, x), y, total))


cdef void softmax_cee_output(const Sources *v, Output d, Py_ssize_t m, bint over_lanes) noexcept nogil:
    cdef vec maximum = maximum_of(v.x, m, m, over_lanes)
    cdef vec log_total = v_log(sum_of_powers(v.x, maximum, m, over_lanes))
    cdef vec distance = sum_of(below_maximum_term, v.x, v.y, maximum, m, over_lanes)
    set_scalar(d, v_fma(log_total, sum_of(sum_term, v.y, v.y, maximum, m, over_lanes), distance), over_lanes)


cdef inline void logits_gradient_loop(const Sources *v, Output dx, Py_ssize_t m, bint over_lanes) noexcept nogil:
    cdef Input x = v.x, y = v.y
    cdef vec maximum = maximum_of(x, m, m, over_lanes), power
    cdef vec targets = sum_of(sum_term, y, y, maximum, m, over_lanes), factor = get_scalar(v.g, over_lanes)
    cdef vec scale = v_div(targets, sum_of_powers(x, maximum, m, over_lanes))
    cdef Py_ssize_t i = 0
    while i < m:
        power = v_exp_nonpositive(v_sub(get_at(x, i, m, over_lanes), maximum))
        power = v_sub(v_mul(power, scale), get_at(y, i, m, over_lanes))
        put_at(dx, i, m, v_mul(power, factor), over_lanes)
        i += pace(over_lanes)


cdef void logits_gradient(const Sources *v, Output dx, Py_ssize_t m, bint over_lanes) noexcept nogil:
    if over_lanes:
        logits_gradient_loop(v, dx, m, True)
    else:
        logits_gradient_loop(v, dx, m, False)


cdef inline void labels_gradient_loop(const Sources *v, Output dy, Py_ssize_t m, bint over_lanes) noexcept nogil:
    cdef Input x = v.y
    cdef vec maximum = maximum_of(x, m, m, over_lanes), minus_log, factor = get_scalar(v.g, over_lanes)
    cdef vec log_total = v_log(sum_of_powers(x, maximum, m, over_lanes))
    cdef Py_ssize_t i = 0
    while i < m:
        minus_log = v_add(v_sub(maximum, get_at(x, i, m, over_lanes)), log_total)
        put_at(dy, i, m, v_mul(minus_log, factor), over_lanes)
        i += pace(over_lanes)


cdef void labels_gradient(const Sources *v, Output dy, Py_ssize_t m, bint over_lanes) noexcept nogil:
    if over_lanes:
        labels_gradient_loop(v, dy, m, True)
    else:
        labels_gradient_loop(v, dy, m, False)


softmax_cee = reduction(TO_ONE, softmax_cee_output, logits_gradient, labels_gradient)
