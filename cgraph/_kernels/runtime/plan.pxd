from cgraph._kernels.runtime.atomics cimport s_state
from cgraph._kernels.runtime.step cimport Arena, Port
from cgraph._kernels.runtime.uninterrupted cimport Snapshot


cdef class Steps:
    cdef list steps
    cdef void **order
    cdef readonly Py_ssize_t count
    cdef void forward(self, Arena *arena) noexcept nogil
    cdef void backward(self, Arena *arena) noexcept nogil
    cdef void learn(self, Arena *arena) noexcept nogil
    cdef int check(self, Arena *arena) except -1


# What the gradient sums are at every moment, also where an exception ends a call.
cdef struct SumsState:
    bint fresh      # they count as 0, whatever they hold
    bint learning   # an update has begun to use them, and has not come to its end


cdef class Memory:
    cdef Arena arena
    cdef SumsState state
    cdef s_state held           # 0, or 1 + the generation that holds it


# An array of samples, one after the other, and where they go, or come from, on each of two routes.
cdef struct Stream:
    Py_buffer array
    Py_ssize_t nbytes
    void *port[2]


cdef class Route:
    cdef readonly Steps steps
    cdef readonly Memory memory
    cdef Py_ssize_t lanes
    cdef list inlets, kept
    cdef Port outlet
    cdef Memory origin
    cdef int begin(self, bint lean, double eta) except -1
    cdef int connect(self, Stream *stream, Py_ssize_t number, int way) except -1


# Samples on two routes, and how far they have come. It names objects that its Run keeps alive.
cdef struct Course:
    void *steps[2]          # Steps of each route
    Arena *arena[2]
    Py_ssize_t lanes[2]     # samples that a route takes at a time
    void *learners          # Steps
    Stream *streams         # of the results, and of so many feeds
    Py_ssize_t feeds
    Py_ssize_t least        # fewer samples take the second route
    Py_ssize_t samples      # how many
    Py_ssize_t sample       # the next one
    Py_ssize_t end          # where the next update comes
    Py_ssize_t batch        # samples until the next update; none, if 0
    Py_ssize_t patience     # samples until Ctrl-C is listened to again
    bint backward           # whether gradients are computed
    bint overwrite          # whether the sums may count as 0 after an update, instead of being 0
    bint clear              # whether the sums count as 0 now
    bint may_learn          # whether they did so when the batch began
    bint learns[2]          # whether the steps of each route can learn with the last samples of a batch
    SumsState *state        # of the memory of which the sums are
    void *snapshot          # Snapshot, to be renewed after each update, or NULL


cdef void advance(Course *course, Py_ssize_t most) noexcept nogil


cdef class Run:
    cdef Course course
    cdef Py_ssize_t opened  # streams whose arrays are held
    cdef Route main, rest
    cdef Steps learners
    cdef Snapshot snapshot
    cdef int open(self, list arrays, out) except -1
    cdef int finish(self) except -1
    cdef int check(self) except -1
    cdef void stop(self) noexcept
