# Kernels that normalise the exponentials of their input to a sum of 1: Softmax, LogSoftmax, SoftmaxCEE.
#
# x: the input, m elements; y: the target, m elements; d: the output; all else is as in reduction.pyx.
from cgraph._kernels.common.guard cimport require
from cgraph._kernels.common.operands cimport Input, Operands, Output, added_to, input_of, overwritten
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

cdef void softmax(Input x, Output d, Py_ssize_t m, Py_ssize_t room, bint over_lanes) noexcept nogil:
    cdef Input power = Input(d.start, d.stride)
    # The total is between 1 and m, so that the product with its inverse loses no range.
    cdef vec maximum = maximum_of(x, m, room, over_lanes)
    cdef vec inverse = v_div(v_set1(1), put_powers(x, maximum, d, m, room, over_lanes))
    put_shares(scaled_share, power, power, inverse, inverse, d, m if over_lanes else room, over_lanes)


cdef inline vec softmax_share(vec d, vec g, vec mean, vec _) noexcept nogil:
    """mean: Σ_j d_j g_j."""
    return v_mul(d, v_sub(g, mean))


cdef void softmax_gradient(Input d, Input g, Output dx, Py_ssize_t m, bint over_lanes) noexcept nogil:
    cdef vec mean = sum_of(product_term, d, g, v_set1(0), m, over_lanes)
    put_shares(softmax_share, d, g, mean, mean, dx, m, over_lanes)


def softmax_forward(const real[:] x, real[:] d):
    require(0 < x.shape[0] == d.shape[0])
    with nogil:
        softmax(input_of(x), overwritten(d), d.shape[0], d.shape[0], False)


def softmax_backward(const real[:] d, const real[:] g, real[:] dx):
    require(d.shape[0] == g.shape[0] == dx.shape[0])
    with nogil:
        softmax_gradient(input_of(d), input_of(g), added_to(dx), d.shape[0], False)


cdef class SoftmaxStep(ReductionStep):
    cdef void compute(self, Input x, Input y, Output d) noexcept nogil:
        cdef Py_ssize_t room = self.m
        if x.stride == d.stride == 1:
            room = (self.m + V_LANES - 1) // V_LANES * V_LANES
        softmax(x, d, self.m, room, self.over_lanes)

    cdef void gradient_x(self, const Operands *v, Output dx) noexcept nogil:
        softmax_gradient(v.d, v.g, dx, self.m, self.over_lanes)


# d_i = (x_i - max) - ln Σ_j exp(x_j - max);   dx_i += g_i - exp(d_i) Σ_j g_j

cdef inline vec log_share(vec x, vec y, vec maximum, vec log_total) noexcept nogil:
    return v_sub(v_sub(x, maximum), log_total)


cdef inline vec log_softmax_share(vec d, vec g, vec _, vec total) noexcept nogil:
    """total: Σ_j g_j."""
    return v_sub(g, v_mul(v_exp_nonpositive(d), total))


cdef void log_softmax(Input x, Output d, Py_ssize_t m, bint over_lanes) noexcept nogil:
    cdef vec maximum = maximum_of(x, m, m, over_lanes)
    put_shares(log_share, x, x, maximum, v_log(sum_of_powers(x, maximum, m, over_lanes)), d, m, over_lanes)


cdef void log_softmax_gradient(Input d, Input g, Output dx, Py_ssize_t m, bint over_lanes) noexcept nogil:
    cdef vec total = sum_of(sum_term, g, g, v_set1(0), m, over_lanes)
    put_shares(log_softmax_share, d, g, total, total, dx, m, over_lanes)


def log_softmax_forward(const real[:] x, real[:] d):
    require(0 < x.shape[0] == d.shape[0])
    with nogil:
        log_softmax(input_of(x), overwritten(d), d.shape[0], False)


def log_softmax_backward(const real[:] d, const real[:] g, real[:] dx):
    require(d.shape[0] == g.shape[0] == dx.shape[0])
    with nogil:
        log_softmax_gradient(input_of(d), input_of(g), added_to(dx), d.shape[0], False)


cdef class LogSoftmaxStep(ReductionStep):
    cdef void compute(self, Input x, Input y, Output d) noexcept nogil:
        log_softmax(x, d, self.m, self.over_lanes)

    cdef void gradient_x(self, const Operands *v, Output dx) noexcept nogil:
        log_softmax_gradient(v.d, v.g, dx, self.m, self.over_lanes)


# d = -Σ y_i ln p_i over y_i ≠ 0, p = softmax(x), -ln p_i = (max - x_i) + ln Σ_j exp(x_j - max)
# dx_i += g (p_i Σ_j y_j - y_i),  dy_i += -g ln p_i

cdef inline vec below_maximum_term(vec x, vec y, vec maximum, vec total) noexcept nogil:
    cdef vec zero = v_set1(0)
    return v_select(v_equal(y, zero), total, v_fma(v_sub(maximum, x), y, total))


cdef void softmax_cee(Input x, Input y, Output d, Py_ssize_t m, bint over_lanes) noexcept nogil:
    cdef vec maximum = maximum_of(x, m, m, over_lanes)
    cdef vec log_total = v_log(sum_of_powers(x, maximum, m, over_lanes))
    cdef vec distance = sum_of(below_maximum_term, x, y, maximum, m, over_lanes)
    set_scalar(d, v_fma(log_total, sum_of(sum_term, y, y, maximum, m, over_lanes), distance), over_lanes)


cdef inline void logits_gradient_loop(
    Input x, Input y, Input g, Output dx, Py_ssize_t m, bint over_lanes
) noexcept nogil:
    cdef vec maximum = maximum_of(x, m, m, over_lanes), power
    cdef vec targets = sum_of(sum_term, y, y, maximum, m, over_lanes), factor = get_scalar(g, over_lanes)
    cdef vec scale = v_div(targets, sum_of_powers(x, maximum, m, over_lanes))
    cdef Py_ssize_t i = 0
    while i < m:
        power = v_exp_nonpositive(v_sub(get_at(x, i, m, over_lanes), maximum))
        power = v_sub(v_mul(power, scale), get_at(y, i, m, over_lanes))
        put_at(dx, i, m, v_mul(power, factor), over_lanes)
        i += pace(over_lanes)


cdef void logits_gradient(Input x, Input y, Input g, Output dx, Py_ssize_t m, bint over_lanes) noexcept nogil:
    if over_lanes:
        logits_gradient_loop(x, y, g, dx, m, True)
    else:
        logits_gradient_loop(x, y, g, dx, m, False)


cdef inline void labels_gradient_loop(Input x, Input g, Output dy, Py_ssize_t m, bint over_lanes) noexcept nogil:
    cdef vec maximum = maximum_of(x, m, m, over_lanes), minus_log, factor = get_scalar(g, over_lanes)
    cdef vec log_total = v_log(sum_of_powers(x, maximum, m, over_lanes))
    cdef Py_ssize_t i = 0
    while i < m:
        minus_log = v_add(v_sub(maximum, get_at(x, i, m, over_lanes)), log_total)
        put_at(dy, i, m, v_mul(minus_log, factor), over_lanes)
        i += pace(over_lanes)


cdef void labels_gradient(Input x, Input g, Output dy, Py_ssize_t m, bint over_lanes) noexcept nogil:
    if over_lanes:
        labels_gradient_loop(x, g, dy, m, True)
    else:
        labels_gradient_loop(x, g, dy, m, False)


def softmax_cee_forward(const real[:] x, const real[:] y, real[:] d):
    require(0 < x.shape[0] == y.shape[0] and d.shape[0] == 1)
    with nogil:
        softmax_cee(input_of(x), input_of(y), overwritten(d), x.shape[0], False)


def softmax_cee_backward(const real[:] x, const real[:] y, const real[:] g, real[:] dx, real[:] dy):
    require(0 < x.shape[0] == y.shape[0] == dx.shape[0] == dy.shape[0] and g.shape[0] == 1)
    with nogil:
        logits_gradient(input_of(x), input_of(y), input_of(g), added_to(dx), x.shape[0], False)
        labels_gradient(input_of(x), input_of(g), added_to(dy), x.shape[0], False)


cdef class SoftmaxCEEStep(ReductionStep):
    cdef void compute(self, Input x, Input y, Output d) noexcept nogil:
        softmax_cee(x, y, d, self.m, self.over_lanes)

    cdef void gradient_x(self, const Operands *v, Output dx) noexcept nogil:
        logits_gradient(v.x, v.y, v.g, dx, self.m, self.over_lanes)

    cdef void gradient_y(self, const Operands *v, Output dy) noexcept nogil:
        labels_gradient(v.x, v.g, dy, self.m, self.over_lanes)
