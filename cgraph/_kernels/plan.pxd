from cgraph._kernels.step cimport Arena


cdef class Steps:
    cdef list steps
    cdef void **order
    cdef readonly Py_ssize_t count
    cdef void forward(self, Arena *arena) noexcept nogil
    cdef void backward(self, Arena *arena) noexcept nogil
    cdef void learn(self, Arena *arena) noexcept nogil
    cdef int check(self, Arena *arena) except -1
