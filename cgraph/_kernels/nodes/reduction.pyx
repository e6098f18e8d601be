"""Kernels that reduce over the elements of their inputs: Dots, MSE, CEE, Norm2, Softmax.

x, y: inputs of m elements; d: the output; g: the gradient with respect to it; dx, dy: the inputs' gradients. Operands
may be strided, and dx and dy may be one buffer. Scalars are operands of one element. On the Node path backward ADDS
into dx and dy. Within a block of a sum, products are summed lane by lane, so that results do not depend on strides.
"""
from cgraph._kernels.common.guard cimport require
from cgraph._kernels.common.operands cimport (
    Input, Output, added_to, data_of, get, get1, grad_of, gradient, input_of, output, overwritten, put, put1
)
from cgraph._kernels.common.reductions cimport (
    BLOCK, blocks, cee, norm_of, norm_share, prediction_share, target_gradient
)
from cgraph._kernels.common.simd cimport V_LANES, r_exp, real, v_fma, v_hsum, v_mul, v_set1, v_sub, vec
from cgraph._kernels.runtime.step cimport Context, Operand, Step, operand


# d = Σ x_i y_i;   dx_i += y_i g,  dy_i += x_i g

cdef real dots(Input x, Input y, Py_ssize_t m) noexcept nogil:
    cdef Py_ssize_t block, i
    cdef real total = 0
    cdef vec part
    for block in range(blocks(m)):
        part = v_set1(0)
        i = block * BLOCK
        while i < min((block + 1) * BLOCK, m):
            part = v_fma(get(x, i, m), get(y, i, m), part)
            i += V_LANES
        total += v_hsum(part)
    return total


cdef void dots_gradient(Input y, real g, Output dx, Py_ssize_t m) noexcept nogil:
    """dx; with x instead of y, the kernel computes dy."""
    cdef Py_ssize_t i = 0
    while i < m:
        put(dx, i, m, v_mul(get(y, i, m), v_set1(g)))
        i += V_LANES


def dots_forward(const real[:] x, const real[:] y, real[:] d):
    require(x.shape[0] == y.shape[0] and d.shape[0] == 1)
    with nogil:
        d[0] = dots(input_of(x), input_of(y), x.shape[0])


def dots_backward(const real[:] x, const real[:] y, const real[:] g, real[:] dx, real[:] dy):
    require(x.shape[0] == y.shape[0] == dx.shape[0] == dy.shape[0] and g.shape[0] == 1)
    with nogil:
        dots_gradient(input_of(y), g[0], added_to(dx), x.shape[0])
        dots_gradient(input_of(x), g[0], added_to(dy), x.shape[0])


# d = (1/m) Σ (x_i - y_i)²;   dx_i += 2 (x_i - y_i) g / m,  dy_i += 2 (y_i - x_i) g / m

cdef real mse(Input x, Input y, Py_ssize_t m) noexcept nogil:
    cdef Py_ssize_t block, i
    cdef real total = 0
    cdef vec part, difference
    for block in range(blocks(m)):
        part = v_set1(0)
        i = block * BLOCK
        while i < min((block + 1) * BLOCK, m):
            difference = v_sub(get(x, i, m), get(y, i, m))
            part = v_fma(difference, difference, part)
            i += V_LANES
        total += v_hsum(part)
    return total / <real>m


cdef void mse_gradient(Input x, Input y, real g, Output dx, Py_ssize_t m) noexcept nogil:
    """dx; with x and y exchanged, the kernel computes dy."""
    cdef Py_ssize_t i = 0
    cdef vec scale = v_set1(2 * g / <real>m)
    while i < m:
        put(dx, i, m, v_mul(v_sub(get(x, i, m), get(y, i, m)), scale))
        i += V_LANES


def mse_forward(const real[:] x, const real[:] y, real[:] d):
    require(x.shape[0] == y.shape[0] and d.shape[0] == 1)
    with nogil:
        d[0] = mse(input_of(x), input_of(y), x.shape[0])


def mse_backward(const real[:] x, const real[:] y, const real[:] g, real[:] dx, real[:] dy):
    require(x.shape[0] == y.shape[0] == dx.shape[0] == dy.shape[0] and g.shape[0] == 1)
    with nogil:
        mse_gradient(input_of(x), input_of(y), g[0], added_to(dx), x.shape[0])
        mse_gradient(input_of(y), input_of(x), g[0], added_to(dy), x.shape[0])


# d = -Σ y_i ln x̂_i over y_i ≠ 0, x̂ = max(x, tiny);   dx_i += -(y_i g) / x̂_i where y_i ≠ 0,  dy_i += -ln(x̂_i) g

cdef void prediction_gradient(Input x, Input y, real g, Output dx, Py_ssize_t m) noexcept nogil:
    cdef Py_ssize_t i = 0
    while i < m:
        put(dx, i, m, prediction_share(get(x, i, m), get(y, i, m), v_set1(-g)))
        i += V_LANES


def cee_forward(const real[:] x, const real[:] y, real[:] d):
    require(x.shape[0] == y.shape[0] and d.shape[0] == 1)
    with nogil:
        d[0] = cee(input_of(x), input_of(y), x.shape[0])


def cee_backward(const real[:] x, const real[:] y, const real[:] g, real[:] dx, real[:] dy):
    require(x.shape[0] == y.shape[0] == dx.shape[0] == dy.shape[0] and g.shape[0] == 1)
    with nogil:
        prediction_gradient(input_of(x), input_of(y), g[0], added_to(dx), x.shape[0])
        target_gradient(input_of(x), g[0], added_to(dy), x.shape[0])


# d = sqrt(Σ x_i²);   dx_i += (x_i / d) g,  and nothing where d = 0

cdef real norm2(Input x, Py_ssize_t m) noexcept nogil:
    return norm_of(dots(x, x, m), x, m)


cdef void norm2_gradient(Input x, real d, real g, Output dx, Py_ssize_t m) noexcept nogil:
    cdef Py_ssize_t i = 0
    while i < m:
        put(dx, i, m, norm_share(get(x, i, m), v_set1(d), v_set1(g)))
        i += V_LANES


def norm2_forward(const real[:] x, real[:] d):
    require(d.shape[0] == 1)
    with nogil:
        d[0] = norm2(input_of(x), x.shape[0])


def norm2_backward(const real[:] x, const real[:] d, const real[:] g, real[:] dx):
    require(x.shape[0] == dx.shape[0] and d.shape[0] == 1 and g.shape[0] == 1)
    with nogil:
        norm2_gradient(input_of(x), d[0], g[0], added_to(dx), x.shape[0])


# d_i = exp(x_i - max) / Σ_j exp(x_j - max);   dx_i += d_i (g_i - Σ_j d_j g_j)

cdef void softmax(Input x, Output d, Py_ssize_t m) noexcept nogil:
    cdef Py_ssize_t block, i
    cdef real top = x.start[0], total = 0, part, power
    for i in range(1, m):
        if get1(x, i) > top:
            top = get1(x, i)
    for block in range(blocks(m)):
        part = 0
        for i in range(block * BLOCK, min((block + 1) * BLOCK, m)):
            power = r_exp(get1(x, i) - top)
            put1(d, i, power)
            part += power
        total += part
    for i in range(m):
        d.start[i * d.stride] /= total


cdef void softmax_gradient(Input d, Input g, Output dx, Py_ssize_t m) noexcept nogil:
    cdef Py_ssize_t i = 0
    cdef vec mean = v_set1(dots(d, g, m))
    while i < m:
        put(dx, i, m, v_mul(get(d, i, m), v_sub(get(g, i, m), mean)))
        i += V_LANES


def softmax_forward(const real[:] x, real[:] d):
    require(0 < x.shape[0] == d.shape[0])
    with nogil:
        softmax(input_of(x), overwritten(d), d.shape[0])


def softmax_backward(const real[:] d, const real[:] g, real[:] dx):
    require(d.shape[0] == g.shape[0] == dx.shape[0])
    with nogil:
        softmax_gradient(input_of(d), input_of(g), added_to(dx), d.shape[0])


# The steps of a Graph

cdef enum Op:
    DOTS, MSE, CEE, NORM2, SOFTMAX

OPS = {"Dots": DOTS, "MSE": MSE, "CEE": CEE, "Norm2": NORM2, "Softmax": SOFTMAX}


cdef class ReductionStep(Step):
    """The step of one reducing node, for one sample."""
    cdef Op op
    cdef Py_ssize_t m
    cdef Operand x, y, d

    def __init__(self, str op, Py_ssize_t m, inputs, d):
        """inputs, d: the fields of a `_lowering.buffers.Operand` for each input and for the output."""
        self.op = OPS[op]
        self.m = m
        self.x, self.y, self.d = operand(inputs[0]), operand(inputs[len(inputs) - 1]), operand(d)

    cdef void forward(self, Context *context) noexcept nogil:
        cdef Input x = data_of(context, &self.x), y = data_of(context, &self.y)
        cdef Output d = output(context, &self.d)
        if self.op == SOFTMAX:
            softmax(x, d, self.m)
        elif self.op == DOTS:
            d.start[0] = dots(x, y, self.m)
        elif self.op == MSE:
            d.start[0] = mse(x, y, self.m)
        elif self.op == CEE:
            d.start[0] = cee(x, y, self.m)
        else:
            d.start[0] = norm2(x, self.m)

    cdef void backward(self, Context *context) noexcept nogil:
        # All of dx before dy: both may be one buffer, which dx then overwrites and dy adds to.
        if self.x.requires_grad[context.parameters_only]:
            self.first_gradient(context, gradient(context, &self.x))
        if self.y.requires_grad[context.parameters_only]:
            self.second_gradient(context, gradient(context, &self.y))

    cdef void first_gradient(self, Context *context, Output dx) noexcept nogil:
        """Computes the gradient of the first input."""
        cdef Input x = data_of(context, &self.x), y = data_of(context, &self.y)
        cdef Input d = data_of(context, &self.d), g = grad_of(context, &self.d)
        if self.op == SOFTMAX:
            softmax_gradient(d, g, dx, self.m)
        elif self.op == DOTS:
            dots_gradient(y, g.start[0], dx, self.m)
        elif self.op == MSE:
            mse_gradient(x, y, g.start[0], dx, self.m)
        elif self.op == CEE:
            prediction_gradient(x, y, g.start[0], dx, self.m)
        else:
            norm2_gradient(x, d.start[0], g.start[0], dx, self.m)

    cdef void second_gradient(self, Context *context, Output dy) noexcept nogil:
        """Computes the gradient of the second input; Norm2 and Softmax have none."""
        cdef Input x = data_of(context, &self.x), y = data_of(context, &self.y), g = grad_of(context, &self.d)
        if self.op == DOTS:
            dots_gradient(x, g.start[0], dy, self.m)
        elif self.op == MSE:
            mse_gradient(y, x, g.start[0], dy, self.m)
        elif self.op == CEE:
            target_gradient(x, g.start[0], dy, self.m)
