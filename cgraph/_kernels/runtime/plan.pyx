"""Plan: the loop that runs steps over samples. It knows no operation and no dtype: data are bytes here."""
from cpython.buffer cimport PyBUF_SIMPLE, PyBUF_WRITABLE, PyBuffer_Release, PyObject_GetBuffer
from cpython.exc cimport PyErr_CheckSignals
from libc.math cimport isfinite
from libc.stdlib cimport calloc, free

from cgraph._kernels.runtime.atomics cimport s_exchange, s_load
from cgraph._kernels.runtime.memory cimport Memory
from cgraph._kernels.runtime.request cimport Carry, Extras, Feeds, Request
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


cdef class Run:
    """Samples that are to be run, or are running. Its RunState has all that a thread without the GIL needs."""

    def __dealloc__(self):
        while self.opened > 0:
            self.opened -= 1
            PyBuffer_Release(&self.views[self.opened])
        if self.views != &self.out:
            free(self.views)
        free(self.state.streams)

    cdef int open(self) except -1:
        """Makes streams of the arrays of results and of those that are fed, and joins each with its ports."""
        cdef Feeds feeds = self.request.feeds
        cdef Extras extras = self.request.extras
        cdef Carry carry = self.request.carry
        cdef Py_ssize_t count = len(feeds.arrays), seeds = 0, results = 1, size = self.request.size, i
        cdef Py_ssize_t carried = 0 if carry is None else len(carry.now)
        if extras is not None:
            seeds, results = len(extras.seed_arrays), 1 + len(extras.arrays)
        self.state.feeds, self.state.fetches, self.state.carried = count + seeds, results, carried
        self.state.streams = <Stream *>calloc(results + count + seeds + 2 * carried, sizeof(Stream))
        self.state.now = self.state.streams + results + count + seeds
        self.state.next = self.state.now + carried
        self.views = &self.out
        if extras is not None or carried:
            self.views = <Py_buffer *>calloc(results + seeds + 2 * carried, sizeof(Py_buffer))
        if self.state.streams == NULL or self.views == NULL:
            raise MemoryError()
        self.connect(self.state.streams, FETCHED, 0, self.view(self.request.out, PyBUF_WRITABLE), size)
        for i in range(count):
            self.connect(self.state.streams + results + i, FED, i, &feeds.views[i], size)
        if extras is not None:
            for i in range(1, results):
                self.connect(self.state.streams + i, FETCHED, i, self.view(extras.arrays[i - 1], PyBUF_WRITABLE), size)
            for i in range(count, count + seeds):
                view = self.view(extras.seed_arrays[i - count], PyBUF_SIMPLE)
                self.connect(self.state.streams + results + i, FED, i, view, size)
        for i in range(carried):
            self.connect(self.state.now + i, STATE, i, self.view(carry.now[i], PyBUF_WRITABLE), carry.streams)
            self.connect(self.state.next + i, STATE, i, self.view(carry.next[i], PyBUF_WRITABLE), carry.streams)
        return 0

    cdef const Py_buffer *view(self, array, int flags) except NULL:
        """Returns the buffer of an array, which is held as long as this object lives."""
        PyObject_GetBuffer(array, &self.views[self.opened], flags)
        self.opened += 1
        return &self.views[self.opened - 1]

    cdef int connect(
        self, Stream *stream, PortOf port_of, Py_ssize_t number, const Py_buffer *view, Py_ssize_t rows
    ) except -1:
        """Makes a stream of the buffer of an array with so many rows, and joins it with its ports."""
        cdef Port port
        cdef Binding binding
        cdef Py_ssize_t which = 0
        stream.rows = <char *>view.buf
        for binding in self.schedule.bindings:
            ports = (binding.fetch_ports, binding.feed_ports, binding.state_ports)[<int>port_of]
            port = ports[number]
            stream.nbytes, stream.port[which] = port.nbytes, <void *>port
            which += 1
        if view.len < stream.nbytes * rows:
            raise ValueError("Graph: an array has become smaller since the call began")
        return 0

    cdef int begin(self, bint grads_are_zero) except -1:
        """Makes contexts and progress ready for the first sample."""
        cdef RunState *state = &self.state
        cdef Binding binding
        for binding in self.schedule.bindings:
            # The gradients of leaves would not reach the nodes' own arrays where the samples do not pass through these.
            binding.begin(self.request.parameters_only or not self.schedule.one_by_one, self.request.eta)
        state.sample, state.end, state.not_finite, state.grads_are_zero = 0, state.samples, -1, grads_are_zero
        return 0

    cdef int finish(self) except -1:
        """Runs all samples in this thread. Ctrl-C raises before the end."""
        cdef RunState *state = &self.state
        while True:
            with nogil:
                advance(state, state.patience)
            if state.sample >= state.samples or has_failed(state):
                return 0
            PyErr_CheckSignals()

    cdef int check(self) except -1:
        """Raises the exception that a step of a binding, or of the update, has kept, or that of a loss."""
        cdef Py_ssize_t which
        for which in range(self.state.bindings):
            (<Steps>self.state.steps[which]).check(self.state.context[which])
            (<Steps>self.state.update_steps).check(self.state.context[which])
        cdef Py_ssize_t number = self.state.not_finite
        if number >= 0:
            owner, stride = self.request.extras.check_loss, self.request.feeds.streams
            name = f"sample {number // stride} of stream {number % stride}" if stride else f"sample {number}"
            raise FloatingPointError(f"{owner}: the loss of {name} is not finite")
        return 0

    cdef void stop(self) noexcept:
        """Makes a thread that runs these samples stop after its present step."""
        cdef Py_ssize_t which
        for which in range(self.state.bindings):
            s_exchange(&self.state.context[which].failed, True)


def prepare(
    Request request not None, Schedule schedule not None, Steps update_steps, bint grads_are_zero,
    bint overwrite=True, bint fuse=True, Snapshot snapshot=None, Py_ssize_t left=0, Py_ssize_t width=0
):
    """Returns a Run that computes a request by a schedule for one thread.

    The gradient sums count as 0 at the beginning if `grads_are_zero`, and after each update if `overwrite`. Where they
    do, and `overwrite` and `fuse` are set, the last samples of a batch use fused SGD: either several side by side, or a
    single one that is a batch alone. After an update without `overwrite`, the snapshot is renewed.

    Of streams, this run may take `width`, from `left` on; then other runs take the others, and the states that it has
    written do not count yet.
    """
    if not schedule.bindings:
        raise ValueError("Schedule: its samples are shared by several threads, each of which needs one of its own")
    cdef Run run = Run.__new__(Run)
    cdef RunState *state = &run.state
    cdef Binding binding
    cdef Py_ssize_t batch = request.batch, which = 0
    run.request, run.schedule, run.update_steps = request, schedule, update_steps
    for binding in schedule.bindings:
        state.can_fuse_sgd[which] = overwrite and fuse and (batch == 1 if binding.lanes == 1 else batch > 0)
        state.context[which], state.steps[which] = &binding.memory.context, <void *>binding.steps
        state.lanes[which], state.carry[which] = binding.lanes, <void *>binding.carry if binding.carry else NULL
        which += 1
    state.bindings, state.choice, state.most = which, schedule.choice, len(schedule.choice) - 1
    state.update_steps = <void *>update_steps
    state.first, state.samples = request.first, request.size
    state.patience, state.backward, state.batch = schedule.patience, request.backward, batch
    state.overwrite, state.grads_state = overwrite, &binding.origin.grads_state
    state.check_loss = request.extras is not None and bool(request.extras.check_loss)
    run.snapshot = snapshot
    state.snapshot = <void *>snapshot if snapshot is not None and not overwrite else NULL
    if request.carry is not None and request.carry.streams:
        state.stride, state.left, state.commits = request.carry.streams, left, not width
        state.width, state.span = width or state.stride, schedule.span
    run.open()
    run.begin(grads_are_zero)
    return run


cpdef int run_again(Run ended, bint grads_are_zero) except -1:
    """Runs all samples of a Run once more, with what its arrays hold now. Its steps and its update are as before."""
    ended.begin(grads_are_zero)
    return run(ended)


cpdef int run(Run prepared) except -1:
    """Runs all samples in this thread. After a backward pass without updates, gradient sums do not count as 0."""
    prepared.finish()
    prepared.check()
    if prepared.state.backward and not prepared.state.batch:
        prepared.state.grads_state.grads_are_zero = False
        prepared.state.grads_state.samples += prepared.state.samples
        prepared.state.grads_state.counted = prepared.state.samples
    return 0


include "runtime/quick_call.pxi"
