# The loops of reductions, and their scalar parts.
#
# Design: a formula is written once, as inline functions of vectors: a term of the sum, and a share of the gradient. The
# loops take them as constants, which the compiler inlines. For one sample a vector holds elements side by side, and a
# sum ends across the vector. Over lanes each element is a row with a real for each sample; the loops take one vector of
# each row, and no sum crosses lanes. Lanes without a sample are computed with the others and never read.
#
# Sums are made block by block, and the sums of BLOCK blocks are a block again, so that the rounding error grows with
# 2 BLOCK + m / BLOCK² and not with m.

from cgraph._kernels.common.operands cimport Input, Output, get, get1, get_lanes, put, put1, put_lanes
from cgraph._kernels.common.simd cimport (
    R_SQUARES_HIGH, R_SQUARES_LOW, V_LANES, r_abs, r_sqrt, real, v_add, v_first, v_first_of, v_hsum, v_lane0,
    v_largest_lane, v_load, v_max, v_set1, v_store, v_sub, vec
)
from cgraph._kernels.common.vector_math cimport v_exp_nonpositive

cdef enum:
    BLOCK = 64      # elements of a block: whole vectors in every build

# Adds the term of x_i and y_i to a sum; c is common to all i.
ctypedef vec (*Term)(vec x, vec y, vec c, vec total) noexcept nogil
# Returns the share of the gradient of input element i, from two elements i and two reals that are common to all i.
ctypedef vec (*Share)(vec x, vec y, vec d, vec g) noexcept nogil


cdef inline Py_ssize_t blocks(Py_ssize_t m) noexcept nogil:
    """Returns the number of blocks of m elements; the last block may be smaller."""
    return (m + BLOCK - 1) // BLOCK


# A sum in each lane that grows block by block, and what it has of the current BLOCK of blocks.
cdef struct Total:
    Py_ssize_t blocks
    vec sum, part


cdef inline Total no_total() noexcept nogil:
    return Total(0, v_set1(0), v_set1(0))


cdef inline void add_block(Total *total, vec block) noexcept nogil:
    """Adds the sums of a block."""
    total.part = v_add(total.part, block)
    total.blocks += 1
    if total.blocks % BLOCK == 0:
        total.sum, total.part = v_add(total.sum, total.part), v_set1(0)


cdef inline vec value_of(const Total *total, bint over_lanes) noexcept nogil:
    """Returns the sum of each lane or, for one sample, that of all lanes in each of them."""
    cdef vec sum = v_add(total.sum, total.part)
    return sum if over_lanes else v_set1(v_hsum(sum))


cdef inline vec get_scalar(Input g, bint over_lanes) noexcept nogil:
    """Returns the one element of g in all lanes, or one vector of its row."""
    return v_load(g.start) if over_lanes else v_set1(g.start[0])


cdef inline void set_scalar(Output d, vec v, bint over_lanes) noexcept nogil:
    """Writes the one element of d, or one vector of its row."""
    if over_lanes:
        v_store(d.start, v)
    else:
        d.start[0] = v_lane0(v)


cdef inline void put_scalar(Output dx, vec v, bint over_lanes) noexcept nogil:
    """Writes, or adds, the one element of dx, or one vector of its row."""
    if over_lanes:
        put_lanes(dx, 0, v)
    else:
        put1(dx, 0, v_lane0(v))


# Loops over vectors of elements, or over the rows of one vector of lanes:   i = 0,  i += pace(over_lanes)
# They are inlined with a constant for over_lanes: with a test within them, Dots, CEE and Softmax of 64 elements over
# lanes take a tenth to a fifth longer.

cdef inline Py_ssize_t pace(bint over_lanes) noexcept nogil:
    """Returns the number of elements of which one vector holds one."""
    return 1 if over_lanes else V_LANES


cdef inline vec get_at(Input x, Py_ssize_t i, Py_ssize_t m, bint over_lanes) noexcept nogil:
    """Returns the vector of elements i, i + 1, … below m, or that of the row at element i."""
    return get_lanes(x, i) if over_lanes else get(x, i, m)


cdef inline void put_at(Output d, Py_ssize_t i, Py_ssize_t m, vec v, bint over_lanes) noexcept nogil:
    """Writes, or adds, a vector of elements below m, or one of a row."""
    if over_lanes:
        put_lanes(d, i, v)
    else:
        put(d, i, m, v)


cdef inline vec sum_term(vec x, vec y, vec c, vec total) noexcept nogil:
    return v_add(total, x)


cdef inline vec sum_loop(
    Term term, Input x, Input y, vec c, Py_ssize_t m, bint over_lanes, bint of_zeros
) noexcept nogil:
    cdef Py_ssize_t block, i
    cdef vec part, sum
    cdef Total total = no_total()
    for block in range(blocks(m)):
        part = v_set1(0)
        i = block * BLOCK
        while i < min((block + 1) * BLOCK, m):
            sum = term(get_at(x, i, m, over_lanes), get_at(y, i, m, over_lanes), c, part)
            part = v_first_of(sum, m - i, part) if of_zeros and i + pace(over_lanes) > m else sum
            i += pace(over_lanes)
        add_block(&total, part)
    return value_of(&total, over_lanes)


cdef inline vec sum_of(
    Term term, Input x, Input y, vec c, Py_ssize_t m, bint over_lanes, bint of_zeros=False
) noexcept nogil:
    """Returns the sum of the terms of x_i and y_i, in all lanes or for each lane its own.

    of_zeros: whether the term of zeros, which stand behind the last element of a vector, is not 0.
    """
    if over_lanes:
        return sum_loop(term, x, y, c, m, True, of_zeros)
    return sum_loop(term, x, y, c, m, False, of_zeros)


cdef inline void share_loop(
    Share share, Input x, Input y, vec d, vec g, Output dx, Py_ssize_t m, bint over_lanes
) noexcept nogil:
    cdef Py_ssize_t i = 0
    while i < m:
        put_at(dx, i, m, share(get_at(x, i, m, over_lanes), get_at(y, i, m, over_lanes), d, g), over_lanes)
        i += pace(over_lanes)


cdef inline void put_shares(
    Share share, Input x, Input y, vec d, vec g, Output dx, Py_ssize_t m, bint over_lanes
) noexcept nogil:
    """Writes, or adds, the shares of all input elements."""
    if over_lanes:
        share_loop(share, x, y, d, g, dx, m, True)
    else:
        share_loop(share, x, y, d, g, dx, m, False)


# Softmax and its logarithm:   p_i = exp(x_i - max) / Σ_j exp(x_j - max)
# room: m, or m rounded up to whole vectors, where the rest of the last one may be read and written. A vector of which a
# part was written can not be read from the store buffer: that takes 70 ns of the 130 of a Softmax of 10 elements.

cdef inline vec maximum_of(Input x, Py_ssize_t m, Py_ssize_t room, bint over_lanes) noexcept nogil:
    """Returns the largest element, in all lanes or for each lane its own."""
    cdef Py_ssize_t i
    cdef vec maximum, part
    if over_lanes:
        maximum = get_lanes(x, 0)
        for i in range(1, m):
            maximum = v_max(maximum, get_lanes(x, i))
        return maximum
    maximum = v_set1(get1(x, 0))
    i = 0
    while i < m:
        part = get(x, i, room)
        maximum = v_max(maximum, part if i + V_LANES <= m else v_first_of(part, m - i, maximum))
        i += V_LANES
    return v_largest_lane(maximum)


cdef inline vec power_loop(
    Input x, vec maximum, Output d, Py_ssize_t m, Py_ssize_t room, bint over_lanes
) noexcept nogil:
    cdef Py_ssize_t block, i
    cdef vec part, power
    cdef Total total = no_total()
    for block in range(blocks(m)):
        part = v_set1(0)
        i = block * BLOCK
        while i < min((block + 1) * BLOCK, m):
            power = v_exp_nonpositive(v_sub(get_at(x, i, room, over_lanes), maximum))
            if d.start != NULL:
                put_at(d, i, room, power, over_lanes)
            part = v_add(part, power if i + pace(over_lanes) <= m else v_first(power, m - i))
            i += pace(over_lanes)
        add_block(&total, part)
    return value_of(&total, over_lanes)


cdef inline vec put_powers(
    Input x, vec maximum, Output d, Py_ssize_t m, Py_ssize_t room, bint over_lanes
) noexcept nogil:
    """Writes exp(x_i - maximum), unless d has no address, and returns the sum, in all lanes or for each its own."""
    if over_lanes:
        return power_loop(x, maximum, d, m, room, True)
    return power_loop(x, maximum, d, m, room, False)


# Norm2:   d = sqrt(Σ x_i²), the elements divided by the largest where their squares would leave the range of the dtype

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
