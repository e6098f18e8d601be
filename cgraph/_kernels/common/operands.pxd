# Operands of the kernels that both paths share: the view of a node's array, or a place in a Graph's arena.

from libc.string cimport memcpy

from cgraph._kernels.common.simd cimport V_LANES, real, v_add, v_gather, v_load, v_scatter, v_store, vec
from cgraph._kernels.runtime.step cimport Arena, Place


cdef struct Source:
    const real *at
    Py_ssize_t step     # from one element to the next


# What a kernel writes. A gradient that nobody wants has no address.
cdef struct Target:
    real *at
    Py_ssize_t step
    bint add            # to what stands there, instead of overwriting it


cdef inline Source source(const real[:] x) noexcept nogil:
    return Source(&x[0], x.strides[0] // <Py_ssize_t>sizeof(real))


cdef inline Target overwritten(real[:] d) noexcept nogil:
    return Target(&d[0], d.strides[0] // <Py_ssize_t>sizeof(real), False)


cdef inline Target added_to(real[:] dx) noexcept nogil:
    return Target(&dx[0], dx.strides[0] // <Py_ssize_t>sizeof(real), True)


cdef inline vec get(Source x, Py_ssize_t i, Py_ssize_t n) noexcept nogil:
    """The vector of elements i, i + 1, …; zeros from element n on."""
    if x.step == 1 and i + V_LANES <= n:
        return v_load(x.at + i)
    return v_gather(x.at + i * x.step, x.step, n - i)


cdef inline void put(Target d, Py_ssize_t i, Py_ssize_t n, vec v) noexcept nogil:
    """Writes, or adds, a vector to elements i, i + 1, … below n."""
    if d.step == 1 and i + V_LANES <= n:
        v_store(d.at + i, v_add(v_load(d.at + i), v) if d.add else v)
    else:
        if d.add:
            v = v_add(v_gather(d.at + i * d.step, d.step, n - i), v)
        v_scatter(d.at + i * d.step, d.step, n - i, v)


cdef inline real get1(Source x, Py_ssize_t i) noexcept nogil:
    return x.at[i * x.step]


cdef inline void put1(Target d, Py_ssize_t i, real value) noexcept nogil:
    """Writes, or adds, one element."""
    if d.add:
        d.at[i * d.step] += value
    else:
        d.at[i * d.step] = value


cdef inline void move(Source x, Target d, Py_ssize_t n) noexcept nogil:
    """Writes, or adds, n elements."""
    cdef Py_ssize_t i
    if x.step != 1 or d.step != 1:
        for i in range(n):
            put1(d, i, get1(x, i))
    elif d.add:     # the same loop, for the compiler to vectorise
        for i in range(n):
            d.at[i] += x.at[i]
    else:
        memcpy(d.at, x.at, n * sizeof(real))


# Gradient descent:   w_i -= eta dw_i

cdef inline void descend(real *w, const real *dw, real eta, Py_ssize_t n) noexcept nogil:
    cdef Py_ssize_t i
    for i in range(n):
        w[i] -= eta * dw[i]


# Samples or channels side by side: a vector of them at each element.

cdef inline vec get_lanes(Source x, Py_ssize_t i) noexcept nogil:
    """What lies at element i."""
    return v_load(x.at + i * x.step)


cdef inline void put_lanes(Target d, Py_ssize_t i, vec v) noexcept nogil:
    """Writes, or adds, what lies at element i."""
    cdef real *at = d.at + i * d.step
    v_store(at, v_add(v_load(at), v) if d.add else v)


cdef inline Source source_beside(Source x, Py_ssize_t lane) noexcept nogil:
    """The samples or channels from number `lane` on."""
    return Source(x.at + lane, x.step)


cdef inline Target target_beside(Target d, Py_ssize_t lane) noexcept nogil:
    return Target(d.at + lane, d.step, d.add)


cdef inline Source source_from(Source x, Py_ssize_t i) noexcept nogil:
    """x without its first i elements."""
    return Source(x.at + i * x.step, x.step)


cdef inline Target target_from(Target d, Py_ssize_t i) noexcept nogil:
    return Target(d.at + i * d.step, d.step, d.add)


# From the operands that a step was given, as offsets, to addresses in the memory of a pass.

cdef inline Place place_of(const Py_ssize_t *fields) noexcept nogil:
    """A Place of a row of an array."""
    return Place(fields[0], fields[1], <bint>fields[2], [<bint>fields[3], <bint>fields[4]])


cdef inline Source data_of(Arena *arena, Place *p) noexcept nogil:
    return Source(<real *>arena.data + p.at, p.step)


cdef inline Source grad_of(Arena *arena, Place *p) noexcept nogil:
    return Source(<real *>arena.grad + p.at, p.step)


cdef inline Target output(Arena *arena, Place *p) noexcept nogil:
    return Target(<real *>arena.data + p.at, p.step, False)


cdef inline Target gradient(Arena *arena, Place *p) noexcept nogil:
    """Where a step puts the gradient of one of its inputs; nowhere, if nobody wants it."""
    if not p.wanted[arena.lean]:
        return Target(NULL, p.step, False)
    return Target(<real *>arena.grad + p.at, p.step, p.add)
