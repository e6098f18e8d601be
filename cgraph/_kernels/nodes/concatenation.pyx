"""Kernels of Concatenation: d = (x_1; x_2; …);   dx_k += the part of g at the elements of x_k.

xs: the inputs; d: the output; g: the gradient with respect to d; dxs: the gradients of the inputs, which backward ADDS
into on the Node path. All of them may be strided.
"""
from cgraph._kernels.common.guard cimport require
from cgraph._kernels.common.operands cimport (
    Input, Output, added_to, data_of, grad_of, gradient, input_from, input_of, move, output, output_from,
    overwritten
)
from cgraph._kernels.common.simd cimport real
from cgraph._kernels.runtime.step cimport Context, Operand, OperandFields, OperandList, Step


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

cdef class ConcatenationStep(Step):
    """The step of one Concatenation, whose inputs may be strided, and may hold one node twice."""
    cdef OperandList inputs
    cdef const Py_ssize_t[::1] sizes
    cdef OperandFields d

    def __init__(self, inputs, const Py_ssize_t[::1] sizes, Operand d not None):
        """sizes: the number of elements of each input."""
        require(len(inputs) == sizes.shape[0])
        self.inputs, self.sizes, self.d = OperandList(inputs), sizes, d.fields

    cdef void forward(self, Context *context) noexcept nogil:
        cdef Output d = output(context, &self.d)
        cdef Py_ssize_t k
        for k in range(self.inputs.size):
            move(data_of(context, &self.inputs.fields[k]), d, self.sizes[k])
            d = output_from(d, self.sizes[k])

    cdef void backward(self, Context *context) noexcept nogil:
        cdef Input g = grad_of(context, &self.d)
        cdef Output dx
        cdef Py_ssize_t k
        for k in range(self.inputs.size):
            dx = gradient(context, &self.inputs.fields[k])
            if dx.start != NULL:
                move(g, dx, self.sizes[k])
            g = input_from(g, self.sizes[k])
