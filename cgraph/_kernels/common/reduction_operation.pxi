# The objects of reductions: what the Node path computes with, and what makes the steps of a Graph.

from cgraph._kernels.common.arrays cimport take_input, take_output
from cgraph._kernels.common.guard cimport require
from cgraph._kernels.common.operands cimport Input, Output, data_of, grad_of, gradient, output
from cgraph._kernels.common.simd cimport V_LANES, real
from cgraph._kernels.runtime.step cimport Context, Operand, OperandFields, Step


# What formulas read: the data of the inputs, the node's own data and its gradient, and the number of the node.
# room: to how many elements a formula may write that has one for each of m; those behind the last belong to no other.
cdef struct Sources:
    Input x, y, z, d, g
    real constant
    Py_ssize_t room


# Writes, or adds, an output or the gradient of an input; m: the number of elements of the larger of x and d.
ctypedef void (*Formula)(const Sources *v, Output d, Py_ssize_t m, bint over_lanes) noexcept nogil


# How many elements the inputs and the output of a reduction have: m, or one.
cdef enum:
    TO_ONE = 0
    TO_ALL = 1
    FROM_ONE = 2


cdef inline void exchange(Sources *v, Py_ssize_t k) noexcept nogil:
    """Exchanges x and input k."""
    cdef Input x = v.x
    if k == 1:
        v.x, v.y = v.y, x
    elif k == 2:
        v.x, v.z = v.z, x


cdef inline void go_on(Sources *v) noexcept nogil:
    """Goes on to the next vector of lanes."""
    v.x.start += V_LANES
    v.y.start += V_LANES
    v.z.start += V_LANES
    v.d.start += V_LANES
    v.g.start += V_LANES


cdef class Reduction:
    """A reduction of one to three inputs of equal size.

    The share of an input is the gradient that it gets. It finds this input in x, which is exchanged with it: so one
    formula serves both inputs of an operation that is symmetric in them.
    """
    cdef Formula value
    cdef Formula shares[3]
    cdef int sizes
    cdef real constant

    def of(self, real constant=0):
        """Returns the operation with the number of a node."""
        cdef Reduction operation = Reduction.__new__(Reduction)
        cdef Py_ssize_t k
        operation.value, operation.sizes, operation.constant = self.value, self.sizes, constant
        for k in range(3):
            operation.shares[k] = self.shares[k]
        return operation

    cdef Py_ssize_t take(self, list xs, Sources *v, Py_ssize_t of_output) except -1:
        """Finds the inputs, and returns m."""
        cdef Py_ssize_t size = take_input(xs[0], &v.x), count = len(xs)
        v.y = v.z = v.x
        require(count < 2 or take_input(xs[1], &v.y) == size)
        require(count < 3 or take_input(xs[2], &v.z) == size)
        require(size > 0 and (size == 1 or self.sizes != FROM_ONE))
        require(of_output == size if self.sizes == TO_ALL else of_output == 1 or self.sizes == FROM_ONE)
        v.constant, v.room = self.constant, of_output
        return max(size, of_output)

    def forward(self, list xs, d):
        cdef Sources v
        cdef Output to
        cdef Py_ssize_t m = self.take(xs, &v, take_output(d, False, &to))
        with nogil:
            self.value(&v, to, m, False)

    def backward(self, list xs, d, g, list dxs):
        cdef Sources v
        cdef Output to
        cdef Py_ssize_t m = self.take(xs, &v, take_input(d, &v.d)), k
        require(take_input(g, &v.g) == v.room and len(dxs) == len(xs))
        for k in range(len(dxs)):
            require(take_output(dxs[k], True, &to) == (1 if self.sizes == FROM_ONE else m))
            exchange(&v, k)
            with nogil:
                self.shares[k](&v, to, m, False)
            exchange(&v, k)

    def step(self, Py_ssize_t m, Py_ssize_t lanes, inputs, Operand d not None):
        """Returns a step; lanes: 1 for one sample; inputs: an Operand for each input."""
        cdef ReductionStep step = ReductionStep.__new__(ReductionStep)
        cdef Py_ssize_t k
        step.operation, step.m, step.lanes, step.count, step.d = self, m, lanes, len(inputs), d.fields
        for k in range(3):
            step.inputs[k] = (<Operand?>inputs[min(k, step.count - 1)]).fields
        step.room = m
        if lanes == 1 and step.inputs[0].stride == d.fields.stride == 1:
            step.room = (m + V_LANES - 1) // V_LANES * V_LANES
        return step


cdef Reduction reduction(
    int sizes, Formula value, Formula share_x, Formula share_y=NULL, Formula share_z=NULL
):
    cdef Reduction operation = Reduction.__new__(Reduction)
    operation.value, operation.sizes = value, sizes
    operation.shares[0], operation.shares[1], operation.shares[2] = share_x, share_y, share_z
    return operation


cdef class ReductionStep(Step):
    """The step of a reduction, for one sample or, vector by vector, over lanes."""
    cdef Reduction operation
    cdef Py_ssize_t m, lanes, count, room
    cdef OperandFields inputs[3]
    cdef OperandFields d

    cdef Sources sources(self, Context *context) noexcept nogil:
        return Sources(
            data_of(context, &self.inputs[0]), data_of(context, &self.inputs[1]), data_of(context, &self.inputs[2]),
            data_of(context, &self.d), grad_of(context, &self.d), self.operation.constant, self.room
        )

    cdef void run(self, Formula formula, Sources *v, Output to) noexcept nogil:
        cdef Py_ssize_t lane = 0
        while lane < self.lanes:
            formula(v, to, self.m, self.lanes > 1)
            go_on(v)
            to.start += V_LANES
            lane += V_LANES

    cdef void forward(self, Context *context) noexcept nogil:
        cdef Sources v = self.sources(context)
        self.run(self.operation.value, &v, output(context, &self.d))

    cdef void backward(self, Context *context) noexcept nogil:
        # dx before dy: both may be one buffer, which dx then overwrites and dy adds to.
        cdef Sources v
        cdef Output to
        cdef Py_ssize_t k
        for k in range(self.count):
            to = gradient(context, &self.inputs[k])
            if to.start != NULL:
                v = self.sources(context)
                exchange(&v, k)
                self.run(self.operation.shares[k], &v, to)
