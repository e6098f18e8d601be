# The loops of operations on elements of equal index.
#
# Design: a formula is written once, as inline functions of vectors: the value of an element, and the share of its
# gradient that an input gets. The loops take them as constants, which the compiler inlines; an operation is a Loop for
# its values, and one for the shares of each input. So the Node path and a Graph run the same machine code.

from cgraph._kernels.common.operands cimport Input, Operands, Output, get, put
from cgraph._kernels.common.simd cimport V_LANES, real, v_set1, vec

# The numbers that the constructor of a node was given: those of Clip, say, are a = low, b = high.
cdef struct Constants:
    real a, b

# Operations of one input.
ctypedef vec (*Value)(vec x, vec a, vec b) noexcept nogil
ctypedef vec (*Share)(vec x, vec d, vec g, vec a, vec b) noexcept nogil
# Operations of two inputs; the share is that of x, or of y if x and y are exchanged.
ctypedef vec (*PairValue)(vec x, vec y) noexcept nogil
ctypedef vec (*PairShare)(vec x, vec y, vec d, vec g) noexcept nogil
# Computes n elements of an output: the data of a node, or the gradient of an input.
# The output is given by its address: passed as a struct, its fields would be read as one vector right after each was
# written, for which a processor waits some 10 ns.
ctypedef void (*Loop)(const Operands *v, const Output *to, Py_ssize_t n, Constants c) noexcept nogil


cdef inline void map_values(Value f, const Operands *v, const Output *to, Py_ssize_t n, Constants c) noexcept nogil:
    cdef Input x = v.x
    cdef Output d = to[0]
    cdef vec a = v_set1(c.a), b = v_set1(c.b)
    cdef Py_ssize_t i = 0
    d.accumulate = False    # as it is anyway; so the compiler knows, and the loop has no branch for it
    while i < n:
        put(d, i, n, f(get(x, i, n), a, b))
        i += V_LANES


cdef inline void map_shares(Share f, const Operands *v, const Output *to, Py_ssize_t n, Constants c) noexcept nogil:
    cdef Input x = v.x, d = v.d, g = v.g
    cdef Output dx = to[0]
    cdef vec a = v_set1(c.a), b = v_set1(c.b)
    cdef Py_ssize_t i = 0
    while i < n:
        put(dx, i, n, f(get(x, i, n), get(d, i, n), get(g, i, n), a, b))
        i += V_LANES


cdef inline void map_pair_values(PairValue f, const Operands *v, const Output *to, Py_ssize_t n) noexcept nogil:
    cdef Input x = v.x, y = v.y
    cdef Output d = to[0]
    cdef Py_ssize_t i = 0
    d.accumulate = False    # as in map_values
    while i < n:
        put(d, i, n, f(get(x, i, n), get(y, i, n)))
        i += V_LANES


cdef inline void map_pair_shares(PairShare f, const Operands *v, const Output *to, Py_ssize_t n) noexcept nogil:
    cdef Input x = v.x, y = v.y, d = v.d, g = v.g
    cdef Output dx = to[0]
    cdef Py_ssize_t i = 0
    while i < n:
        put(dx, i, n, f(get(x, i, n), get(y, i, n), get(d, i, n), get(g, i, n)))
        i += V_LANES
