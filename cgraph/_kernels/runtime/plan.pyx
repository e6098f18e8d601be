"""Plan: runs steps, for one sample or for many. It knows no operation and no dtype: all that lies in bytes for it."""
from cpython.buffer cimport PyBUF_SIMPLE, PyBUF_WRITABLE, PyBuffer_Release, PyObject_GetBuffer
from cpython.exc cimport PyErr_CheckSignals
from libc.stdlib cimport calloc, free
from libc.string cimport memcmp

from cgraph._kernels.runtime.atomics cimport s_exchange, s_load, s_replace, s_state
from cgraph._kernels.runtime.step cimport Arena, CallStep, Port, Step
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

    cdef void forward(self, Arena *arena) noexcept nogil:
        cdef Py_ssize_t i
        for i in range(self.count):
            (<Step>self.order[i]).forward(arena)
            if s_load(&arena.failed):
                return

    cdef void backward(self, Arena *arena) noexcept nogil:
        cdef Py_ssize_t i
        for i in range(self.count - 1, -1, -1):
            (<Step>self.order[i]).backward(arena)
            if s_load(&arena.failed):
                return

    cdef void learn(self, Arena *arena) noexcept nogil:
        cdef Py_ssize_t i
        for i in range(self.count):
            (<Step>self.order[i]).learn(arena)
            if s_load(&arena.failed):
                return

    cdef int check(self, Arena *arena) except -1:
        """Raises what one of these steps has raised."""
        if arena.failed:
            for step in self.steps:
                if isinstance(step, CallStep) and (<CallStep>step).error is not None:
                    error = (<CallStep>step).error
                    (<CallStep>step).error = None
                    raise error
        return 0


cdef long generation = 0    # of processes: a child is not in the middle of what its parent was in


def renew():
    """In a child process, after a fork: nothing is running."""
    global generation
    generation += 1


cdef class Memory:
    """An arena: the addresses of arrays that its owner keeps alive."""

    def __init__(self, size_t data, size_t grad, size_t values, size_t sums, size_t scratch):
        self.arena.data, self.arena.grad = <char *>data, <char *>grad
        self.arena.values, self.arena.sums, self.arena.scratch = <char *>values, <char *>sums, <char *>scratch

    @property
    def fresh(self):
        """Whether the gradient sums count as 0, whatever they hold."""
        return self.state.fresh

    @fresh.setter
    def fresh(self, bint value):
        self.state.fresh = value

    @property
    def learning(self):
        """Whether an update has begun that has not come to its end."""
        return self.state.learning

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
    memory.arena.failed = memory.state.learning = False
    try:
        return function(*arguments, **named)
    finally:
        try:
            complete(finish)
        finally:
            s_exchange(&memory.held, 0)


def forward(Steps steps, Memory memory, Py_ssize_t valid=1):
    """A forward pass over what the leaves hold: so many samples side by side."""
    memory.arena.valid = valid
    with nogil:
        steps.forward(&memory.arena)
    steps.check(&memory.arena)


def backward(Steps steps, Memory memory, Py_ssize_t valid=1):
    """A backward pass, which computes all gradients. Sums that count as 0 do so until it has come to its end."""
    memory.arena.valid = valid
    memory.arena.lean, memory.arena.learn, memory.arena.apart = False, False, True
    memory.arena.fresh = memory.state.fresh
    with nogil:
        steps.backward(&memory.arena)
    steps.check(&memory.arena)
    memory.state.fresh = False


def learn(Steps learners, Memory memory, double eta, bint fresh):
    """One update: values -= eta * sums, then the sums are 0; or count as 0 (fresh). No signal is heard in between."""
    memory.arena.eta, memory.arena.fresh = eta, fresh
    memory.state.learning = True
    with nogil:
        learners.learn(&memory.arena)
    learners.check(&memory.arena)
    memory.state.fresh, memory.state.learning = fresh, False


def is_zero(array):
    """Whether all bytes of an array are 0."""
    cdef Py_buffer view
    cdef const char *at
    PyObject_GetBuffer(array, &view, PyBUF_SIMPLE)
    at = <const char *>view.buf
    cdef bint zero = view.len == 0 or at[0] == 0 and memcmp(at, at + 1, view.len - 1) == 0
    PyBuffer_Release(&view)
    return zero


def feed(Memory memory, list inlets, list arrays, Py_ssize_t number):
    """One sample of the arrays into the memory, where the inlets have it."""
    cdef Py_buffer rows
    cdef Port port
    for port, array in zip(inlets, arrays):
        if array.nbytes < (number + 1) * port.nbytes:
            raise ValueError("Graph.sample: an array has become smaller since it was fed")
    for port, array in zip(inlets, arrays):
        PyObject_GetBuffer(array, &rows, PyBUF_SIMPLE)
        port.enter(&memory.arena, <char *>rows.buf + number * port.nbytes, 1)
        PyBuffer_Release(&rows)


cdef class Route:
    """A way for samples through steps, so many side by side.

    inlets: the ports of the arrays of a call, in their order; outlet: the port of what it returns.
    kept: of the leaves that are not fed, pairs of a port and of the offset of their data, in bytes, in `origin`.
    """

    def __init__(
        self, Steps steps, Memory memory, Py_ssize_t lanes, list inlets, Port outlet, list kept, Memory origin
    ):
        self.steps, self.memory, self.lanes = steps, memory, lanes
        self.inlets, self.outlet, self.kept, self.origin = inlets, outlet, kept, origin

    cdef int begin(self, bint lean, double eta) except -1:
        """Before the first sample: how gradients are computed, and what the leaves hold that are not fed."""
        cdef Arena *arena = &self.memory.arena
        cdef Port port
        cdef Py_ssize_t at
        arena.lean, arena.eta = lean, eta
        arena.apart = arena.failed = False
        for port, at in self.kept:
            port.spread(arena, self.origin.arena.data + at)
        return 0

    cdef int connect(self, Stream *stream, Py_ssize_t number, int way) except -1:
        """The array of that number with its port, that of the results being -1."""
        cdef Port port = self.inlets[number] if number >= 0 else self.outlet
        stream.nbytes = port.nbytes
        stream.port[way] = <void *>port
        return 0


cdef void advance(Course *course, Py_ssize_t most) noexcept nogil:
    """The next samples, about so many, or fewer if a step raises. The last update may be for fewer than the others."""
    cdef Py_ssize_t last = min(course.samples - course.sample, most) + course.sample, sample = course.sample, n, i
    cdef Stream *out = course.streams
    cdef Stream *feeds = out + 1
    cdef int way
    cdef Arena *arena
    while sample < last and not (s_load(&course.arena[0].failed) or s_load(&course.arena[1].failed)):
        if course.batch and sample % course.batch == 0:
            course.end = min(sample + course.batch, course.samples)
            course.may_learn = course.clear
        n = course.end - sample
        way = n < course.least
        n = min(n, course.lanes[way])
        arena = course.arena[way]
        arena.valid = n
        for i in range(course.feeds):
            (<Port>feeds[i].port[way]).enter(arena, <char *>feeds[i].array.buf + sample * feeds[i].nbytes, n)
        (<Steps>course.steps[way]).forward(arena)
        if s_load(&arena.failed):
            break
        (<Port>out.port[way]).leave(arena, <char *>out.array.buf + sample * out.nbytes, n)
        if course.backward:
            arena.fresh = course.clear
            arena.learn = course.learns[way] and course.may_learn and sample + n == course.end
            (<Steps>course.steps[way]).backward(arena)
            course.clear = arena.learn
        sample += n
        if course.batch and not s_load(&arena.failed) and sample == course.end:
            update(course, arena)
    course.sample = sample


cdef void update(Course *course, Arena *arena) noexcept nogil:
    """The end of a batch: an update, unless the steps have learnt already. From then on the gradient sums are 0."""
    if not arena.learn:
        arena.fresh = course.overwrite
        course.state.learning = True
        (<Steps>course.learners).learn(arena)
        if arena.failed:
            return
    if course.snapshot != NULL:
        keep(course)
    course.state.fresh = course.clear = course.overwrite
    course.state.learning = False


cdef void keep(Course *course) noexcept with gil:
    """Renews the snapshot: the next batch begins with the gradient sums that there are now."""
    (<Snapshot>course.snapshot).renew()


cdef class Run:
    """Samples about to be run, or running. Who runs them needs no GIL: the course has all that it takes."""

    def __dealloc__(self):
        while self.opened > 0:
            self.opened -= 1
            PyBuffer_Release(&self.course.streams[self.opened].array)
        free(self.course.streams)

    cdef int open(self, list arrays, out) except -1:
        """Joins the arrays, of which `out` is the first here, with their ports on both routes."""
        cdef Py_ssize_t count = len(arrays)
        cdef Stream *stream
        self.course.streams = stream = <Stream *>calloc(count + 1, sizeof(Stream))
        if stream == NULL:
            raise MemoryError()
        self.course.feeds = count
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
        cdef Course *course = &self.course
        while True:
            with nogil:
                advance(course, course.patience)
            if course.sample >= course.samples or s_load(&course.arena[0].failed) or s_load(&course.arena[1].failed):
                return 0
            PyErr_CheckSignals()

    cdef int check(self) except -1:
        """Raises what a step has raised."""
        for way in range(2):
            (<Steps>self.course.steps[way]).check(self.course.arena[way])
            (<Steps>self.course.learners).check(self.course.arena[way])
        return 0

    cdef void stop(self) noexcept:
        """Ends what another thread is running here, after the step that it is at."""
        for way in range(2):
            s_exchange(&self.course.arena[way].failed, True)


def prepare(
    Route main, Route rest, Py_ssize_t least, Steps learners, list arrays, out, Py_ssize_t samples,
    Py_ssize_t patience, bint backward, bint lean, bint fresh, Py_ssize_t batch, double eta,
    bint overwrite=True, Snapshot snapshot=None
):
    """Each sample of the arrays forward, and backward if asked for; `out` takes what each leaves at the outlets.

    least: where fewer samples are left until the next update, they go by `rest`; the two routes share parameters and
    sums. arrays, out: contiguous; Ctrl-C is heard after `patience` samples. Where the sums count as 0 (fresh; after an
    update, too, if `overwrite`), steps learn while they go backward with the last samples of a batch: with one that is
    a batch, or several side by side. After an update without `overwrite`, the snapshot is renewed.
    """
    cdef Run run = Run.__new__(Run)
    cdef Course *course = &run.course
    cdef Route route
    cdef int way
    run.main, run.rest, run.learners = main, rest, learners
    for way in range(2):
        route = rest if way else main
        route.begin(lean, eta)
        course.learns[way] = overwrite and (batch == 1 if route.lanes == 1 else batch > 0)
        course.arena[way], course.steps[way], course.lanes[way] = &route.memory.arena, <void *>route.steps, route.lanes
    course.learners, course.least, course.samples, course.end = <void *>learners, least, samples, samples
    course.patience, course.backward, course.batch = patience, backward, batch
    course.clear, course.overwrite, course.state = fresh, overwrite, &main.origin.state
    run.snapshot = snapshot
    course.snapshot = <void *>snapshot if snapshot is not None and not overwrite else NULL
    run.open(arrays, out)
    return run


def run(Run prepared):
    """Runs all samples in this thread. Without updates, gradient sums that counted as 0 do so no longer."""
    prepared.finish()
    prepared.check()
    if prepared.course.backward and not prepared.course.batch:
        prepared.course.state.fresh = False
