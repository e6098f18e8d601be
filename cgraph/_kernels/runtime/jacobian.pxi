# The ports of Jacobians: what is fetched through them is computed by backward passes at that moment.
from libc.string cimport memcpy

from cgraph._kernels.runtime.atomics cimport s_load
from cgraph._kernels.runtime.step cimport Context, Port, Step


cdef class BroadcastPort(Port):
    """The port of a leaf over lanes that hold one and the same sample, of which passes compute the first `valid`."""
    cdef Port port
    cdef Py_ssize_t valid

    def __init__(self, Port port not None, Py_ssize_t valid):
        """port: that of the leaf where each lane holds a sample of its own."""
        self.port, self.valid, self.nbytes = port, valid, port.nbytes

    cdef void feed(self, Context *context, const char *rows, Py_ssize_t count) noexcept nogil:
        self.port.broadcast(context, rows)
        context.valid = self.valid

    cdef void broadcast(self, Context *context, const char *row) noexcept nogil:
        self.port.broadcast(context, row)


cdef class JacobianPort(Port):
    """The port of the Jacobian of a node with respect to a leaf, a row of which is the gradient of one element.

    A pass begins with a gradient of the node that is 1 at one element, the seed, and 0 elsewhere. Either all lanes hold
    samples of their own, and have the seed at the same element, or all hold one sample, and each has a seed of its own.

    steps: the steps that lead to the node, of which those on the way from the leaf run backward; clear: the step that
    sets gradients to 0, also that of the node; leaf: the port of the leaf; first, pitch, size: the offset of the first
    element of the node, the distance from one to the next, and their number; lanes: the number of lanes; seeds: 1, or
    the number of lanes that may have seeds of their own; aside: where in the scratch the gradients of several samples
    have room; item: the size of an element in bytes, in which `first`, `pitch` and `aside` are counted.
    """
    cdef Steps steps
    cdef Step clear
    cdef Port leaf
    cdef Py_ssize_t first, pitch, size, lanes, seeds, aside, item

    def __init__(
        self, Steps steps not None, Step clear not None, Port leaf not None, *, Py_ssize_t first, Py_ssize_t pitch,
        Py_ssize_t size, Py_ssize_t lanes, Py_ssize_t seeds, Py_ssize_t aside, Py_ssize_t item
    ):
        self.steps, self.clear, self.leaf, self.nbytes = steps, clear, leaf, size * leaf.nbytes
        self.first, self.pitch, self.size, self.lanes = first, pitch, size, lanes
        self.seeds, self.aside, self.item = seeds, aside * item, item

    cdef void fetch(self, Context *context, char *rows, Py_ssize_t count) noexcept nogil:
        """Computes the Jacobians of `count` samples, unless a step fails."""
        cdef Py_ssize_t k = 0
        context.fused_sgd = context.apart = False
        while k < self.size:
            if self.seeds > 1:
                context.valid = min(self.seeds, self.size - k)
            self.clear.backward(context)
            self.put_seeds(context, k)
            self.steps.backward(context)
            if s_load(&context.failed):
                return
            self.take(context, rows + k * self.leaf.nbytes, count)
            k += self.seeds

    cdef void put_seeds(self, Context *context, Py_ssize_t k) noexcept nogil:
        """Sets the gradient of element k of the node to 1 in all lanes, or those of the next ones in a lane each."""
        cdef Py_ssize_t first = self.first + k * self.pitch, i
        cdef Py_ssize_t count = self.lanes if self.seeds == 1 else context.valid
        cdef Py_ssize_t step = 1 if self.seeds == 1 else self.pitch + 1
        for i in range(count):
            if self.item == sizeof(float):
                (<float *>context.grad)[first + i * step] = 1
            else:
                (<double *>context.grad)[first + i * step] = 1

    cdef void take(self, Context *context, char *rows, Py_ssize_t count) noexcept nogil:
        """Copies the gradients of the leaf: for one sample to rows that follow each other; else to one row of each."""
        cdef Context gradients = context[0]
        cdef char *aside = context.scratch + self.aside
        cdef Py_ssize_t i
        gradients.data = context.grad
        if self.seeds > 1:
            self.leaf.fetch(&gradients, rows, context.valid)
        elif self.size == 1 or count == 1:
            self.leaf.fetch(&gradients, rows, count)
        else:
            self.leaf.fetch(&gradients, aside, count)
            for i in range(count):
                memcpy(rows + i * self.nbytes, aside + i * self.leaf.nbytes, self.leaf.nbytes)
