"""Plan: runs steps, for one sample or for many. It knows no operation and no dtype: all that lies in bytes for it."""
from cpython.buffer cimport PyBUF_SIMPLE, PyBUF_WRITABLE, PyBuffer_Release, PyObject_GetBuffer
from cpython.exc cimport PyErr_CheckSignals
from libc.stdlib cimport calloc, free

from cgraph._kernels.step cimport Arena, CallStep, Port, Step


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
            if arena.failed:
                return

    cdef void backward(self, Arena *arena) noexcept nogil:
        cdef Py_ssize_t i
        for i in range(self.count - 1, -1, -1):
            (<Step>self.order[i]).backward(arena)
            if arena.failed:
                return

    cdef void learn(self, Arena *arena) noexcept nogil:
        cdef Py_ssize_t i
        for i in range(self.count):
            (<Step>self.order[i]).learn(arena)
            if arena.failed:
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


cdef class Memory:
    """An arena: the addresses of arrays that its owner keeps alive."""
    cdef Arena arena
    cdef readonly bint busy     # a pass is running

    def __init__(self, size_t data, size_t grad, size_t values, size_t sums, size_t scratch):
        self.arena.data, self.arena.grad = <char *>data, <char *>grad
        self.arena.values, self.arena.sums, self.arena.scratch = <char *>values, <char *>sums, <char *>scratch

    cdef int occupy(self) except -1:
        """Before a pass, which `release` follows."""
        if self.busy:
            raise RuntimeError("Graph: is already running, in another thread or in a node's own method")
        self.busy = True
        self.arena.failed = False
        return 0

    cdef void release(self) noexcept:
        self.busy = False

    def stop(self):
        """Ends the pass that is running, in another thread, after the step that it is at."""
        if self.busy:
            self.arena.failed = True


def forward(Steps steps, Memory memory, Py_ssize_t valid=1):
    """A forward pass over what the leaves hold: so many samples side by side."""
    memory.occupy()
    memory.arena.valid = valid
    with nogil:
        steps.forward(&memory.arena)
    memory.release()
    steps.check(&memory.arena)


def backward(Steps steps, Memory memory, bint fresh, Py_ssize_t valid=1):
    """A backward pass, which computes all gradients."""
    memory.occupy()
    memory.arena.valid = valid
    memory.arena.lean, memory.arena.fresh, memory.arena.learn, memory.arena.apart = False, fresh, False, True
    with nogil:
        steps.backward(&memory.arena)
    memory.release()
    steps.check(&memory.arena)


def learn(Steps learners, Memory memory, double eta):
    """One update: values -= eta * sums, then the sums are 0."""
    memory.occupy()
    memory.arena.eta = eta
    with nogil:
        learners.learn(&memory.arena)
    memory.release()
    learners.check(&memory.arena)


# An array of samples, one after the other, and where they go, or come from, on each of two routes.
cdef struct Stream:
    Py_buffer array
    Py_ssize_t nbytes
    void *port[2]


cdef class Route:
    """A way for samples through steps, so many side by side.

    inlets: the ports of the arrays of a call, in their order; outlet: the port of what it returns.
    kept: of the leaves that are not fed, pairs of a port and of the offset of their data, in bytes, in `origin`.
    """
    cdef readonly Steps steps
    cdef readonly Memory memory
    cdef Py_ssize_t lanes
    cdef list inlets, kept
    cdef Port outlet
    cdef Memory origin

    def __init__(
        self, Steps steps, Memory memory, Py_ssize_t lanes, list inlets, Port outlet, list kept, Memory origin
    ):
        self.steps, self.memory, self.lanes = steps, memory, lanes
        self.inlets, self.outlet, self.kept, self.origin = inlets, outlet, kept, origin

    cdef int begin(self, bint lean, bint fresh, bint learn, double eta) except -1:
        """Before the first sample: how gradients are computed, and what the leaves hold that are not fed."""
        cdef Arena *arena = &self.memory.arena
        cdef Port port
        cdef Py_ssize_t at
        arena.lean, arena.fresh, arena.learn, arena.eta = lean, fresh, learn, eta
        arena.apart = False
        for port, at in self.kept:
            port.spread(arena, self.origin.arena.data + at)
        return 0

    cdef int connect(self, Stream *stream, Py_ssize_t number, int way) except -1:
        """The array of that number with its port, that of the results being -1."""
        cdef Port port = self.inlets[number] if number >= 0 else self.outlet
        stream.nbytes = port.nbytes
        stream.port[way] = <void *>port
        return 0


cdef struct Task:
    Py_ssize_t lanes[2]     # samples that a route takes at a time
    Py_ssize_t least        # fewer take the second route
    Py_ssize_t samples      # how many
    bint backward           # whether gradients are computed
    bint fresh              # whether steps may overwrite gradient sums that are 0
    Py_ssize_t batch        # samples until the next update; none, if 0
    Py_ssize_t patience     # samples until Ctrl-C is listened to again


cdef int occupy(Route main, Route rest) except -1:
    main.memory.occupy()
    if rest.memory is not main.memory:
        try:
            rest.memory.occupy()
        except BaseException:
            main.memory.release()
            raise
    return 0


cdef int release(Route main, Route rest) except -1:
    main.memory.release()
    rest.memory.release()
    return 0


cdef int work(
    void **steps, Steps learners, Arena **arenas, Stream *feeds, Py_ssize_t count, Stream *out, Task *task
) except -1 nogil:
    """All samples. The last update may be for fewer of them than the others."""
    cdef Py_ssize_t sample = 0, end = task.samples, heard = 0, n, i
    cdef bint fresh = arenas[0].fresh
    cdef int way
    cdef Arena *arena
    while sample < task.samples:
        if task.batch and sample % task.batch == 0:
            end = min(sample + task.batch, task.samples)
        n = end - sample
        way = n < task.least
        n = min(n, task.lanes[way])
        arena = arenas[way]
        arena.valid = n
        for i in range(count):
            (<Port>feeds[i].port[way]).enter(arena, <char *>feeds[i].array.buf + sample * feeds[i].nbytes, n)
        (<Steps>steps[way]).forward(arena)
        (<Port>out.port[way]).leave(arena, <char *>out.array.buf + sample * out.nbytes, n)
        if task.backward and not arena.failed:
            arena.fresh = fresh
            (<Steps>steps[way]).backward(arena)
            fresh = arena.learn
        sample += n
        if task.batch and not arena.failed and sample == end and not arena.learn:
            learners.learn(arena)
            fresh = task.fresh
        if arena.failed:
            return 0
        if sample - heard >= task.patience:
            heard = sample
            with gil:
                PyErr_CheckSignals()
    return 0


def run(
    Route main, Route rest, Py_ssize_t least, Steps learners, list arrays, out, Py_ssize_t samples,
    Py_ssize_t patience, bint backward, bint lean, bint fresh, Py_ssize_t batch, double eta
):
    """Each sample of the arrays forward, and backward if asked for; `out` takes what each leaves at the outlets.

    least: where fewer samples are left until the next update, they go by `rest`; the two routes share parameters and
    sums. arrays, out: contiguous; Ctrl-C is heard after `patience` samples. Where one sample is a batch, goes alone,
    and the sums count as 0 (fresh), each step learns while it goes backward.
    """
    cdef Py_ssize_t count = len(arrays), opened = 0
    cdef Arena *arenas[2]
    cdef void *steps[2]
    cdef Task task = Task([main.lanes, rest.lanes], least, samples, backward, fresh, batch, patience)
    cdef Route route
    cdef int way
    occupy(main, rest)
    cdef Stream *streams = <Stream *>calloc(count + 1, sizeof(Stream))
    try:
        if streams == NULL:
            raise MemoryError()
        for way in range(2):
            route = rest if way else main
            arenas[way], steps[way] = &route.memory.arena, <void *>route.steps
            route.begin(lean, fresh, fresh and batch == main.lanes == 1, eta)
        while opened <= count:
            array = arrays[opened - 1] if opened else out
            PyObject_GetBuffer(array, &streams[opened].array, PyBUF_SIMPLE if opened else PyBUF_WRITABLE)
            opened += 1
            main.connect(&streams[opened - 1], opened - 2, 0)
            rest.connect(&streams[opened - 1], opened - 2, 1)
        with nogil:
            work(steps, learners, arenas, streams + 1, count, streams, &task)
        for route in (main, rest):
            route.steps.check(&route.memory.arena)
            learners.check(&route.memory.arena)
    finally:
        while opened > 0:
            opened -= 1
            PyBuffer_Release(&streams[opened].array)
        free(streams)
        release(main, rest)
