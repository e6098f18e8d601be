# Kernels of losses that are means over m elements: BCE, Huber, GaussianNLL.
#
# x, y: predictions and targets, or means and logarithms of variances, whose targets are z; d: the loss; all else is as
# in reduction.pyx.
from cgraph._kernels.common.guard cimport require
from cgraph._kernels.common.operands cimport Input, Operands, Output, added_to, grad_of, input_of, overwritten
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


cdef inline vec minus_share(vec x, vec y, vec d, vec factor) noexcept nogil:
    return v_sub(v_set1(0), v_mul(x, factor))


cdef void bce(Input x, Input y, Output d, Py_ssize_t m, bint over_lanes) noexcept nogil:
    set_scalar(d, v_div(sum_of(bce_term, x, y, v_set1(0), m, over_lanes, True), v_set1(<real>m)), over_lanes)


cdef void logit_gradient(Input x, Input y, Input g, Output dx, Py_ssize_t m, bint over_lanes) noexcept nogil:
    cdef vec factor = mean_factor(g, m, over_lanes)
    put_shares(logit_share, x, y, factor, factor, dx, m, over_lanes)


cdef void label_gradient(Input x, Input g, Output dy, Py_ssize_t m, bint over_lanes) noexcept nogil:
    cdef vec factor = mean_factor(g, m, over_lanes)
    put_shares(minus_share, x, x, factor, factor, dy, m, over_lanes)


def bce_forward(const real[:] x, const real[:] y, real[:] d):
    require(x.shape[0] == y.shape[0] and d.shape[0] == 1)
    with nogil:
        bce(input_of(x), input_of(y), overwritten(d), x.shape[0], False)


def bce_backward(const real[:] x, const real[:] y, const real[:] g, real[:] dx, real[:] dy):
    require(x.shape[0] == y.shape[0] == dx.shape[0] == dy.shape[0] and g.shape[0] == 1)
    with nogil:
        logit_gradient(input_of(x), input_of(y), input_of(g), added_to(dx), x.shape[0], False)
        label_gradient(input_of(x), input_of(g), added_to(dy), x.shape[0], False)


cdef class BCEStep(ReductionStep):
    cdef void compute(self, Input x, Input y, Output d) noexcept nogil:
        bce(x, y, d, self.m, self.over_lanes)

    cdef void gradient_x(self, const Operands *v, Output dx) noexcept nogil:
        logit_gradient(v.x, v.y, v.g, dx, self.m, self.over_lanes)

    cdef void gradient_y(self, const Operands *v, Output dy) noexcept nogil:
        label_gradient(v.x, v.g, dy, self.m, self.over_lanes)


# d = (1/m) Σ a_i (|x_i - y_i| - a_i / 2),  a_i = min(|x_i - y_i|, δ)
# dx_i += c_i g / m,  dy_i += -c_i g / m,  c_i = x_i - y_i, but at most δ and at least -δ

cdef inline vec huber_term(vec x, vec y, vec delta, vec total) noexcept nogil:
    cdef vec distance = v_abs(v_sub(x, y)), near = v_smaller(delta, distance), half = v_mul(v_set1(0.5), near)
    # The second factor is at least a_i / 2, also where both numbers of the difference are infinite.
    return v_fma(near, v_larger(v_sub(distance, half), half), total)


cdef inline vec huber_share(vec x, vec y, vec delta, vec factor) noexcept nogil:
    cdef vec slope = v_larger(v_sub(v_set1(0), delta), v_smaller(delta, v_sub(x, y)))
    return v_mul(slope, factor)


cdef void huber(Input x, Input y, real delta, Output d, Py_ssize_t m, bint over_lanes) noexcept nogil:
    set_scalar(d, v_div(sum_of(huber_term, x, y, v_set1(delta), m, over_lanes), v_set1(<real>m)), over_lanes)


cdef void huber_gradient(
    Input x, Input y, real delta, Input g, Output dx, Py_ssize_t m, bint over_lanes
) noexcept nogil:
    """Computes dx of x and y and, called with y and x, dy."""
    put_shares(huber_share, x, y, v_set1(delta), mean_factor(g, m, over_lanes), dx, m, over_lanes)


def huber_forward(const real[:] x, const real[:] y, double delta, real[:] d):
    require(x.shape[0] == y.shape[0] and d.shape[0] == 1)
    with nogil:
        huber(input_of(x), input_of(y), <real>delta, overwritten(d), x.shape[0], False)


def huber_backward(const real[:] x, const real[:] y, double delta, const real[:] g, real[:] dx, real[:] dy):
    require(x.shape[0] == y.shape[0] == dx.shape[0] == dy.shape[0] and g.shape[0] == 1)
    with nogil:
        huber_gradient(input_of(x), input_of(y), <real>delta, input_of(g), added_to(dx), x.shape[0], False)
        huber_gradient(input_of(y), input_of(x), <real>delta, input_of(g), added_to(dy), x.shape[0], False)


cdef class HuberStep(ReductionStep):
    cdef real delta

    def __init__(self, Py_ssize_t m, Py_ssize_t lanes, inputs, Operand d not None, double delta):
        super().__init__(m, lanes, inputs, d)
        self.delta = <real>delta

    cdef void compute(self, Input x, Input y, Output d) noexcept nogil:
        huber(x, y, self.delta, d, self.m, self.over_lanes)

    cdef void gradient_x(self, const Operands *v, Output dx) noexcept nogil:
        huber_gradient(v.x, v.y, self.delta, v.g, dx, self.m, self.over_lanes)

    cdef void gradient_y(self, const Operands *v, Output dy) noexcept nogil:
        huber_gradient(v.y, v.x, self.delta, v.g, dy, self.m, self.over_lanes)


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


cdef inline void gaussian_nll_loop(Input x, Input y, Input z, Output d, Py_ssize_t m, bint over_lanes) noexcept nogil:
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


cdef void gaussian_nll(Input x, Input y, Input z, Output d, Py_ssize_t m, bint over_lanes) noexcept nogil:
    if over_lanes:
        gaussian_nll_loop(x, y, z, d, m, True)
    else:
        gaussian_nll_loop(x, y, z, d, m, False)


cdef inline void gaussian_mean_gradient_loop(
    Input x, Input y, Input z, Input g, Output dx, Py_ssize_t m, bint over_lanes
) noexcept nogil:
    cdef vec zero = v_set1(0), factor = mean_factor(g, m, over_lanes), share
    cdef Residual r
    cdef Py_ssize_t i = 0
    while i < m:
        r = residual(get_at(x, i, m, over_lanes), get_at(y, i, m, over_lanes), get_at(z, i, m, over_lanes))
        share = v_mul(v_mul(v_mul(v_mul(r.scaled, factor), r.root), r.root), r.unit)
        # 0 also where r is infinite.
        put_at(dx, i, m, v_select(v_equal(factor, zero), zero, share), over_lanes)
        i += pace(over_lanes)


cdef void gaussian_mean_gradient(
    Input x, Input y, Input z, Input g, Output dx, Py_ssize_t m, bint over_lanes
) noexcept nogil:
    """Computes dx of x and z and, called with z and x, dz."""
    if over_lanes:
        gaussian_mean_gradient_loop(x, y, z, g, dx, m, True)
    else:
        gaussian_mean_gradient_loop(x, y, z, g, dx, m, False)


cdef inline void gaussian_variance_gradient_loop(
    Input x, Input y, Input z, Input g, Output dy, Py_ssize_t m, bint over_lanes
) noexcept nogil:
    cdef vec zero = v_set1(0), factor = v_mul(v_set1(0.5), mean_factor(g, m, over_lanes)), share
    cdef Residual r
    cdef Py_ssize_t i = 0
    while i < m:
        r = residual(get_at(x, i, m, over_lanes), get_at(y, i, m, over_lanes), get_at(z, i, m, over_lanes))
        share = v_sub(factor, square(r, factor))
        put_at(dy, i, m, v_select(v_equal(factor, zero), zero, share), over_lanes)
        i += pace(over_lanes)


cdef void gaussian_variance_gradient(
    Input x, Input y, Input z, Input g, Output dy, Py_ssize_t m, bint over_lanes
) noexcept nogil:
    if over_lanes:
        gaussian_variance_gradient_loop(x, y, z, g, dy, m, True)
    else:
        gaussian_variance_gradient_loop(x, y, z, g, dy, m, False)


def gaussian_nll_forward(const real[:] x, const real[:] y, const real[:] z, real[:] d):
    require(x.shape[0] == y.shape[0] == z.shape[0] and d.shape[0] == 1)
    with nogil:
        gaussian_nll(input_of(x), input_of(y), input_of(z), overwritten(d), x.shape[0], False)


def gaussian_nll_backward(
    const real[:] x, const real[:] y, const real[:] z, const real[:] g, real[:] dx, real[:] dy, real[:] dz
):
    cdef Py_ssize_t m = x.shape[0]
    require(m == y.shape[0] == z.shape[0] == dx.shape[0] == dy.shape[0] == dz.shape[0] and g.shape[0] == 1)
    with nogil:
        gaussian_mean_gradient(input_of(x), input_of(y), input_of(z), input_of(g), added_to(dx), m, False)
        gaussian_variance_gradient(input_of(x), input_of(y), input_of(z), input_of(g), added_to(dy), m, False)
        gaussian_mean_gradient(input_of(z), input_of(y), input_of(x), input_of(g), added_to(dz), m, False)


cdef class GaussianNLLStep(ReductionStep):
    """The step of a GaussianNLL, whose third input is z."""
    cdef OperandFields z

    def __init__(self, Py_ssize_t m, Py_ssize_t lanes, inputs, Operand d not None):
        super().__init__(m, lanes, inputs[:2], d)
        self.z = (<Operand?>inputs[2]).fields

    cdef void forward(self, Context *context) noexcept nogil:
        cdef Input x = data_of(context, &self.x), y = data_of(context, &self.y), z = data_of(context, &self.z)
        cdef Output d = output(context, &self.d)
        cdef Py_ssize_t lane = 0
        while lane < self.lanes:
            gaussian_nll(
                input_lane(x, lane), input_lane(y, lane), input_lane(z, lane), output_lane(d, lane), self.m,
                self.over_lanes
            )
            lane += V_LANES

    cdef void backward(self, Context *context) noexcept nogil:
        cdef Output dx = gradient(context, &self.x), dy = gradient(context, &self.y), dz = gradient(context, &self.z)
        cdef Py_ssize_t lane = 0
        cdef Input x, y, z, g
        while lane < self.lanes:
            x, y = input_lane(data_of(context, &self.x), lane), input_lane(data_of(context, &self.y), lane)
            z, g = input_lane(data_of(context, &self.z), lane), input_lane(grad_of(context, &self.d), lane)
            if dx.start != NULL:
                gaussian_mean_gradient(x, y, z, g, output_lane(dx, lane), self.m, self.over_lanes)
            if dy.start != NULL:
                gaussian_variance_gradient(x, y, z, g, output_lane(dy, lane), self.m, self.over_lanes)
            if dz.start != NULL:
                gaussian_mean_gradient(z, y, x, g, output_lane(dz, lane), self.m, self.over_lanes)
            lane += V_LANES
