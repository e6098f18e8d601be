cdef class Snapshot:
    cdef list attributes, fields, arrays, copies, held
    cpdef int renew(self) except -1
    cpdef int restore(self) except -1


cpdef int complete(function) except -1
