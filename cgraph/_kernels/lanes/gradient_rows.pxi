# The gradients of each sample alone, as rows of an array.
from libc.string cimport memcpy

from cgraph._kernels.runtime.memory import address
from cgraph._kernels.runtime.step cimport MatrixKernels


# Parameters that lie side by side: the offset of the first among the gradient sums, its place in a row, their number.
cdef struct RowPart:
    Py_ssize_t first, place, count


# A matrix of m + 1 rows and n columns over lanes: the offsets of its input's data and of its output's gradient, the
# place of its gradient in a row, and whether that adds to what an earlier one has written there.
cdef struct RowMatrix:
    Py_ssize_t x, g, m, n, place, accumulate


cdef class GradientRows(Step):
    """Runs all steps of a graph; a backward pass writes the gradients of the parameters to the row of each sample.

    Rows count from the first sample of the call. One sample at a time, they are copied out of the gradient sums. Over
    lanes, nothing but matrices may learn: the gradient of a matrix for one sample is the product x gᵀ of vectors that
    lie in the lane of the sample, and none of the steps need compute gradient sums. These may hold anything afterwards.

    steps: those of a forward and a backward pass, without fused SGD.
    item: the size of an element in bytes.
    table: contiguous rows of intp with the fields of a RowPart or, over lanes, of a RowMatrix.
    lanes: the number of samples side by side; 0 for one at a time.
    kernels, biases, packed: over lanes, the kernels of the build, the constant input of each matrix (float64), and room
        for the largest output of one of them.
    """
    cdef Steps steps
    cdef MatrixKernels kernels
    cdef object kept        # the arrays whose addresses follow
    cdef const char *table
    cdef const double *biases
    cdef char *packed
    cdef char *rows
    cdef Py_ssize_t item, count, lanes, row_bytes

    def __init__(
        self, Steps steps not None, Py_ssize_t item, table, Py_ssize_t lanes=0, MatrixKernels kernels=None, biases=None,
        packed=None
    ):
        self.steps, self.item, self.lanes, self.kernels = steps, item, lanes, kernels
        self.kept, self.count = (table, biases, packed), len(table)
        self.table = <const char *><size_t>address(table)
        if lanes:
            self.biases, self.packed = <const double *><size_t>address(biases), <char *><size_t>address(packed)

    def write_to(self, rows):
        """Gives the rows for the next call, a contiguous array, which the caller keeps alive as long as that runs."""
        self.rows, self.row_bytes = <char *><size_t>address(rows), rows.shape[1] * self.item

    cdef void forward(self, Context *context) noexcept nogil:
        self.steps.forward(context)

    cdef void backward(self, Context *context) noexcept nogil:
        cdef Py_ssize_t lane
        context.grads_are_zero = True
        self.steps.backward(context)
        if not self.lanes:
            self.copy_sums(context.parameter_grads, self.rows + context.sample * self.row_bytes)
            return
        for lane in range(context.valid):
            self.multiply(context, lane, self.rows + (context.sample + lane) * self.row_bytes)

    cdef void copy_sums(self, const char *sums, char *row) noexcept nogil:
        """Copies a row out of the gradient sums."""
        cdef const RowPart *parts = <const RowPart *>self.table
        cdef Py_ssize_t i
        for i in range(self.count):
            memcpy(row + parts[i].place * self.item, sums + parts[i].first * self.item, parts[i].count * self.item)

    cdef void multiply(self, const Context *context, Py_ssize_t lane, char *row) noexcept nogil:
        """Computes the row of the sample of one lane."""
        cdef const RowMatrix *p = <const RowMatrix *>self.table
        cdef Py_ssize_t i
        for i in range(self.count):
            self.kernels.gradient(
                context.data + (p[i].x + lane) * self.item, p[i].m, self.biases[i],
                context.grad + (p[i].g + lane) * self.item, p[i].n, self.lanes, self.packed,
                row + p[i].place * self.item, p[i].accumulate
            )

    cdef object take_error(self):
        return self.steps.take_error()
