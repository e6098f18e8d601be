from cgraph._kernels.runtime.atomics cimport s_state
from cgraph._kernels.runtime.step cimport Context, Port
from cgraph._kernels.runtime.uninterrupted cimport Snapshot


cdef class Steps:
    cdef list steps
    cdef void **order
    cdef readonly Py_ssize_t count
    cdef void forward(self, Context *context) noexcept nogil
    cdef void backward(self, Context *context) noexcept nogil
    cdef void apply_update(self, Context *context) noexcept nogil
    cdef object take_error(self)
    cdef int check(self, Context *context) except -1


# The state of the gradient sums, which is true at every moment, also where an exception ends a call.
cdef struct GradsState:
    bint grads_are_zero     # the sums count as 0, whatever they hold
    bint updating           # an update has begun to use the sums, and has not ended


cdef class Memory:
    cdef Context context
    cdef GradsState grads_state
    cdef s_state held           # 0, or 1 + the generation that holds it


# A fed array, or the array of results, whose rows are samples; and its port in each of two bindings.
cdef struct Stream:
    Py_buffer array
    Py_ssize_t nbytes
    void *port[2]


cdef class Binding:
    cdef readonly Steps steps
    cdef readonly Memory memory
    cdef Py_ssize_t lanes
    cdef list feed_ports, kept
    cdef Port fetch_port
    cdef Memory origin
    cdef int begin(self, bint parameters_only, double eta) except -1
    cdef int connect(self, Stream *stream, Py_ssize_t number, int which) except -1


cdef class Request:
    cdef readonly object node, out
    cdef readonly list leaves, arrays
    cdef readonly Py_ssize_t size, batch
    cdef readonly bint backward, parameters_only
    cdef readonly double eta


# The samples of a Run, the two bindings for them, and its progress. The Run keeps alive the objects pointed to.
cdef struct RunState:
    void *steps[2]          # Steps of each binding
    Context *context[2]     # of the memory of each binding
    Py_ssize_t lanes[2]     # samples that each binding takes at a time
    void *update_steps      # Steps
    Stream *streams         # one for the results, and behind it one for each fed array
    Py_ssize_t feeds        # number of fed arrays
    Py_ssize_t min_samples  # where fewer are left until the next update, they go through the second binding
    Py_ssize_t samples      # number of samples
    Py_ssize_t sample       # number of the next sample
    Py_ssize_t end          # number of the first sample after the next update
    Py_ssize_t batch        # samples for each update; 0: no updates
    Py_ssize_t patience     # samples between two checks for Ctrl-C
    bint backward           # whether gradients are computed
    bint overwrite          # whether the gradient sums may count as 0 after an update, instead of being 0
    bint grads_are_zero     # whether the gradient sums count as 0 now
    bint may_fuse_sgd       # whether the gradient sums counted as 0 when the batch began
    bint can_fuse_sgd[2]    # whether the steps of each binding may use fused SGD with the last samples of a batch
    GradsState *grads_state     # the state of the gradient sums
    void *snapshot          # Snapshot, to be renewed after each update, or NULL


cdef void advance(RunState *state, Py_ssize_t most) noexcept nogil


cdef class Run:
    cdef RunState state
    cdef Py_ssize_t opened  # number of streams whose buffers are held
    cdef Binding main, rest
    cdef Steps update_steps
    cdef Snapshot snapshot
    cdef int open(self, list arrays, out) except -1
    cdef int finish(self) except -1
    cdef int check(self) except -1
    cdef void stop(self) noexcept
