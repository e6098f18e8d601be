# What request.pyx knows of single samples: arrays of one row, and the values that go in and out.
from cpython.buffer cimport PyBUF_CONTIG
from cpython.float cimport PyFloat_AS_DOUBLE, PyFloat_Check
from libc.float cimport FLT_MAX
from libc.string cimport memcpy


cdef class Row:
    """An array with one sample of a node.

    Parameters
    ----------
    array : ndarray, shape (1, size)
        Contiguous, of the node's dtype.
    spec : FeedSpec
        The shapes of a sample.
    """

    def __init__(self, array, FeedSpec spec not None):
        if array.shape != (1, spec.size) or array.dtype != spec.dtype:
            raise ValueError(f"Row: needs an array of shape {(1, spec.size)}, got {array.shape}")
        self.array, self.flat, self.spec = array, array[0], spec
        PyObject_GetBuffer(array, &self.own, PyBUF_CONTIG)

    def __dealloc__(self):
        self.release()
        PyBuffer_Release(&self.own)

    cdef bint take(self, value, array_class) except -1:
        """Holds a value that is a plain array of the shape of a sample, or a number where a sample has one element.

        Returns whether it is.
        """
        cdef const Py_buffer *view = &self.given
        if type(value) is array_class:
            try:
                PyObject_GetBuffer(value, &self.given, PyBUF_RECORDS_RO)
            except Exception:   # of a dtype that has no buffer
                return False
            self.opened = True
            if view.ndim == 1:
                return view.shape[0] == self.spec.size and is_plain(view, self.spec.code)
            if view.ndim == 2:
                return (
                    view.shape[0] == self.spec.height and view.shape[1] == self.spec.width
                    and is_plain(view, self.spec.code)
                )
            return view.ndim == 0 and self.spec.size == 1 and is_plain(view, self.spec.code)
        if self.spec.size == 1 and PyFloat_Check(value):
            self.number = PyFloat_AS_DOUBLE(value)
            return self.spec.code == c"d" or -FLT_MAX <= self.number <= FLT_MAX
        return False

    cdef void release(self) noexcept:
        """Lets go of the value."""
        if self.opened:
            self.opened = False
            PyBuffer_Release(&self.given)

    cdef void copy(self) noexcept:
        """Copies the value that is held into the array."""
        if self.opened:
            memcpy(self.own.buf, self.given.buf, self.own.len)
        elif self.spec.code == c"d":
            (<double *>self.own.buf)[0] = self.number
        else:
            (<float *>self.own.buf)[0] = <float>self.number

    cpdef object value(self):
        """Returns a copy of the sample, shape (size,); of one element a number."""
        if self.spec.size > 1:
            return self.flat.copy()
        return (<double *>self.own.buf)[0] if self.spec.code == c"d" else <double>(<float *>self.own.buf)[0]


cpdef bint put(list rows, tuple values, array_class) except -1:
    """Copies a value into each row if all are plain; returns whether they are. If not, nothing is copied."""
    cdef Row row
    cdef Py_ssize_t i
    cdef bint plain = True
    for i in range(len(rows)):
        row = rows[i]
        plain = plain and row.take(values[i], array_class)
    for row in rows:
        if plain:
            row.copy()
        row.release()
    return plain
