# Kernels of losses that are means over m elements: BCE, Huber, GaussianNLL.
#
# x, y: predictions and targets, or means and logarithms of variances, whose targets are z; d: the loss; all else is as
# in reduction.pyx.
from cgraph._kernels.common.operands cimport Input, Output
from cgraph._kernels.common.reductions cimport (
    BLOCK, Total, add_block, blocks, get_at, get_scalar, no_total, pace, put_at, put_shares, set_scalar, sum_of,
    value_of
)
from cgraph._kernels.common.simd cimport (
    R_SQUARES_HIGH, V_LANES, real, v_abs, v_add, v_div, v_equal, v_fma, v_larger, v_less, v_mul,
    v_select, v_set1, v_smaller, v_sub, vec
)
from cgraph._kernels.common.vector_math cimport v_exp, v_sigmoid, v_softplus


cdef inline vec mean_factor(Input g, Py_ssize_t m, bint over_lanes) noexcept nogil:
    """Returns g / m."""
    return v_div(get_scalar(g, over_lanes), v_set1(<real>m))


# d = (1/m) Σ ln(1 + e^x_i) - x_i y_i = (1/m) Σ ln(1 + e^-|x_i|) + |x_i| w_i,  w_i = 1 - y_i where x_i > 0, else y_i
# dx_i += (σ(x_i) - y_i) g / m,  dy_i += -x_i g / m
# σ(x) - y = (1 - y) - σ(-x) where x > 0, so that it keeps its digits where both are near 1.

cdef inline vec bce_term(vec x, vec y, vec c, vec total) noexcept nogil:
    cdef vec zero = v_set1(0), distance = v_abs(x)
    cdef vec weight = v_select(v_less(zero, x), v_sub(v_set1(1), y), y)
    cdef vec linear = v_select(v_equal(weight, zero), zero, v_mul(distance, weight))
    return v_add(total, v_add(v_softplus(v_sub(zero, distance)), linear))


cdef inline vec logit_share(vec x, vec y, vec d, vec factor) noexcept nogil:
    cdef vec zero = v_set1(0), tail = v_sigmoid(v_sub(zero, v_abs(x)))
    cdef vec difference = v_select(v_less(zero, x), v_sub(v_sub(v_set1(1), y), tail), v_sub(tail, y))
    return v_mul(difference, factor)


cdef inline vec minus_share(vec y, vec x, vec d, vec factor) noexcept nogil:
    return v_sub(v_set1(0), v_mul(x, factor))


cdef void bce_output(const Sources *v, Output d, Py_ssize_t m, bint over_lanes) noexcept nogil:
    set_scalar(d, v_div(sum_of(bce_term, v.x, v.y, v_set1(0), m, over_lanes, True), v_set1(<real>m)), over_lanes)


cdef void logit_gradient(const Sources *v, Output dx, Py_ssize_t m, bint over_lanes) noexcept nogil:
    cdef vec factor = mean_factor(v.g, m, over_lanes)
    put_shares(logit_share, v.x, v.y, factor, factor, dx, m, over_lanes)


cdef void label_gradient(const Sources *v, Output dy, Py_ssize_t m, bint over_lanes) noexcept nogil:
    cdef vec factor = mean_factor(v.g, m, over_lanes)
    put_shares(minus_share, v.x, v.y, factor, factor, dy, m, over_lanes)


bce = reduction(TO_ONE, bce_output, logit_gradient, label_gradient)


# d = (1/m) Σ a_i (|x_i - y_i| - a_i / 2),  a_i = min(|x_i - y_i|, δ)
# dx_i += c_i g / m,  dy_i += -c_i g / m,  c_i = x_i - y_i, but at most δ and at least -δ

cdef inline vec huber_term(vec x, vec y, vec delta, vec total) noexcept nogil:
    cdef vec distance = v_abs(v_sub(x, y)), near = v_smaller(delta, distance), half = v_mul(v_set1(0.5), near)
    # The second factor is at least a_i / 2, also where both numbers of the difference are infinite.
    return v_fma(near, v_larger(v_sub(distance, half), half), total)


cdef inline vec huber_share(vec x, vec y, vec delta, vec factor) noexcept nogil:
    cdef vec slope = v_larger(v_sub(v_set1(0), delta), v_smaller(delta, v_sub(x, y)))
    return v_mul(slope, factor)


cdef void huber_output(const Sources *v, Output d, Py_ssize_t m, bint over_lanes) noexcept nogil:
    cdef vec delta = v_set1(v.constant)
    set_scalar(d, v_div(sum_of(huber_term, v.x, v.y, delta, m, over_lanes), v_set1(<real>m)), over_lanes)


cdef void huber_gradient(const Sources *v, Output dx, Py_ssize_t m, bint over_lanes) noexcept nogil:
    put_shares(huber_share, v.x, v.y, v_set1(v.constant), mean_factor(v.g, m, over_lanes), dx, m, over_lanes)


huber = reduction(TO_ONE, huber_output, huber_gradient, huber_gradient)


# d = (1/m) Σ (y_i + r_i²) / 2,  r_i = (x_i - z_i) e^(-y_i / 2)
# dx_i += (x_i - z_i) e^-y_i g / m,  dy_i += (1 - r_i²) g / 2 m,  dz_i += -(x_i - z_i) e^-y_i g / m
#
# What can be represented need not have factors that can: e^-y may overflow where x - z is small, and x - z where e^-y
# is. So x - z is halved where one of the two is above 1 (halving smaller numbers may lose their last digit), and is
# multiplied by e^(-y / 4), which is bounded, one time after the other. The mean is taken term by term.

cdef struct Residual:
    vec root        # e^(-y / 4)
    vec scaled      # r / unit
    vec unit        # 1 or 2


cdef inline Residual residual(vec x, vec y, vec z) noexcept nogil:
    cdef vec one = v_set1(1), largest = v_set1(R_SQUARES_HIGH), root = v_exp(v_mul(v_set1(-0.25), y))
    cdef vec unit = v_select(v_less(one, v_larger(v_abs(x), v_abs(z))), v_set1(2), one), scale = v_div(one, unit)
    root = v_smaller(largest, root)
    return Residual(root, v_mul(v_mul(v_sub(v_mul(x, scale), v_mul(z, scale)), root), root), unit)


cdef inline vec square(Residual r, vec factor) noexcept nogil:
    """Returns factor r²."""
    return v_mul(r.scaled, v_mul(r.scaled, v_mul(v_mul(r.unit, r.unit), factor)))


cdef inline vec gaussian_term(vec x, vec y, vec z, vec part) noexcept nogil:
    """part: 1 / 2 m."""
    return v_fma(y, part, square(residual(x, y, z), part))


cdef inline void gaussian_nll_loop(const Sources *v, Output d, Py_ssize_t m, bint over_lanes) noexcept nogil:
    cdef Input x = v.x, y = v.y, z = v.z
    cdef vec sum, term, part = v_div(v_set1(0.5), v_set1(<real>m))
    cdef Total total = no_total()
    cdef Py_ssize_t block, i
    for block in range(blocks(m)):
        sum = v_set1(0)
        i = block * BLOCK
        while i < min((block + 1) * BLOCK, m):
            term = gaussian_term(
                get_at(x, i, m, over_lanes), get_at(y, i, m, over_lanes), get_at(z, i, m, over_lanes), part
            )
            sum = v_add(sum, term)
            i += pace(over_lanes)
        add_block(&total, sum)
    set_scalar(d, value_of(&total, over_lanes), over_lanes)


cdef void gaussian_nll_output(const Sources *v, Output d, Py_ssize_t m, bint over_lanes) noexcept nogil:
    if over_lanes:
        gaussian_nll_loop(v, d, m, True)
    else:
        gaussian_nll_loop(v, d, m, False)


cdef inline void gaussian_mean_gradient_loop(
    const Sources *v, Output dx, Py_ssize_t m, bint over_lanes
) noexcept nogil:
    cdef Input x = v.x, y = v.y, z = v.z
    cdef vec zero = v_set1(0), factor = mean_factor(v.g, m, over_lanes), share
    cdef Residual r
    cdef Py_ssize_t i = 0
    while i < m:
        r = residual(get_at(x, i, m, over_lanes), get_at(y, i, m, over_lanes), get_at(z, i, m, over_lanes))
        share = v_mul(v_mul(v_mul(v_mul(r.scaled, factor), r.root), r.root), r.unit)
        # 0 also where r is infinite.
        put_at(dx, i, m, v_select(v_equal(factor, zero), zero, share), over_lanes)
        i += pace(over_lanes)


cdef void gaussian_mean_gradient(const Sources *v, Output dx, Py_ssize_t m, bint over_lanes) noexcept nogil:
    """Computes dx and, with x and z exchanged, dz."""
    if over_lanes:
        gaussian_mean_gradient_loop(v, dx, m, True)
    else:
        gaussian_mean_gradient_loop(v, dx, m, False)


cdef inline void gaussian_variance_gradient_loop(
    const Sources *v, Output dy, Py_ssize_t m, bint over_lanes
) noexcept nogil:
    cdef Input x = v.y, y = v.x, z = v.z
    cdef vec zero = v_set1(0), factor = v_mul(v_set1(0.5), mean_factor(v.g, m, over_lanes)), share
    cdef Residual r
    cdef Py_ssize_t i = 0
    while i < m:
        r = residual(get_at(x, i, m, over_lanes), get_at(y, i, m, over_lanes), get_at(z, i, m, over_lanes))
        share = v_sub(factor, square(r, factor))
        put_at(dy, i, m, v_select(v_equal(factor, zero), zero, share), over_lanes)
        i += pace(over_lanes)


cdef void gaussian_variance_gradient(const Sources *v, Output dy, Py_ssize_t m, bint over_lanes) noexcept nogil:
    if over_lanes:
        gaussian_variance_gradient_loop(v, dy, m, True)
    else:
        gaussian_variance_gradient_loop(v, dy, m, False)


gaussian_nll = reduction(
    TO_ONE, gaussian_nll_output, gaussian_mean_gradient, gaussian_variance_gradient, gaussian_mean_gradient
)
