from cgraph._kernels.runtime.atomics cimport s_state


cdef class Sharing:
    cdef object __weakref__
    cdef dict references        # weak references to the nodes that live, each a key
    cdef public bint compiled   # whether a Graph has ever had one of the nodes
    cdef s_state learning       # the hold of a call that learns the parameters


cdef class Learners:
    cdef readonly list sharings
    cdef Py_ssize_t held        # of the first so many the running call has the hold
