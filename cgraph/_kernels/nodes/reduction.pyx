"""Kernels that reduce over the elements of their inputs: Dots, MSE, CEE, Norm2, Sum, Mean, and Expand.

x, y: inputs of m elements; d: the output; g: the gradient with respect to it; dx, dy: the inputs' gradients. Operands
may be strided, and dx and dy may be one buffer. Scalars are operands of one element. On the Node path backward ADDS
into dx and dy.

An operation is an object of this module, as in functions.pyx; the gradient of its second input is computed with x and y
exchanged. The parts of this family that are not here are in softmax.pxi, losses.pxi and layer_norm.pxi.

over_lanes: whether the operands are those of one sample, or one vector of lanes of samples side by side; the loops for
both are in common/reductions.pxd. Within a block of a sum over one sample, products are summed lane by lane, so that
results do not depend on strides.
"""
from cgraph._kernels.common.operands cimport Input, Output, input_lane
from cgraph._kernels.common.reductions cimport (
    get_scalar, norm_of, put_scalar, put_shares, set_scalar, sum_of, sum_term
)
from cgraph._kernels.common.simd cimport (
    R_TINY, V_LANES, real, v_add, v_all, v_div, v_equal, v_fma, v_larger, v_mul, v_select, v_set1, v_sub, vec, vmask
)
from cgraph._kernels.common.vector_math cimport v_log

include "common/reduction_operation.pxi"
include "nodes/softmax.pxi"
include "nodes/losses.pxi"
include "nodes/layer_norm.pxi"


# d = Σ x_i y_i;   dx_i += y_i g,  dy_i += x_i g

cdef inline vec dots_term(vec x, vec y, vec c, vec total) noexcept nogil:
    return v_fma(x, y, total)


cdef inline vec dots_share(vec x, vec y, vec d, vec g) noexcept nogil:
    return v_mul(y, g)


cdef void dots_output(const Sources *v, Output d, Py_ssize_t m, bint over_lanes) noexcept nogil:
    set_scalar(d, sum_of(dots_term, v.x, v.y, v_set1(0), m, over_lanes), over_lanes)


cdef void dots_gradient(const Sources *v, Output dx, Py_ssize_t m, bint over_lanes) noexcept nogil:
    cdef vec factor = get_scalar(v.g, over_lanes)
    put_shares(dots_share, v.x, v.y, factor, factor, dx, m, over_lanes)


dots = reduction(TO_ONE, dots_output, dots_gradient, dots_gradient)


# d = (1/m) Σ (x_i - y_i)²;   dx_i += 2 (x_i - y_i) g / m,  dy_i += 2 (y_i - x_i) g / m

cdef inline vec mse_term(vec x, vec y, vec c, vec total) noexcept nogil:
    return v_fma(v_sub(x, y), v_sub(x, y), total)


cdef inline vec mse_share(vec x, vec y, vec d, vec scale) noexcept nogil:
    """scale: 2 g / m."""
    return v_mul(v_sub(x, y), scale)


cdef void mse_output(const Sources *v, Output d, Py_ssize_t m, bint over_lanes) noexcept nogil:
    set_scalar(d, v_div(sum_of(mse_term, v.x, v.y, v_set1(0), m, over_lanes), v_set1(<real>m)), over_lanes)


cdef void mse_gradient(const Sources *v, Output dx, Py_ssize_t m, bint over_lanes) noexcept nogil:
    cdef vec factor = get_scalar(v.g, over_lanes)
    put_shares(mse_share, v.x, v.y, factor, v_div(v_add(factor, factor), v_set1(<real>m)), dx, m, over_lanes)


mse = reduction(TO_ONE, mse_output, mse_gradient, mse_gradient)


# d = -Σ y_i ln x̂_i over y_i ≠ 0, x̂ = max(x, tiny);   dx_i += -(y_i g) / x̂_i where y_i ≠ 0,  dy_i += -ln(x̂_i) g
# (y g) / x̂ and not (y / x̂) g: finite where |y g| ≤ 1
# The logarithms of a vector are left out where all of its targets are 0, as most are.

cdef inline vec clamp(vec x) noexcept nogil:
    """Returns max(x, tiny), or x if it is NaN."""
    return v_larger(v_set1(R_TINY), x)


cdef inline vec cee_term(vec x, vec y, vec c, vec total) noexcept nogil:
    cdef vmask without = v_equal(y, v_set1(0))
    if v_all(without):
        return total
    return v_select(without, total, v_sub(total, v_mul(y, v_log(clamp(x)))))


cdef inline vec prediction_share(vec x, vec y, vec d, vec minus_g) noexcept nogil:
    cdef vec zero = v_set1(0)
    return v_select(v_equal(y, zero), zero, v_div(v_mul(y, minus_g), clamp(x)))


cdef inline vec target_share(vec y, vec x, vec d, vec minus_g) noexcept nogil:
    return v_mul(v_log(clamp(x)), minus_g)


cdef inline vec negative(Input g, bint over_lanes) noexcept nogil:
    """Returns -g."""
    return v_mul(v_set1(-1), get_scalar(g, over_lanes))


cdef void cee_output(const Sources *v, Output d, Py_ssize_t m, bint over_lanes) noexcept nogil:
    set_scalar(d, sum_of(cee_term, v.x, v.y, v_set1(0), m, over_lanes), over_lanes)


cdef void prediction_gradient(const Sources *v, Output dx, Py_ssize_t m, bint over_lanes) noexcept nogil:
    cdef vec minus_g = negative(v.g, over_lanes)
    put_shares(prediction_share, v.x, v.y, minus_g, minus_g, dx, m, over_lanes)


cdef void target_gradient(const Sources *v, Output dy, Py_ssize_t m, bint over_lanes) noexcept nogil:
    cdef vec minus_g = negative(v.g, over_lanes)
    put_shares(target_share, v.x, v.y, minus_g, minus_g, dy, m, over_lanes)


cee = reduction(TO_ONE, cee_output, prediction_gradient, target_gradient)


# d = sqrt(Σ x_i²);   dx_i += (x_i / d) g,  and nothing where d = 0

cdef inline vec norm2_share(vec x, vec y, vec d, vec g) noexcept nogil:
    return v_select(v_equal(d, v_set1(0)), v_set1(0), v_mul(v_div(x, d), g))


cdef void norm2_output(const Sources *v, Output d, Py_ssize_t m, bint over_lanes) noexcept nogil:
    cdef Py_ssize_t lane
    set_scalar(d, sum_of(dots_term, v.x, v.x, v_set1(0), m, over_lanes), over_lanes)
    for lane in range(V_LANES if over_lanes else 1):
        d.start[lane] = norm_of(d.start[lane], input_lane(v.x, lane), m)


cdef void norm2_gradient(const Sources *v, Output dx, Py_ssize_t m, bint over_lanes) noexcept nogil:
    put_shares(norm2_share, v.x, v.x, get_scalar(v.d, over_lanes), get_scalar(v.g, over_lanes), dx, m, over_lanes)


norm2 = reduction(TO_ONE, norm2_output, norm2_gradient)


# d = Σ x_i;   dx_i += g

cdef inline vec equal_share(vec x, vec y, vec d, vec g) noexcept nogil:
    return g


cdef void put_equal_shares(vec share, Output dx, Py_ssize_t m, bint over_lanes) noexcept nogil:
    """Writes, or adds, one number to all elements."""
    cdef Input own = Input(dx.start, dx.stride)
    put_shares(equal_share, own, own, share, share, dx, m, over_lanes)


cdef void add_up(Input x, Output d, Py_ssize_t m, bint over_lanes) noexcept nogil:
    put_scalar(d, sum_of(sum_term, x, x, v_set1(0), m, over_lanes), over_lanes)


cdef void sum_output(const Sources *v, Output d, Py_ssize_t m, bint over_lanes) noexcept nogil:
    add_up(v.x, d, m, over_lanes)


cdef void sum_gradient(const Sources *v, Output dx, Py_ssize_t m, bint over_lanes) noexcept nogil:
    put_equal_shares(get_scalar(v.g, over_lanes), dx, m, over_lanes)


sum = reduction(TO_ONE, sum_output, sum_gradient)


# d = (1/m) Σ x_i;   dx_i += g / m

cdef void mean_output(const Sources *v, Output d, Py_ssize_t m, bint over_lanes) noexcept nogil:
    cdef vec total = sum_of(sum_term, v.x, v.x, v_set1(0), m, over_lanes)
    set_scalar(d, v_div(total, v_set1(<real>m)), over_lanes)


cdef void mean_gradient(const Sources *v, Output dx, Py_ssize_t m, bint over_lanes) noexcept nogil:
    put_equal_shares(v_div(get_scalar(v.g, over_lanes), v_set1(<real>m)), dx, m, over_lanes)


mean = reduction(TO_ONE, mean_output, mean_gradient)


# d_i = x for all m elements of d, as the gradient of a sum;   dx += Σ g_i

cdef void expand_output(const Sources *v, Output d, Py_ssize_t m, bint over_lanes) noexcept nogil:
    put_equal_shares(get_scalar(v.x, over_lanes), d, m, over_lanes)


cdef void expand_gradient(const Sources *v, Output dx, Py_ssize_t m, bint over_lanes) noexcept nogil:
    add_up(v.g, dx, m, over_lanes)


expand = reduction(FROM_ONE, expand_output, expand_gradient)
