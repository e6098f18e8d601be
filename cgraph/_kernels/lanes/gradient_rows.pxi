# The gradients of each sample alone, as rows of an array.

# Parameters that lie side by side: the offset of the first among the gradient sums, its place in a row, their number.
cdef struct RowPart:
    Py_ssize_t first, place, count

cdef RowPart row_part
cdef RowPart[::1] row_parts = <RowPart[:1]>&row_part
ROW_PART = structs.dtype_of(row_parts)


cdef class GradientRows(Step):
    """Runs all steps of a graph for one sample; a backward pass writes the gradients of the parameters to a row.

    The row is that of the sample's number in the call. The gradient sums of the context are overwritten, whatever they
    hold: the caller restores them, if they count.

    steps: those of a forward and a backward pass, without fused SGD.
    parts: an array of RowPart.
    rows: a contiguous array with a row for each sample.
    item: the size of an element in bytes.
    """
    cdef Steps steps
    cdef const RowPart[::1] parts
    cdef Py_buffer rows
    cdef Py_ssize_t item, row_bytes

    def __cinit__(self, Steps steps not None, parts, rows, Py_ssize_t item):
        self.steps, self.parts, self.item = steps, structs.checked(ROW_PART, parts), item
        self.row_bytes = rows.shape[1] * item
        PyObject_GetBuffer(rows, &self.rows, PyBUF_WRITABLE)

    def __dealloc__(self):
        PyBuffer_Release(&self.rows)

    cdef void forward(self, Context *context) noexcept nogil:
        self.steps.forward(context)

    cdef void backward(self, Context *context) noexcept nogil:
        cdef char *row = <char *>self.rows.buf + context.sample * self.row_bytes
        cdef const char *sums = context.parameter_grads
        cdef Py_ssize_t i
        context.grads_are_zero = True
        self.steps.backward(context)
        for i in range(self.parts.shape[0]):
            memcpy(
                row + self.parts[i].place * self.item, sums + self.parts[i].first * self.item,
                self.parts[i].count * self.item
            )

    cdef object take_error(self):
        return self.steps.take_error()
