"""Plan: runs steps, for one sample or for many. It knows no operation and no dtype: all that lies in bytes for it."""
from cpython.buffer cimport PyBUF_SIMPLE, PyBUF_WRITABLE, PyBuffer_Release, PyObject_GetBuffer
from cpython.exc cimport PyErr_CheckSignals
from libc.stdlib cimport calloc, free
from libc.string cimport memcmp

from cgraph._kernels.runtime.atomics cimport s_exchange, s_load, s_replace, s_state
from cgraph._kernels.runtime.step cimport Context, PythonStep, Port, Step
from cgraph._kernels.runtime.uninterrupted cimport Snapshot, complete


cdef class Steps:
    """Steps in the order of a forward pass."""

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

    cdef int check(self, Context *context) except -1:
        """Raises what one of these steps has raised."""
        if context.failed:
            for step in self.steps:
                if isinstance(step, PythonStep) and (<PythonStep>step).error is not None:
                    error = (<PythonStep>step).error
                    (<PythonStep>step).error = None
                    raise error
        return 0


cdef long generation = 0    # of processes: a child is not in the middle of what its parent was in


def renew():
    """In a child process, after a fork: nothing is running."""
    global generation
    generation += 1


cdef class Memory:
    """An arena: the addresses of arrays that its owner keeps alive."""

    def __init__(self, size_t data, size_t grad, size_t parameters, size_t parameter_grads, size_t scratch):
        self.context.data, self.context.grad = <char *>data, <char *>grad
        self.context.parameters, self.context.parameter_grads, self.context.scratch = <char *>parameters, <char *>parameter_grads, <char *>scratch

    @property
    def grads_are_zero(self):
        """Whether the gradient sums count as 0, whatever they hold."""
        return self.grads_state.grads_are_zero

    @grads_are_zero.setter
    def grads_are_zero(self, bint value):
        self.grads_state.grads_are_zero = value

    @property
    def updating(self):
        """Whether an update has begun that has not come to its end."""
        return self.grads_state.updating

    @property
    def busy(self):
        """Whether `exclusively` is at work."""
        return s_load(&self.held) == 1 + generation


def exclusively(Memory memory, str owner, finish, function, *arguments, **named):
    """Calls a function while nobody else may, and then `finish` in any case, again if a signal interrupts it.

    Compiled, since no signal is heard between two lines of it.
    """
    cdef s_state before = s_load(&memory.held), now = 1 + generation
    # At once: without the GIL, two threads may be here. What another generation held is free.
    if before == now or not s_replace(&memory.held, before, now):
        raise RuntimeError(f"{owner}: is already running, in another thread or in a node's own method")
    memory.context.failed = memory.grads_state.updating = False
    try:
        return function(*arguments, **named)
    finally:
        try:
            complete(finish)
        finally:
            s_exchange(&memory.held, 0)


def forward(Steps steps, Memory memory, Py_ssize_t valid=1):
    """A forward pass over what the leaves hold: so many samples side by side."""
    memory.context.valid = valid
    with nogil:
        steps.forward(&memory.context)
    steps.check(&memory.context)


def backward(Steps steps, Memory memory, Py_ssize_t valid=1):
    """A backward pass, which computes all gradients. Sums that count as 0 do so until it has come to its end."""
    memory.context.valid = valid
    memory.context.parameters_only, memory.context.fused_sgd, memory.context.apart = False, False, True
    memory.context.grads_are_zero = memory.grads_state.grads_are_zero
    with nogil:
        steps.backward(&memory.context)
    steps.check(&memory.context)
    memory.grads_state.grads_are_zero = False


def apply_update(Steps update_steps, Memory memory, double eta, bint grads_are_zero):
    """One update: values -= eta * sums, then the sums are 0; or count as 0 (fresh). No signal is heard in between."""
    memory.context.eta, memory.context.grads_are_zero = eta, grads_are_zero
    memory.grads_state.updating = True
    with nogil:
        update_steps.apply_update(&memory.context)
    update_steps.check(&memory.context)
    memory.grads_state.grads_are_zero, memory.grads_state.updating = grads_are_zero, False


def is_zero(array):
    """Whether all bytes of an array are 0."""
    cdef Py_buffer view
    cdef const char *at
    PyObject_GetBuffer(array, &view, PyBUF_SIMPLE)
    at = <const char *>view.buf
    cdef bint zero = view.len == 0 or at[0] == 0 and memcmp(at, at + 1, view.len - 1) == 0
    PyBuffer_Release(&view)
    return zero


def feed(Memory memory, list feed_ports, list arrays, Py_ssize_t number):
    """One sample of the arrays into the memory, where the inlets have it."""
    cdef Py_buffer rows
    cdef Port port
    for port, array in zip(feed_ports, arrays):
        if array.nbytes < (number + 1) * port.nbytes:
            raise ValueError("Graph.sample: an array has become smaller since it was fed")
    for port, array in zip(feed_ports, arrays):
        PyObject_GetBuffer(array, &rows, PyBUF_SIMPLE)
        port.feed(&memory.context, <char *>rows.buf + number * port.nbytes, 1)
        PyBuffer_Release(&rows)


cdef class Binding:
    """A which for samples through steps, so many side by side.

    inlets: the ports of the arrays of a call, in their order; outlet: the port of what it returns.
    kept: of the leaves that are not fed, pairs of a port and of the offset of their data, in bytes, in `origin`.
    """

    def __init__(
        self, Steps steps, Memory memory, Py_ssize_t lanes, list feed_ports, Port fetch_port, list kept, Memory origin
    ):
        self.steps, self.memory, self.lanes = steps, memory, lanes
        self.feed_ports, self.fetch_port, self.kept, self.origin = feed_ports, fetch_port, kept, origin

    cdef int begin(self, bint parameters_only, double eta) except -1:
        """Before the first sample: how gradients are computed, and what the leaves hold that are not fed."""
        cdef Context *context = &self.memory.context
        cdef Port port
        cdef Py_ssize_t at
        context.parameters_only, context.eta = parameters_only, eta
        context.apart = context.failed = False
        for port, at in self.kept:
            port.broadcast(context, self.origin.context.data + at)
        return 0

    cdef int connect(self, Stream *stream, Py_ssize_t number, int which) except -1:
        """The array of that number with its port, that of the results being -1."""
        cdef Port port = self.feed_ports[number] if number >= 0 else self.fetch_port
        stream.nbytes = port.nbytes
        stream.port[which] = <void *>port
        return 0


cdef void advance(RunState *state, Py_ssize_t most) noexcept nogil:
    """The next samples, about so many, or fewer if a step raises. The last update may be for fewer than the others."""
    cdef Py_ssize_t last = min(state.samples - state.sample, most) + state.sample, sample = state.sample, n, i
    cdef Stream *out = state.streams
    cdef Stream *feeds = out + 1
    cdef int which
    cdef Context *context
    while sample < last and not (s_load(&state.context[0].failed) or s_load(&state.context[1].failed)):
        if state.batch and sample % state.batch == 0:
            state.end = min(sample + state.batch, state.samples)
            state.may_fuse_sgd = state.grads_are_zero
        n = state.end - sample
        which = n < state.min_samples
        n = min(n, state.lanes[which])
        context = state.context[which]
        context.valid = n
        for i in range(state.feeds):
            (<Port>feeds[i].port[which]).feed(context, <char *>feeds[i].array.buf + sample * feeds[i].nbytes, n)
        (<Steps>state.steps[which]).forward(context)
        if s_load(&context.failed):
            break
        (<Port>out.port[which]).fetch(context, <char *>out.array.buf + sample * out.nbytes, n)
        if state.backward:
            context.grads_are_zero = state.grads_are_zero
            context.fused_sgd = state.can_fuse_sgd[which] and state.may_fuse_sgd and sample + n == state.end
            (<Steps>state.steps[which]).backward(context)
            state.grads_are_zero = context.fused_sgd
        sample += n
        if state.batch and not s_load(&context.failed) and sample == state.end:
            update(state, context)
    state.sample = sample


cdef void update(RunState *state, Context *context) noexcept nogil:
    """The end of a batch: an update, unless the steps have learnt already. From then on the gradient sums are 0."""
    if not context.fused_sgd:
        context.grads_are_zero = state.overwrite
        state.grads_state.updating = True
        (<Steps>state.update_steps).apply_update(context)
        if context.failed:
            return
    if state.snapshot != NULL:
        keep(state)
    state.grads_state.grads_are_zero = state.grads_are_zero = state.overwrite
    state.grads_state.updating = False


cdef void keep(RunState *state) noexcept with gil:
    """Renews the snapshot: the next batch begins with the gradient sums that there are now."""
    (<Snapshot>state.snapshot).renew()


cdef class Run:
    """Samples about to be run, or running. Who runs them needs no GIL: the course has all that it takes."""

    def __dealloc__(self):
        while self.opened > 0:
            self.opened -= 1
            PyBuffer_Release(&self.state.streams[self.opened].array)
        free(self.state.streams)

    cdef int open(self, list arrays, out) except -1:
        """Joins the arrays, of which `out` is the first here, with their ports on both routes."""
        cdef Py_ssize_t count = len(arrays)
        cdef Stream *stream
        self.state.streams = stream = <Stream *>calloc(count + 1, sizeof(Stream))
        if stream == NULL:
            raise MemoryError()
        self.state.feeds = count
        while self.opened <= count:
            array = arrays[self.opened - 1] if self.opened else out
            PyObject_GetBuffer(array, &stream.array, PyBUF_SIMPLE if self.opened else PyBUF_WRITABLE)
            self.opened += 1
            self.main.connect(stream, self.opened - 2, 0)
            self.rest.connect(stream, self.opened - 2, 1)
            stream += 1
        return 0

    cdef int finish(self) except -1:
        """Runs all samples in this thread. Ctrl-C may end it before."""
        cdef RunState *state = &self.state
        while True:
            with nogil:
                advance(state, state.patience)
            if state.sample >= state.samples or s_load(&state.context[0].failed) or s_load(&state.context[1].failed):
                return 0
            PyErr_CheckSignals()

    cdef int check(self) except -1:
        """Raises what a step has raised."""
        for which in range(2):
            (<Steps>self.state.steps[which]).check(self.state.context[which])
            (<Steps>self.state.update_steps).check(self.state.context[which])
        return 0

    cdef void stop(self) noexcept:
        """Ends what another thread is running here, after the step that it is at."""
        for which in range(2):
            s_exchange(&self.state.context[which].failed, True)


def prepare(
    Binding main, Binding rest, Py_ssize_t min_samples, Steps update_steps, list arrays, out, Py_ssize_t samples,
    Py_ssize_t patience, bint backward, bint parameters_only, bint grads_are_zero, Py_ssize_t batch, double eta,
    bint overwrite=True, Snapshot snapshot=None
):
    """Each sample of the arrays forward, and backward if asked for; `out` takes what each leaves at the outlets.

    least: where fewer samples are left until the next update, they go by `rest`; the two routes share parameters and
    sums. arrays, out: contiguous; Ctrl-C is heard after `patience` samples. Where the sums count as 0 (fresh; after an
    update, too, if `overwrite`), steps learn while they go backward with the last samples of a batch: with one that is
    a batch, or several side by side. After an update without `overwrite`, the snapshot is renewed.
    """
    cdef Run run = Run.__new__(Run)
    cdef RunState *state = &run.state
    cdef Binding binding
    cdef int which
    run.main, run.rest, run.update_steps = main, rest, update_steps
    for which in range(2):
        binding = rest if which else main
        binding.begin(parameters_only, eta)
        state.can_fuse_sgd[which] = overwrite and (batch == 1 if binding.lanes == 1 else batch > 0)
        state.context[which], state.steps[which], state.lanes[which] = &binding.memory.context, <void *>binding.steps, binding.lanes
    state.update_steps, state.min_samples, state.samples, state.end = <void *>update_steps, min_samples, samples, samples
    state.patience, state.backward, state.batch = patience, backward, batch
    state.grads_are_zero, state.overwrite, state.grads_state = grads_are_zero, overwrite, &main.origin.grads_state
    run.snapshot = snapshot
    state.snapshot = <void *>snapshot if snapshot is not None and not overwrite else NULL
    run.open(arrays, out)
    return run


def run(Run prepared):
    """Runs all samples in this thread. Without updates, gradient sums that counted as 0 do so no longer."""
    prepared.finish()
    prepared.check()
    if prepared.state.backward and not prepared.state.batch:
        prepared.state.grads_state.grads_are_zero = False
