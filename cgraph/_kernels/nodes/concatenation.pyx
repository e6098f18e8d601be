"""Kernels of Concatenation: d = (x_1; x_2; …);   dx_k += the part of g at the elements of x_k.

xs: the inputs; d: the output; g: the gradient with respect to d; dxs: the gradients of the inputs, which backward ADDS
into on the Node path. All of them may be strided.
"""
from cgraph._kernels.common.guard cimport require
from cgraph._kernels.common.operands cimport (
    Input, Output, added_to, data_of, grad_of, gradient, input_from, input_of, move, operand_of_row, output,
    output_from, overwritten
)
from cgraph._kernels.common.simd cimport real
from cgraph._kernels.runtime.step cimport Context, Operand, Step, operand


def concatenation_forward(list xs, real[:] d):
    cdef const real[:] x
    cdef Py_ssize_t start = 0
    for x in xs:
        require(start + x.shape[0] <= d.shape[0])
        with nogil:
            move(input_of(x), output_from(overwritten(d), start), x.shape[0])
        start += x.shape[0]


def concatenation_backward(const real[:] g, list dxs):
    cdef real[:] dx
    cdef Py_ssize_t start = 0
    for dx in dxs:
        require(start + dx.shape[0] <= g.shape[0])
        with nogil:
            move(input_from(input_of(g), start), added_to(dx), dx.shape[0])
        start += dx.shape[0]


# The step of a Graph

cdef enum:
    SIZE = 5    # the column of the table of inputs behind the fields of an Operand


cdef class ConcatenationStep(Step):
    """The step of one Concatenation, whose inputs may be strided, and may hold one node twice."""
    cdef const Py_ssize_t[:, ::1] inputs
    cdef Operand d

    def __init__(self, const Py_ssize_t[:, ::1] inputs, d):
        """inputs: for each input, the fields of a `_lowering.buffers.Operand` and the size; d: those fields."""
        self.inputs = inputs
        self.d = operand(d)

    cdef void forward(self, Context *context) noexcept nogil:
        cdef Output d = output(context, &self.d)
        cdef Operand x
        cdef Py_ssize_t k
        for k in range(self.inputs.shape[0]):
            x = operand_of_row(&self.inputs[k, 0])
            move(data_of(context, &x), d, self.inputs[k, SIZE])
            d = output_from(d, self.inputs[k, SIZE])

    cdef void backward(self, Context *context) noexcept nogil:
        cdef Input g = grad_of(context, &self.d)
        cdef Operand x
        cdef Output dx
        cdef Py_ssize_t k
        for k in range(self.inputs.shape[0]):
            x = operand_of_row(&self.inputs[k, 0])
            dx = gradient(context, &x)
            if dx.start != NULL:
                move(g, dx, self.inputs[k, SIZE])
            g = input_from(g, self.inputs[k, SIZE])
