# From a step's places to the operands of a kernel.

from cgraph._kernels.simd cimport real
from cgraph._kernels.step cimport Arena, Place
from cgraph._kernels.strided cimport Source, Target


cdef inline Place place_of(const Py_ssize_t *fields) noexcept nogil:
    """A Place of a row of an array."""
    return Place(fields[0], fields[1], <bint>fields[2], [<bint>fields[3], <bint>fields[4]])


cdef inline Source data_of(Arena *arena, Place *p) noexcept nogil:
    return Source(<real *>arena.data + p.at, p.step)


cdef inline Source grad_of(Arena *arena, Place *p) noexcept nogil:
    return Source(<real *>arena.grad + p.at, p.step)


cdef inline Target output(Arena *arena, Place *p) noexcept nogil:
    return Target(<real *>arena.data + p.at, p.step, False)


cdef inline Target gradient(Arena *arena, Place *p) noexcept nogil:
    """Where a step puts the gradient of one of its inputs; nowhere, if nobody wants it."""
    if not p.wanted[arena.lean]:
        return Target(NULL, p.step, False)
    return Target(<real *>arena.grad + p.at, p.step, p.add)
