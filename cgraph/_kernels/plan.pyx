"""Plan: runs steps, over one sample or many. It knows no operation and no dtype; all that lies in bytes for it."""
from cpython.exc cimport PyErr_CheckSignals
from libc.stdlib cimport free, malloc
from libc.string cimport memcpy, memset

from cgraph._kernels.step cimport Arena, Step


cdef class Plan:
    """Steps in the order of a forward pass, and the arena that they work in.

    data, grad, values, sums, scratch: the addresses of the arena's parts. clear: (offset, count) pairs, in bytes, of
    gradients that start at 0 since not every consumer writes all of them; output, itemsize: where the loss lies.
    """
    cdef list steps
    cdef Step descent
    cdef void **order
    cdef Py_ssize_t count
    cdef Arena arena

    def __cinit__(self, list steps, *args):
        self.order = <void **>malloc(max(len(steps), 1) * sizeof(void *))
        if self.order == NULL:
            raise MemoryError()

    def __init__(self, list steps, Step descent, size_t data, size_t grad, size_t values, size_t sums, size_t scratch):
        cdef Py_ssize_t i
        cdef Step step
        self.steps, self.descent, self.count = steps, descent, len(steps)
        for i in range(self.count):
            step = steps[i]
            self.order[i] = <void *>step
        self.arena.data, self.arena.grad = <char *>data, <char *>grad
        self.arena.values, self.arena.sums, self.arena.scratch = <char *>values, <char *>sums, <char *>scratch

    def __dealloc__(self):
        free(self.order)

    cdef void run_forward(self) noexcept nogil:
        cdef Py_ssize_t i
        for i in range(self.count):
            (<Step>self.order[i]).forward(&self.arena)

    cdef void run_backward(self) noexcept nogil:
        cdef Py_ssize_t i
        for i in range(self.count - 1, -1, -1):
            (<Step>self.order[i]).backward(&self.arena)

    def forward(self):
        with nogil:
            self.run_forward()

    def backward(self, bint lean, bint fresh, bint learn=False, double eta=0):
        self.arena.lean, self.arena.fresh = lean, fresh
        self.arena.learn, self.arena.eta = learn, eta
        with nogil:
            self.run_backward()
