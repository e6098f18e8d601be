# Arrays of nodes as operands of kernels of the Node path, in less than half the time that a typed memoryview takes.
#
# A buffer is released at once, but its address is used for as long as the caller refers to the array: NumPy refuses to
# resize an array to which others refer.

from cpython.buffer cimport (
    PyBUF_C_CONTIGUOUS, PyBUF_FORMAT, PyBUF_STRIDES, PyBUF_WRITABLE, PyBuffer_Release, PyObject_GetBuffer
)

from cgraph._kernels.common.guard cimport require
from cgraph._kernels.common.operands cimport Input, Output
from cgraph._kernels.common.simd cimport real


cdef inline bint holds(const Py_buffer *view, char code) noexcept:
    """Returns whether a buffer has elements of a type, which has this code in Python's module struct."""
    return view.format[0] == code and view.format[1] == 0


cdef inline Py_ssize_t take_vector(array, int flags, real **start, Py_ssize_t *stride) except -1:
    """Finds the address and the stride of an array of one dimension, and returns the number of its elements."""
    cdef Py_buffer view
    cdef Py_ssize_t count = -1
    PyObject_GetBuffer(array, &view, PyBUF_STRIDES | PyBUF_FORMAT | flags)
    if view.ndim == 1 and holds(&view, c"f" if sizeof(real) == 4 else c"d"):
        count = view.shape[0]
        start[0], stride[0] = <real *>view.buf, view.strides[0] // <Py_ssize_t>sizeof(real)
    PyBuffer_Release(&view)
    require(count >= 0)
    return count


cdef inline Py_ssize_t take_block(array, int flags, char code, void **start) except -1:
    """Finds the address of a contiguous array, and returns the number of its elements."""
    cdef Py_buffer view
    cdef Py_ssize_t count = -1
    PyObject_GetBuffer(array, &view, PyBUF_C_CONTIGUOUS | PyBUF_FORMAT | flags)
    if holds(&view, code):
        count = view.len // view.itemsize
        start[0] = view.buf
    PyBuffer_Release(&view)
    require(count >= 0)
    return count


cdef inline Py_ssize_t take_input(array, Input *x) except -1:
    """Makes an array of one dimension an input, and returns the number of its elements."""
    return take_vector(array, 0, <real **>&x.start, &x.stride)


cdef inline Py_ssize_t take_output(array, bint accumulate, Output *d) except -1:
    """Makes an array of one dimension an output, and returns the number of its elements."""
    d.accumulate = accumulate
    return take_vector(array, PyBUF_WRITABLE, &d.start, &d.stride)


cdef inline Py_ssize_t take_constants(array, const real **start) except -1:
    """Finds the address of a contiguous array that is read, and returns the number of its elements."""
    return take_block(array, 0, c"f" if sizeof(real) == 4 else c"d", <void **>start)


cdef inline Py_ssize_t take_variables(array, real **start) except -1:
    """Finds the address of a contiguous array that is written into, and returns the number of its elements."""
    return take_block(array, PyBUF_WRITABLE, c"f" if sizeof(real) == 4 else c"d", <void **>start)


cdef inline Py_ssize_t take_counts(array, unsigned int **start) except -1:
    """Finds the address of a contiguous array of counts, and returns the number of its elements."""
    return take_block(array, PyBUF_WRITABLE, c"I", <void **>start)
