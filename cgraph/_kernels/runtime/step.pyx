"""Steps, which a Graph runs, one for each node or fused group: their base class, and the step that calls Python.

Here are also ports, through which samples enter an arena and results leave it, and tables of offsets for kernels.
"""
from libc.stdlib cimport free, malloc
from libc.string cimport memcpy

from cgraph._kernels.runtime.atomics cimport s_exchange


cdef Operand operand(given) except *:
    """Returns the Operand with the fields of a `_lowering.buffers.Operand`."""
    cdef Operand p
    p.offset, p.stride, p.accumulate, p.requires_grad[0], p.requires_grad[1] = given
    return p


cdef class Table:
    """An array of integers that kernels read: offsets, or structs of offsets."""

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
    """Returns the number of bytes that a list of Tables takes."""
    cdef Py_ssize_t total = 0
    cdef Table table
    for table in tables:
        total += table.size * <Py_ssize_t>sizeof(Py_ssize_t)
    return total


cdef class Step:
    """The computation of a node or fused group on the memory of a context."""

    cdef void forward(self, Context *context) noexcept nogil:
        """Overwrites the data of the outputs."""

    cdef void backward(self, Context *context) noexcept nogil:
        """Adds to the gradients of the inputs, and to the gradient sums of parameters, or overwrites them."""

    cdef void apply_update(self, Context *context) noexcept nogil:
        """Subtracts eta times the gradient sums from parameters. Then the sums are 0, or count as 0."""

    cdef object take_error(self):
        """Returns the exception that ended a pass, and forgets it; None if the step has kept none."""


cdef class LearningStep(Step):
    """A step with parameters: weights, the kernels of convolutions among them, and biases behind them.

    weights_learn, biases_learn: whether a backward pass computes the gradient sums of the weights and those of the
    biases; both at first. Sums that are not computed are neither read nor written, and fused SGD leaves their
    parameters alone. The biases of an Affine are the last row of its weights: AffineStep reads `weights_learn` alone,
    and both flags of the LaneLayerStep of an Affine must be set alike. The flags of a fused group are those of all its
    channels.

    accumulate: whether the step adds to gradient sums even where those of the arena count as 0, because an earlier
    step of the same backward pass has written them, one that shares the parameters; at first False. Fused SGD must not
    be used in a graph with shared parameters: the first of their steps would change what the second one reads.
    """

    def __cinit__(self):
        self.weights_learn = self.biases_learn = True


cdef class Port:
    """Copies between a node's data in the arena and rows of samples: bytes, one sample behind the other."""

    cdef void feed(self, Context *context, const char *rows, Py_ssize_t count) noexcept nogil:
        """Copies `count` samples into the arena."""

    cdef void fetch(self, Context *context, char *rows, Py_ssize_t count) noexcept nogil:
        """Copies `count` samples out of the arena."""

    cdef void broadcast(self, Context *context, const char *row) noexcept nogil:
        """Copies one sample into every lane of the arena."""


cdef class RowPort(Port):
    """The port of a node in a graph that takes one sample at a time."""

    def __init__(self, Py_ssize_t offset, Py_ssize_t nbytes):
        """offset: of the node's data in the arena, in bytes; nbytes: their size."""
        self.offset, self.nbytes = offset, nbytes

    cdef void feed(self, Context *context, const char *rows, Py_ssize_t count) noexcept nogil:
        memcpy(context.data + self.offset, rows, self.nbytes)

    cdef void fetch(self, Context *context, char *rows, Py_ssize_t count) noexcept nogil:
        memcpy(rows, context.data + self.offset, self.nbytes)

    cdef void broadcast(self, Context *context, const char *row) noexcept nogil:
        self.feed(context, row, 1)


cdef class PythonStep(Step):
    """A node of a user's own class, whose methods are called. An exception is kept, and ends the pass."""

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

    cdef object take_error(self):
        error, self.error = self.error, None
        return error

    cdef void call(self, Context *context, str method, tuple args=()) noexcept:
        try:
            residency = self.node._residency
            residency.before_python_node()
            try:
                if self.node._frozen:
                    self.node._call(method, *args)
                else:
                    getattr(self.node, method)(*args)
            finally:
                residency.after_python_node()
        except BaseException as error:
            self.error = error
            s_exchange(&context.failed, True)
