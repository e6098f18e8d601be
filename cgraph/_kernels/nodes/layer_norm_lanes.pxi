# Kernels of LayerNorm over lanes, with the letters of layer_norm.pxi: every lane has its own moments, gradients of w
# are sums over those that hold a sample. A loop takes `columns` vectors of each row, a constant of at most COLUMNS.
from cgraph._kernels.common.operands cimport Input, Output, output_lane, put, put_lanes
from cgraph._kernels.common.reductions cimport BLOCK, Total, add_block, no_total, value_of
from cgraph._kernels.common.simd cimport (
    V_COUNT, V_LANES, real, v_add, v_div, v_first, v_fma, v_load, v_mul, v_row_sums, v_set1, v_store, v_sub, vec
)

cdef enum:
    COLUMNS = 2     # the vectors of a row that are computed side by side, where it has so many


cdef inline vec column(Input x, Py_ssize_t i, Py_ssize_t k) noexcept nogil:
    """Returns vector k of the row at element i."""
    return v_load(x.start + i * x.stride + k * V_LANES)


cdef struct Spread:
    vec distance, squares       # for each lane: the mean distance from its first element, and the sum of squares


cdef inline void spread_of_block(
    Input x, const vec *first, Py_ssize_t start, Py_ssize_t end, Py_ssize_t columns, Spread *block
) noexcept nogil:
    """Computes the distances of the elements from `start` to `end`, and the squares of those from their mean."""
    cdef Py_ssize_t i, k
    cdef vec distance
    for k in range(columns):
        block[k] = Spread(v_set1(0), v_set1(0))
    for i in range(start, end):
        for k in range(columns):
            block[k].distance = v_add(block[k].distance, v_sub(column(x, i, k), first[k]))
    for k in range(columns):
        block[k].distance = v_div(block[k].distance, v_set1(<real>(end - start)))
    for i in range(start, end):
        for k in range(columns):
            distance = v_sub(v_sub(column(x, i, k), first[k]), block[k].distance)
            block[k].squares = v_fma(distance, distance, block[k].squares)


cdef inline void moments_loop(Input x, Py_ssize_t m, real eps, Py_ssize_t columns, real *kept) noexcept nogil:
    """Reads each block of elements twice while it is near; blocks are merged as by Chan, Golub and LeVeque (1979)."""
    cdef vec first[COLUMNS]
    cdef vec apart, part
    cdef Moments p
    cdef Spread all[COLUMNS]
    cdef Spread block[COLUMNS]
    cdef Py_ssize_t start = BLOCK, end, k
    for k in range(columns):
        first[k] = column(x, 0, k)
    spread_of_block(x, first, 0, min(BLOCK, m), columns, all)
    while start < m:
        end = min(start + BLOCK, m)
        spread_of_block(x, first, start, end, columns, block)
        part = v_set1(<real>(end - start) / <real>end)
        for k in range(columns):
            apart = v_sub(block[k].distance, all[k].distance)
            all[k].distance = v_fma(apart, part, all[k].distance)
            apart = v_mul(v_mul(apart, apart), v_mul(part, v_set1(<real>start)))
            all[k].squares = v_add(all[k].squares, v_add(block[k].squares, apart))
        start = end
    for k in range(columns):
        p.mean = v_add(first[k], all[k].distance)
        p.root = root_of(v_div(all[k].squares, v_set1(<real>m)), eps)
        keep(&p, kept + 2 * k * V_LANES)


cdef void lane_moments(Input x, Py_ssize_t m, real eps, Py_ssize_t columns, real *kept) noexcept nogil:
    if columns == COLUMNS:
        moments_loop(x, m, eps, COLUMNS, kept)
    else:
        moments_loop(x, m, eps, 1, kept)


cdef inline void lane_normalise(
    Input x, const real *w, const real *kept, Output d, Py_ssize_t m, Py_ssize_t columns
) noexcept nogil:
    cdef Moments p[COLUMNS]     # in registers, while outputs are written
    cdef Py_ssize_t i, k
    cdef vec normal
    for k in range(columns):
        p[k] = kept_at(kept + 2 * k * V_LANES)
    for i in range(m):
        for k in range(columns):
            normal = normal_of(column(x, i, k), &p[k])
            v_store(d.start + i * d.stride + k * V_LANES, v_fma(v_set1(w[i]), normal, v_set1(w[m + i])))


cdef struct LaneMeans:
    vec level, tilt


cdef struct Gradients:
    Output gains, biases        # their addresses are NULL where they do not learn


cdef inline void lane_sums(
    Input x, const real *w, Input g, Py_ssize_t m, Py_ssize_t columns, Py_ssize_t valid, const Moments *p,
    const Gradients *dw, LaneMeans *means
) noexcept nogil:
    """Computes the means that dx takes, and the gradients of the parameters, which are sums over `valid` lanes.

    The sums of V_LANES elements end together, in v_row_sums.
    """
    cdef real gains[V_COUNT * V_COUNT]
    cdef real biases[V_COUNT * V_COUNT]
    cdef Total levels[COLUMNS]
    cdef Total tilts[COLUMNS]
    cdef vec gain, bias, slope, normal, h
    cdef Py_ssize_t i, k, row, start = 0
    for k in range(columns):
        levels[k] = tilts[k] = no_total()
    while start < m:
        for k in range(columns):
            means[k] = LaneMeans(v_set1(0), v_set1(0))
        for row in range(V_LANES):
            i = start + row
            gain = bias = v_set1(0)
            if i < m:
                for k in range(columns):
                    slope, normal = column(g, i, k), normal_of(column(x, i, k), &p[k])
                    h = v_mul(v_set1(w[i]), slope)
                    means[k].level = v_add(means[k].level, h)
                    means[k].tilt = v_fma(h, normal, means[k].tilt)
                    bias = v_add(bias, v_first(slope, valid - k * V_LANES))
                    gain = v_add(gain, v_first(v_mul(slope, normal), valid - k * V_LANES))
            v_store(gains + row * V_LANES, gain)
            v_store(biases + row * V_LANES, bias)
        for k in range(columns):
            add_block(&levels[k], means[k].level)
            add_block(&tilts[k], means[k].tilt)
        if dw.gains.start != NULL:
            put(dw.gains, start, m, v_row_sums(gains))
        if dw.biases.start != NULL:
            put(dw.biases, start, m, v_row_sums(biases))
        start += V_LANES
    for k in range(columns):
        means[k].level = v_div(value_of(&levels[k], True), v_set1(<real>m))
        means[k].tilt = v_div(value_of(&tilts[k], True), v_set1(<real>m))


cdef inline void lane_backward(
    Input x, const real *w, Input g, Output dx, Py_ssize_t m, Py_ssize_t columns, Py_ssize_t valid,
    const real *kept, const Gradients *dw
) noexcept nogil:
    cdef LaneMeans means[COLUMNS]
    cdef Moments p[COLUMNS]
    cdef Py_ssize_t i, k
    for k in range(columns):
        p[k] = kept_at(kept + 2 * k * V_LANES)
    lane_sums(x, w, g, m, columns, valid, p, dw, means)
    if dx.start == NULL:
        return
    for i in range(m):
        for k in range(columns):
            put_lanes(
                output_lane(dx, k * V_LANES), i,
                input_share(
                    v_mul(v_set1(w[i]), column(g, i, k)), column(x, i, k), &p[k], means[k].level, means[k].tilt
                )
            )
