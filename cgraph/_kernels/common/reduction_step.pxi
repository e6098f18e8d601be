# The base of the steps of reductions.

from cgraph._kernels.common.operands cimport (
    Input, Operands, Output, data_of, gradient, input_lane, operands, output, output_lane
)
from cgraph._kernels.common.simd cimport V_LANES
from cgraph._kernels.runtime.step cimport Context, Operand, OperandFields, Step


cdef class ReductionStep(Step):
    """The base of the steps of reducing nodes, for one sample or, vector by vector, over lanes.

    The step of an operation stands beside its kernels. For an operation of one input, y is x and has no gradient.
    """
    cdef Py_ssize_t m, lanes
    cdef bint over_lanes
    cdef OperandFields x, y, d

    def __init__(self, Py_ssize_t m, Py_ssize_t lanes, inputs, Operand d not None):
        """lanes: 1 for one sample; inputs: an Operand for each input."""
        self.m, self.lanes, self.over_lanes = m, lanes, lanes > 1
        self.x, self.y, self.d = (<Operand?>inputs[0]).fields, (<Operand?>inputs[len(inputs) - 1]).fields, d.fields

    cdef void forward(self, Context *context) noexcept nogil:
        cdef Input x = data_of(context, &self.x), y = data_of(context, &self.y)
        cdef Output d = output(context, &self.d)
        cdef Py_ssize_t lane = 0
        while lane < self.lanes:
            self.compute(input_lane(x, lane), input_lane(y, lane), output_lane(d, lane))
            lane += V_LANES

    cdef void backward(self, Context *context) noexcept nogil:
        # dx before dy: both may be one buffer, which dx then overwrites and dy adds to.
        cdef Output dx = gradient(context, &self.x), dy = gradient(context, &self.y)
        cdef Operands all = operands(context, &self.x, &self.y, &self.d), v
        cdef Py_ssize_t lane = 0
        while lane < self.lanes:
            v = Operands(
                input_lane(all.x, lane), input_lane(all.y, lane), input_lane(all.d, lane), input_lane(all.g, lane)
            )
            if dx.start != NULL:
                self.gradient_x(&v, output_lane(dx, lane))
            if dy.start != NULL:
                self.gradient_y(&v, output_lane(dy, lane))
            lane += V_LANES

    cdef void compute(self, Input x, Input y, Output d) noexcept nogil:
        """Writes the output."""

    cdef void gradient_x(self, const Operands *v, Output dx) noexcept nogil:
        """Writes, or adds, the gradient of the first input."""

    cdef void gradient_y(self, const Operands *v, Output dy) noexcept nogil:
        """Writes, or adds, the gradient of the second input; operations of one input have none."""
