# Operands of the kernels that both paths share: the view of a node's array, or a place in a Graph's arena.

from libc.string cimport memcpy

from cgraph._kernels.common.simd cimport V_LANES, real, v_add, v_gather, v_load, v_scatter, v_store, vec
from cgraph._kernels.runtime.step cimport Context, Operand


cdef struct Input:
    const real *start
    Py_ssize_t stride   # from one element to the next


# What a kernel writes. A gradient that nobody wants has no address.
cdef struct Output:
    real *start
    Py_ssize_t stride
    bint accumulate     # to what stands there, instead of overwriting it


cdef inline Input input_of(const real[:] x) noexcept nogil:
    return Input(&x[0], x.strides[0] // <Py_ssize_t>sizeof(real))


cdef inline Output overwritten(real[:] d) noexcept nogil:
    return Output(&d[0], d.strides[0] // <Py_ssize_t>sizeof(real), False)


cdef inline Output added_to(real[:] dx) noexcept nogil:
    return Output(&dx[0], dx.strides[0] // <Py_ssize_t>sizeof(real), True)


cdef inline vec get(Input x, Py_ssize_t i, Py_ssize_t n) noexcept nogil:
    """The vector of elements i, i + 1, …; zeros from element n on."""
    if x.stride == 1 and i + V_LANES <= n:
        return v_load(x.start + i)
    return v_gather(x.start + i * x.stride, x.stride, n - i)


cdef inline void put(Output d, Py_ssize_t i, Py_ssize_t n, vec v) noexcept nogil:
    """Writes, or adds, a vector to elements i, i + 1, … below n."""
    if d.stride == 1 and i + V_LANES <= n:
        v_store(d.start + i, v_add(v_load(d.start + i), v) if d.accumulate else v)
    else:
        if d.accumulate:
            v = v_add(v_gather(d.start + i * d.stride, d.stride, n - i), v)
        v_scatter(d.start + i * d.stride, d.stride, n - i, v)


cdef inline real get1(Input x, Py_ssize_t i) noexcept nogil:
    return x.start[i * x.stride]


cdef inline void put1(Output d, Py_ssize_t i, real value) noexcept nogil:
    """Writes, or adds, one element."""
    if d.accumulate:
        d.start[i * d.stride] += value
    else:
        d.start[i * d.stride] = value


cdef inline void move(Input x, Output d, Py_ssize_t n) noexcept nogil:
    """Writes, or adds, n elements."""
    cdef Py_ssize_t i
    if x.stride != 1 or d.stride != 1:
        for i in range(n):
            put1(d, i, get1(x, i))
    elif d.accumulate:     # the same loop, for the compiler to vectorise
        for i in range(n):
            d.start[i] += x.start[i]
    else:
        memcpy(d.start, x.start, n * sizeof(real))


# Gradient descent:   w_i -= eta dw_i

cdef inline void descend(real *w, const real *dw, real eta, Py_ssize_t n) noexcept nogil:
    cdef Py_ssize_t i
    for i in range(n):
        w[i] -= eta * dw[i]


# Samples or channels side by side: a vector of them at each element.

cdef inline vec get_lanes(Input x, Py_ssize_t i) noexcept nogil:
    """What lies at element i."""
    return v_load(x.start + i * x.stride)


cdef inline void put_lanes(Output d, Py_ssize_t i, vec v) noexcept nogil:
    """Writes, or adds, what lies at element i."""
    cdef real *at = d.start + i * d.stride
    v_store(at, v_add(v_load(at), v) if d.accumulate else v)


cdef inline Input input_lane(Input x, Py_ssize_t lane) noexcept nogil:
    """The samples or channels from number `lane` on."""
    return Input(x.start + lane, x.stride)


cdef inline Output output_lane(Output d, Py_ssize_t lane) noexcept nogil:
    return Output(d.start + lane, d.stride, d.accumulate)


cdef inline Input input_from(Input x, Py_ssize_t i) noexcept nogil:
    """x without its first i elements."""
    return Input(x.start + i * x.stride, x.stride)


cdef inline Output output_from(Output d, Py_ssize_t i) noexcept nogil:
    return Output(d.start + i * d.stride, d.stride, d.accumulate)


# From the operands that a step was given, as offsets, to addresses in the memory of a pass.

cdef inline Operand operand_of_row(const Py_ssize_t *fields) noexcept nogil:
    """A Place of a row of an array."""
    return Operand(fields[0], fields[1], <bint>fields[2], [<bint>fields[3], <bint>fields[4]])


cdef inline Input data_of(Context *context, Operand *p) noexcept nogil:
    return Input(<real *>context.data + p.offset, p.stride)


cdef inline Input grad_of(Context *context, Operand *p) noexcept nogil:
    return Input(<real *>context.grad + p.offset, p.stride)


cdef inline Output output(Context *context, Operand *p) noexcept nogil:
    return Output(<real *>context.data + p.offset, p.stride, False)


cdef inline Output gradient(Context *context, Operand *p) noexcept nogil:
    """Where a step puts the gradient of one of its inputs; nowhere, if nobody wants it."""
    if not p.requires_grad[context.parameters_only]:
        return Output(NULL, p.stride, False)
    return Output(<real *>context.grad + p.offset, p.stride, p.accumulate)
