cdef class Snapshot:
    cdef list attributes, fields, arrays, copies, held
    cpdef int renew(self) except -1
    cpdef int restore(self) except -1


cdef class Component:
    cdef Component parent
    cdef int rank    # higher than the rank of each component whose parent this is, so that paths stay short
    cdef public set forward, backward
    cdef public frozenset warned
    cdef public bint compiled
    cpdef Component root(self)


cpdef int complete(function) except -1
