# Operands of the kernels, which both paths share: views of the arrays of nodes, or buffers in the arena of a Graph.

from libc.string cimport memcpy, memset

from cgraph._kernels.common.simd cimport V_LANES, real, v_add, v_gather, v_load, v_scatter, v_store, vec
from cgraph._kernels.runtime.step cimport Context, LearningStep, OperandFields


cdef struct Input:
    const real *start
    Py_ssize_t stride   # from one element to the next, in elements


# An output of a kernel. The address of a gradient that is not required is NULL.
cdef struct Output:
    real *start
    Py_ssize_t stride
    bint accumulate     # the kernel adds to the elements, instead of overwriting them


cdef inline Input input_of(const real[:] x) noexcept nogil:
    return Input(&x[0], x.strides[0] // <Py_ssize_t>sizeof(real))


cdef inline Output overwritten(real[:] d) noexcept nogil:
    return Output(&d[0], d.strides[0] // <Py_ssize_t>sizeof(real), False)


cdef inline Output added_to(real[:] dx) noexcept nogil:
    return Output(&dx[0], dx.strides[0] // <Py_ssize_t>sizeof(real), True)


cdef inline vec get(Input x, Py_ssize_t i, Py_ssize_t n) noexcept nogil:
    """Returns the vector of elements i, i + 1, …, with zeros from element n on."""
    if x.stride == 1 and i + V_LANES <= n:
        return v_load(x.start + i)
    return v_gather(x.start + i * x.stride, x.stride, n - i)


cdef inline void put(Output d, Py_ssize_t i, Py_ssize_t n, vec v) noexcept nogil:
    """Writes a vector to elements i, i + 1, … below n, or adds it."""
    if d.stride == 1 and i + V_LANES <= n:
        v_store(d.start + i, v_add(v_load(d.start + i), v) if d.accumulate else v)
    else:
        if d.accumulate:
            v = v_add(v_gather(d.start + i * d.stride, d.stride, n - i), v)
        v_scatter(d.start + i * d.stride, d.stride, n - i, v)


cdef inline real get1(Input x, Py_ssize_t i) noexcept nogil:
    return x.start[i * x.stride]


cdef inline void put1(Output d, Py_ssize_t i, real value) noexcept nogil:
    """Writes, or adds, element i."""
    if d.accumulate:
        d.start[i * d.stride] += value
    else:
        d.start[i * d.stride] = value


cdef inline void move(Input x, Output d, Py_ssize_t n) noexcept nogil:
    """Copies n elements from x to d, or adds them."""
    cdef Py_ssize_t i
    if x.stride != 1 or d.stride != 1:
        for i in range(n):
            put1(d, i, get1(x, i))
    elif d.accumulate:     # a loop with stride 1, for the compiler to vectorise
        for i in range(n):
            d.start[i] += x.start[i]
    else:
        memcpy(d.start, x.start, n * sizeof(real))


# Gradient descent:   w_i -= eta dw_i

cdef inline void descend(real *w, const real *dw, real eta, Py_ssize_t n) noexcept nogil:
    cdef Py_ssize_t i
    for i in range(n):
        w[i] -= eta * dw[i]


cdef inline void descend_learning(
    LearningStep step, const Context *context, Py_ssize_t offset, Py_ssize_t weights, Py_ssize_t biases
) noexcept nogil:
    """Applies gradient descent to those that learn of `weights` weights and the `biases` elements behind them.

    offset: that of the first weight.
    """
    cdef Py_ssize_t first = offset if step.weights_learn else offset + weights
    cdef Py_ssize_t end = offset + weights + (biases if step.biases_learn else 0)
    descend(<real *>context.parameters + first, <real *>context.parameter_grads + first, <real>context.eta, end - first)


cdef inline void clear_learning(LearningStep step, real *dw, Py_ssize_t weights, Py_ssize_t biases) noexcept nogil:
    """Sets to 0 the gradient sums of those that learn of `weights` weights and the `biases` elements behind them."""
    cdef Py_ssize_t first = 0 if step.weights_learn else weights
    cdef Py_ssize_t end = weights + (biases if step.biases_learn else 0)
    memset(dw + first, 0, (end - first) * sizeof(real))


# Lanes or channels side by side: each element of an operand is a row of them, read and written by vectors.

cdef inline vec get_lanes(Input x, Py_ssize_t i) noexcept nogil:
    """Returns the first vector of the row at element i."""
    return v_load(x.start + i * x.stride)


cdef inline void put_lanes(Output d, Py_ssize_t i, vec v) noexcept nogil:
    """Writes the first vector of the row at element i, or adds to it."""
    cdef real *row = d.start + i * d.stride
    v_store(row, v_add(v_load(row), v) if d.accumulate else v)


cdef inline Input input_lane(Input x, Py_ssize_t lane) noexcept nogil:
    """Returns x without the first `lane` lanes or channels of each row."""
    return Input(x.start + lane, x.stride)


cdef inline Output output_lane(Output d, Py_ssize_t lane) noexcept nogil:
    return Output(d.start + lane, d.stride, d.accumulate)


cdef inline Input input_from(Input x, Py_ssize_t i) noexcept nogil:
    """Returns x without its first i elements."""
    return Input(x.start + i * x.stride, x.stride)


cdef inline Output output_from(Output d, Py_ssize_t i) noexcept nogil:
    return Output(d.start + i * d.stride, d.stride, d.accumulate)


# Operands of a step, which are offsets, as addresses in the memory of a context.

cdef inline Input data_of(Context *context, OperandFields *p) noexcept nogil:
    return Input(<real *>context.data + p.offset, p.stride)


cdef inline Input grad_of(Context *context, OperandFields *p) noexcept nogil:
    return Input(<real *>context.grad + p.offset, p.stride)


cdef inline Output output(Context *context, OperandFields *p) noexcept nogil:
    return Output(<real *>context.data + p.offset, p.stride, False)


cdef inline bint requires_grad(Context *context, OperandFields *p) noexcept nogil:
    return p.requires_grad[context.parameters_only]


cdef inline Output gradient(Context *context, OperandFields *p) noexcept nogil:
    """Returns the gradient of an input of a step as an output; its address is NULL if it is not required."""
    if not requires_grad(context, p):
        return Output(NULL, p.stride, False)
    return Output(<real *>context.grad + p.offset, p.stride, p.accumulate)


# The operands that the derivatives of a node may read: data of its inputs, its own data, and the gradient of these.
cdef struct Operands:
    Input x, y, d, g
