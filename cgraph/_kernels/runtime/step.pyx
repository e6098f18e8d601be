"""Steps, which a Graph runs, one for each node or fused group: their base class, and the step that calls Python.

Here are also their operands, and ports, through which samples enter an arena and results leave it.
"""
from libc.stdint cimport uint32_t, uint64_t
from libc.stdlib cimport free, malloc
from libc.string cimport memcpy, memset

from cgraph._kernels.runtime import structs
from cgraph._kernels.runtime.atomics cimport s_exchange
from cgraph._kernels.runtime.uninterrupted cimport complete
from cgraph._kernels.runtime.uninterrupted import call_or_undo

ctypedef fused Float:
    float
    double

cdef Extent extent
cdef Extent[::1] extents = <Extent[:1]>&extent
EXTENT = structs.dtype_of(extents)

cdef Seed a_seed
cdef Seed[::1] seeds = <Seed[:1]>&a_seed
SEED = structs.dtype_of(seeds)


cdef class Operand:
    """An input or the output of a step.

    Parameters
    ----------
    offset, stride : int
        The offset of the first element, and the distance from one element to the next, in elements.
    accumulate : bool
        Whether the step adds to the gradient, which another step has written before.
    requires_grad, requires_grad_parameters_only : bool
        Whether the gradient is computed: in a full backward pass, and in one for the parameters only.
    """

    def __init__(
        self, *, Py_ssize_t offset, Py_ssize_t stride, bint accumulate, bint requires_grad,
        bint requires_grad_parameters_only
    ):
        self.fields.offset, self.fields.stride, self.fields.accumulate = offset, stride, accumulate
        self.fields.requires_grad[0] = requires_grad
        self.fields.requires_grad[1] = requires_grad_parameters_only

    @property
    def offset(self):
        return self.fields.offset

    @property
    def stride(self):
        return self.fields.stride

    @property
    def accumulate(self):
        return self.fields.accumulate

    @property
    def requires_grad(self):
        return self.fields.requires_grad[0]

    @property
    def requires_grad_parameters_only(self):
        return self.fields.requires_grad[1]

    def contiguous(self):
        """Returns the operand with a stride of one element."""
        cdef Operand operand = Operand.__new__(Operand)
        operand.fields = self.fields
        operand.fields.stride = 1
        return operand

    def shifted(self, Py_ssize_t distance):
        """Returns the operand with an offset that is larger by a number of elements."""
        cdef Operand operand = Operand.__new__(Operand)
        operand.fields = self.fields
        operand.fields.offset += distance
        return operand


cdef class OperandList:
    """The fields of several operands, one behind the other."""

    def __cinit__(self, operands):
        cdef Py_ssize_t i
        self.size = len(operands)
        self.fields = <OperandFields *>malloc((self.size + 1) * sizeof(OperandFields))
        if self.fields == NULL:
            raise MemoryError()
        for i in range(self.size):
            self.fields[i] = (<Operand?>operands[i]).fields

    def __dealloc__(self):
        free(self.fields)

    @property
    def nbytes(self):
        return self.size * <Py_ssize_t>sizeof(OperandFields)


cdef class SampleCounter:
    """The masks of a Dropout: the rule by which it draws them, and the samples that it has seen and now holds.

    A pass is active, and counts its samples, if it is one for learning; in others the node copies its input.

    array: of one uint64, the number of samples that active passes have seen.
    seed, threshold, factor: of an element whose half word, times 2**16, is below the threshold,
        nothing is kept; others are multiplied.

    Attributes
    ----------
    active : bool
        Whether the running pass is active or, between passes, the one that the node's data belong to.
    number : int
        The number of the sample that the node's data belong to.
    base : int
        The number of the first sample of the running call of a Graph.
    held : bool
        Whether passes count no samples, and leave all of this as it is.
    """

    def __init__(self, array, uint64_t seed, uint32_t threshold, double factor):
        self.array, self.samples = array, <uint64_t *><size_t>array.__array_interface__["data"][0]
        self.seed, self.threshold, self.factor, self.active = seed, threshold, factor, True

    cdef void take(self) noexcept:
        """Begins a pass over the nodes, for the next sample."""
        if not self.held:
            self.number, self.active = self.samples[0], True
            self.samples[0] += 1


cdef class Step:
    """The computation of a node or fused group on the memory of a context."""

    @property
    def learners(self):
        """The steps with parameters of which this one consists: none, itself, or several."""
        return ()

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
    parameters alone. The biases of an Affine are the last row of its weights: both flags of its steps are set alike,
    and so are those of an AffineStep that uses fused SGD. The flags of a fused group are those of all its channels.

    accumulate: whether the step adds to gradient sums even where those of the arena count as 0, because an earlier
    step of the same backward pass has written them, one that shares the parameters; at first False. Fused SGD must not
    be used in a graph with shared parameters: the first of their steps would change what the second one reads.
    """

    def __cinit__(self):
        self.weights_learn = self.biases_learn = True

    @property
    def learners(self):
        return (self,)


cdef class MatrixKernels:
    """The gradient of a matrix for one sample, and the gates of cells, as they are compiled for one build."""


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


cdef class ChannelPort(Port):
    """The port of one channel of a fused group, which takes one sample at a time; it is fetched alone."""

    def __init__(self, Py_ssize_t offset, Py_ssize_t size, Py_ssize_t pitch, Py_ssize_t item):
        """offset: of the first element in the arena; pitch: from one element to the next; item: the size of each; all
        of them in bytes. size: the number of elements."""
        self.offset, self.size, self.pitch, self.item, self.nbytes = offset, size, pitch, item, size * item

    cdef void fetch(self, Context *context, char *rows, Py_ssize_t count) noexcept nogil:
        cdef const char *x = context.data + self.offset
        cdef Py_ssize_t i
        for i in range(self.size):
            memcpy(rows + i * self.item, x + i * self.pitch, self.item)


cdef inline void add_seed(Float *grad, const Float *data, const Seed *seed) noexcept nogil:
    """Adds a seed to the gradients."""
    cdef Py_ssize_t i
    for i in range(seed.count):
        grad[seed.first + i * seed.pitch] += data[seed.source + i]


cdef class GivenSeedStep(Step):
    """The step with which a backward pass from given gradients begins: it sets others to 0, and adds the seeds.

    Seeds have been fed into the data, like leaves. They are added, since one output may lie within another one, and
    since earlier steps may have written the gradient of an output that other nodes read.
    """
    cdef const Extent[::1] cleared
    cdef const Seed[::1] seeds
    cdef Py_ssize_t item

    def __init__(self, cleared, seeds, Py_ssize_t item):
        """cleared: the Extents of the gradients that begin at 0; seeds: the Seeds; item: the size of an element in
        bytes."""
        self.cleared, self.seeds = structs.checked(EXTENT, cleared), structs.checked(SEED, seeds)
        self.item = item

    cdef void backward(self, Context *context) noexcept nogil:
        cdef Py_ssize_t i
        for i in range(self.cleared.shape[0]):
            memset(context.grad + self.cleared[i].first * self.item, 0, self.cleared[i].count * self.item)
        for i in range(self.seeds.shape[0]):
            if self.item == sizeof(float):
                add_seed(<float *>context.grad, <const float *>context.data, &self.seeds[i])
            else:
                add_seed(<double *>context.grad, <const double *>context.data, &self.seeds[i])


cdef class CallStep(Step):
    """An update in Python. An exception is kept, and ends the pass.

    prepare: returns arguments for `call_or_undo` for a number of samples. No signal is heard between that function and
    the marks of an update that has been made.
    clear: sets the gradient sums to 0; it is called after an exception, until it returns.
    """

    def __init__(self, prepare, clear):
        self.prepare, self.clear = prepare, clear

    cdef void apply_update(self, Context *context) noexcept nogil:
        with gil:
            try:
                call_or_undo(*self.prepare(context.samples))
            except BaseException as error:
                self.error = error
                s_exchange(&context.failed, True)
                self.forget()

    cdef object take_error(self):
        error, self.error = self.error, None
        return error

    cdef void forget(self) noexcept:
        """Sets the gradient sums to 0."""
        try:
            complete(self.clear)
        except BaseException as error:
            self.error = error


cdef class PythonStep(Step):
    """A node of a user's own class, whose methods are called. An exception is kept, and ends the pass."""

    def __init__(self, node):
        self.node, self.counter = node, getattr(node, "_sample_counter", None)

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
            if self.counter is not None:
                self.counter.number = self.counter.base + <uint64_t>context.sample
            residency = self.node._residency
            residency.before_python_node()
            try:
                if self.node._frozen or self.node._sharing is not None:
                    self.node._call(method, *args)
                else:
                    getattr(self.node, method)(*args)
            finally:
                residency.after_python_node()
        except BaseException as error:
            self.error = error
            s_exchange(&context.failed, True)
