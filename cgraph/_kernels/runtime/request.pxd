cdef class FeedSpec:
    cdef readonly object dtype
    cdef readonly tuple shapes
    cdef readonly Py_ssize_t streams
    cdef readonly bint carried
    cdef Py_ssize_t size, height, width
    cdef char code
    cdef bint fits(self, const Py_buffer *view) noexcept


cdef class Feeds:
    cdef readonly list leaves, arrays, given, states
    cdef readonly Py_ssize_t size, streams
    cdef Py_buffer *views   # of the arrays
    cdef Py_ssize_t opened  # the number of arrays whose buffers are held
    cdef int allocate(self) except -1
    cdef int open(self, array, int flags) except -1


cdef class Extras:
    cdef readonly list seeds, seed_arrays, nodes, arrays
    cdef readonly str check_loss
    cdef bint is_like(self, Extras other) noexcept


cdef class Carry:
    cdef readonly list now, next
    cdef readonly Py_ssize_t streams
    cpdef int commit(self) except -1


cdef class Request:
    cdef readonly object node, out
    cdef readonly Extras extras
    cdef readonly Carry carry
    cdef readonly Feeds feeds
    cdef readonly Py_ssize_t size, batch, first
    cdef readonly bint backward, parameters_only
    cdef readonly double eta


cdef class Row:
    cdef readonly object array
    cdef object flat        # the array in one dimension
    cdef FeedSpec spec
    cdef Py_buffer own      # of the array
    cdef Py_buffer given    # of the value that is to be copied
    cdef bint opened        # whether `given` is held
    cdef double number      # the value instead, if it is a number
    cdef bint take(self, value, array_class) except -1
    cdef void release(self) noexcept
    cdef void copy(self) noexcept
    cpdef object value(self)


cpdef bint put(list rows, tuple values, array_class) except -1
