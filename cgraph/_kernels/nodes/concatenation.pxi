# Kernels that join vectors and take them apart: Concatenation and Slice.
#
# x, or xs: the inputs; d: the output; g: the gradient with respect to d; dx, or dxs: the gradients of the inputs, which
# backward ADDS into on the Node path. All of them may be strided.
from cgraph._kernels.common.guard cimport require
from cgraph._kernels.common.operands cimport (
    Input, Output, added_to, data_of, grad_of, gradient, input_from, input_of, move, output, output_from,
    overwritten, put1
)
from cgraph._kernels.common.simd cimport real
from cgraph._kernels.runtime.step cimport Context, Operand, OperandFields, OperandList, Step

# d = (x_1; x_2; …);   dx_k += the part of g at the elements of x_k

def concatenation_forward(list xs, real[:] d, /):
    cdef const real[:] x
    cdef Py_ssize_t start = 0
    for x in xs:
        require(start + x.shape[0] <= d.shape[0])
        with nogil:
            move(input_of(x), output_from(overwritten(d), start), x.shape[0])
        start += x.shape[0]


def concatenation_backward(const real[:] g, list dxs, /):
    cdef real[:] dx
    cdef Py_ssize_t start = 0
    for dx in dxs:
        require(start + dx.shape[0] <= g.shape[0])
        with nogil:
            move(input_from(input_of(g), start), added_to(dx), dx.shape[0])
        start += dx.shape[0]


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


# d_i = x_(start + i);   dx_(start + i) += g_i

cdef void put_zeros(Output dx, Py_ssize_t first, Py_ssize_t end) noexcept nogil:
    """Writes zeros to elements first … end - 1, or leaves them as they are, where it would add."""
    cdef Py_ssize_t i
    if not dx.accumulate:
        for i in range(first, end):
            put1(dx, i, 0)


def slice_forward(const real[:] x, Py_ssize_t start, real[:] d, /):
    require(0 <= start <= x.shape[0] - d.shape[0])
    with nogil:
        move(input_from(input_of(x), start), overwritten(d), d.shape[0])


def slice_backward(Py_ssize_t start, const real[:] g, real[:] dx, /):
    require(0 <= start <= dx.shape[0] - g.shape[0])
    with nogil:
        move(input_of(g), output_from(added_to(dx), start), g.shape[0])


cdef class SliceStep(Step):
    """The step of one Slice, from an input of m elements to an output of n."""
    cdef Py_ssize_t m, start, n
    cdef OperandFields x, d

    def __init__(self, Py_ssize_t m, Py_ssize_t start, Py_ssize_t n, Operand x not None, Operand d not None):
        self.m, self.start, self.n, self.x, self.d = m, start, n, x.fields, d.fields

    cdef void forward(self, Context *context) noexcept nogil:
        move(input_from(data_of(context, &self.x), self.start), output(context, &self.d), self.n)

    cdef void backward(self, Context *context) noexcept nogil:
        cdef Output dx = gradient(context, &self.x)
        if dx.start == NULL:
            return
        put_zeros(dx, 0, self.start)
        move(grad_of(context, &self.d), output_from(dx, self.start), self.n)
        put_zeros(dx, self.start + self.n, self.m)
