"""Kernels that reduce over the elements of their inputs: Dots, MSE, CEE, Norm2, Softmax.

x, y: inputs of m elements; d: the output; g: the gradient with respect to it; dx, dy: the inputs' gradients. Operands
may be strided, and dx and dy may be one buffer. Scalars are operands of one element. On the Node path backward ADDS
into dx and dy.

over_lanes: whether the operands are those of one sample, or one vector of lanes of samples side by side; the loops for
both are in common/reductions.pxd. Within a block of a sum over one sample, products are summed lane by lane, so that
results do not depend on strides.
"""
from cgraph._kernels.common.guard cimport require
from cgraph._kernels.common.operands cimport (
    Input, Operands, Output, added_to, data_of, gradient, input_lane, input_of, operands, output, output_lane,
    overwritten
)
from cgraph._kernels.common.reductions cimport (
    get_scalar, maximum_of, norm_of, put_powers, put_shares, set_scalar, sum_of
)
from cgraph._kernels.common.simd cimport (
    R_TINY, V_LANES, real, v_add, v_all, v_div, v_equal, v_fma, v_larger, v_mul, v_select, v_set1, v_sub, vec, vmask
)
from cgraph._kernels.common.vector_math cimport v_log
from cgraph._kernels.runtime.step cimport Context, Operand, Step, operand


cdef class ReductionStep(Step):
    """The base of the steps of reducing nodes, for one sample or, vector by vector, over lanes.

    The step of an operation stands beside its kernels. For an operation of one input, y is x and has no gradient.
    """
    cdef Py_ssize_t m, lanes
    cdef bint over_lanes
    cdef Operand x, y, d

    def __init__(self, Py_ssize_t m, Py_ssize_t lanes, inputs, d):
        """lanes: 1 for one sample; inputs, d: the fields of a `_lowering.buffers.Operand` for each operand."""
        self.m, self.lanes, self.over_lanes = m, lanes, lanes > 1
        self.x, self.y, self.d = operand(inputs[0]), operand(inputs[len(inputs) - 1]), operand(d)

    cdef void forward(self, Context *context) noexcept nogil:
        cdef Input x = data_of(context, &self.x), y = data_of(context, &self.y)
        cdef Output d = output(context, &self.d)
        cdef Py_ssize_t lane = 0
        while lane < self.lanes:
            self.compute(input_lane(x, lane), input_lane(y, lane), output_lane(d, lane))
            lane += V_LANES

    cdef void backward(self, Context *context) noexcept nogil:
        # dx before dy: both may be one buffer, which dx then overwrites and dy adds to.
        cdef Output dx = gradient(context, &self.x), dy = gradient(context, &self.y)
        cdef Operands all = operands(context, &self.x, &self.y, &self.d), v
        cdef Py_ssize_t lane = 0
        while lane < self.lanes:
            v = Operands(
                input_lane(all.x, lane), input_lane(all.y, lane), input_lane(all.d, lane), input_lane(all.g, lane)
            )
            if dx.start != NULL:
                self.gradient_x(&v, output_lane(dx, lane))
            if dy.start != NULL:
                self.gradient_y(&v, output_lane(dy, lane))
            lane += V_LANES

    cdef void compute(self, Input x, Input y, Output d) noexcept nogil:
        """Writes the output."""

    cdef void gradient_x(self, const Operands *v, Output dx) noexcept nogil:
        """Writes, or adds, the gradient of the first input."""

    cdef void gradient_y(self, const Operands *v, Output dy) noexcept nogil:
        """Writes, or adds, the gradient of the second input; operations of one input have none."""


# d = Σ x_i y_i;   dx_i += y_i g,  dy_i += x_i g

cdef inline vec dots_term(vec x, vec y, vec total) noexcept nogil:
    return v_fma(x, y, total)


cdef inline vec dots_share(vec x, vec y, vec d, vec g) noexcept nogil:
    return v_mul(y, g)


cdef void dots(Input x, Input y, Output d, Py_ssize_t m, bint over_lanes) noexcept nogil:
    set_scalar(d, sum_of(dots_term, x, y, m, over_lanes), over_lanes)


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

cdef inline vec mse_term(vec x, vec y, vec total) noexcept nogil:
    return v_fma(v_sub(x, y), v_sub(x, y), total)


cdef inline vec mse_share(vec x, vec y, vec d, vec scale) noexcept nogil:
    """scale: 2 g / m."""
    return v_mul(v_sub(x, y), scale)


cdef void mse(Input x, Input y, Output d, Py_ssize_t m, bint over_lanes) noexcept nogil:
    set_scalar(d, v_div(sum_of(mse_term, x, y, m, over_lanes), v_set1(<real>m)), over_lanes)


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


cdef inline vec cee_term(vec x, vec y, vec total) noexcept nogil:
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
    set_scalar(d, sum_of(cee_term, x, y, m, over_lanes), over_lanes)


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


# d_i = exp(x_i - max) / Σ_j exp(x_j - max);   dx_i += d_i (g_i - Σ_j d_j g_j)

cdef void softmax(Input x, Output d, Py_ssize_t m, Py_ssize_t room, bint over_lanes) noexcept nogil:
    cdef Input power = Input(d.start, d.stride)
    # The total is between 1 and m, so that the product with its inverse loses no range.
    cdef vec maximum = maximum_of(x, m, room, over_lanes)
    cdef vec inverse = v_div(v_set1(1), put_powers(x, maximum, d, m, room, over_lanes))
    put_shares(dots_share, power, power, inverse, inverse, d, m if over_lanes else room, over_lanes)


cdef inline vec softmax_share(vec d, vec g, vec mean, vec _) noexcept nogil:
    """mean: Σ_j d_j g_j."""
    return v_mul(d, v_sub(g, mean))


cdef void softmax_gradient(Input d, Input g, Output dx, Py_ssize_t m, bint over_lanes) noexcept nogil:
    cdef vec mean = sum_of(dots_term, d, g, m, over_lanes)
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
