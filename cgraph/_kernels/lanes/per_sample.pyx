"""The steps over lanes that run steps of one sample for each of the samples that lie side by side.

Design: steps of one sample know nothing of lanes, and nodes that are computed in Python know their own arrays alone. So
each sample is copied from its lane into the memory of one sample, run through these steps, and copied back. The steps
are compiled once for all dtypes, since they copy elements as bits. So is, beside them, the step of a recurrent cell,
which calls other steps and the kernels of a build.
"""
from libc.stdint cimport int32_t, int64_t

from cgraph._kernels.runtime import structs
from cgraph._kernels.runtime.atomics cimport s_exchange, s_load
from cgraph._kernels.runtime.memory cimport Memory
from cgraph._kernels.runtime.plan cimport Steps
from cgraph._kernels.runtime.step cimport Context, Step

ctypedef fused Bits:
    int32_t
    int64_t


# A buffer that lies in both layouts, [channel][element][lane] over lanes and [element][channel] in the memory of one
# sample.
cdef struct LayoutCopy:
    Py_ssize_t lanes_offset     # the offset of its first element over lanes
    Py_ssize_t offset           # the offset of its first element in the memory of one sample
    Py_ssize_t channels
    Py_ssize_t size             # the number of elements of a channel
    Py_ssize_t pitch            # the distance between elements of a channel in the memory of one sample

cdef LayoutCopy layout_copy
cdef LayoutCopy[::1] layout_copies = <LayoutCopy[:1]>&layout_copy
LAYOUT_COPY = structs.dtype_of(layout_copies)


cdef inline void copy(Bits *own, Bits *lanes, const LayoutCopy *buffer, Py_ssize_t count, bint out) noexcept nogil:
    """Copies one of `count` samples side by side from its lane into its own memory or, with `out`, back."""
    cdef Py_ssize_t c, i
    own += buffer.offset
    lanes += buffer.lanes_offset
    for c in range(buffer.channels):
        for i in range(buffer.size):
            if out:
                lanes[(c * buffer.size + i) * count] = own[i * buffer.pitch + c]
            else:
                own[i * buffer.pitch + c] = lanes[(c * buffer.size + i) * count]


cdef class PerSampleStep(Step):
    """Runs consecutive steps of a graph one sample at a time, anywhere among steps over lanes.

    All samples use the memory of one sample, one after the other. A forward pass copies the data of inputs in, and the
    data of outputs out. A backward pass takes the samples in the opposite order, and runs the forward pass of each one
    again before its backward pass, since the memory holds another one; only the last sample is still there. It
    copies in the gradients of outputs, and those of inputs, to which the steps may have to add; then the gradients of
    inputs out.

    None of the steps may use fused SGD, and gradient sums must not count as 0: a plan that has this step must run with
    `overwrite=False`.

    memory: the memory of one sample, with the parameters and gradient sums of the lanes; lanes: the number of samples
    side by side; item: the size of an element in bytes; inputs, outputs: arrays of LayoutCopy, of
    the buffers that these steps read and others compute, and of those that these steps compute and others read.
    """
    cdef Steps steps
    cdef Memory memory
    cdef Py_ssize_t lanes, item
    cdef const LayoutCopy[::1] inputs, outputs

    def __init__(self, Steps steps, Memory memory, Py_ssize_t lanes, Py_ssize_t item, inputs, outputs):
        self.steps, self.memory, self.lanes, self.item = steps, memory, lanes, item
        self.inputs, self.outputs = structs.checked(LAYOUT_COPY, inputs), structs.checked(LAYOUT_COPY, outputs)

    cdef void forward(self, Context *context) noexcept nogil:
        cdef Py_ssize_t lane
        cdef Context own = self.context_of_one(context)
        for lane in range(context.valid):
            own.sample = context.sample + lane
            self.copy_data(self.inputs, &own, context, lane, False)
            self.steps.forward(&own)
            if has_failed(&own, context):
                return
            self.copy_data(self.outputs, &own, context, lane, True)

    cdef void backward(self, Context *context) noexcept nogil:
        cdef Py_ssize_t lane
        cdef Context own = self.context_of_one(context)
        for lane in range(context.valid - 1, -1, -1):
            own.sample = context.sample + lane
            self.copy_data(self.inputs, &own, context, lane, False)
            if lane < context.valid - 1:
                self.steps.forward(&own)
                if has_failed(&own, context):
                    return
            self.copy_grad(self.outputs, &own, context, lane, False)
            self.copy_grad(self.inputs, &own, context, lane, False)
            self.steps.backward(&own)
            if has_failed(&own, context):
                return
            self.copy_grad(self.inputs, &own, context, lane, True)

    cdef object take_error(self):
        return self.steps.take_error()

    cdef Context context_of_one(self, const Context *context) noexcept nogil:
        """Returns the context of a pass for one sample."""
        cdef Context own = self.memory.context
        own.parameters_only, own.apart, own.eta = context.parameters_only, context.apart, context.eta
        own.grads_are_zero = own.fused_sgd = False
        own.valid, own.failed = 1, False    # another thread may be writing the flag of the lanes
        return own

    cdef void copy_data(
        self, const LayoutCopy[::1] buffers, const Context *own, const Context *context, Py_ssize_t lane, bint out
    ) noexcept nogil:
        self.copy_buffers(buffers, own.data, context.data + lane * self.item, out)

    cdef void copy_grad(
        self, const LayoutCopy[::1] buffers, const Context *own, const Context *context, Py_ssize_t lane, bint out
    ) noexcept nogil:
        self.copy_buffers(buffers, own.grad, context.grad + lane * self.item, out)

    cdef void copy_buffers(self, const LayoutCopy[::1] buffers, char *own, char *lanes, bint out) noexcept nogil:
        """Copies one sample of all buffers. own, lanes: the addresses of its data or gradients in both layouts."""
        cdef Py_ssize_t i
        for i in range(buffers.shape[0]):
            if self.item == 4:
                copy[int32_t](<int32_t *>own, <int32_t *>lanes, &buffers[i], self.lanes, out)
            else:
                copy[int64_t](<int64_t *>own, <int64_t *>lanes, &buffers[i], self.lanes, out)


cdef class PerSampleTail(PerSampleStep):
    """Runs the last steps of a graph one sample at a time, and the backward pass of each sample at once.

    It serves passes with gradients alone. So a backward pass always follows the forward pass of its own sample, and no
    step runs twice. The steps begin the backward pass themselves, with a seed step; they are the first ones to write
    the gradients of the inputs, and overwrite them.
    """

    cdef void forward(self, Context *context) noexcept nogil:
        cdef Py_ssize_t lane
        cdef Context own = self.context_of_one(context)
        for lane in range(context.valid):
            own.sample = context.sample + lane
            self.copy_data(self.inputs, &own, context, lane, False)
            self.steps.forward(&own)
            if has_failed(&own, context):
                return
            self.copy_data(self.outputs, &own, context, lane, True)
            self.steps.backward(&own)
            if has_failed(&own, context):
                return
            self.copy_grad(self.inputs, &own, context, lane, True)

    cdef void backward(self, Context *context) noexcept nogil:
        """Does nothing: the forward pass has computed the gradients."""


cdef bint has_failed(Context *own, Context *context) noexcept nogil:
    """Whether the pass ends, since a step of this sample has raised or another thread has set the flag."""
    if s_load(&own.failed):
        s_exchange(&context.failed, True)
    return s_load(&context.failed)


include "lanes/gradient_rows.pxi"
include "nodes/cell_step.pxi"
