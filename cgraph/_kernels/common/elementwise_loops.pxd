# The loops of operations on elements of equal index.
#
# Design: a formula is written once, as inline functions of vectors: the value of an element, and the share of its
# gradient that an input gets. The loops take them as constants, which the compiler inlines; an operation is a Loop for
# its values, and one for the shares of each input. So the Node path and a Graph run the same machine code.
# A Loop takes whole vectors of contiguous elements, so that it is short. Elements that lie otherwise are copied there
# and back, by one function that all operations share.

from cgraph._kernels.common.operands cimport Operands, Output
from cgraph._kernels.common.simd cimport V_LANES, real, v_add, v_load, v_set1, v_store, vec

# The numbers that the constructor of a node was given: those of Clip, say, are a = low, b = high.
cdef struct Constants:
    real a, b

# Operations of one input.
ctypedef vec (*Value)(vec x, vec a, vec b) noexcept nogil
ctypedef vec (*Share)(vec x, vec d, vec g, vec a, vec b) noexcept nogil
# Operations of two inputs; the share is that of x, or of y if x and y are exchanged.
ctypedef vec (*PairValue)(vec x, vec y) noexcept nogil
ctypedef vec (*PairShare)(vec x, vec y, vec d, vec g) noexcept nogil
# Computes n elements of an output: the data of a node, or the gradient of an input. n is a multiple of V_LANES, and all
# strides are 1.
# Operands are given by their address: passed as a struct, its fields would be read as one vector right after each was
# written, for which a processor waits some 10 ns.
ctypedef void (*Loop)(const Operands *v, const Output *to, Py_ssize_t n, Constants c) noexcept nogil


cdef inline void write(const Output *to, Py_ssize_t i, vec v) noexcept nogil:
    v_store(to.start + i, v_add(v_load(to.start + i), v) if to.accumulate else v)


cdef inline void map_values(Value f, const Operands *v, const Output *to, Py_ssize_t n, Constants c) noexcept nogil:
    cdef const real *x = v.x.start
    cdef real *d = to.start
    cdef vec a = v_set1(c.a), b = v_set1(c.b)
    cdef Py_ssize_t i = 0
    while i < n:
        v_store(d + i, f(v_load(x + i), a, b))
        i += V_LANES


cdef inline void map_shares(Share f, const Operands *v, const Output *to, Py_ssize_t n, Constants c) noexcept nogil:
    cdef const real *x = v.x.start
    cdef const real *d = v.d.start
    cdef const real *g = v.g.start
    cdef Output dx = to[0]
    cdef vec a = v_set1(c.a), b = v_set1(c.b)
    cdef Py_ssize_t i = 0
    while i < n:
        write(&dx, i, f(v_load(x + i), v_load(d + i), v_load(g + i), a, b))
        i += V_LANES


cdef inline void map_pair_values(PairValue f, const Operands *v, const Output *to, Py_ssize_t n) noexcept nogil:
    cdef const real *x = v.x.start
    cdef const real *y = v.y.start
    cdef real *d = to.start
    cdef Py_ssize_t i = 0
    while i < n:
        v_store(d + i, f(v_load(x + i), v_load(y + i)))
        i += V_LANES


cdef inline void map_pair_shares(PairShare f, const Operands *v, const Output *to, Py_ssize_t n) noexcept nogil:
    cdef const real *x = v.x.start
    cdef const real *y = v.y.start
    cdef const real *d = v.d.start
    cdef const real *g = v.g.start
    cdef Output dx = to[0]
    cdef Py_ssize_t i = 0
    while i < n:
        write(&dx, i, f(v_load(x + i), v_load(y + i), v_load(d + i), v_load(g + i)))
        i += V_LANES
