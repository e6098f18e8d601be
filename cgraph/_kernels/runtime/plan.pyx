"""Plan: the loop that runs steps over samples. It knows no operation and no dtype: data are bytes here."""
from libc.math cimport isfinite
from libc.stdlib cimport calloc, free

from cgraph._kernels.runtime.atomics cimport s_load
from cgraph._kernels.runtime.memory cimport Memory
from cgraph._kernels.runtime.request cimport Carry
from cgraph._kernels.runtime.step cimport Context, Port, Step
from cgraph._kernels.runtime.uninterrupted cimport Snapshot


cdef class Steps:
    """The steps of an executor, or of an update, in the order of a forward pass."""

    def __cinit__(self, list steps):
        self.order = <void **>calloc(max(len(steps), 1), sizeof(void *))
        if self.order == NULL:
            raise MemoryError()

    def __init__(self, list steps):
        cdef Py_ssize_t i
        cdef Step step
        self.steps, self.count = steps, len(steps)
        for i in range(self.count):
            step = steps[i]
            self.order[i] = <void *>step

    def __dealloc__(self):
        free(self.order)

    cdef void forward(self, Context *context) noexcept nogil:
        cdef Py_ssize_t i
        for i in range(self.count):
            (<Step>self.order[i]).forward(context)
            if s_load(&context.failed):
                return

    cdef void backward(self, Context *context) noexcept nogil:
        cdef Py_ssize_t i
        for i in range(self.count - 1, -1, -1):
            (<Step>self.order[i]).backward(context)
            if s_load(&context.failed):
                return

    cdef void apply_update(self, Context *context) noexcept nogil:
        cdef Py_ssize_t i
        for i in range(self.count):
            (<Step>self.order[i]).apply_update(context)
            if s_load(&context.failed):
                return

    cdef object take_error(self):
        """Returns the first exception that one of these steps has kept, and forgets it; None if there is none."""
        cdef Step step
        for step in self.steps:
            error = step.take_error()
            if error is not None:
                return error
        return None

    cdef int check(self, Context *context) except -1:
        """Raises the exception that one of these steps has kept."""
        if context.failed:
            error = self.take_error()
            if error is not None:
                raise error
        return 0


def forward(Steps steps, Memory memory, Py_ssize_t valid=1):
    """Runs a forward pass over the data of the leaves, of which `valid` lanes hold a sample."""
    memory.context.valid, memory.context.sample = valid, 0
    with nogil:
        steps.forward(&memory.context)
    steps.check(&memory.context)
    memory.grads_state.counted = valid


def backward(Steps steps, Memory memory, Py_ssize_t valid=1):
    """Runs a full backward pass. Gradient sums that count as 0 do so until the pass has ended."""
    memory.context.valid, memory.context.sample = valid, 0
    memory.context.parameters_only, memory.context.fused_sgd, memory.context.apart = False, False, True
    memory.context.grads_are_zero = memory.grads_state.grads_are_zero
    with nogil:
        steps.backward(&memory.context)
    steps.check(&memory.context)
    memory.grads_state.grads_are_zero = False
    memory.grads_state.samples += 1


def apply_update(
    Steps update_steps, Memory memory, double eta, bint grads_are_zero, Py_ssize_t counted=0, Carry carry=None
):
    """Runs one update: parameters -= eta * gradient sums. Afterwards the sums are 0, or count as 0 if `grads_are_zero`.

    No signal is heard between the update and these marks. counted: the samples of the call that count from then on;
    carry: the states of streams that do.
    """
    memory.context.eta, memory.context.grads_are_zero = eta, grads_are_zero
    memory.context.samples, memory.grads_state.samples = memory.grads_state.samples, 0
    memory.grads_state.updating = True
    with nogil:
        update_steps.apply_update(&memory.context)
    update_steps.check(&memory.context)
    memory.grads_state.grads_are_zero, memory.grads_state.updating = grads_are_zero, False
    memory.grads_state.counted = counted
    if carry is not None:
        carry.commit()


def feed(Memory memory, list feed_ports, list arrays, Py_ssize_t number):
    """Copies sample `number` of each array into the memory, through the array's feed port."""
    cdef Py_buffer rows
    cdef Port port
    for port, array in zip(feed_ports, arrays):
        if array.nbytes < (number + 1) * port.nbytes:
            raise ValueError("Graph.sample: an array has become smaller since it was fed")
    for port, array in zip(feed_ports, arrays):
        PyObject_GetBuffer(array, &rows, PyBUF_SIMPLE)
        port.feed(&memory.context, <char *>rows.buf + number * port.nbytes, 1)
        PyBuffer_Release(&rows)


include "runtime/schedule.pxi"
include "runtime/jacobian.pxi"


cdef bint has_failed(RunState *state) noexcept nogil:
    """Returns whether a step of any binding or a loss has failed, or another thread has stopped this run."""
    cdef Py_ssize_t which
    if state.not_finite >= 0:
        return True
    for which in range(state.bindings):
        if s_load(&state.context[which].failed):
            return True
    return False


cdef void advance(RunState *state, Py_ssize_t most) noexcept nogil:
    """Runs the next samples: `most`, or some more in the last block of lanes, or fewer if a step or a loss fails.

    A batch ends with an update; the last batch may have fewer samples than the others.
    """
    cdef Py_ssize_t last = min(state.samples - state.sample, most) + state.sample, sample = state.sample, n
    cdef int which
    cdef Context *context
    if state.stride:
        advance_streams(state, most)
        return
    while sample < last and not has_failed(state):
        if state.batch and sample % state.batch == 0:
            begin_batch(state, sample)
        n = state.end - sample
        which = state.choice[min(n, state.most)]
        n = min(n, state.lanes[which])
        context = state.context[which]
        if not compute(state, which, sample, n):
            break
        sample += n
        if state.batch and sample == state.end:
            update(state, context)
        if state.carry[which] != NULL and not s_load(&context.failed):
            (<Step>state.carry[which]).forward(context)
    state.sample = sample


cdef void begin_batch(RunState *state, Py_ssize_t sample) noexcept nogil:
    """Begins a batch with a sample."""
    state.end = min(sample + state.batch, state.samples)
    state.may_fuse_sgd = state.grads_are_zero
    state.count = state.end - sample


cdef bint compute(RunState *state, int which, Py_ssize_t sample, Py_ssize_t n) noexcept nogil:
    """Runs the passes of `n` samples from `sample` on with a binding; returns whether neither step nor loss has failed.
    """
    cdef Stream *fetches = state.streams
    cdef Stream *feeds = fetches + state.fetches
    cdef Context *context = state.context[which]
    cdef Py_ssize_t i
    context.valid = n
    context.sample = state.first + sample
    for i in range(state.feeds):
        (<Port>feeds[i].port[which]).feed(context, feeds[i].rows + sample * feeds[i].nbytes, n)
    (<Steps>state.steps[which]).forward(context)
    if s_load(&context.failed):
        return False
    for i in range(state.fetches):
        (<Port>fetches[i].port[which]).fetch(context, fetches[i].rows + sample * fetches[i].nbytes, n)
    if state.check_loss and not are_finite(state, sample, n):
        return False
    if state.backward:
        context.grads_are_zero = state.grads_are_zero
        context.fused_sgd = state.can_fuse_sgd[which] and state.may_fuse_sgd and sample + n == state.end
        (<Steps>state.steps[which]).backward(context)
        state.grads_are_zero = context.fused_sgd
    return not s_load(&context.failed)


include "runtime/carry.pxi"


cdef bint are_finite(RunState *state, Py_ssize_t sample, Py_ssize_t count) noexcept nogil:
    """Returns whether the losses of some samples are finite; if not, notes the number of the first that is not."""
    cdef Stream *losses = state.streams
    cdef Py_ssize_t i
    cdef double loss
    for i in range(sample, sample + count):
        loss = (<float *>losses.rows)[i] if losses.nbytes == sizeof(float) else (<double *>losses.rows)[i]
        if not isfinite(loss):
            state.not_finite = state.first + i
            return False
    return True


cdef void update(RunState *state, Context *context) noexcept nogil:
    """Ends a batch: an update, unless fused SGD has made it. From then on the gradient sums are 0, or count as 0."""
    if not context.fused_sgd:
        context.samples, context.grads_are_zero = state.grads_state.samples + state.count, state.overwrite
        state.grads_state.updating, state.grads_state.samples = True, 0
        (<Steps>state.update_steps).apply_update(context)
        if context.failed:
            return
    state.grads_state.counted = state.end
    if state.snapshot != NULL:
        keep(state)
    state.grads_state.grads_are_zero = state.grads_are_zero = state.overwrite
    state.grads_state.updating = False


cdef void keep(RunState *state) noexcept with gil:
    """Renews the snapshot, so that it has the gradient sums with which the next batch begins."""
    (<Snapshot>state.snapshot).renew()


include "runtime/run.pxi"
include "runtime/quick_call.pxi"
