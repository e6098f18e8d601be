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
    cdef int check(self, Context *context) except -1


# What the gradient sums are at every moment, also where an exception ends a call.
cdef struct GradsState:
    bint grads_are_zero      # they count as 0, whatever they hold
    bint updating   # an update has begun to use them, and has not come to its end


cdef class Memory:
    cdef Context context
    cdef GradsState grads_state
    cdef s_state held           # 0, or 1 + the generation that holds it


# An array of samples, one after the other, and where they go, or come from, on each of two routes.
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


# Samples on two routes, and how far they have come. It names objects that its Run keeps alive.
cdef struct RunState:
    void *steps[2]          # Steps of each route
    Context *context[2]
    Py_ssize_t lanes[2]     # samples that a route takes at a time
    void *update_steps          # Steps
    Stream *streams         # of the results, and of so many feeds
    Py_ssize_t feeds
    Py_ssize_t min_samples        # fewer samples take the second route
    Py_ssize_t samples      # how many
    Py_ssize_t sample       # the next one
    Py_ssize_t end          # where the next update comes
    Py_ssize_t batch        # samples until the next update; none, if 0
    Py_ssize_t patience     # samples until Ctrl-C is listened to again
    bint backward           # whether gradients are computed
    bint overwrite          # whether the sums may count as 0 after an update, instead of being 0
    bint grads_are_zero              # whether the sums count as 0 now
    bint may_fuse_sgd          # whether they did so when the batch began
    bint can_fuse_sgd[2]          # whether the steps of each route can learn with the last samples of a batch
    GradsState *grads_state        # of the memory of which the sums are
    void *snapshot          # Snapshot, to be renewed after each update, or NULL


cdef void advance(RunState *state, Py_ssize_t most) noexcept nogil


cdef class Run:
    cdef RunState state
    cdef Py_ssize_t opened  # streams whose arrays are held
    cdef Binding main, rest
    cdef Steps update_steps
    cdef Snapshot snapshot
    cdef int open(self, list arrays, out) except -1
    cdef int finish(self) except -1
    cdef int check(self) except -1
    cdef void stop(self) noexcept
