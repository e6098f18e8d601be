"""Kernels that join vectors: d = (x_1; x_2; …), and the gradient cut up again; on the Node path it is ADDED into each
input's."""
from cgraph._kernels.common.guard cimport require
from cgraph._kernels.common.operands cimport (
    Source, Target, added_to, data_of, grad_of, gradient, move, output, overwritten, place_of, source, source_from,
    target_from
)
from cgraph._kernels.common.simd cimport real
from cgraph._kernels.runtime.step cimport Arena, Place, Step, place


def concatenation_forward(list xs, real[:] d):
    cdef const real[:] x
    cdef Py_ssize_t start = 0
    for x in xs:
        require(start + x.shape[0] <= d.shape[0])
        with nogil:
            move(source(x), target_from(overwritten(d), start), x.shape[0])
        start += x.shape[0]


def concatenation_backward(const real[:] g, list dxs):
    cdef real[:] dx
    cdef Py_ssize_t start = 0
    for dx in dxs:
        require(start + dx.shape[0] <= g.shape[0])
        with nogil:
            move(source_from(source(g), start), added_to(dx), dx.shape[0])
        start += dx.shape[0]


# The step of a Graph

cdef enum:
    SIZE = 5    # the column behind those of a Place


cdef class ConcatenationStep(Step):
    """One node; its inputs may be strided, and one of them may occur twice."""
    cdef const Py_ssize_t[:, ::1] inputs
    cdef Place d

    def __init__(self, const Py_ssize_t[:, ::1] inputs, d):
        """inputs: a row for each, of the fields of _places.Place and the size. d: the fields of _places.Place."""
        self.inputs = inputs
        self.d = place(d)

    cdef void forward(self, Arena *arena) noexcept nogil:
        cdef Target d = output(arena, &self.d)
        cdef Place x
        cdef Py_ssize_t k
        for k in range(self.inputs.shape[0]):
            x = place_of(&self.inputs[k, 0])
            move(data_of(arena, &x), d, self.inputs[k, SIZE])
            d = target_from(d, self.inputs[k, SIZE])

    cdef void backward(self, Arena *arena) noexcept nogil:
        cdef Source g = grad_of(arena, &self.d)
        cdef Place x
        cdef Target dx
        cdef Py_ssize_t k
        for k in range(self.inputs.shape[0]):
            x = place_of(&self.inputs[k, 0])
            dx = gradient(arena, &x)
            if dx.at != NULL:
                move(g, dx, self.inputs[k, SIZE])
            g = source_from(g, self.inputs[k, SIZE])
