# Register tiles over samples that lie side by side: twelve vectors of sums, or nearly so, which is what the latency of two
# FMAs a cycle asks for and what 16 registers hold. A *column* is two vectors of samples.

from cgraph._kernels.simd cimport V_LANES, real, v_add, v_fma, v_load, v_opaque, v_set1, v_store, vec

cdef enum:
    SUMS = 6        # rows × spots of a tile of sums
    SLOPES = 12     # taps × outputs of a tile of slopes


# Sums of products of weights and columns
#
# to[i][spot] = start_i + Σ_t w_i[w_t] x[x_t + spot]   or, if they add, to[i][spot] += …

cdef struct Term:
    Py_ssize_t w, x

cdef struct Spot:
    Py_ssize_t x, to

cdef struct Row:
    const real *w
    real *to
    real start
    bint add


# The rows of one tile, and their terms.
cdef struct Strip:
    Row row[SUMS]
    Py_ssize_t rows
    const real *x
    const Term *term
    const Term *end


# Called by address: side by side in one function, the tiles would take each other's registers.
ctypedef void (*SumTiles)(const Strip *, const Spot *, Py_ssize_t) noexcept nogil


cdef inline void finish(const Row *row, const Spot *spot, vec left, vec right) noexcept nogil:
    """One column of a row's sum."""
    cdef real *to = row.to + spot.to
    if row.add:
        v_store(to, v_add(v_load(to), left))
        v_store(to + V_LANES, v_add(v_load(to + V_LANES), right))
    else:
        v_store(to, v_add(v_set1(row.start), left))
        v_store(to + V_LANES, v_add(v_set1(row.start), right))


cdef inline void sum_tiles(
    const Strip *strip, const Spot *spot, Py_ssize_t tiles, Py_ssize_t rows, Py_ssize_t spots
) noexcept nogil:
    """Tiles of `rows` × `spots`, which are constants, again and again; a strip has a term."""
    cdef vec left[SUMS]
    cdef vec right[SUMS]
    cdef vec factor[SUMS]
    cdef vec f, x0, x1
    cdef const real *w[SUMS]
    cdef const real *x[SUMS]
    cdef const Term *term
    cdef const Term *end = strip.end
    cdef Py_ssize_t i, j, _n
    for i in range(rows):
        w[i] = strip.row[i].w
    for _n in range(tiles):
        for j in range(spots):
            x[j] = strip.x + spot[j].x
        for i in range(rows * spots):
            left[i] = v_opaque(v_set1(0))       # opaque: else gcc clears the sums in memory
            right[i] = v_opaque(v_set1(0))
        term = strip.term
        while True:     # there is a term, and gcc must know: else it keeps the sums in memory for there being none
            if spots == 1:
                x0 = v_opaque(v_load(x[0] + term.x))
                x1 = v_opaque(v_load(x[0] + term.x + V_LANES))
                for i in range(rows):
                    f = v_set1(w[i][term.w])
                    left[i] = v_fma(f, x0, left[i])
                    right[i] = v_fma(f, x1, right[i])
            else:           # the fewer operands are those that are kept
                for i in range(rows):
                    factor[i] = v_opaque(v_set1(w[i][term.w]))
                for j in range(spots):
                    x0 = v_load(x[j] + term.x)
                    x1 = v_load(x[j] + term.x + V_LANES)
                    if rows > 1:
                        x0 = v_opaque(x0)
                    for i in range(rows):
                        left[i * spots + j] = v_fma(factor[i], x0, left[i * spots + j])
                    if rows > 1:
                        x1 = v_opaque(x1)
                    for i in range(rows):
                        right[i * spots + j] = v_fma(factor[i], x1, right[i * spots + j])
            term += 1
            if term == end:
                break
        for i in range(rows):
            for j in range(spots):
                finish(&strip.row[i], spot + j, left[i * spots + j], right[i * spots + j])
        spot += spots


cdef inline void sums_6_1(const Strip *strip, const Spot *spot, Py_ssize_t tiles) noexcept nogil:
    sum_tiles(strip, spot, tiles, 6, 1)


cdef inline void sums_5_1(const Strip *strip, const Spot *spot, Py_ssize_t tiles) noexcept nogil:
    sum_tiles(strip, spot, tiles, 5, 1)


cdef inline void sums_4_1(const Strip *strip, const Spot *spot, Py_ssize_t tiles) noexcept nogil:
    sum_tiles(strip, spot, tiles, 4, 1)


cdef inline void sums_3_2(const Strip *strip, const Spot *spot, Py_ssize_t tiles) noexcept nogil:
    sum_tiles(strip, spot, tiles, 3, 2)


cdef inline void sums_3_1(const Strip *strip, const Spot *spot, Py_ssize_t tiles) noexcept nogil:
    sum_tiles(strip, spot, tiles, 3, 1)


cdef inline void sums_2_3(const Strip *strip, const Spot *spot, Py_ssize_t tiles) noexcept nogil:
    sum_tiles(strip, spot, tiles, 2, 3)


cdef inline void sums_2_2(const Strip *strip, const Spot *spot, Py_ssize_t tiles) noexcept nogil:
    sum_tiles(strip, spot, tiles, 2, 2)


cdef inline void sums_2_1(const Strip *strip, const Spot *spot, Py_ssize_t tiles) noexcept nogil:
    sum_tiles(strip, spot, tiles, 2, 1)


cdef inline void sums_1_6(const Strip *strip, const Spot *spot, Py_ssize_t tiles) noexcept nogil:
    sum_tiles(strip, spot, tiles, 1, 6)


cdef inline void sums_1_5(const Strip *strip, const Spot *spot, Py_ssize_t tiles) noexcept nogil:
    sum_tiles(strip, spot, tiles, 1, 5)


cdef inline void sums_1_4(const Strip *strip, const Spot *spot, Py_ssize_t tiles) noexcept nogil:
    sum_tiles(strip, spot, tiles, 1, 4)


cdef inline void sums_1_3(const Strip *strip, const Spot *spot, Py_ssize_t tiles) noexcept nogil:
    sum_tiles(strip, spot, tiles, 1, 3)


cdef inline void sums_1_2(const Strip *strip, const Spot *spot, Py_ssize_t tiles) noexcept nogil:
    sum_tiles(strip, spot, tiles, 1, 2)


cdef inline void sums_1_1(const Strip *strip, const Spot *spot, Py_ssize_t tiles) noexcept nogil:
    """One row and one spot: six sums of every sixth term, since each FMA waits for the one before it."""
    cdef vec left[SUMS]
    cdef vec right[SUMS]
    cdef vec f
    cdef const real *w = strip.row[0].w
    cdef const real *x
    cdef const Term *term
    cdef Py_ssize_t i, _n
    for _n in range(tiles):
        x = strip.x + spot.x
        for i in range(SUMS):
            left[i] = v_opaque(v_set1(0))
            right[i] = v_opaque(v_set1(0))
        term = strip.term
        while term + SUMS <= strip.end:
            for i in range(SUMS):
                f = v_set1(w[term[i].w])
                left[i] = v_fma(f, v_load(x + term[i].x), left[i])
                right[i] = v_fma(f, v_load(x + term[i].x + V_LANES), right[i])
            term += SUMS
        while term < strip.end:
            f = v_set1(w[term.w])
            left[0] = v_fma(f, v_load(x + term.x), left[0])
            right[0] = v_fma(f, v_load(x + term.x + V_LANES), right[0])
            term += 1
        for i in range(1, SUMS):
            left[0] = v_add(left[0], left[i])
            right[0] = v_add(right[0], right[i])
        finish(&strip.row[0], spot, left[0], right[0])
        spot += 1


cdef inline SumTiles sums_of(Py_ssize_t rows, Py_ssize_t spots) noexcept nogil:
    """The function for tiles of this size."""
    if rows >= 4:
        return sums_6_1 if rows == 6 else sums_5_1 if rows == 5 else sums_4_1
    if rows == 3:
        return sums_3_2 if spots == 2 else sums_3_1
    if rows == 2:
        return sums_2_3 if spots == 3 else sums_2_2 if spots == 2 else sums_2_1
    if spots >= 4:
        return sums_1_6 if spots == 6 else sums_1_5 if spots == 5 else sums_1_4
    return sums_1_3 if spots == 3 else sums_1_2 if spots == 2 else sums_1_1


cdef inline void without_terms(const Strip *strip, const Spot *spot, Py_ssize_t spots) noexcept nogil:
    cdef Py_ssize_t i, j
    for i in range(strip.rows):
        for j in range(spots):
            finish(&strip.row[i], spot + j, v_set1(0), v_set1(0))


cdef inline void all_sums(const Strip *strip, const Spot *spot, Py_ssize_t spots) noexcept nogil:
    """A strip, in tiles of sizes as equal as can be."""
    cdef Py_ssize_t most = SUMS // strip.rows, tiles, size, larger
    if strip.term == strip.end:
        without_terms(strip, spot, spots)
        return
    tiles = (spots + most - 1) // most
    size = (spots + tiles - 1) // tiles
    larger = spots - tiles * (size - 1)
    sums_of(strip.rows, size)(strip, spot, larger)
    if larger < tiles:
        sums_of(strip.rows, size - 1)(strip, spot + larger * size, tiles - larger)


# Slopes: sums over spots of products of two vectors, sample by sample
#
# total[t][o] += Σ_spot x[under_t + spot.x] g[o_o + spot.to]

cdef struct Patch:
    const real *x
    const real *g
    const Py_ssize_t *under     # of each tap
    const Py_ssize_t *out       # of each output; `stride` from one to the next
    Py_ssize_t stride
    const Spot *spot
    const Spot *end
    Py_ssize_t vectors
    real *total
    Py_ssize_t pitch

ctypedef void (*SlopeTile)(const Patch *) noexcept nogil


cdef inline void slope_tile(const Patch *p, Py_ssize_t taps, Py_ssize_t outs) noexcept nogil:
    """A tile of `taps` × `outs`, which are constants; there is a spot, and a vector."""
    cdef vec total[SLOPES]
    cdef vec kept[SLOPES]
    cdef vec v
    cdef const real *x[SLOPES]
    cdef const real *g[SLOPES]
    cdef const Spot *spot
    cdef const Spot *end = p.end
    cdef Py_ssize_t vectors = p.vectors, t, o
    for t in range(taps):
        x[t] = p.x + p.under[t]
    for o in range(outs):
        g[o] = p.g + p.out[o * p.stride]
    for t in range(taps):
        for o in range(outs):
            total[t * outs + o] = v_load(p.total + t * p.pitch + o * V_LANES)
    while True:
        spot = p.spot
        while True:
            if taps <= outs:        # the fewer operands are those that are kept
                for t in range(taps):
                    kept[t] = v_opaque(v_load(x[t] + spot.x))
                for o in range(outs):
                    v = v_load(g[o] + spot.to)
                    if taps > 1:
                        v = v_opaque(v)
                    for t in range(taps):
                        total[t * outs + o] = v_fma(kept[t], v, total[t * outs + o])
            else:
                for o in range(outs):
                    kept[o] = v_opaque(v_load(g[o] + spot.to))
                for t in range(taps):
                    v = v_load(x[t] + spot.x)
                    if outs > 1:
                        v = v_opaque(v)
                    for o in range(outs):
                        total[t * outs + o] = v_fma(v, kept[o], total[t * outs + o])
            spot += 1
            if spot == end:
                break
        for t in range(taps):
            x[t] += V_LANES
        for o in range(outs):
            g[o] += V_LANES
        vectors -= 1
        if vectors == 0:
            break
    for t in range(taps):
        for o in range(outs):
            v_store(p.total + t * p.pitch + o * V_LANES, total[t * outs + o])


cdef inline void slopes_8_1(const Patch *p) noexcept nogil:
    slope_tile(p, 8, 1)


cdef inline void slopes_1_1(const Patch *p) noexcept nogil:
    slope_tile(p, 1, 1)


cdef inline void slopes_6_2(const Patch *p) noexcept nogil:
    slope_tile(p, 6, 2)


cdef inline void slopes_3_2(const Patch *p) noexcept nogil:
    slope_tile(p, 3, 2)


cdef inline void slopes_1_2(const Patch *p) noexcept nogil:
    slope_tile(p, 1, 2)


cdef inline void slopes_4_3(const Patch *p) noexcept nogil:
    slope_tile(p, 4, 3)


cdef inline void slopes_1_3(const Patch *p) noexcept nogil:
    slope_tile(p, 1, 3)


cdef inline void slopes_3_4(const Patch *p) noexcept nogil:
    slope_tile(p, 3, 4)


cdef inline void slopes_2_4(const Patch *p) noexcept nogil:
    slope_tile(p, 2, 4)


cdef inline void slopes_1_4(const Patch *p) noexcept nogil:
    slope_tile(p, 1, 4)


cdef inline void slopes_2_5(const Patch *p) noexcept nogil:
    slope_tile(p, 2, 5)


cdef inline void slopes_1_5(const Patch *p) noexcept nogil:
    slope_tile(p, 1, 5)


cdef inline void slopes_2_6(const Patch *p) noexcept nogil:
    slope_tile(p, 2, 6)


cdef inline void slopes_1_6(const Patch *p) noexcept nogil:
    slope_tile(p, 1, 6)


cdef inline Py_ssize_t tall(Py_ssize_t taps, Py_ssize_t outs) noexcept nogil:
    """How many of so many taps the next tile takes."""
    if outs == 1:
        return 8 if taps >= 8 else 1
    if outs == 2:
        return 6 if taps >= 6 else 3 if taps >= 3 else 1
    if outs == 3:
        return 4 if taps >= 4 else 1
    if outs == 4:       # two tiles of two, rather than three taps and one
        return 3 if taps >= 3 and taps != 4 else min(taps, 2)
    return min(taps, 2)


cdef inline SlopeTile slopes_of(Py_ssize_t taps, Py_ssize_t outs) noexcept nogil:
    """The function for a tile of this size."""
    if outs == 1:
        return slopes_8_1 if taps == 8 else slopes_1_1
    if outs == 2:
        return slopes_6_2 if taps == 6 else slopes_3_2 if taps == 3 else slopes_1_2
    if outs == 3:
        return slopes_4_3 if taps == 4 else slopes_1_3
    if outs == 4:
        return slopes_3_4 if taps == 3 else slopes_2_4 if taps == 2 else slopes_1_4
    if outs == 5:
        return slopes_2_5 if taps == 2 else slopes_1_5
    return slopes_2_6 if taps == 2 else slopes_1_6
