# Parts of the reductions that steps over one sample and steps over lanes share.
#
# Sums are made block by block, so that the rounding error grows with BLOCK + m / BLOCK and not with m.

from cgraph._kernels.common.operands cimport Input, Output, get1, put1
from cgraph._kernels.common.simd cimport (
    R_SQUARES_HIGH, R_SQUARES_LOW, R_TINY, r_abs, r_log, r_sqrt, real, v_div, v_equal, v_less, v_mul, v_select, v_set1,
    vec
)

cdef enum:
    BLOCK = 64      # elements of a block: whole vectors in every build


cdef inline Py_ssize_t blocks(Py_ssize_t m) noexcept nogil:
    """Returns the number of blocks of m elements; the last block may be smaller."""
    return (m + BLOCK - 1) // BLOCK


# CEE:   d = -Σ y_i ln x̂_i over y_i ≠ 0, x̂ = max(x, tiny), a NaN kept
# dx_i += -(y_i g) / x̂_i where y_i ≠ 0,  dy_i += -ln(x̂_i) g.   (y g) / x̂ and not (y / x̂) g: finite where |y g| ≤ 1.

cdef inline real clamp(real x) noexcept nogil:
    """Returns max(x, tiny), or x if it is NaN."""
    return R_TINY if x < R_TINY else x


cdef inline real cee(Input x, Input y, Py_ssize_t m) noexcept nogil:
    """Returns d."""
    cdef Py_ssize_t block, i
    cdef real total = 0, part
    for block in range(blocks(m)):
        part = 0
        for i in range(block * BLOCK, min((block + 1) * BLOCK, m)):
            if get1(y, i) != 0:
                part -= get1(y, i) * r_log(clamp(get1(x, i)))
        total += part
    return total


cdef inline vec prediction_share(vec x, vec y, vec minus_g) noexcept nogil:
    """Returns the terms -(y_i g) / x̂_i, which are added to dx; minus_g is -g."""
    cdef vec tiny = v_set1(R_TINY), zero = v_set1(0)
    x = v_select(v_less(x, tiny), tiny, x)
    return v_select(v_equal(y, zero), zero, v_div(v_mul(y, minus_g), x))


cdef inline void target_gradient(Input x, real g, Output dy, Py_ssize_t m) noexcept nogil:
    """Writes, or adds, the gradient of the target y."""
    cdef Py_ssize_t i
    for i in range(m):
        put1(dy, i, -(r_log(clamp(get1(x, i))) * g))


# Norm2:   d = sqrt(Σ x_i²), the elements divided by the largest where their squares would leave the range of the dtype
# dx_i += (x_i / d) g,  and nothing where d = 0

cdef inline real largest(Input x, Py_ssize_t m) noexcept nogil:
    """Returns max_i |x_i|, NaNs aside."""
    cdef Py_ssize_t i
    cdef real top = 0
    for i in range(m):
        if r_abs(get1(x, i)) > top:
            top = r_abs(get1(x, i))
    return top


cdef inline real scaled_squares(Input x, real top, Py_ssize_t m) noexcept nogil:
    """Returns Σ (x_i / top)²."""
    cdef Py_ssize_t block, i
    cdef real total = 0, part, scaled
    for block in range(blocks(m)):
        part = 0
        for i in range(block * BLOCK, min((block + 1) * BLOCK, m)):
            scaled = get1(x, i) / top
            part += scaled * scaled
        total += part
    return total


cdef inline real norm_of(real total, Input x, Py_ssize_t m) noexcept nogil:
    """Returns the norm of x, given the sum of the squares of x."""
    cdef real top
    if total > R_SQUARES_LOW and total < R_SQUARES_HIGH or total != total:
        return r_sqrt(total)
    top = largest(x, m)
    if top == 0 or top - top != 0:      # all zeros, or an infinite element
        return top
    return top * r_sqrt(scaled_squares(x, top, m))


cdef inline vec norm_share(vec x, vec d, vec g) noexcept nogil:
    """Returns the terms (x_i / d) g, which are added to dx."""
    return v_select(v_equal(d, v_set1(0)), v_set1(0), v_mul(v_div(x, d), g))
