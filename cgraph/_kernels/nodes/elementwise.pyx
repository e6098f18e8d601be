"""Loops over arrays of elements that compute no function of each: updates, sums of threads, parts of vectors; beside
them windows of poolings, and the ports of lanes.

The functions by name are for tests. x: input; d: output; w: parameters; dw: their gradient sums.
"""
from libc.string cimport memset

from cgraph._kernels.common.arrays cimport take_constants, take_variables
from cgraph._kernels.common.guard cimport require
from cgraph._kernels.common.operands cimport (
    Input, Output, added_to, descend as descend_n, get, input_of, move, overwritten, put
)
from cgraph._kernels.common.simd cimport V_BYTES, V_LANES, V_LINE_BYTES, V_PADDED_BYTES, real, vec
from cgraph._kernels.common.vector_math cimport (
    v_erf, v_exp, v_exp_nonpositive, v_expm1, v_log, v_log1p, v_sigmoid, v_softplus, v_tanh
)
from cgraph._kernels.runtime import structs
from cgraph._kernels.runtime.step cimport Context, Extent, Step
from cgraph._kernels.runtime.step import EXTENT

# The widths of this build, in bytes, for all who lay out memory.
VECTOR_BYTES, PADDED_BYTES, LINE_BYTES = V_BYTES, V_PADDED_BYTES, V_LINE_BYTES

# A function of vectors, which the compiler inlines where it is a constant.
ctypedef vec (*Function)(vec x) noexcept nogil


cdef inline void map_vectors(Function f, Input x, Output d, Py_ssize_t n) noexcept nogil:
    """Computes d_i = f(x_i)."""
    cdef Py_ssize_t i = 0
    while i < n:
        put(d, i, n, f(get(x, i, n)))
        i += V_LANES


# The functions of common/vector_math.pxd, by name, for tools/accuracy.py and the tests:   d_i = f(x_i)

cdef Function[9] FUNCTIONS = [
    v_erf, v_exp, v_exp_nonpositive, v_expm1, v_log, v_log1p, v_sigmoid, v_softplus, v_tanh
]
NAMES = ("erf", "exp", "exp_nonpositive", "expm1", "log", "log1p", "sigmoid", "softplus", "tanh")


def apply(str name, const real[:] x, real[:] d, /):
    require(x.shape[0] == d.shape[0])
    cdef Function f = FUNCTIONS[NAMES.index(name)]
    with nogil:
        map_vectors(f, input_of(x), overwritten(d), d.shape[0])


# Gradient descent:   w_i -= eta dw_i,  then dw_i = 0

def descend(w, dw, real eta, /):
    cdef real *parameters
    cdef real *grads
    cdef Py_ssize_t count = take_variables(w, &parameters)
    require(take_variables(dw, &grads) == count)
    with nogil:
        descend_n(parameters, grads, eta, count)
        memset(grads, 0, count * sizeof(real))


# The average of parameters w and those of a source, v:   w_i += tau (v_i - w_i)

def polyak(v, w, real tau, /):
    cdef const real *source
    cdef real *target
    cdef Py_ssize_t count = take_variables(w, &target), i
    require(take_constants(v, &source) == count)
    with nogil:
        for i in range(count):
            target[i] += tau * (source[i] - target[i])


# Gradient sums of threads:   s_i += Σ_k x_k_i

def add_up(real[::1] s, list others, /):
    """Adds all other sums to s, in the order of the list. If one has another size, none is added.

    No signal is heard while the sums are added.
    """
    cdef const real[::1] x
    for x in others:
        require(x.shape[0] == s.shape[0])
    for x in others:
        if s.shape[0]:
            move(input_of(x), added_to(s), s.shape[0])


# The update of the parameters, and the beginning of a backward pass, as steps

cdef class SGDStep(Step):
    """The update of the arena's parameters that learn:   w -= eta dw,  then dw = 0, or dw counts as 0."""
    cdef const Extent[::1] runs

    def __init__(self, runs):
        """runs: the Extents of the parameters that learn."""
        self.runs = structs.checked(EXTENT, runs)

    cdef void apply_update(self, Context *context) noexcept nogil:
        cdef real *w = <real *>context.parameters
        cdef real *dw = <real *>context.parameter_grads
        cdef Py_ssize_t k
        for k in range(self.runs.shape[0]):
            descend_n(w + self.runs[k].first, dw + self.runs[k].first, <real>context.eta, self.runs[k].count)
            if not context.grads_are_zero:
                memset(dw + self.runs[k].first, 0, self.runs[k].count * sizeof(real))


cdef class SeedStep(Step):
    """The step with which a backward pass begins: it sets the gradient of the loss to 1, and others to 0.

    A gradient begins at 0 where no step overwrites all of its elements.
    """
    cdef Py_ssize_t loss, lanes
    cdef const Extent[::1] cleared

    def __init__(self, Py_ssize_t loss, cleared, Py_ssize_t lanes=1):
        """loss: the offset of the loss; cleared: the Extents of the gradients that begin at 0; lanes: the number of
        lanes, each of which has a loss."""
        self.loss, self.cleared, self.lanes = loss, structs.checked(EXTENT, cleared), lanes

    cdef void backward(self, Context *context) noexcept nogil:
        cdef real *grad = <real *>context.grad
        cdef Py_ssize_t i
        for i in range(self.cleared.shape[0]):
            memset(grad + self.cleared[i].first, 0, self.cleared[i].count * sizeof(real))
        for i in range(self.lanes):
            grad[self.loss + i] = 1


include "nodes/optimizers.pxi"
include "nodes/concatenation.pxi"
include "nodes/pooling.pxi"
include "lanes/ports.pxi"
