"""Functions of elements of equal index: of the elements of one input, and of those of two inputs of one shape; Dropout.

x, y: inputs; d: output; g: the gradient with respect to d; dx, dy: the inputs' gradients; n elements each. Operands may
be strided, and dx and dy may be one buffer. On the Node path backward ADDS into dx and dy.

An operation is an object of this module, with which the Node path computes, and which makes the steps of a Graph. The
formulas stand in common/formulas.pxd.
"""
from cgraph._kernels.common.arrays cimport take_input, take_output
from cgraph._kernels.common.elementwise_loops cimport (
    Constants, Loop, map_pair_shares, map_pair_values, map_shares, map_values
)
from cgraph._kernels.common.formulas cimport (
    abs_share, abs_value, add_share, add_value, clip_share, clip_value, div_share, div_share_y, div_value, elu_share,
    elu_value, exp_share, exp_value, gelu_share, gelu_tanh_share, gelu_tanh_value, gelu_value, leaky_relu_share,
    leaky_relu_value, log_share, log_value, maximum_share, maximum_value, minimum_share, minimum_value, mul_share,
    mul_value, reciprocal_share, reciprocal_value, relu_share, relu_value, scale_share, scale_value, sigmoid_share,
    sigmoid_value, silu_share, silu_value, softplus_share, softplus_value, sqrt_share, sqrt_value, square_share,
    square_value, sub_share_y, sub_value, tanh_share, tanh_value
)
from cgraph._kernels.common.guard cimport require
from cgraph._kernels.common.operands cimport Operands, Output
from cgraph._kernels.common.simd cimport V_LANES, real
from cgraph._kernels.runtime.step cimport Operand, OperandFields

include "nodes/stretch.pxi"


# What the shares of an operation read.
cdef enum:
    NOTHING = 0
    INPUTS = 1
    OUTPUT = 2


cdef inline Py_ssize_t whole_vectors(Py_ssize_t n) noexcept nogil:
    """Returns n, rounded up to whole vectors: the rest of the last vector belongs to no other buffer of the arena."""
    return (n + V_LANES - 1) // V_LANES * V_LANES


cdef class Operation:
    """The loops of an operation, the constants that they take, and what their shares read beside g."""
    cdef Loop value, share_x, share_y
    cdef Constants constants
    cdef int reads

    def of(self, real a=0, real b=0):
        """Returns the operation with its constants."""
        cdef Operation operation = type(self).__new__(type(self))
        operation.value, operation.share_x, operation.share_y = self.value, self.share_x, self.share_y
        operation.reads, operation.constants = self.reads, Constants(a, b)
        return operation

    def step(self, Py_ssize_t n, inputs, Operand d not None):
        """Returns a step; inputs: an Operand for each input, of n elements, as d."""
        cdef FunctionsStep step = FunctionsStep.__new__(FunctionsStep, 1)
        cdef OperandFields x = (<Operand?>inputs[0]).fields, y = (<Operand?>inputs[len(inputs) - 1]).fields
        step.links[0] = Link(
            self.value, self.share_x, self.share_y, self.constants, place_of(x), place_of(y), place_of(d.fields)
        )
        step.n = n
        if x.stride == y.stride == d.fields.stride == 1:
            step.n, step.whole_vectors = whole_vectors(n), True
        step.tile = step.n
        return step


# To look at an array takes as long as to compute some hundreds of elements, so one that is not read is passed by.

cdef class Unary(Operation):
    """An operation of one input."""

    def forward(self, x, d):
        cdef Operands v
        cdef Output to
        cdef Py_ssize_t n = take_output(d, False, &to)
        require(take_input(x, &v.x) == n)
        with nogil:
            compute(self.value, &v, 1, &to, n, self.constants)

    def backward(self, x, d, g, dx):
        cdef Operands v
        cdef Output to
        cdef Py_ssize_t n = take_output(dx, True, &to)
        require(take_input(g, &v.g) == n)
        v.x = v.y = v.d = v.g
        require(not self.reads & INPUTS or take_input(x, &v.x) == n)
        require(not self.reads & OUTPUT or take_input(d, &v.d) == n)
        with nogil:
            compute(self.share_x, &v, 4, &to, n, self.constants)


cdef class Binary(Operation):
    """An operation of two inputs."""

    def forward(self, x, y, d):
        cdef Operands v
        cdef Output to
        cdef Py_ssize_t n = take_output(d, False, &to)
        require(take_input(x, &v.x) == n and take_input(y, &v.y) == n)
        with nogil:
            compute(self.value, &v, 2, &to, n, self.constants)

    def backward(self, x, y, d, g, dx, dy):
        cdef Operands v
        cdef Output to_x, to_y
        cdef Py_ssize_t n = take_output(dx, True, &to_x)
        require(take_output(dy, True, &to_y) == n and take_input(g, &v.g) == n)
        v.x = v.y = v.d = v.g
        require(not self.reads & INPUTS or take_input(x, &v.x) == n and take_input(y, &v.y) == n)
        require(not self.reads & OUTPUT or take_input(d, &v.d) == n)
        with nogil:
            compute(self.share_x, &v, 4, &to_x, n, self.constants)
            exchange(&v)
            compute(self.share_y, &v, 4, &to_y, n, self.constants)


cdef Unary unary(Loop value, Loop share, int reads):
    cdef Unary operation = Unary.__new__(Unary)
    operation.value, operation.share_x, operation.reads = value, share, reads
    return operation


cdef Binary binary(Loop value, Loop share_x, Loop share_y, int reads):
    """The loops of both shares are one loop where the operation does not change when x and y are exchanged."""
    cdef Binary operation = Binary.__new__(Binary)
    operation.value, operation.share_x, operation.share_y, operation.reads = value, share_x, share_y, reads
    return operation


# One input

cdef void exp_values(const Operands *v, const Output *d, Py_ssize_t n, Constants c) noexcept nogil:
    map_values(exp_value, v, d, n, c)

cdef void exp_shares(const Operands *v, const Output *dx, Py_ssize_t n, Constants c) noexcept nogil:
    map_shares(exp_share, v, dx, n, c)

exp = unary(exp_values, exp_shares, OUTPUT)


cdef void log_values(const Operands *v, const Output *d, Py_ssize_t n, Constants c) noexcept nogil:
    map_values(log_value, v, d, n, c)

cdef void log_shares(const Operands *v, const Output *dx, Py_ssize_t n, Constants c) noexcept nogil:
    map_shares(log_share, v, dx, n, c)

log = unary(log_values, log_shares, INPUTS)


cdef void square_values(const Operands *v, const Output *d, Py_ssize_t n, Constants c) noexcept nogil:
    map_values(square_value, v, d, n, c)

cdef void square_shares(const Operands *v, const Output *dx, Py_ssize_t n, Constants c) noexcept nogil:
    map_shares(square_share, v, dx, n, c)

square = unary(square_values, square_shares, INPUTS)


cdef void sqrt_values(const Operands *v, const Output *d, Py_ssize_t n, Constants c) noexcept nogil:
    map_values(sqrt_value, v, d, n, c)

cdef void sqrt_shares(const Operands *v, const Output *dx, Py_ssize_t n, Constants c) noexcept nogil:
    map_shares(sqrt_share, v, dx, n, c)

sqrt = unary(sqrt_values, sqrt_shares, OUTPUT)


cdef void reciprocal_values(const Operands *v, const Output *d, Py_ssize_t n, Constants c) noexcept nogil:
    map_values(reciprocal_value, v, d, n, c)

cdef void reciprocal_shares(const Operands *v, const Output *dx, Py_ssize_t n, Constants c) noexcept nogil:
    map_shares(reciprocal_share, v, dx, n, c)

reciprocal = unary(reciprocal_values, reciprocal_shares, INPUTS | OUTPUT)


cdef void scale_values(const Operands *v, const Output *d, Py_ssize_t n, Constants c) noexcept nogil:
    map_values(scale_value, v, d, n, c)

cdef void scale_shares(const Operands *v, const Output *dx, Py_ssize_t n, Constants c) noexcept nogil:
    map_shares(scale_share, v, dx, n, c)

scale = unary(scale_values, scale_shares, NOTHING)


cdef void abs_values(const Operands *v, const Output *d, Py_ssize_t n, Constants c) noexcept nogil:
    map_values(abs_value, v, d, n, c)

cdef void abs_shares(const Operands *v, const Output *dx, Py_ssize_t n, Constants c) noexcept nogil:
    map_shares(abs_share, v, dx, n, c)

abs = unary(abs_values, abs_shares, INPUTS)


cdef void clip_values(const Operands *v, const Output *d, Py_ssize_t n, Constants c) noexcept nogil:
    map_values(clip_value, v, d, n, c)

cdef void clip_shares(const Operands *v, const Output *dx, Py_ssize_t n, Constants c) noexcept nogil:
    map_shares(clip_share, v, dx, n, c)

clip = unary(clip_values, clip_shares, INPUTS)


cdef void relu_values(const Operands *v, const Output *d, Py_ssize_t n, Constants c) noexcept nogil:
    map_values(relu_value, v, d, n, c)

cdef void relu_shares(const Operands *v, const Output *dx, Py_ssize_t n, Constants c) noexcept nogil:
    map_shares(relu_share, v, dx, n, c)

relu = unary(relu_values, relu_shares, INPUTS)


cdef void leaky_relu_values(const Operands *v, const Output *d, Py_ssize_t n, Constants c) noexcept nogil:
    map_values(leaky_relu_value, v, d, n, c)

cdef void leaky_relu_shares(const Operands *v, const Output *dx, Py_ssize_t n, Constants c) noexcept nogil:
    map_shares(leaky_relu_share, v, dx, n, c)

leaky_relu = unary(leaky_relu_values, leaky_relu_shares, INPUTS)


cdef void elu_values(const Operands *v, const Output *d, Py_ssize_t n, Constants c) noexcept nogil:
    map_values(elu_value, v, d, n, c)

cdef void elu_shares(const Operands *v, const Output *dx, Py_ssize_t n, Constants c) noexcept nogil:
    map_shares(elu_share, v, dx, n, c)

elu = unary(elu_values, elu_shares, INPUTS)


cdef void softplus_values(const Operands *v, const Output *d, Py_ssize_t n, Constants c) noexcept nogil:
    map_values(softplus_value, v, d, n, c)

cdef void softplus_shares(const Operands *v, const Output *dx, Py_ssize_t n, Constants c) noexcept nogil:
    map_shares(softplus_share, v, dx, n, c)

softplus = unary(softplus_values, softplus_shares, INPUTS)


cdef void silu_values(const Operands *v, const Output *d, Py_ssize_t n, Constants c) noexcept nogil:
    map_values(silu_value, v, d, n, c)

cdef void silu_shares(const Operands *v, const Output *dx, Py_ssize_t n, Constants c) noexcept nogil:
    map_shares(silu_share, v, dx, n, c)

silu = unary(silu_values, silu_shares, INPUTS)


cdef void gelu_values(const Operands *v, const Output *d, Py_ssize_t n, Constants c) noexcept nogil:
    map_values(gelu_value, v, d, n, c)

cdef void gelu_shares(const Operands *v, const Output *dx, Py_ssize_t n, Constants c) noexcept nogil:
    map_shares(gelu_share, v, dx, n, c)

gelu = unary(gelu_values, gelu_shares, INPUTS)


cdef void gelu_tanh_values(const Operands *v, const Output *d, Py_ssize_t n, Constants c) noexcept nogil:
    map_values(gelu_tanh_value, v, d, n, c)

cdef void gelu_tanh_shares(const Operands *v, const Output *dx, Py_ssize_t n, Constants c) noexcept nogil:
    map_shares(gelu_tanh_share, v, dx, n, c)

gelu_tanh = unary(gelu_tanh_values, gelu_tanh_shares, INPUTS)


cdef void sigmoid_values(const Operands *v, const Output *d, Py_ssize_t n, Constants c) noexcept nogil:
    map_values(sigmoid_value, v, d, n, c)

cdef void sigmoid_shares(const Operands *v, const Output *dx, Py_ssize_t n, Constants c) noexcept nogil:
    map_shares(sigmoid_share, v, dx, n, c)

sigmoid = unary(sigmoid_values, sigmoid_shares, OUTPUT)


cdef void tanh_values(const Operands *v, const Output *d, Py_ssize_t n, Constants c) noexcept nogil:
    map_values(tanh_value, v, d, n, c)

cdef void tanh_shares(const Operands *v, const Output *dx, Py_ssize_t n, Constants c) noexcept nogil:
    map_shares(tanh_share, v, dx, n, c)

tanh = unary(tanh_values, tanh_shares, OUTPUT)


# Two inputs

cdef void add_values(const Operands *v, const Output *d, Py_ssize_t n, Constants c) noexcept nogil:
    map_pair_values(add_value, v, d, n)

cdef void add_shares(const Operands *v, const Output *dx, Py_ssize_t n, Constants c) noexcept nogil:
    map_pair_shares(add_share, v, dx, n)

add = binary(add_values, add_shares, add_shares, NOTHING)


cdef void sub_values(const Operands *v, const Output *d, Py_ssize_t n, Constants c) noexcept nogil:
    map_pair_values(sub_value, v, d, n)

cdef void sub_shares(const Operands *v, const Output *dx, Py_ssize_t n, Constants c) noexcept nogil:
    map_pair_shares(add_share, v, dx, n)

cdef void sub_shares_y(const Operands *v, const Output *dy, Py_ssize_t n, Constants c) noexcept nogil:
    map_pair_shares(sub_share_y, v, dy, n)

sub = binary(sub_values, sub_shares, sub_shares_y, NOTHING)


cdef void mul_values(const Operands *v, const Output *d, Py_ssize_t n, Constants c) noexcept nogil:
    map_pair_values(mul_value, v, d, n)

cdef void mul_shares(const Operands *v, const Output *dx, Py_ssize_t n, Constants c) noexcept nogil:
    map_pair_shares(mul_share, v, dx, n)

mul = binary(mul_values, mul_shares, mul_shares, INPUTS)


cdef void div_values(const Operands *v, const Output *d, Py_ssize_t n, Constants c) noexcept nogil:
    map_pair_values(div_value, v, d, n)

cdef void div_shares(const Operands *v, const Output *dx, Py_ssize_t n, Constants c) noexcept nogil:
    map_pair_shares(div_share, v, dx, n)

cdef void div_shares_y(const Operands *v, const Output *dy, Py_ssize_t n, Constants c) noexcept nogil:
    map_pair_shares(div_share_y, v, dy, n)

div = binary(div_values, div_shares, div_shares_y, INPUTS | OUTPUT)


cdef void maximum_values(const Operands *v, const Output *d, Py_ssize_t n, Constants c) noexcept nogil:
    map_pair_values(maximum_value, v, d, n)

cdef void maximum_shares(const Operands *v, const Output *dx, Py_ssize_t n, Constants c) noexcept nogil:
    map_pair_shares(maximum_share, v, dx, n)

maximum = binary(maximum_values, maximum_shares, maximum_shares, INPUTS)


cdef void minimum_values(const Operands *v, const Output *d, Py_ssize_t n, Constants c) noexcept nogil:
    map_pair_values(minimum_value, v, d, n)

cdef void minimum_shares(const Operands *v, const Output *dx, Py_ssize_t n, Constants c) noexcept nogil:
    map_pair_shares(minimum_share, v, dx, n)

minimum = binary(minimum_values, minimum_shares, minimum_shares, INPUTS)


include "nodes/dropout.pxi"
