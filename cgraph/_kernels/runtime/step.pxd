# Steps and ports, of which a Graph is made. This module is compiled once, for all dtypes and instruction sets:
# addresses are those of bytes, and each step knows the dtype of its own.
from libc.stdint cimport uint32_t, uint64_t

from cgraph._kernels.runtime.atomics cimport s_state


# The context of a pass: addresses of the arrays that one thread works on, and flags of its backward pass.
cdef struct Context:
    char *data              # the nodes' data
    char *grad              # the gradients of the nodes' data, at the same offsets
    char *parameters
    char *parameter_grads   # the parameters' gradient sums, at the same offsets
    char *scratch           # scratch of the steps, some of it kept between forward and backward
    Py_ssize_t sample       # the number of the first lane's sample in the call
    Py_ssize_t valid        # the number of lanes that hold a sample; the other lanes hold anything
    bint parameters_only    # a pass for parameters only: leaf gradients only where `leaf_grads` lists them
    bint grads_are_zero     # gradient sums count as 0 whatever they hold, so that a backward pass overwrites them
    bint fused_sgd          # backward steps apply parameters -= eta * gradient sums at once; then the sums count as 0
    bint apart              # the backward pass is a call of its own: data may have been written since the forward pass
    Py_ssize_t samples      # the number of samples whose gradients the sums hold, for an update
    s_state failed          # a step has raised, or another thread wants this one to stop
    double eta


# An input or the output of a step: the position of its elements in `data` and, for the gradient, in `grad`.
cdef struct OperandFields:
    Py_ssize_t offset, stride   # of the first element, and from one element to the next, both counted in elements
    bint accumulate             # add to the gradient, which an earlier step of the backward pass has written
    bint requires_grad[2]       # whether the gradient is computed; [1] in a pass for parameters only


cdef class Operand:
    cdef OperandFields fields


cdef class OperandList:
    cdef OperandFields *fields
    cdef Py_ssize_t size


cdef class SampleCounter:
    cdef readonly object array
    cdef uint64_t *samples      # the number in the array
    cdef uint64_t seed
    cdef uint32_t threshold
    cdef double factor
    cdef public uint64_t number, base
    cdef public bint active, held
    cdef void take(self) noexcept


# Consecutive elements of a region of the arena.
cdef struct Extent:
    Py_ssize_t first, count


# The place in the data to which a seed is fed, and the place in the gradients to which it is added, in elements.
cdef struct Seed:
    Py_ssize_t source
    Py_ssize_t first, pitch     # of the first element, and from one element to the next
    Py_ssize_t count


cdef class Step:
    cdef readonly Py_ssize_t table_bytes
    cdef void forward(self, Context *context) noexcept nogil
    cdef void backward(self, Context *context) noexcept nogil
    cdef void apply_update(self, Context *context) noexcept nogil
    cdef object take_error(self)


cdef class LearningStep(Step):
    cdef public bint weights_learn, biases_learn, accumulate


cdef inline bint adds_to_sums(LearningStep step, const Context *context) noexcept nogil:
    """Whether a step adds to its gradient sums, instead of overwriting them."""
    return step.accumulate or not context.grads_are_zero


# The addresses of what the gates of a cell read and write, with the letters of nodes/cells.pxi.
# a, b, da, db: blocks one behind the other; s, g, d: elements with strides, g and d with the same one.
cdef struct CellBlocks:
    char *a
    char *b
    char *da
    char *db
    const char *s
    const char *g
    char *d
    Py_ssize_t s_stride, d_stride


# What is compiled for each build.
# gradient: that of a matrix with m + 1 rows and n columns, for one sample. x, g: input and output's gradient, with
# elements `stride` apart; b: the constant input; packed: room for n elements.
# run_gates: the gates of a cell, or their gradients, with blocks of n elements; put_direct_share: writes the direct
# share of the gradient of s, or adds it.
cdef class MatrixKernels:
    cdef void (*gradient)(
        const char *x, Py_ssize_t m, double b, const char *g, Py_ssize_t n, Py_ssize_t stride, char *packed, char *dw,
        bint accumulate
    ) noexcept nogil
    cdef void (*run_gates)(bint is_lstm, bint backward, const CellBlocks *p, Py_ssize_t n) noexcept nogil
    cdef void (*put_direct_share)(
        const char *share, char *ds, Py_ssize_t stride, bint accumulate, Py_ssize_t n
    ) noexcept nogil


cdef class Port:
    cdef readonly Py_ssize_t nbytes     # bytes of one sample
    cdef void feed(self, Context *context, const char *rows, Py_ssize_t count) noexcept nogil
    cdef void fetch(self, Context *context, char *rows, Py_ssize_t count) noexcept nogil
    cdef void broadcast(self, Context *context, const char *row) noexcept nogil


cdef class RowPort(Port):
    cdef Py_ssize_t offset


cdef class ChannelPort(Port):
    cdef Py_ssize_t offset, size, pitch, item


cdef class CallStep(Step):
    cdef object prepare, clear, error
    cdef void forget(self) noexcept


cdef class PythonStep(Step):
    cdef object node, error
    cdef SampleCounter counter
    cdef void call(self, Context *context, str method, tuple args=*) noexcept
