"""Plan: runs steps, for one sample or for many. It knows no operation and no dtype: all that lies in bytes for it."""
from cpython.buffer cimport PyBUF_SIMPLE, PyBUF_WRITABLE, PyBuffer_Release, PyObject_GetBuffer
from cpython.exc cimport PyErr_CheckSignals
from libc.stdlib cimport calloc, free
from libc.string cimport memcpy

from cgraph._kernels.step cimport Arena, CallStep, Step

cdef enum:
    PATIENCE = 100_000_000      # multiply-adds until Ctrl-C is listened to again


# Samples, one after the other, and the place of one of them in the arena.
cdef struct Stream:
    Py_buffer array
    char *place
    Py_ssize_t size


cdef class Steps:
    """Steps in the order of a forward pass."""
    cdef list steps
    cdef void **order
    cdef readonly Py_ssize_t count

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
                    arena.failed = False
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
        return 0

    cdef void release(self) noexcept:
        self.busy = False


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


cdef struct Task:
    Py_ssize_t samples      # how many
    bint backward           # whether gradients are computed
    bint fresh              # whether steps may overwrite gradient sums that are 0
    Py_ssize_t batch        # samples until the next update; none, if 0
    Py_ssize_t patience     # samples until Ctrl-C is listened to again


cdef int work(
    Steps steps, Steps learners, Arena *arena, Stream *feeds, Py_ssize_t count, Stream *out, Task *task
) except -1 nogil:
    """All samples. The last update may be for fewer of them than the others."""
    cdef Py_ssize_t sample, i
    for sample in range(task.samples):
        for i in range(count):
            memcpy(feeds[i].place, <char *>feeds[i].array.buf + sample * feeds[i].size, feeds[i].size)
        steps.forward(arena)
        memcpy(<char *>out.array.buf + sample * out.size, out.place, out.size)
        if task.backward and not arena.failed:
            steps.backward(arena)
            arena.fresh = arena.learn
        if task.batch and not arena.failed and ((sample + 1) % task.batch == 0 or sample + 1 == task.samples):
            if not arena.learn:
                learners.learn(arena)
                arena.fresh = task.fresh
        if arena.failed:
            return 0
        if (sample + 1) % task.patience == 0:
            with gil:
                PyErr_CheckSignals()
    return 0


cdef int open_stream(Stream *stream, Memory memory, tuple given, int flags) except -1:
    """(array, offset, size): a contiguous array; where one sample lies in the arena's data, and its size, in bytes."""
    array, at, stream.size = given
    stream.place = memory.arena.data + <Py_ssize_t>at
    return PyObject_GetBuffer(array, &stream.array, flags)


def run(
    Steps steps, Steps learners, Memory memory, list feeds, tuple out, Py_ssize_t samples, Py_ssize_t cost, *,
    bint backward, bint lean=False, bint fresh=False, Py_ssize_t batch=0, double eta=0
):
    """Each sample of the feeds forward, and backward if asked for; `out` takes what each leaves at one place.

    feeds, out: see open_stream; cost: multiply-adds of a sample. Where one sample is a batch and the sums count as 0
    (fresh), each step learns while it goes backward.
    """
    cdef Py_ssize_t count = len(feeds), opened = 0
    cdef Arena *arena = &memory.arena
    cdef Task task = Task(samples, backward, fresh, batch, max(PATIENCE // (cost + 1), 1))
    memory.occupy()
    cdef Stream *streams = <Stream *>calloc(count + 1, sizeof(Stream))
    if streams == NULL:
        memory.release()
        raise MemoryError()
    arena.lean, arena.fresh, arena.learn, arena.eta = lean, fresh, fresh and batch == 1, eta
    arena.apart = False
    try:
        open_stream(&streams[0], memory, out, PyBUF_WRITABLE)
        opened = 1
        for given in feeds:
            open_stream(&streams[opened], memory, given, PyBUF_SIMPLE)
            opened += 1
        with nogil:
            work(steps, learners, arena, streams + 1, count, streams, &task)
        steps.check(arena)
        learners.check(arena)
    finally:
        while opened > 0:
            opened -= 1
            PyBuffer_Release(&streams[opened].array)
        free(streams)
        memory.release()
