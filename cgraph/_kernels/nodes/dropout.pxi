# Dropout: the elements of a sample are dropped, or kept and divided by the share that is kept.
#
# Design: the mask is computed anew in the backward pass, which is the same loop as the forward pass: it reads g where
# that reads x. docs/understand/decisions/0015-dropout.md has the reasons.
from libc.stdint cimport uint32_t, uint64_t

from cgraph._kernels.common.guard cimport require
from cgraph._kernels.common.operands cimport (
    Input, Output, data_of, get, get_lanes, grad_of, gradient, input_lane, input_of, move, output, output_lane,
    overwritten, put, put_lanes
)
from cgraph._kernels.common.philox cimport philox_expand, philox_keys, v_keep_elements, v_keep_lanes, v_kept
from cgraph._kernels.common.simd cimport V_LANES, real, v_mul, v_set1, vec
from cgraph._kernels.runtime.step cimport Context, Operand, OperandFields, SampleCounter, Step


# d_i = c x_i where element i is kept, else 0;   dx_i += c g_i where element i is kept

cdef void drop(Input x, Output d, Py_ssize_t n, SampleCounter masks, uint64_t sample) noexcept nogil:
    """Computes n elements of one sample."""
    cdef vec keep[8]
    cdef vec factor = v_set1(<real>masks.factor)
    cdef uint32_t threshold = masks.threshold
    cdef philox_keys keys
    cdef Py_ssize_t i = 0, k
    philox_expand(&keys, masks.seed)
    while i < n:
        v_keep_elements(keep, &keys, sample, i // 8, threshold)
        for k in range(8):
            if i < n:
                put(d, i, n, v_kept(keep[k], v_mul(factor, get(x, i, n))))
            i += V_LANES


cdef void drop_lanes(
    Input x, Output d, Py_ssize_t n, Py_ssize_t lanes, SampleCounter masks, uint64_t first
) noexcept nogil:
    """Computes n elements of `lanes` samples side by side, the first of which has the number `first`."""
    cdef vec keep[8]
    cdef vec factor = v_set1(<real>masks.factor)
    cdef uint32_t threshold = masks.threshold
    cdef philox_keys keys
    cdef Py_ssize_t i, k, lane
    philox_expand(&keys, masks.seed)
    for i in range(0, n, 8):
        lane = 0
        while lane < lanes:
            v_keep_lanes(keep, &keys, first + <uint64_t>lane, i // 8, threshold)
            for k in range(min(8, n - i)):
                put_lanes(
                    output_lane(d, lane), i + k, v_kept(keep[k], v_mul(factor, get_lanes(input_lane(x, lane), i + k)))
                )
            lane += V_LANES


def dropout(SampleCounter masks not None, const real[:] x, real[:] d, bint accumulate, /):
    """Computes d of x, or adds dx of g, as `accumulate` says, for the sample that the node holds."""
    cdef Output to = overwritten(d)
    require(x.shape[0] == d.shape[0])
    to.accumulate = accumulate
    with nogil:
        if masks.active:
            drop(input_of(x), to, d.shape[0], masks, masks.number)
        else:
            move(input_of(x), to, d.shape[0])


cdef class DropoutStep(Step):
    """The step of a Dropout for one sample or, with several `lanes`, which fill whole vectors, for as many samples."""
    cdef SampleCounter masks
    cdef Py_ssize_t n, lanes
    cdef OperandFields x, d

    def __init__(
        self, SampleCounter masks not None, Py_ssize_t n, Py_ssize_t lanes, Operand x not None, Operand d not None
    ):
        self.masks, self.lanes, self.x, self.d = masks, lanes, x.fields, d.fields
        self.n = whole_vectors(n) if x.fields.stride == d.fields.stride == 1 else n

    cdef void forward(self, Context *context) noexcept nogil:
        self.apply(context, data_of(context, &self.x), output(context, &self.d))

    cdef void backward(self, Context *context) noexcept nogil:
        cdef Output dx = gradient(context, &self.x)
        if dx.start != NULL:
            self.apply(context, grad_of(context, &self.d), dx)

    cdef void apply(self, Context *context, Input x, Output d) noexcept nogil:
        cdef uint64_t sample = self.masks.base + <uint64_t>context.sample
        if self.lanes > 1 and self.masks.active:
            drop_lanes(x, d, self.n, self.lanes, self.masks, sample)
        elif self.masks.active:
            drop(x, d, self.n, self.masks, sample)
        else:
            if self.lanes > 1:
                x.stride = d.stride = 1
            move(x, d, self.n * self.lanes)
