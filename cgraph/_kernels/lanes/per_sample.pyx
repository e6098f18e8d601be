"""The step over lanes that runs steps of one sample for each of the samples side by side.

It knows no dtype: elements are copied as bits.
"""
from libc.stdint cimport int32_t, int64_t

from cgraph._kernels.runtime.plan cimport Steps
from cgraph._kernels.runtime.atomics cimport s_exchange, s_load
from cgraph._kernels.runtime.step cimport Arena, Step, Table

ctypedef fused Bits:
    int32_t
    int64_t


# A block that lies in both layouts: [channel][element][lane] over lanes, [element][channel] in the memory of a sample.
# Offsets and distances in elements.
cdef struct LayoutCopy:
    Py_ssize_t lanes_at, at
    Py_ssize_t channels, size
    Py_ssize_t pitch            # from one element of a channel to the next, in the memory of a sample


cdef inline void copy(Bits *own, Bits *lanes, const LayoutCopy *block, Py_ssize_t count, bint out) noexcept nogil:
    """One of `count` samples side by side: into its own memory, or out of it."""
    cdef Py_ssize_t c, i
    own += block.at
    lanes += block.lanes_at
    for c in range(block.channels):
        for i in range(block.size):
            if out:
                lanes[(c * block.size + i) * count] = own[i * block.pitch + c]
            else:
                own[i * block.pitch + c] = lanes[(c * block.size + i) * count]


cdef class PerSampleStep(Step):
    """Consecutive steps of a graph that take one sample at a time, anywhere among steps over lanes.

    The scratch of the lanes holds data, gradients and scratch of each sample, which are kept between forward and
    backward. All samples share the parameters and the sums, to which gradients are added sample by sample.
    None of the steps learns while it goes backward: a plan that has this step must run with `overwrite=False`.

    inputs: the blocks that these steps read and others compute; outputs: the blocks that these steps compute and others
    read. Forward, data of inputs enter the memory of a sample, and data of outputs leave it. Backward, gradients of
    outputs enter, and so do those of inputs, to which the steps may have to add; then gradients of inputs leave.
    """
    cdef Steps steps
    cdef Py_ssize_t lanes, item, scratch_at, stride, grad_at, own_scratch_at
    cdef Table inputs, outputs

    def __init__(
        self, Steps steps, Py_ssize_t lanes, Py_ssize_t item, Py_ssize_t scratch_at, Py_ssize_t stride,
        Py_ssize_t grad_at, Py_ssize_t own_scratch_at, list inputs, list outputs
    ):
        """Offsets in bytes: of the first sample in the scratch; of its gradients and its scratch from its data on;
        stride: from one sample to the next. item: of an element. inputs, outputs: the fields of LayoutCopy."""
        self.steps, self.lanes, self.item = steps, lanes, item
        self.scratch_at, self.stride, self.grad_at, self.own_scratch_at = scratch_at, stride, grad_at, own_scratch_at
        self.inputs, self.outputs = table_of(inputs), table_of(outputs)

    cdef void forward(self, Arena *arena) noexcept nogil:
        cdef Py_ssize_t lane
        cdef Arena own
        for lane in range(arena.valid):
            own = self.arena_of(arena, lane)
            self.copy_all(self.inputs, own.data, arena.data + lane * self.item, False)
            self.steps.forward(&own)
            if has_failed(&own, arena):
                return
            self.copy_all(self.outputs, own.data, arena.data + lane * self.item, True)

    cdef void backward(self, Arena *arena) noexcept nogil:
        cdef Py_ssize_t lane
        cdef Arena own
        for lane in range(arena.valid):
            own = self.arena_of(arena, lane)
            own.fresh = arena.fresh and lane == 0
            self.copy_all(self.outputs, own.grad, arena.grad + lane * self.item, False)
            self.copy_all(self.inputs, own.grad, arena.grad + lane * self.item, False)
            self.steps.backward(&own)
            if has_failed(&own, arena):
                return
            self.copy_all(self.inputs, own.grad, arena.grad + lane * self.item, True)

    cdef Arena arena_of(self, const Arena *arena, Py_ssize_t lane) noexcept nogil:
        """That of one sample."""
        cdef Arena own
        own.values, own.sums, own.eta = arena.values, arena.sums, arena.eta
        own.lean, own.fresh, own.learn, own.apart = arena.lean, arena.fresh, False, arena.apart
        own.valid, own.failed = 1, False    # not that of the lanes, which another thread may be writing
        own.data = arena.scratch + self.scratch_at + lane * self.stride
        own.grad, own.scratch = own.data + self.grad_at, own.data + self.own_scratch_at
        return own

    cdef void copy_all(self, Table blocks, char *own, char *lanes, bint out) noexcept nogil:
        """One sample's share of all these blocks. own, lanes: where data begin, or gradients."""
        cdef const LayoutCopy *block = <const LayoutCopy *>blocks.at
        cdef const LayoutCopy *end = <const LayoutCopy *>(blocks.at + blocks.size)
        while block < end:
            if self.item == 4:
                copy[int32_t](<int32_t *>own, <int32_t *>lanes, block, self.lanes, out)
            else:
                copy[int64_t](<int64_t *>own, <int64_t *>lanes, block, self.lanes, out)
            block += 1


cdef Table table_of(list rows):
    """The fields of LayoutCopy, row by row."""
    return Table([number for row in rows for number in row])


cdef bint has_failed(Arena *own, Arena *arena) noexcept nogil:
    """Whether the pass ends: a step of this sample has raised, or another thread wants it to end."""
    if s_load(&own.failed):
        s_exchange(&arena.failed, True)
    return s_load(&arena.failed)
