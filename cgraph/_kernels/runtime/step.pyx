"""Step: the base class of what a Graph runs, one for a node or for a group of nodes; the step that calls Python; and
ports, through which samples come in and results go out. And the tables that steps read."""
from libc.stdlib cimport free, malloc
from libc.string cimport memcpy

from cgraph._kernels.runtime.atomics cimport s_exchange


cdef Place place(given) except *:
    """A Place of the fields of _places.Place."""
    cdef Place p
    p.at, p.step, p.add, p.wanted[0], p.wanted[1] = given
    return p


cdef class Table:
    """Numbers that kernels read: offsets, or structs of them."""

    def __cinit__(self, numbers):
        """numbers: a list or an array of intp."""
        cdef Py_ssize_t i
        cdef const Py_ssize_t[::1] array
        self.size = len(numbers)
        self.at = <Py_ssize_t *>malloc((self.size + 1) * sizeof(Py_ssize_t))
        if self.at == NULL:
            raise MemoryError()
        if isinstance(numbers, list):
            for i in range(self.size):
                self.at[i] = numbers[i]
        elif self.size:
            array = numbers
            memcpy(self.at, &array[0], self.size * sizeof(Py_ssize_t))

    def __dealloc__(self):
        free(self.at)


cdef Py_ssize_t bytes_of(list tables) except -1:
    """The memory of some Tables."""
    cdef Py_ssize_t total = 0
    cdef Table table
    for table in tables:
        total += table.size * <Py_ssize_t>sizeof(Py_ssize_t)
    return total


cdef class Step:
    cdef void forward(self, Arena *arena) noexcept nogil:
        """Overwrites its outputs' data."""

    cdef void backward(self, Arena *arena) noexcept nogil:
        """Adds to its inputs' gradients, or overwrites them; and to the gradient sums of what learns."""

    cdef void learn(self, Arena *arena) noexcept nogil:
        """values -= eta * sums, then the sums are 0, or count as 0."""


cdef class Port:
    """Where a node's data lie in the arena, to those who have rows of samples: bytes, one sample behind the other."""

    cdef void enter(self, Arena *arena, const char *rows, Py_ssize_t count) noexcept nogil:
        """`count` samples into the arena."""

    cdef void leave(self, Arena *arena, char *rows, Py_ssize_t count) noexcept nogil:
        """`count` samples out of it."""

    cdef void spread(self, Arena *arena, const char *row) noexcept nogil:
        """One sample, for all that lie side by side."""


cdef class RowPort(Port):
    """The port of a node whose samples pass one at a time."""

    def __init__(self, Py_ssize_t at, Py_ssize_t nbytes):
        """at, nbytes: the offset of the node's data and their size, in bytes."""
        self.at, self.nbytes = at, nbytes

    cdef void enter(self, Arena *arena, const char *rows, Py_ssize_t count) noexcept nogil:
        memcpy(arena.data + self.at, rows, self.nbytes)

    cdef void leave(self, Arena *arena, char *rows, Py_ssize_t count) noexcept nogil:
        memcpy(rows, arena.data + self.at, self.nbytes)

    cdef void spread(self, Arena *arena, const char *row) noexcept nogil:
        self.enter(arena, row, 1)


cdef class CallStep(Step):
    """A node that is computed by its own methods. An exception is kept, and ends the pass."""

    def __init__(self, node):
        self.node = node

    cdef void forward(self, Arena *arena) noexcept nogil:
        with gil:
            self.call(arena, "calcData")

    cdef void backward(self, Arena *arena) noexcept nogil:
        with gil:
            self.call(arena, "calcPartialDerivative")

    cdef void learn(self, Arena *arena) noexcept nogil:
        with gil:
            self.call(arena, "updateParameters", (arena.eta,))

    cdef void call(self, Arena *arena, str method, tuple args=()) noexcept:
        try:
            graph = self.node._graph
            graph._hand_over()
            try:
                getattr(self.node, method)(*args)
            finally:
                graph._take_back()
        except BaseException as error:
            self.error = error
            s_exchange(&arena.failed, True)
