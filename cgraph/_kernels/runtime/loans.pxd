cdef class Written:
    cdef list arrays, owners        # the owners of the memory of the arrays
    cdef object may_share_memory
    cdef public object others
    cdef readonly type array_class  # numpy.ndarray
    cpdef bint holds(self, array) except -1
    cpdef bint may_include(self, array) except -1
    cdef bint overlaps(self, array, list arrays) except -1
