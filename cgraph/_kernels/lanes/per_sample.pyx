"""The step over lanes that runs the first steps of a graph sample by sample, each sample in an arena of its own.

It knows no dtype: elements are moved as bits.
"""
from libc.stdint cimport int32_t, int64_t
from libc.stdlib cimport calloc, free

from cgraph._kernels.runtime.atomics cimport s_load
from cgraph._kernels.runtime.plan cimport Steps
from cgraph._kernels.runtime.step cimport Arena, Step

ctypedef fused Bits:
    int32_t
    int64_t


# A block that both sides know: [channel][element][lane] there, [element][channel] here; offsets in elements.
cdef struct Bridge:
    Py_ssize_t lanes_at, at
    Py_ssize_t channels, size
    Py_ssize_t pitch            # from one element of a channel to the next, here


cdef inline void cross(Bits *here, Bits *there, const Bridge *bridge, Py_ssize_t lanes, bint out) noexcept nogil:
    """One sample: from there to here, or out of here."""
    cdef Py_ssize_t c, i
    here += bridge.at
    there += bridge.lanes_at
    for c in range(bridge.channels):
        for i in range(bridge.size):
            if out:
                there[(c * bridge.size + i) * lanes] = here[i * bridge.pitch + c]
            else:
                here[i * bridge.pitch + c] = there[(c * bridge.size + i) * lanes]


cdef class Bridges:
    """The blocks that samples enter by, or leave by."""
    cdef Bridge *bridge
    cdef Py_ssize_t count

    def __cinit__(self, list rows):
        cdef Py_ssize_t i
        self.bridge = <Bridge *>calloc(len(rows) + 1, sizeof(Bridge))
        if self.bridge == NULL:
            raise MemoryError()
        self.count = len(rows)
        for i, (lanes_at, at, channels, size, pitch) in enumerate(rows):
            self.bridge[i] = Bridge(lanes_at, at, channels, size, pitch)

    def __dealloc__(self):
        free(self.bridge)


cdef class PrefixStep(Step):
    """Scratch holds data, gradients and scratch of `lanes` samples, `stride` bytes each."""
    cdef Steps steps
    cdef Py_ssize_t lanes, item, scratch_at, stride, grad_at, own_scratch_at
    cdef Bridges inputs, outputs

    def __init__(
        self, Steps steps, Py_ssize_t lanes, Py_ssize_t item, Py_ssize_t scratch_at, Py_ssize_t stride,
        Py_ssize_t grad_at, Py_ssize_t own_scratch_at, list inputs, list outputs
    ):
        """Offsets in bytes: of the first sample in scratch, and in each sample of its gradients and its own scratch."""
        self.steps, self.lanes, self.item = steps, lanes, item
        self.scratch_at, self.stride, self.grad_at, self.own_scratch_at = scratch_at, stride, grad_at, own_scratch_at
        self.inputs, self.outputs = Bridges(inputs), Bridges(outputs)

    cdef Arena arena_of(self, const Arena *arena, Py_ssize_t lane) noexcept nogil:
        cdef Arena own
        own.values, own.sums, own.eta = arena.values, arena.sums, arena.eta
        own.lean, own.fresh, own.learn, own.apart = arena.lean, arena.fresh, arena.learn, arena.apart
        own.valid, own.failed = 1, False    # this one alone ends a pass: others may be writing it
        own.data = arena.scratch + self.scratch_at + lane * self.stride
        own.grad, own.scratch = own.data + self.grad_at, own.data + self.own_scratch_at
        return own

    cdef void forward(self, Arena *arena) noexcept nogil:
        cdef Py_ssize_t lane
        cdef Arena own
        for lane in range(arena.valid):
            own = self.arena_of(arena, lane)
            self.move(self.inputs, own.data, arena.data + lane * self.item, False)
            self.steps.forward(&own)
            if s_load(&arena.failed):
                return
            self.move(self.outputs, own.data, arena.data + lane * self.item, True)

    cdef void backward(self, Arena *arena) noexcept nogil:
        cdef Py_ssize_t lane
        cdef Arena own
        for lane in range(arena.valid):
            own = self.arena_of(arena, lane)
            own.fresh = arena.fresh and lane == 0
            if s_load(&arena.failed):
                return
            self.move(self.outputs, own.grad, arena.grad + lane * self.item, False)
            self.steps.backward(&own)

    cdef void move(self, Bridges bridges, char *here, char *there, bint out) noexcept nogil:
        """One sample through all bridges; here, there: where the data or the gradients begin."""
        cdef Py_ssize_t i
        for i in range(bridges.count):
            if self.item == 4:
                cross[int32_t](<int32_t *>here, <int32_t *>there, &bridges.bridge[i], self.lanes, out)
            else:
                cross[int64_t](<int64_t *>here, <int64_t *>there, &bridges.bridge[i], self.lanes, out)
