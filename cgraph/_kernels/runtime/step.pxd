# What a Graph is made of. Compiled once, for all dtypes and instruction sets: addresses are those of bytes, whose
# content the steps know.
from cgraph._kernels.runtime.atomics cimport s_state


# Where the numbers of one thread lie, and what a backward pass shall do with them.
cdef struct Arena:
    char *data          # the nodes' data
    char *grad          # their gradients, at the same places
    char *values        # what learns
    char *sums          # its gradient sums, at the same places
    char *scratch       # what steps keep between forward and backward
    Py_ssize_t valid    # of the samples that lie side by side: how many there are, the others being anything
    bint lean           # gradients of those leaves alone that `step` wants
    bint fresh          # the sums count as 0: overwrite them; to what learns: they will, and may stay as they are
    bint learn          # values -= eta * sums at once, these gradients included; then the sums count as 0
    bint apart          # the backward pass is a call of its own: data may have been written since the forward pass
    s_state failed      # a step has raised, or another thread wants this one to stop
    double eta


# An input or the output of a step: where its n elements lie in `data` and in `grad`.
cdef struct Place:
    Py_ssize_t at, step     # of the first element, and from one to the next; in elements
    bint add                # an earlier step of the backward pass has written the gradient: add to it
    bint wanted[2]          # whether the gradient is computed at all; [1] in a lean pass


cdef Place place(given) except *


cdef class Table:
    cdef Py_ssize_t *at
    cdef Py_ssize_t size


cdef Py_ssize_t bytes_of(list tables) except -1


cdef class Step:
    cdef readonly Py_ssize_t table_bytes
    cdef void forward(self, Arena *arena) noexcept nogil
    cdef void backward(self, Arena *arena) noexcept nogil
    cdef void learn(self, Arena *arena) noexcept nogil


cdef class Port:
    cdef readonly Py_ssize_t nbytes     # of one sample
    cdef void enter(self, Arena *arena, const char *rows, Py_ssize_t count) noexcept nogil
    cdef void leave(self, Arena *arena, char *rows, Py_ssize_t count) noexcept nogil
    cdef void spread(self, Arena *arena, const char *row) noexcept nogil


cdef class RowPort(Port):
    cdef Py_ssize_t at


cdef class CallStep(Step):
    cdef object node
    cdef readonly object error
    cdef void call(self, Arena *arena, str method, tuple args=*) noexcept
