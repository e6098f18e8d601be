"""Step: the base class of what a Graph runs, one for a node or for a group of nodes; the step that calls Python; and
ports, through which samples come in and results go out. And the tables that steps read."""
from libc.stdlib cimport free, malloc
from libc.string cimport memcpy

from cgraph._kernels.runtime.atomics cimport s_exchange


cdef Operand operand(given) except *:
    """An Operand of the fields of `_lowering.buffers.Operand`."""
    cdef Operand p
    p.offset, p.stride, p.accumulate, p.requires_grad[0], p.requires_grad[1] = given
    return p


cdef class Table:
    """Numbers that kernels read: offsets, or structs of them."""

    def __cinit__(self, numbers):
        """numbers: a list or an array of intp."""
        cdef Py_ssize_t i
        cdef const Py_ssize_t[::1] array
        self.size = len(numbers)
        self.data = <Py_ssize_t *>malloc((self.size + 1) * sizeof(Py_ssize_t))
        if self.data == NULL:
            raise MemoryError()
        if isinstance(numbers, list):
            for i in range(self.size):
                self.data[i] = numbers[i]
        elif self.size:
            array = numbers
            memcpy(self.data, &array[0], self.size * sizeof(Py_ssize_t))

    def __dealloc__(self):
        free(self.data)


cdef Py_ssize_t bytes_of(list tables) except -1:
    """The memory of some Tables."""
    cdef Py_ssize_t total = 0
    cdef Table table
    for table in tables:
        total += table.size * <Py_ssize_t>sizeof(Py_ssize_t)
    return total


cdef class Step:
    cdef void forward(self, Context *context) noexcept nogil:
        """Overwrites its outputs' data."""

    cdef void backward(self, Context *context) noexcept nogil:
        """Adds to its inputs' gradients, or overwrites them; and to the gradient sums of what learns."""

    cdef void apply_update(self, Context *context) noexcept nogil:
        """values -= eta * sums, then the sums are 0, or count as 0."""


cdef class Port:
    """Where a node's data lie in the arena, to those who have rows of samples: bytes, one sample behind the other."""

    cdef void feed(self, Context *context, const char *rows, Py_ssize_t count) noexcept nogil:
        """`count` samples into the arena."""

    cdef void fetch(self, Context *context, char *rows, Py_ssize_t count) noexcept nogil:
        """`count` samples out of it."""

    cdef void broadcast(self, Context *context, const char *row) noexcept nogil:
        """One sample, for all that lie side by side."""


cdef class RowPort(Port):
    """The port of a node whose samples pass one at a time."""

    def __init__(self, Py_ssize_t offset, Py_ssize_t nbytes):
        """offset, nbytes: where the node's data begin and their size, in bytes."""
        self.offset, self.nbytes = offset, nbytes

    cdef void feed(self, Context *context, const char *rows, Py_ssize_t count) noexcept nogil:
        memcpy(context.data + self.offset, rows, self.nbytes)

    cdef void fetch(self, Context *context, char *rows, Py_ssize_t count) noexcept nogil:
        memcpy(rows, context.data + self.offset, self.nbytes)

    cdef void broadcast(self, Context *context, const char *row) noexcept nogil:
        self.feed(context, row, 1)


cdef class PythonStep(Step):
    """A node that is computed by its own methods. An exception is kept, and ends the pass."""

    def __init__(self, node):
        self.node = node

    cdef void forward(self, Context *context) noexcept nogil:
        with gil:
            self.call(context, "calcData")

    cdef void backward(self, Context *context) noexcept nogil:
        with gil:
            self.call(context, "calcPartialDerivative")

    cdef void apply_update(self, Context *context) noexcept nogil:
        with gil:
            self.call(context, "updateParameters", (context.eta,))

    cdef void call(self, Context *context, str method, tuple args=()) noexcept:
        try:
            graph = self.node._graph
            graph._hand_over()
            try:
                getattr(self.node, method)(*args)
            finally:
                graph._take_back()
        except BaseException as error:
            self.error = error
            s_exchange(&context.failed, True)
