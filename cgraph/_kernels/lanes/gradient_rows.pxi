# The gradients of each sample alone, as rows of an array.
from libc.stdlib cimport free, malloc
from libc.string cimport memcpy

from cgraph._kernels.runtime.memory import address
from cgraph._kernels.runtime.step cimport MatrixKernels

# Parameters that lie side by side: the offset of the first among the gradient sums, its place in a row, their number.
cdef struct RowPart:
    Py_ssize_t first, place, count

cdef RowPart row_part
cdef RowPart[::1] row_parts = <RowPart[:1]>&row_part
ROW_PART = structs.dtype_of(row_parts)

# A matrix of m + 1 rows and n columns over lanes: the offsets of its input's data and of its output's gradient, the
# place of its gradient in a row, whether that adds to what an earlier one has written there, and its constant input.
cdef struct RowMatrix:
    Py_ssize_t x, g, m, n, place, accumulate
    double bias

cdef RowMatrix row_matrix
cdef RowMatrix[::1] row_matrices = <RowMatrix[:1]>&row_matrix
ROW_MATRIX = structs.dtype_of(row_matrices)


cdef class GradientRows(Step):
    """Runs all steps of a graph; a backward pass writes the gradients of the parameters to the row of each sample.

    Rows count from the first sample of the call. The gradient sums of the context may hold anything afterwards.

    steps: those of a forward and a backward pass, without fused SGD.
    item: the size of an element in bytes.
    """
    cdef Steps steps
    cdef Py_ssize_t item, row_bytes
    cdef char *rows

    def __cinit__(self, Steps steps not None, Py_ssize_t item, *_):
        self.steps, self.item = steps, item

    def write_to(self, rows):
        """Gives the rows for the next call, a contiguous array, which the caller keeps alive as long as that runs."""
        self.rows, self.row_bytes = <char *><size_t>address(rows), rows.shape[1] * self.item

    cdef void forward(self, Context *context) noexcept nogil:
        self.steps.forward(context)

    cdef object take_error(self):
        return self.steps.take_error()


cdef class SampleGradientRows(GradientRows):
    """Takes one sample at a time, and copies its row out of the gradient sums.

    parts: an array of RowPart.
    """
    cdef const RowPart[::1] parts

    def __init__(self, Steps steps, Py_ssize_t item, parts):
        self.parts = structs.checked(ROW_PART, parts)

    cdef void backward(self, Context *context) noexcept nogil:
        cdef char *row = self.rows + context.sample * self.row_bytes
        cdef const char *sums = context.parameter_grads
        cdef Py_ssize_t i
        context.grads_are_zero = True
        self.steps.backward(context)
        for i in range(self.parts.shape[0]):
            memcpy(
                row + self.parts[i].place * self.item, sums + self.parts[i].first * self.item,
                self.parts[i].count * self.item
            )


cdef class LaneGradientRows(GradientRows):
    """Takes samples side by side, in a graph in which nothing learns but matrices.

    The gradient of a matrix for one sample is the product x gᵀ of vectors that lie in the lane of the sample.

    matrices: an array of RowMatrix, of those that learn; none of the steps need compute their gradient sums.
    kernels: those of the build.
    lanes: the number of samples side by side.
    """
    cdef const RowMatrix[::1] matrices
    cdef MatrixKernels kernels
    cdef Py_ssize_t lanes
    cdef char *packed       # the output's gradient of one sample

    def __init__(
        self, Steps steps, Py_ssize_t item, matrices, MatrixKernels kernels not None, Py_ssize_t lanes
    ):
        cdef Py_ssize_t i, most = 1
        self.matrices, self.kernels, self.lanes = structs.checked(ROW_MATRIX, matrices), kernels, lanes
        for i in range(self.matrices.shape[0]):
            most = max(most, self.matrices[i].n)
        self.packed = <char *>malloc(most * item)
        if self.packed == NULL:
            raise MemoryError()

    def __dealloc__(self):
        free(self.packed)

    cdef void backward(self, Context *context) noexcept nogil:
        cdef const RowMatrix *p
        cdef Py_ssize_t lane, i
        cdef char *row
        self.steps.backward(context)
        for lane in range(context.valid):
            row = self.rows + (context.sample + lane) * self.row_bytes
            for i in range(self.matrices.shape[0]):
                p = &self.matrices[i]
                self.kernels.gradient(
                    context.data + (p.x + lane) * self.item, p.m, p.bias, context.grad + (p.g + lane) * self.item, p.n,
                    self.lanes, self.packed, row + p.place * self.item, p.accumulate
                )
