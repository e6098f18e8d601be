"""The step over lanes that runs steps of one sample for each of the samples that lie side by side.

Design: steps of one sample know nothing of lanes, so that each sample is copied from its lane into memory of its own,
run through all steps, and copied back. The step is compiled once for all dtypes, since it copies elements as bits.
"""
from libc.stdint cimport int32_t, int64_t

from cgraph._kernels.runtime import structs
from cgraph._kernels.runtime.plan cimport Steps
from cgraph._kernels.runtime.atomics cimport s_exchange, s_load
from cgraph._kernels.runtime.step cimport Context, Step

ctypedef fused Bits:
    int32_t
    int64_t


# A buffer that lies in both layouts, [channel][element][lane] over lanes and [element][channel] in a sample's memory:
# its offsets in both, in elements.
cdef struct LayoutCopy:
    Py_ssize_t lanes_offset, offset
    Py_ssize_t channels, size
    Py_ssize_t pitch            # the distance between elements of a channel in a sample's memory

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

    The scratch of the lanes holds the data, gradients and scratch of each sample, which last from the forward to the
    backward pass. All samples share the parameters and the gradient sums, to which gradients are added sample by
    sample. None of the steps may use fused SGD: a plan that has this step must run with `overwrite=False`.

    inputs: the buffers that these steps read and others compute; outputs: the buffers that these steps compute and
    others read. A forward pass copies the data of inputs into the memory of a sample, and the data of outputs out of
    it. A backward pass copies the gradients of outputs in, and those of inputs, to which the steps may have to add;
    then the gradients of inputs out.
    """
    cdef Steps steps
    cdef Py_ssize_t lanes, item, scratch_offset, stride, grad_offset, own_scratch_offset
    cdef const LayoutCopy[::1] inputs, outputs

    def __init__(
        self, Steps steps, Py_ssize_t lanes, Py_ssize_t item, Py_ssize_t scratch_offset, Py_ssize_t stride,
        Py_ssize_t grad_offset, Py_ssize_t own_scratch_offset, inputs, outputs
    ):
        """Offsets and sizes are in bytes.

        item: the size of an element; scratch_offset: the offset of the first sample in the scratch of the lanes;
        stride: the distance between samples; grad_offset, own_scratch_offset: the offsets of a sample's gradients and
        scratch from its data; inputs, outputs: arrays of LayoutCopy.
        """
        self.steps, self.lanes, self.item = steps, lanes, item
        self.scratch_offset, self.stride = scratch_offset, stride
        self.grad_offset, self.own_scratch_offset = grad_offset, own_scratch_offset
        self.inputs, self.outputs = structs.checked(LAYOUT_COPY, inputs), structs.checked(LAYOUT_COPY, outputs)

    cdef void forward(self, Context *context) noexcept nogil:
        cdef Py_ssize_t lane
        cdef Context own
        for lane in range(context.valid):
            own = self.context_of(context, lane)
            self.copy_buffers(self.inputs, own.data, context.data + lane * self.item, False)
            self.steps.forward(&own)
            if has_failed(&own, context):
                return
            self.copy_buffers(self.outputs, own.data, context.data + lane * self.item, True)

    cdef void backward(self, Context *context) noexcept nogil:
        cdef Py_ssize_t lane
        cdef Context own
        for lane in range(context.valid):
            own = self.context_of(context, lane)
            own.grads_are_zero = context.grads_are_zero and lane == 0
            self.copy_buffers(self.outputs, own.grad, context.grad + lane * self.item, False)
            self.copy_buffers(self.inputs, own.grad, context.grad + lane * self.item, False)
            self.steps.backward(&own)
            if has_failed(&own, context):
                return
            self.copy_buffers(self.inputs, own.grad, context.grad + lane * self.item, True)

    cdef Context context_of(self, const Context *context, Py_ssize_t lane) noexcept nogil:
        """Returns the context of one sample."""
        cdef Context own
        own.parameters, own.parameter_grads, own.eta = context.parameters, context.parameter_grads, context.eta
        own.parameters_only, own.grads_are_zero = context.parameters_only, context.grads_are_zero
        own.fused_sgd, own.apart = False, context.apart
        own.valid, own.failed = 1, False    # another thread may be writing the flag of the lanes
        own.data = context.scratch + self.scratch_offset + lane * self.stride
        own.grad, own.scratch = own.data + self.grad_offset, own.data + self.own_scratch_offset
        return own

    cdef void copy_buffers(self, const LayoutCopy[::1] buffers, char *own, char *lanes, bint out) noexcept nogil:
        """Copies one sample of all buffers. own, lanes: the addresses of its data or gradients in both layouts."""
        cdef Py_ssize_t i
        for i in range(buffers.shape[0]):
            if self.item == 4:
                copy[int32_t](<int32_t *>own, <int32_t *>lanes, &buffers[i], self.lanes, out)
            else:
                copy[int64_t](<int64_t *>own, <int64_t *>lanes, &buffers[i], self.lanes, out)


cdef bint has_failed(Context *own, Context *context) noexcept nogil:
    """Whether the pass ends, since a step of this sample has raised or another thread has set the flag."""
    if s_load(&own.failed):
        s_exchange(&context.failed, True)
    return s_load(&context.failed)
