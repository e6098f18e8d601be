from cgraph._kernels.runtime.atomics cimport s_state
from cgraph._kernels.runtime.step cimport Context


# The state of the gradient sums, which is true at every moment, also where an exception ends a call.
cdef struct GradsState:
    bint grads_are_zero     # the sums count as 0, whatever they hold
    Py_ssize_t counted      # of the running call, the samples that count: their gradients are in the sums or in updates
    bint updating           # an update has begun to use the sums, and has not ended
    Py_ssize_t samples      # the number of samples whose gradients have been added since the last update


# A hold is 0, or 1 + the generation of the call that has it.
cdef bint take(s_state *hold) noexcept
cdef bint is_taken(s_state *hold) noexcept
cdef void leave(s_state *hold) noexcept


cdef class Memory:
    cdef Context context
    cdef GradsState grads_state
    cdef s_state held
