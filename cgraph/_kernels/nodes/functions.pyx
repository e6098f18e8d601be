"""Functions of elements of equal index: of the elements of one input, and of those of two inputs of one shape.

x, y: inputs; d: output; g: the gradient with respect to d; dx, dy: the inputs' gradients; n elements each. Operands may
be strided, and dx and dy may be one buffer. On the Node path backward ADDS into dx and dy.

An operation is an object of this module, with which the Node path computes, and which makes the steps of a Graph. The
formulas for one input stand in common/formulas.pxd; those for two are here.
"""
from cgraph._kernels.common.elementwise_loops cimport (
    Constants, Loop, map_pair_shares, map_pair_values, map_shares, map_values
)
from cgraph._kernels.common.formulas cimport (
    abs_share, abs_value, clip_share, clip_value, elu_share, elu_value, exp_share, exp_value, gelu_share,
    gelu_tanh_share, gelu_tanh_value, gelu_value, leaky_relu_share, leaky_relu_value, log_share, log_value,
    reciprocal_share, reciprocal_value, scale_share, scale_value, silu_share, silu_value, softplus_share,
    softplus_value, sqrt_share, sqrt_value, square_share, square_value
)
from cgraph._kernels.common.guard cimport require
from cgraph._kernels.common.operands cimport (
    Operands, Output, added_to, gradient, input_of, operands, output, overwritten
)
from cgraph._kernels.common.simd cimport (
    V_LANES, real, v_div, v_equal, v_less, v_max, v_mul, v_select, v_set1, v_sub, vec
)
from cgraph._kernels.runtime.step cimport Context, Operand, OperandFields, Step


cdef class FunctionsStep(Step):
    """The step of a node, or of a fused group of nodes in one buffer, for one sample or over lanes."""
    cdef Py_ssize_t n
    cdef OperandFields x, y, d
    cdef Constants constants
    cdef Loop value, share_x, share_y

    cdef void forward(self, Context *context) noexcept nogil:
        cdef Operands v = operands(context, &self.x, &self.y, &self.d)
        self.value(&v, output(context, &self.d), self.n, self.constants)

    cdef void backward(self, Context *context) noexcept nogil:
        # dx before dy: both may be one buffer, which dx then overwrites and dy adds to.
        cdef Operands v = operands(context, &self.x, &self.y, &self.d)
        cdef Output dx = gradient(context, &self.x), dy
        if dx.start != NULL:
            self.share_x(&v, dx, self.n, self.constants)
        if self.share_y != NULL:
            dy = gradient(context, &self.y)
            if dy.start != NULL:
                self.share_y(&v, dy, self.n, self.constants)


cdef class Operation:
    """The loops of an operation."""
    cdef Loop value, share_x, share_y

    def step(self, Py_ssize_t n, inputs, Operand d not None, real a=0, real b=0):
        """Returns a step; inputs: an Operand for each input, of n elements, as d."""
        cdef FunctionsStep step = FunctionsStep.__new__(FunctionsStep)
        step.x, step.y, step.d = (<Operand?>inputs[0]).fields, (<Operand?>inputs[len(inputs) - 1]).fields, d.fields
        step.n, step.constants = n, Constants(a, b)
        step.value, step.share_x, step.share_y = self.value, self.share_x, self.share_y
        if step.x.stride == step.y.stride == step.d.stride == 1:
            # Whole vectors: the rest of the last vector belongs to no other buffer of the arena.
            step.n = (n + V_LANES - 1) // V_LANES * V_LANES
        return step


cdef class Unary(Operation):
    """An operation of one input."""

    def forward(self, const real[:] x, real[:] d, real a=0, real b=0):
        cdef Operands v
        require(x.shape[0] == d.shape[0])
        v.x = input_of(x)
        with nogil:
            self.value(&v, overwritten(d), d.shape[0], Constants(a, b))

    def backward(self, const real[:] x, const real[:] d, const real[:] g, real[:] dx, real a=0, real b=0):
        cdef Operands v
        require(x.shape[0] == d.shape[0] == g.shape[0] == dx.shape[0])
        v = Operands(input_of(x), input_of(x), input_of(d), input_of(g))
        with nogil:
            self.share_x(&v, added_to(dx), g.shape[0], Constants(a, b))


cdef class Binary(Operation):
    """An operation of two inputs."""

    def forward(self, const real[:] x, const real[:] y, real[:] d):
        cdef Operands v
        require(x.shape[0] == y.shape[0] == d.shape[0])
        v.x, v.y = input_of(x), input_of(y)
        with nogil:
            self.value(&v, overwritten(d), d.shape[0], Constants(0, 0))

    def backward(
        self, const real[:] x, const real[:] y, const real[:] d, const real[:] g, real[:] dx, real[:] dy
    ):
        cdef Operands v
        require(x.shape[0] == y.shape[0] == d.shape[0] == g.shape[0] == dx.shape[0] == dy.shape[0])
        v = Operands(input_of(x), input_of(y), input_of(d), input_of(g))
        with nogil:
            self.share_x(&v, added_to(dx), g.shape[0], Constants(0, 0))
            self.share_y(&v, added_to(dy), g.shape[0], Constants(0, 0))


cdef Unary unary(Loop value, Loop share):
    cdef Unary operation = Unary.__new__(Unary)
    operation.value, operation.share_x = value, share
    return operation


cdef Binary binary(Loop value, Loop share_x, Loop share_y):
    cdef Binary operation = Binary.__new__(Binary)
    operation.value, operation.share_x, operation.share_y = value, share_x, share_y
    return operation


# One input

cdef void exp_values(const Operands *v, Output d, Py_ssize_t n, Constants c) noexcept nogil:
    map_values(exp_value, v, d, n, c)

cdef void exp_shares(const Operands *v, Output dx, Py_ssize_t n, Constants c) noexcept nogil:
    map_shares(exp_share, v, dx, n, c)

exp = unary(exp_values, exp_shares)


cdef void log_values(const Operands *v, Output d, Py_ssize_t n, Constants c) noexcept nogil:
    map_values(log_value, v, d, n, c)

cdef void log_shares(const Operands *v, Output dx, Py_ssize_t n, Constants c) noexcept nogil:
    map_shares(log_share, v, dx, n, c)

log = unary(log_values, log_shares)


cdef void square_values(const Operands *v, Output d, Py_ssize_t n, Constants c) noexcept nogil:
    map_values(square_value, v, d, n, c)

cdef void square_shares(const Operands *v, Output dx, Py_ssize_t n, Constants c) noexcept nogil:
    map_shares(square_share, v, dx, n, c)

square = unary(square_values, square_shares)


cdef void sqrt_values(const Operands *v, Output d, Py_ssize_t n, Constants c) noexcept nogil:
    map_values(sqrt_value, v, d, n, c)

cdef void sqrt_shares(const Operands *v, Output dx, Py_ssize_t n, Constants c) noexcept nogil:
    map_shares(sqrt_share, v, dx, n, c)

sqrt = unary(sqrt_values, sqrt_shares)


cdef void reciprocal_values(const Operands *v, Output d, Py_ssize_t n, Constants c) noexcept nogil:
    map_values(reciprocal_value, v, d, n, c)

cdef void reciprocal_shares(const Operands *v, Output dx, Py_ssize_t n, Constants c) noexcept nogil:
    map_shares(reciprocal_share, v, dx, n, c)

reciprocal = unary(reciprocal_values, reciprocal_shares)


cdef void scale_values(const Operands *v, Output d, Py_ssize_t n, Constants c) noexcept nogil:
    map_values(scale_value, v, d, n, c)

cdef void scale_shares(const Operands *v, Output dx, Py_ssize_t n, Constants c) noexcept nogil:
    map_shares(scale_share, v, dx, n, c)

scale = unary(scale_values, scale_shares)


cdef void abs_values(const Operands *v, Output d, Py_ssize_t n, Constants c) noexcept nogil:
    map_values(abs_value, v, d, n, c)

cdef void abs_shares(const Operands *v, Output dx, Py_ssize_t n, Constants c) noexcept nogil:
    map_shares(abs_share, v, dx, n, c)

abs = unary(abs_values, abs_shares)


cdef void clip_values(const Operands *v, Output d, Py_ssize_t n, Constants c) noexcept nogil:
    map_values(clip_value, v, d, n, c)

cdef void clip_shares(const Operands *v, Output dx, Py_ssize_t n, Constants c) noexcept nogil:
    map_shares(clip_share, v, dx, n, c)

clip = unary(clip_values, clip_shares)


cdef void leaky_relu_values(const Operands *v, Output d, Py_ssize_t n, Constants c) noexcept nogil:
    map_values(leaky_relu_value, v, d, n, c)

cdef void leaky_relu_shares(const Operands *v, Output dx, Py_ssize_t n, Constants c) noexcept nogil:
    map_shares(leaky_relu_share, v, dx, n, c)

leaky_relu = unary(leaky_relu_values, leaky_relu_shares)


cdef void elu_values(const Operands *v, Output d, Py_ssize_t n, Constants c) noexcept nogil:
    map_values(elu_value, v, d, n, c)

cdef void elu_shares(const Operands *v, Output dx, Py_ssize_t n, Constants c) noexcept nogil:
    map_shares(elu_share, v, dx, n, c)

elu = unary(elu_values, elu_shares)


cdef void softplus_values(const Operands *v, Output d, Py_ssize_t n, Constants c) noexcept nogil:
    map_values(softplus_value, v, d, n, c)

cdef void softplus_shares(const Operands *v, Output dx, Py_ssize_t n, Constants c) noexcept nogil:
    map_shares(softplus_share, v, dx, n, c)

softplus = unary(softplus_values, softplus_shares)


cdef void silu_values(const Operands *v, Output d, Py_ssize_t n, Constants c) noexcept nogil:
    map_values(silu_value, v, d, n, c)

cdef void silu_shares(const Operands *v, Output dx, Py_ssize_t n, Constants c) noexcept nogil:
    map_shares(silu_share, v, dx, n, c)

silu = unary(silu_values, silu_shares)


cdef void gelu_values(const Operands *v, Output d, Py_ssize_t n, Constants c) noexcept nogil:
    map_values(gelu_value, v, d, n, c)

cdef void gelu_shares(const Operands *v, Output dx, Py_ssize_t n, Constants c) noexcept nogil:
    map_shares(gelu_share, v, dx, n, c)

gelu = unary(gelu_values, gelu_shares)


cdef void gelu_tanh_values(const Operands *v, Output d, Py_ssize_t n, Constants c) noexcept nogil:
    map_values(gelu_tanh_value, v, d, n, c)

cdef void gelu_tanh_shares(const Operands *v, Output dx, Py_ssize_t n, Constants c) noexcept nogil:
    map_shares(gelu_tanh_share, v, dx, n, c)

gelu_tanh = unary(gelu_tanh_values, gelu_tanh_shares)


# Two inputs

# d = x y;   dx += y g,  dy += x g

cdef inline vec mul_value(vec x, vec y) noexcept nogil:
    return v_mul(x, y)

cdef inline vec mul_share(vec x, vec y, vec d, vec g) noexcept nogil:
    return v_mul(y, g)

cdef void mul_values(const Operands *v, Output d, Py_ssize_t n, Constants c) noexcept nogil:
    map_pair_values(mul_value, v, d, n)

cdef void mul_shares_x(const Operands *v, Output dx, Py_ssize_t n, Constants c) noexcept nogil:
    map_pair_shares(mul_share, v.x, v.y, v.d, v.g, dx, n)

cdef void mul_shares_y(const Operands *v, Output dy, Py_ssize_t n, Constants c) noexcept nogil:
    map_pair_shares(mul_share, v.y, v.x, v.d, v.g, dy, n)

mul = binary(mul_values, mul_shares_x, mul_shares_y)


# d = x / y;   dx += g / y,  dy -= g d / y

cdef inline vec div_value(vec x, vec y) noexcept nogil:
    return v_div(x, y)

cdef inline vec div_share(vec x, vec y, vec d, vec g) noexcept nogil:
    return v_div(g, y)

cdef inline vec div_share_y(vec x, vec y, vec d, vec g) noexcept nogil:
    return v_sub(v_set1(0), v_mul(g, v_div(d, y)))

cdef void div_values(const Operands *v, Output d, Py_ssize_t n, Constants c) noexcept nogil:
    map_pair_values(div_value, v, d, n)

cdef void div_shares_x(const Operands *v, Output dx, Py_ssize_t n, Constants c) noexcept nogil:
    map_pair_shares(div_share, v.x, v.y, v.d, v.g, dx, n)

cdef void div_shares_y(const Operands *v, Output dy, Py_ssize_t n, Constants c) noexcept nogil:
    map_pair_shares(div_share_y, v.x, v.y, v.d, v.g, dy, n)

div = binary(div_values, div_shares_x, div_shares_y)


# d = max(x, y);   dx += g where x > y, g / 2 where x = y, 0 where x < y, and g where one is NaN; dy likewise

cdef inline vec maximum_value(vec x, vec y) noexcept nogil:
    return v_max(x, y)

cdef inline vec maximum_share(vec x, vec y, vec d, vec g) noexcept nogil:
    return v_select(v_less(x, y), v_set1(0), v_select(v_equal(x, y), v_mul(v_set1(<real>0.5), g), g))

cdef void maximum_values(const Operands *v, Output d, Py_ssize_t n, Constants c) noexcept nogil:
    map_pair_values(maximum_value, v, d, n)

cdef void maximum_shares_x(const Operands *v, Output dx, Py_ssize_t n, Constants c) noexcept nogil:
    map_pair_shares(maximum_share, v.x, v.y, v.d, v.g, dx, n)

cdef void maximum_shares_y(const Operands *v, Output dy, Py_ssize_t n, Constants c) noexcept nogil:
    map_pair_shares(maximum_share, v.y, v.x, v.d, v.g, dy, n)

maximum = binary(maximum_values, maximum_shares_x, maximum_shares_y)


# d = min(x, y) = -max(-x, -y);   dx += g where x < y, g / 2 where x = y, 0 where x > y, and g where one is NaN; dy
# likewise

cdef inline vec minimum_value(vec x, vec y) noexcept nogil:
    return v_sub(v_set1(0), v_max(v_sub(v_set1(0), x), v_sub(v_set1(0), y)))

cdef inline vec minimum_share(vec x, vec y, vec d, vec g) noexcept nogil:
    return maximum_share(y, x, d, g)

cdef void minimum_values(const Operands *v, Output d, Py_ssize_t n, Constants c) noexcept nogil:
    map_pair_values(minimum_value, v, d, n)

cdef void minimum_shares_x(const Operands *v, Output dx, Py_ssize_t n, Constants c) noexcept nogil:
    map_pair_shares(minimum_share, v.x, v.y, v.d, v.g, dx, n)

cdef void minimum_shares_y(const Operands *v, Output dy, Py_ssize_t n, Constants c) noexcept nogil:
    map_pair_shares(minimum_share, v.y, v.x, v.d, v.g, dy, n)

minimum = binary(minimum_values, minimum_shares_x, minimum_shares_y)
