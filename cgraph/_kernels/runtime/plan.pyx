"""Plan: the loop that runs steps over samples. It knows no operation and no dtype: data are bytes here."""
from cpython.buffer cimport PyBUF_SIMPLE, PyBUF_WRITABLE, PyBuffer_Release, PyObject_GetBuffer
from cpython.exc cimport PyErr_CheckSignals
from libc.stdlib cimport calloc, free
from libc.string cimport memcmp

from cgraph._kernels.runtime.atomics cimport s_exchange, s_load, s_replace, s_state
from cgraph._kernels.runtime.step cimport Context, Port, Step
from cgraph._kernels.runtime.uninterrupted cimport Snapshot, complete


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


cdef long generation = 0    # forks up to this process: a call that the parent was in does not run in the child


def renew():
    """Frees all memories in a child process after a fork, since no call of the parent goes on there."""
    global generation
    generation += 1


cdef class Memory:
    """An arena: the addresses of its arrays, which the owner of this object keeps alive, and the context of a pass."""

    def __init__(self, size_t data, size_t grad, size_t parameters, size_t parameter_grads, size_t scratch):
        self.context.data, self.context.grad = <char *>data, <char *>grad
        self.context.parameters, self.context.parameter_grads = <char *>parameters, <char *>parameter_grads
        self.context.scratch = <char *>scratch

    @property
    def grads_are_zero(self):
        """Whether the gradient sums count as 0, whatever they hold."""
        return self.grads_state.grads_are_zero

    @grads_are_zero.setter
    def grads_are_zero(self, bint value):
        self.grads_state.grads_are_zero = value

    @property
    def updating(self):
        """Whether an update has begun and has not ended."""
        return self.grads_state.updating

    @property
    def busy(self):
        """Whether a call of `exclusively` holds this memory."""
        return s_load(&self.held) == 1 + generation


def exclusively(Memory memory, str owner, finish, function, *arguments, **named):
    """Calls a function with the memory held, so that a second such call is refused, and then `finish` in any case.

    A signal that interrupts `finish` makes it be called again. This function is compiled, so no signal is heard
    between two of its lines.
    """
    cdef s_state before = s_load(&memory.held), now = 1 + generation
    # Test and set in one exchange: without the GIL, two threads may be here. A hold of another generation is void.
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
    """Runs a forward pass over the data of the leaves, of which `valid` lanes hold a sample."""
    memory.context.valid = valid
    with nogil:
        steps.forward(&memory.context)
    steps.check(&memory.context)


def backward(Steps steps, Memory memory, Py_ssize_t valid=1):
    """Runs a full backward pass. Gradient sums that count as 0 do so until the pass has ended."""
    memory.context.valid = valid
    memory.context.parameters_only, memory.context.fused_sgd, memory.context.apart = False, False, True
    memory.context.grads_are_zero = memory.grads_state.grads_are_zero
    with nogil:
        steps.backward(&memory.context)
    steps.check(&memory.context)
    memory.grads_state.grads_are_zero = False


def apply_update(Steps update_steps, Memory memory, double eta, bint grads_are_zero):
    """Runs one update: parameters -= eta * gradient sums. Afterwards the sums are 0, or count as 0 if `grads_are_zero`.

    No signal is heard between the update and that mark.
    """
    memory.context.eta, memory.context.grads_are_zero = eta, grads_are_zero
    memory.grads_state.updating = True
    with nogil:
        update_steps.apply_update(&memory.context)
    update_steps.check(&memory.context)
    memory.grads_state.grads_are_zero, memory.grads_state.updating = grads_are_zero, False


def is_zero(array):
    """Whether all bytes of an array are 0."""
    cdef Py_buffer view
    cdef const char *data
    PyObject_GetBuffer(array, &view, PyBUF_SIMPLE)
    data = <const char *>view.buf
    cdef bint zero = view.len == 0 or data[0] == 0 and memcmp(data, data + 1, view.len - 1) == 0
    PyBuffer_Release(&view)
    return zero


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


cdef class Binding:
    """A request made ready for one thread: steps that take `lanes` samples at a time, the thread's memory, and ports.

    feed_ports: one for each array of the call, in the order of the arrays; fetch_port: the port of the results.
    kept: for each leaf that is not fed, its port and the offset of its data in the memory `origin`, in bytes.
    """

    def __init__(
        self, Steps steps, Memory memory, Py_ssize_t lanes, list feed_ports, Port fetch_port, list kept, Memory origin
    ):
        self.steps, self.memory, self.lanes = steps, memory, lanes
        self.feed_ports, self.fetch_port, self.kept, self.origin = feed_ports, fetch_port, kept, origin

    cdef int begin(self, bint parameters_only, double eta) except -1:
        """Sets the flags of the context, and copies the data of leaves that are not fed, before the first sample."""
        cdef Context *context = &self.memory.context
        cdef Port port
        cdef Py_ssize_t offset
        context.parameters_only, context.eta = parameters_only, eta
        context.apart = context.failed = False
        for port, offset in self.kept:
            port.broadcast(context, self.origin.context.data + offset)
        return 0

    cdef int connect(self, Stream *stream, Py_ssize_t number, int which) except -1:
        """Joins the stream of array `number`, or of the results if that is -1, with its port in this binding."""
        cdef Port port = self.feed_ports[number] if number >= 0 else self.fetch_port
        stream.nbytes = port.nbytes
        stream.port[which] = <void *>port
        return 0


cdef void advance(RunState *state, Py_ssize_t most) noexcept nogil:
    """Runs the next samples: `most`, or some more in the last block of lanes, or fewer if a step raises.

    A batch ends with an update; the last batch may have fewer samples than the others.
    """
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
    """Ends a batch: an update, unless fused SGD has made it. From then on the gradient sums are 0, or count as 0."""
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
    """Renews the snapshot, so that it has the gradient sums with which the next batch begins."""
    (<Snapshot>state.snapshot).renew()


cdef class Run:
    """Samples that are to be run, or are running. Its RunState has all that a thread without the GIL needs."""

    def __dealloc__(self):
        while self.opened > 0:
            self.opened -= 1
            PyBuffer_Release(&self.state.streams[self.opened].array)
        free(self.state.streams)

    cdef int open(self, list arrays, out) except -1:
        """Takes the buffers of `out` and of the arrays as streams, and joins each with its ports in both bindings."""
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
        """Runs all samples in this thread. Ctrl-C raises before the end."""
        cdef RunState *state = &self.state
        while True:
            with nogil:
                advance(state, state.patience)
            if state.sample >= state.samples or s_load(&state.context[0].failed) or s_load(&state.context[1].failed):
                return 0
            PyErr_CheckSignals()

    cdef int check(self) except -1:
        """Raises the exception that a step of either binding, or of the update, has kept."""
        for which in range(2):
            (<Steps>self.state.steps[which]).check(self.state.context[which])
            (<Steps>self.state.update_steps).check(self.state.context[which])
        return 0

    cdef void stop(self) noexcept:
        """Makes a thread that runs these samples stop after its present step."""
        for which in range(2):
            s_exchange(&self.state.context[which].failed, True)


cdef class Request:
    """One call with a feed: the node to compute, or the loss (None), and the array that gets the results.

    Attributes
    ----------
    node : Node or None
    leaves : list of Node
        The leaves that are fed.
    arrays : list of ndarray
        For each of these leaves its samples, contiguous.
    out : ndarray
        Contiguous, with a row for the results of each sample.
    size : int
        The number of samples.
    backward, parameters_only : bool
        Whether gradients are computed, and whether those of leaves are left out.
    batch : int
        The number of samples to an update; 0 for no update.
    eta : float
        The learning rate.
    """

    def __init__(
        self, node, list leaves, list arrays, out, Py_ssize_t size, bint backward=False, bint parameters_only=False,
        Py_ssize_t batch=0, double eta=0.0
    ):
        self.node, self.leaves, self.arrays, self.out, self.size = node, leaves, arrays, out, size
        self.backward, self.parameters_only, self.batch, self.eta = backward, parameters_only, batch, eta

    def part(self, Py_ssize_t first, Py_ssize_t last):
        """Returns the request for some of the samples, for the parameters only and without an update."""
        arrays = [array[first:last] for array in self.arrays]
        return Request(self.node, self.leaves, arrays, self.out[first:last], last - first, self.backward, True)

    def without_leaf_grads(self):
        """Returns the request for gradients of parameters only."""
        return Request(
            self.node, self.leaves, self.arrays, self.out, self.size, self.backward, True, self.batch, self.eta
        )


def prepare(
    Request request, Binding main, Binding rest, Py_ssize_t min_samples, Steps update_steps, Py_ssize_t patience,
    bint grads_are_zero, bint overwrite=True, Snapshot snapshot=None
):
    """Returns a Run that computes a request.

    The binding `main` takes the samples, except where fewer than `min_samples` are left until the next update: those go
    through the binding `rest`. Both have the same parameters and gradient sums.
    A thread that completes the run listens to Ctrl-C after each `patience` samples.
    The gradient sums count as 0 at the beginning if `grads_are_zero`, and after each update if `overwrite`. Where they
    do, and `overwrite` is set, the last samples of a batch use fused SGD: either several side by side, or a single one
    that is a batch alone. After an update without `overwrite`, the snapshot is renewed.
    """
    cdef Run run = Run.__new__(Run)
    cdef RunState *state = &run.state
    cdef Binding binding
    cdef Py_ssize_t batch = request.batch
    cdef int which
    run.main, run.rest, run.update_steps = main, rest, update_steps
    for which in range(2):
        binding = rest if which else main
        binding.begin(request.parameters_only, request.eta)
        state.can_fuse_sgd[which] = overwrite and (batch == 1 if binding.lanes == 1 else batch > 0)
        state.context[which], state.steps[which] = &binding.memory.context, <void *>binding.steps
        state.lanes[which] = binding.lanes
    state.update_steps, state.min_samples = <void *>update_steps, min_samples
    state.samples = state.end = request.size
    state.patience, state.backward, state.batch = patience, request.backward, batch
    state.grads_are_zero, state.overwrite, state.grads_state = grads_are_zero, overwrite, &main.origin.grads_state
    run.snapshot = snapshot
    state.snapshot = <void *>snapshot if snapshot is not None and not overwrite else NULL
    run.open(request.arrays, request.out)
    return run


def run(Run prepared):
    """Runs all samples in this thread. After a backward pass without updates, gradient sums do not count as 0."""
    prepared.finish()
    prepared.check()
    if prepared.state.backward and not prepared.state.batch:
        prepared.state.grads_state.grads_are_zero = False
