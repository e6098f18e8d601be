from cgraph._kernels.runtime.memory cimport GradsState, Memory
from cgraph._kernels.runtime.request cimport Carry, Extras, Request
from cgraph._kernels.runtime.step cimport Context, Port, Step
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


cdef enum:
    MAX_BINDINGS = 8    # of a Schedule


# A fed array, or an array of results, whose rows are samples; and its port in each binding.
cdef struct Stream:
    char *rows
    Py_ssize_t nbytes
    void *port[MAX_BINDINGS]


# Elements that become those of a carried leaf, counted from the beginning of the data: the first of them, the distance
# from one to the next, and their number; where they go; and where they wait if another leaf may have got its own
# before, or -1.
cdef struct CarryCopy:
    Py_ssize_t source, pitch, count, target, aside


cdef class CarryStep(Step):
    cdef const CarryCopy[::1] copies
    cdef Py_ssize_t item


cdef class Binding:
    cdef readonly Steps steps
    cdef readonly Memory memory
    cdef Py_ssize_t lanes
    cdef list feed_ports, fetch_ports, kept, state_ports
    cdef CarryStep carry
    cdef Memory origin
    cdef int begin(self, bint parameters_only, double eta) except -1


cdef class Schedule:
    cdef readonly list bindings
    cdef readonly bint one_by_one, is_uninterrupted
    cdef bytes choice
    cdef readonly Py_ssize_t patience, span
    cdef object node
    cdef list leaves
    cdef Py_ssize_t size, batch
    cdef bint backward
    cdef Extras extras
    cdef Carry carry
    cdef bint serves(self, Request request) noexcept


# The samples of a Run, the bindings for them, and its progress. The Run keeps alive the objects pointed to.
cdef struct RunState:
    Py_ssize_t bindings     # number of bindings
    void *steps[MAX_BINDINGS]       # Steps of each binding
    Context *context[MAX_BINDINGS]  # of the memory of each binding
    Py_ssize_t lanes[MAX_BINDINGS]  # samples that each binding takes at a time
    void *update_steps      # Steps
    Stream *streams         # those of results, of which the first has the losses, and behind them those that are fed
    Py_ssize_t fetches, feeds       # numbers of arrays of results, and of arrays that are fed
    const unsigned char *choice     # for each number of samples left, up to `most`, the binding that takes the next
    Py_ssize_t most
    Py_ssize_t first        # the number in the call of the first sample
    Py_ssize_t samples      # number of samples
    Py_ssize_t sample       # number of the next sample
    Py_ssize_t end          # number of the first sample after the next update
    Py_ssize_t count        # number of samples of the batch
    Py_ssize_t batch        # samples for each update; 0: no updates
    Py_ssize_t patience     # samples between two checks for Ctrl-C
    Py_ssize_t not_finite   # the number in the call of the first sample whose loss is not finite, or -1
    bint check_loss         # whether a loss that is not finite ends the run
    bint backward           # whether gradients are computed
    bint overwrite          # whether the gradient sums may count as 0 after an update, instead of being 0
    bint grads_are_zero     # whether the gradient sums count as 0 now
    bint may_fuse_sgd       # whether the gradient sums counted as 0 when the batch began
    bint can_fuse_sgd[MAX_BINDINGS]     # whether the steps of each may use fused SGD with the last samples of a batch
    GradsState *grads_state     # the state of the gradient sums
    void *snapshot          # Snapshot, to be renewed after each update, or NULL
    void *carry[MAX_BINDINGS]   # CarryStep of each binding, or NULL
    # Of streams, whose samples of one time step follow each other in the rows:
    Py_ssize_t stride       # samples of a time step; 0 for samples that are no streams
    Py_ssize_t left, width  # the number of the first stream of this run, and of its streams
    Py_ssize_t span         # time steps from one moment at which the states of all streams count to the next
    Py_ssize_t carried      # carried leaves
    Stream *now             # the states that count, for each of these leaves
    Stream *next            # the states that are written
    bint commits            # whether this run makes the states count that it has written


# Which of the ports of a binding a stream passes through.
cdef enum PortOf:
    FETCHED
    FED
    STATE


cdef void advance(RunState *state, Py_ssize_t most) noexcept nogil


cdef class Run:
    cdef RunState state
    cdef Py_buffer out      # of the only results, where there are no extras
    cdef Py_buffer *views   # of the results and of the seeds
    cdef Py_ssize_t opened  # the number of them that are held
    cdef Request request
    cdef Schedule schedule
    cdef Steps update_steps
    cdef Snapshot snapshot
    cdef int open(self) except -1
    cdef const Py_buffer *view(self, array, int flags) except NULL
    cdef int connect(
        self, Stream *stream, PortOf port_of, Py_ssize_t number, const Py_buffer *view, Py_ssize_t rows
    ) except -1
    cdef int begin(self, bint grads_are_zero) except -1
    cdef int finish(self) except -1
    cdef int check(self) except -1
    cdef void stop(self) noexcept


cpdef int run(Run prepared) except -1
cpdef int run_again(Run ended, bint grads_are_zero) except -1
