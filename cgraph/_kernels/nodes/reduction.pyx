"""Kernels that reduce over the elements of their inputs: Dots, MSE, CEE, Norm2, Sum, Mean, and Expand.

x, y: inputs of m elements; d: the output; g: the gradient with respect to it; dx, dy: the inputs' gradients. Operands
may be strided, and dx and dy may be one buffer. Scalars are operands of one element. On the Node path backward ADDS
into dx and dy.

The parts of this family that are not here are in softmax.pxi, losses.pxi and layer_norm.pxi.

over_lanes: whether the operands are those of one sample, or one vector of lanes of samples side by side; the loops for
both are in common/reductions.pxd. Within a block of a sum over one sample, products are summed lane by lane, so that
results do not depend on strides.
"""
from cgraph._kernels.common.guard cimport require
from cgraph._kernels.common.operands cimport (
    Input, Operands, Output, added_to, input_lane, input_of, overwritten
)
from cgraph._kernels.common.reductions cimport (
    get_scalar, norm_of, put_scalar, put_shares, set_scalar, sum_of, sum_term
)
from cgraph._kernels.common.simd cimport (
    R_TINY, V_LANES, real, v_add, v_all, v_div, v_equal, v_fma, v_larger, v_mul, v_select, v_set1, v_sub, vec, vmask
)
from cgraph._kernels.common.vector_math cimport v_log

include "common/reduction_step.pxi"
include "nodes/softmax.pxi"
include "nodes/losses.pxi"
include "nodes/layer_norm.pxi"


# d = Σ x_i y_i;   dx_i += y_i g,  dy_i += x_i g

cdef inline vec dots_term(vec x, vec y, vec c, vec total) noexcept nogil:
    return v_fma(x, y, total)


cdef inline vec dots_share(vec x, vec y, vec d, vec g) noexcept nogil:
    return v_mul(y, g)


cdef void dots(Input x, Input y, Output d, Py_ssize_t m, bint over_lanes) noexcept nogil:
    set_scalar(d, sum_of(dots_term, x, y, v_set1(0), m, over_lanes), over_lanes)


cdef void dots_gradient(Input y, Input g, Output dx, Py_ssize_t m, bint over_lanes) noexcept nogil:
    """Computes dx of y and, called with x for y, dy."""
    cdef vec factor = get_scalar(g, over_lanes)
    put_shares(dots_share, y, y, factor, factor, dx, m, over_lanes)


def dots_forward(const real[:] x, const real[:] y, real[:] d):
    require(x.shape[0] == y.shape[0] and d.shape[0] == 1)
    with nogil:
        dots(input_of(x), input_of(y), overwritten(d), x.shape[0], False)


def dots_backward(const real[:] x, const real[:] y, const real[:] g, real[:] dx, real[:] dy):
    require(x.shape[0] == y.shape[0] == dx.shape[0] == dy.shape[0] and g.shape[0] == 1)
    with nogil:
        dots_gradient(input_of(y), input_of(g), added_to(dx), x.shape[0], False)
        dots_gradient(input_of(x), input_of(g), added_to(dy), x.shape[0], False)


cdef class DotsStep(ReductionStep):
    cdef void compute(self, Input x, Input y, Output d) noexcept nogil:
        dots(x, y, d, self.m, self.over_lanes)

    cdef void gradient_x(self, const Operands *v, Output dx) noexcept nogil:
        dots_gradient(v.y, v.g, dx, self.m, self.over_lanes)

    cdef void gradient_y(self, const Operands *v, Output dy) noexcept nogil:
        dots_gradient(v.x, v.g, dy, self.m, self.over_lanes)


# d = (1/m) Σ (x_i - y_i)²;   dx_i += 2 (x_i - y_i) g / m,  dy_i += 2 (y_i - x_i) g / m

cdef inline vec mse_term(vec x, vec y, vec c, vec total) noexcept nogil:
    return v_fma(v_sub(x, y), v_sub(x, y), total)


cdef inline vec mse_share(vec x, vec y, vec d, vec scale) noexcept nogil:
    """scale: 2 g / m."""
    return v_mul(v_sub(x, y), scale)


cdef void mse(Input x, Input y, Output d, Py_ssize_t m, bint over_lanes) noexcept nogil:
    set_scalar(d, v_div(sum_of(mse_term, x, y, v_set1(0), m, over_lanes), v_set1(<real>m)), over_lanes)


cdef void mse_gradient(Input x, Input y, Input g, Output dx, Py_ssize_t m, bint over_lanes) noexcept nogil:
    """Computes dx of x and y and, called with y and x, dy."""
    cdef vec factor = get_scalar(g, over_lanes)
    put_shares(mse_share, x, y, factor, v_div(v_add(factor, factor), v_set1(<real>m)), dx, m, over_lanes)


def mse_forward(const real[:] x, const real[:] y, real[:] d):
    require(x.shape[0] == y.shape[0] and d.shape[0] == 1)
    with nogil:
        mse(input_of(x), input_of(y), overwritten(d), x.shape[0], False)


def mse_backward(const real[:] x, const real[:] y, const real[:] g, real[:] dx, real[:] dy):
    require(x.shape[0] == y.shape[0] == dx.shape[0] == dy.shape[0] and g.shape[0] == 1)
    with nogil:
        mse_gradient(input_of(x), input_of(y), input_of(g), added_to(dx), x.shape[0], False)
        mse_gradient(input_of(y), input_of(x), input_of(g), added_to(dy), x.shape[0], False)


cdef class MSEStep(ReductionStep):
    cdef void compute(self, Input x, Input y, Output d) noexcept nogil:
        mse(x, y, d, self.m, self.over_lanes)

    cdef void gradient_x(self, const Operands *v, Output dx) noexcept nogil:
        mse_gradient(v.x, v.y, v.g, dx, self.m, self.over_lanes)

    cdef void gradient_y(self, const Operands *v, Output dy) noexcept nogil:
        mse_gradient(v.y, v.x, v.g, dy, self.m, self.over_lanes)


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


cdef inline vec target_share(vec x, vec y, vec d, vec minus_g) noexcept nogil:
    return v_mul(v_log(clamp(x)), minus_g)


cdef inline vec negative(Input g, bint over_lanes) noexcept nogil:
    """Returns -g."""
    return v_mul(v_set1(-1), get_scalar(g, over_lanes))


cdef void cee(Input x, Input y, Output d, Py_ssize_t m, bint over_lanes) noexcept nogil:
    set_scalar(d, sum_of(cee_term, x, y, v_set1(0), m, over_lanes), over_lanes)


cdef void prediction_gradient(Input x, Input y, Input g, Output dx, Py_ssize_t m, bint over_lanes) noexcept nogil:
    cdef vec minus_g = negative(g, over_lanes)
    put_shares(prediction_share, x, y, minus_g, minus_g, dx, m, over_lanes)


cdef void target_gradient(Input x, Input g, Output dy, Py_ssize_t m, bint over_lanes) noexcept nogil:
    cdef vec minus_g = negative(g, over_lanes)
    put_shares(target_share, x, x, minus_g, minus_g, dy, m, over_lanes)


def cee_forward(const real[:] x, const real[:] y, real[:] d):
    require(x.shape[0] == y.shape[0] and d.shape[0] == 1)
    with nogil:
        cee(input_of(x), input_of(y), overwritten(d), x.shape[0], False)


def cee_backward(const real[:] x, const real[:] y, const real[:] g, real[:] dx, real[:] dy):
    require(x.shape[0] == y.shape[0] == dx.shape[0] == dy.shape[0] and g.shape[0] == 1)
    with nogil:
        prediction_gradient(input_of(x), input_of(y), input_of(g), added_to(dx), x.shape[0], False)
        target_gradient(input_of(x), input_of(g), added_to(dy), x.shape[0], False)


cdef class CEEStep(ReductionStep):
    cdef void compute(self, Input x, Input y, Output d) noexcept nogil:
        cee(x, y, d, self.m, self.over_lanes)

    cdef void gradient_x(self, const Operands *v, Output dx) noexcept nogil:
        prediction_gradient(v.x, v.y, v.g, dx, self.m, self.over_lanes)

    cdef void gradient_y(self, const Operands *v, Output dy) noexcept nogil:
        target_gradient(v.x, v.g, dy, self.m, self.over_lanes)


# d = sqrt(Σ x_i²);   dx_i += (x_i / d) g,  and nothing where d = 0

cdef inline vec norm2_share(vec x, vec y, vec d, vec g) noexcept nogil:
    return v_select(v_equal(d, v_set1(0)), v_set1(0), v_mul(v_div(x, d), g))


cdef void norm2(Input x, Output d, Py_ssize_t m, bint over_lanes) noexcept nogil:
    cdef Py_ssize_t lane
    dots(x, x, d, m, over_lanes)
    for lane in range(V_LANES if over_lanes else 1):
        d.start[lane] = norm_of(d.start[lane], input_lane(x, lane), m)


cdef void norm2_gradient(Input x, Input d, Input g, Output dx, Py_ssize_t m, bint over_lanes) noexcept nogil:
    put_shares(norm2_share, x, x, get_scalar(d, over_lanes), get_scalar(g, over_lanes), dx, m, over_lanes)


def norm2_forward(const real[:] x, real[:] d):
    require(d.shape[0] == 1)
    with nogil:
        norm2(input_of(x), overwritten(d), x.shape[0], False)


def norm2_backward(const real[:] x, const real[:] d, const real[:] g, real[:] dx):
    require(x.shape[0] == dx.shape[0] and d.shape[0] == 1 and g.shape[0] == 1)
    with nogil:
        norm2_gradient(input_of(x), input_of(d), input_of(g), added_to(dx), x.shape[0], False)


cdef class Norm2Step(ReductionStep):
    cdef void compute(self, Input x, Input y, Output d) noexcept nogil:
        norm2(x, d, self.m, self.over_lanes)

    cdef void gradient_x(self, const Operands *v, Output dx) noexcept nogil:
        norm2_gradient(v.x, v.d, v.g, dx, self.m, self.over_lanes)


# d = Σ x_i;   dx_i += g

cdef inline vec equal_share(vec x, vec y, vec d, vec g) noexcept nogil:
    return g


cdef void put_equal_shares(vec share, Output dx, Py_ssize_t m, bint over_lanes) noexcept nogil:
    """Writes, or adds, one number to all elements."""
    cdef Input own = Input(dx.start, dx.stride)
    put_shares(equal_share, own, own, share, share, dx, m, over_lanes)


def sum_forward(const real[:] x, real[:] d):
    require(d.shape[0] == 1)
    with nogil:
        set_scalar(overwritten(d), sum_of(sum_term, input_of(x), input_of(x), v_set1(0), x.shape[0], False), False)


def sum_backward(const real[:] g, real[:] dx):
    require(g.shape[0] == 1)
    with nogil:
        put_equal_shares(get_scalar(input_of(g), False), added_to(dx), dx.shape[0], False)


cdef class SumStep(ReductionStep):
    cdef void compute(self, Input x, Input y, Output d) noexcept nogil:
        set_scalar(d, sum_of(sum_term, x, x, v_set1(0), self.m, self.over_lanes), self.over_lanes)

    cdef void gradient_x(self, const Operands *v, Output dx) noexcept nogil:
        put_equal_shares(get_scalar(v.g, self.over_lanes), dx, self.m, self.over_lanes)


# d = (1/m) Σ x_i;   dx_i += g / m

cdef void mean(Input x, Output d, Py_ssize_t m, bint over_lanes) noexcept nogil:
    cdef vec total = sum_of(sum_term, x, x, v_set1(0), m, over_lanes)
    set_scalar(d, v_div(total, v_set1(<real>m)), over_lanes)


cdef void mean_gradient(Input g, Output dx, Py_ssize_t m, bint over_lanes) noexcept nogil:
    put_equal_shares(v_div(get_scalar(g, over_lanes), v_set1(<real>m)), dx, m, over_lanes)


def mean_forward(const real[:] x, real[:] d):
    require(d.shape[0] == 1)
    with nogil:
        mean(input_of(x), overwritten(d), x.shape[0], False)


def mean_backward(const real[:] g, real[:] dx):
    require(g.shape[0] == 1)
    with nogil:
        mean_gradient(input_of(g), added_to(dx), dx.shape[0], False)


cdef class MeanStep(ReductionStep):
    cdef void compute(self, Input x, Input y, Output d) noexcept nogil:
        mean(x, d, self.m, self.over_lanes)

    cdef void gradient_x(self, const Operands *v, Output dx) noexcept nogil:
        mean_gradient(v.g, dx, self.m, self.over_lanes)


# d_i = x for all m elements of d, as the gradient of a sum;   dx += Σ g_i

cdef void add_up_gradient(Input g, Output dx, Py_ssize_t m, bint over_lanes) noexcept nogil:
    put_scalar(dx, sum_of(sum_term, g, g, v_set1(0), m, over_lanes), over_lanes)


def expand_forward(const real[:] x, real[:] d):
    require(x.shape[0] == 1)
    with nogil:
        put_equal_shares(get_scalar(input_of(x), False), overwritten(d), d.shape[0], False)


def expand_backward(const real[:] g, real[:] dx):
    require(dx.shape[0] == 1)
    with nogil:
        add_up_gradient(input_of(g), added_to(dx), g.shape[0], False)


cdef class ExpandStep(ReductionStep):
    cdef void compute(self, Input x, Input y, Output d) noexcept nogil:
        put_equal_shares(get_scalar(x, self.over_lanes), d, self.m, self.over_lanes)

    cdef void gradient_x(self, const Operands *v, Output dx) noexcept nogil:
        add_up_gradient(v.g, dx, self.m, self.over_lanes)
