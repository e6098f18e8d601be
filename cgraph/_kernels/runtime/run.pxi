# What plan.pyx makes of a request for one thread: the samples that are to be run, with their arrays and memory.
from cpython.buffer cimport PyBUF_SIMPLE, PyBUF_WRITABLE, PyBuffer_Release, PyObject_GetBuffer
from cpython.exc cimport PyErr_CheckSignals

from cgraph._kernels.runtime.atomics cimport s_exchange
from cgraph._kernels.runtime.request cimport Carry, Extras, Feeds, Request


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
