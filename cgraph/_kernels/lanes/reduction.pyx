"""Dots, MSE, CEE, Norm2 and Softmax over samples side by side.

Each element of a node is a row of `lanes` reals, one for each sample. x, y: the inputs, of m elements; d: the output;
g: the gradient with respect to it; dx, dy: the inputs' gradients, which may be one buffer.

Design: a kernel reduces one vector of lanes, so that each lane sums for its own sample and no sum crosses lanes; the
step calls the kernel for one vector after the other. Sums are cut into blocks of BLOCK terms, which bounds the rounding
error as in the kernels of one sample. CEE and Norm2 run lane by lane where logarithms or roots are scalar. Lanes
without a sample are computed with the others and never read.
"""
from cgraph._kernels.common.operands cimport (
    Input, Output, data_of, get_lanes, grad_of, gradient, output, put_lanes, input_lane, output_lane
)
from cgraph._kernels.common.reductions cimport (
    BLOCK, blocks, cee, norm_of, norm_share, prediction_share, target_gradient
)
from cgraph._kernels.common.simd cimport (
    V_LANES, r_exp, real, v_add, v_div, v_fma, v_max, v_mul, v_set1, v_store, v_sub, vec
)
from cgraph._kernels.runtime.step cimport Context, Operand, Step, operand


# Each kernel works on one vector of lanes. The formulas are those of nodes/reduction.pyx.

# d = Σ x_i y_i;   dx_i += y_i g,  dy_i += x_i g

cdef vec dots(Input x, Input y, Py_ssize_t m) noexcept nogil:
    cdef Py_ssize_t block, i
    cdef vec total = v_set1(0), part
    for block in range(blocks(m)):
        part = v_set1(0)
        for i in range(block * BLOCK, min((block + 1) * BLOCK, m)):
            part = v_fma(get_lanes(x, i), get_lanes(y, i), part)
        total = v_add(total, part)
    return total


cdef void dots_gradient(Input y, vec g, Output dx, Py_ssize_t m) noexcept nogil:
    """Computes dx of y and, called with x for y, dy."""
    cdef Py_ssize_t i
    for i in range(m):
        put_lanes(dx, i, v_mul(get_lanes(y, i), g))


# d = (1/m) Σ (x_i - y_i)²;   dx_i += 2 (x_i - y_i) g / m,  dy_i += 2 (y_i - x_i) g / m

cdef vec mse(Input x, Input y, Py_ssize_t m) noexcept nogil:
    cdef Py_ssize_t block, i
    cdef vec total = v_set1(0), part, difference
    for block in range(blocks(m)):
        part = v_set1(0)
        for i in range(block * BLOCK, min((block + 1) * BLOCK, m)):
            difference = v_sub(get_lanes(x, i), get_lanes(y, i))
            part = v_fma(difference, difference, part)
        total = v_add(total, part)
    return v_div(total, v_set1(<real>m))


cdef void mse_gradient(Input x, Input y, vec g, Output dx, Py_ssize_t m) noexcept nogil:
    """Computes dx of x and y and, called with y and x, dy."""
    cdef Py_ssize_t i
    cdef vec scale = v_div(v_add(g, g), v_set1(<real>m))
    for i in range(m):
        put_lanes(dx, i, v_mul(v_sub(get_lanes(x, i), get_lanes(y, i)), scale))


# CEE:   the formulas of common/reductions.pxd, lane by lane: most targets are 0, and need no logarithm

cdef void cees(Input x, Input y, Output d, Py_ssize_t m) noexcept nogil:
    cdef Py_ssize_t lane
    for lane in range(V_LANES):
        d.start[lane] = cee(input_lane(x, lane), input_lane(y, lane), m)


cdef void prediction_gradients(Input x, Input y, vec g, Output dx, Py_ssize_t m) noexcept nogil:
    cdef Py_ssize_t i
    cdef vec minus_g = v_mul(v_set1(-1), g)
    for i in range(m):
        put_lanes(dx, i, prediction_share(get_lanes(x, i), get_lanes(y, i), minus_g))


cdef void target_gradients(Input x, Input g, Output dy, Py_ssize_t m) noexcept nogil:
    cdef Py_ssize_t lane
    for lane in range(V_LANES):
        target_gradient(input_lane(x, lane), g.start[lane], output_lane(dy, lane), m)


# Norm2:   the formulas of common/reductions.pxd

cdef void norms(Input x, Output d, Py_ssize_t m) noexcept nogil:
    cdef Py_ssize_t lane
    put_lanes(d, 0, dots(x, x, m))
    for lane in range(V_LANES):
        d.start[lane] = norm_of(d.start[lane], input_lane(x, lane), m)


cdef void norm_gradients(Input x, vec d, vec g, Output dx, Py_ssize_t m) noexcept nogil:
    cdef Py_ssize_t i
    for i in range(m):
        put_lanes(dx, i, norm_share(get_lanes(x, i), d, g))


# d_i = exp(x_i - max) / Σ_j exp(x_j - max);   dx_i += d_i (g_i - Σ_j d_j g_j)

cdef void powers(Input x, vec maximum, Output d, Py_ssize_t m) noexcept nogil:
    """Computes d_i = exp(x_i - maximum)."""
    cdef Py_ssize_t i, lane
    cdef real *row = d.start
    for i in range(m):
        v_store(row, v_sub(get_lanes(x, i), maximum))
        for lane in range(V_LANES):
            row[lane] = r_exp(row[lane])
        row += d.stride


cdef void softmax(Input x, Output d, Py_ssize_t m) noexcept nogil:
    cdef Input power = Input(d.start, d.stride)
    cdef Py_ssize_t block, i
    cdef vec maximum = get_lanes(x, 0), total = v_set1(0), part
    for i in range(1, m):
        maximum = v_max(maximum, get_lanes(x, i))
    powers(x, maximum, d, m)
    for block in range(blocks(m)):
        part = v_set1(0)
        for i in range(block * BLOCK, min((block + 1) * BLOCK, m)):
            part = v_add(part, get_lanes(power, i))
        total = v_add(total, part)
    for i in range(m):
        put_lanes(d, i, v_div(get_lanes(power, i), total))


cdef void softmax_gradient(Input d, Input g, Output dx, Py_ssize_t m) noexcept nogil:
    cdef Py_ssize_t i
    cdef vec mean = dots(d, g, m)
    for i in range(m):
        put_lanes(dx, i, v_mul(get_lanes(d, i), v_sub(get_lanes(g, i), mean)))


# The step of a Graph

cdef enum Op:
    DOTS, MSE, CEE, NORM2, SOFTMAX

OPS = {"Dots": DOTS, "MSE": MSE, "CEE": CEE, "Norm2": NORM2, "Softmax": SOFTMAX}


# The operands of a backward kernel: one vector of lanes of each input, of the output and of its gradient
cdef struct Operands:
    Input x, y, d, g
    Py_ssize_t m


cdef class LaneReductionStep(Step):
    """Runs one of the reductions above over one node."""
    cdef Op op
    cdef Py_ssize_t m, lanes
    cdef Operand x, y, d

    def __init__(self, str op, Py_ssize_t m, Py_ssize_t lanes, inputs, d):
        """inputs, d: the fields of `_lowering.buffers.Operand`."""
        self.op = OPS[op]
        self.m, self.lanes = m, lanes
        self.x, self.y, self.d = operand(inputs[0]), operand(inputs[len(inputs) - 1]), operand(d)

    cdef void forward(self, Context *context) noexcept nogil:
        cdef Input x = data_of(context, &self.x), y = data_of(context, &self.y)
        cdef Output d = output(context, &self.d)
        cdef Py_ssize_t lane = 0
        while lane < self.lanes:
            self.reduce(input_lane(x, lane), input_lane(y, lane), output_lane(d, lane))
            lane += V_LANES

    cdef void reduce(self, Input x, Input y, Output d) noexcept nogil:
        if self.op == SOFTMAX:
            softmax(x, d, self.m)
        elif self.op == DOTS:
            put_lanes(d, 0, dots(x, y, self.m))
        elif self.op == MSE:
            put_lanes(d, 0, mse(x, y, self.m))
        elif self.op == CEE:
            cees(x, y, d, self.m)
        else:
            norms(x, d, self.m)

    cdef void backward(self, Context *context) noexcept nogil:
        # dx before dy: they may be one buffer, which dx then overwrites and dy adds to.
        cdef Output dx = gradient(context, &self.x), dy = gradient(context, &self.y)
        cdef Input x = data_of(context, &self.x), y = data_of(context, &self.y)
        cdef Input d = data_of(context, &self.d), g = grad_of(context, &self.d)
        cdef Operands v
        cdef Py_ssize_t lane = 0
        while lane < self.lanes:
            v = Operands(
                input_lane(x, lane), input_lane(y, lane), input_lane(d, lane), input_lane(g, lane), self.m
            )
            if dx.start != NULL:
                self.first_gradient(v, output_lane(dx, lane))
            if dy.start != NULL:
                self.second_gradient(v, output_lane(dy, lane))
            lane += V_LANES

    cdef void first_gradient(self, Operands v, Output dx) noexcept nogil:
        if self.op == SOFTMAX:
            softmax_gradient(v.d, v.g, dx, v.m)
        elif self.op == DOTS:
            dots_gradient(v.y, get_lanes(v.g, 0), dx, v.m)
        elif self.op == MSE:
            mse_gradient(v.x, v.y, get_lanes(v.g, 0), dx, v.m)
        elif self.op == CEE:
            prediction_gradients(v.x, v.y, get_lanes(v.g, 0), dx, v.m)
        else:
            norm_gradients(v.x, get_lanes(v.d, 0), get_lanes(v.g, 0), dx, v.m)

    cdef void second_gradient(self, Operands v, Output dy) noexcept nogil:
        """Computes the gradient of the second input, of reductions that have one."""
        if self.op == DOTS:
            dots_gradient(v.x, get_lanes(v.g, 0), dy, v.m)
        elif self.op == MSE:
            mse_gradient(v.y, v.x, get_lanes(v.g, 0), dy, v.m)
        elif self.op == CEE:
            target_gradients(v.x, v.g, dy, v.m)
