# A matrix product whose left factor is read in place, element by element, through two tables of offsets: a convolution
# without the matrix of its windows.

from libc.string cimport memset

from cgraph._kernels.common.simd cimport V_LANES, real, v_add, v_first, v_fma, v_load, v_opaque, v_set1, v_store, vec

cdef enum:
    TILE = 6        # rows that are summed side by side, two vectors of each: what 16 registers hold
    TALL = 8        # the same where there is but one vector
    DEPTH = 128     # terms summed at a time, so that what all tiles read of a and b stays in the nearest cache
    MOST_LANES = 8  # V_LANES of any build
    SUMS = 4        # of one row, side by side
    FEW = 2         # rows that are not worth a tile


# c[to[i] + o] += Σ_t a[row_offsets[i] + along[t]] b[t pitch + o]   for i < rows, o < width, t < depth
cdef struct IndirectGemm:
    const real *a
    const Py_ssize_t *row_offsets        # a tile reads up to TALL more than there are rows, and a there: group_tables.table
    const Py_ssize_t *along
    const real *b
    Py_ssize_t pitch
    const real *origin          # if not NULL: overwrite c, and add this to each row
    real *c
    const Py_ssize_t *to        # rows of c may overlap: they are added one after the other
    Py_ssize_t rows, width, depth


cdef inline void finish(const real *origin, Py_ssize_t column, vec total, real *c) noexcept nogil:
    """One vector of a row's sum to c."""
    if origin == NULL:
        total = v_add(v_load(c + column), total)
    else:
        total = v_add(v_load(origin + column), total)
    v_store(c + column, total)


# A part of a product: `depth` terms, one or two vectors of columns.
cdef struct Block:
    const real *a
    const Py_ssize_t *along
    const real *b
    Py_ssize_t pitch, depth
    const real *origin


# Called by address: side by side in one function, the tiles would take each other's registers.
ctypedef void (*Tiles)(const Block *, const Py_ssize_t *, real *, const Py_ssize_t *, Py_ssize_t) noexcept nogil


cdef inline void wide_tiles(
    const Block *block, const Py_ssize_t *row_offsets, real *c, const Py_ssize_t *to, Py_ssize_t tiles
) noexcept nogil:
    """TILE rows of two vectors, again and again."""
    cdef vec left[TILE]
    cdef vec right[TILE]
    cdef const real *a[TILE]
    cdef vec b0, b1, x
    cdef const Py_ssize_t *along
    cdef const Py_ssize_t *end = block.along + block.depth
    cdef const real *b
    cdef Py_ssize_t pitch = block.pitch, i, _n
    for _n in range(tiles):
        for i in range(TILE):
            a[i] = block.a + row_offsets[i]
            left[i] = v_opaque(v_set1(0))       # opaque: else gcc clears the sums in memory
            right[i] = v_opaque(v_set1(0))
        b = block.b
        along = block.along
        while True:     # there is a term, and gcc must know: else it keeps the sums in memory for there being none
            b0 = v_opaque(v_load(b))
            b1 = v_opaque(v_load(b + V_LANES))
            for i in range(TILE):
                x = v_set1(a[i][along[0]])
                left[i] = v_fma(x, b0, left[i])
                right[i] = v_fma(x, b1, right[i])
            b += pitch
            along += 1
            if along == end:
                break
        for i in range(TILE):
            finish(block.origin, 0, left[i], c + to[i])
            finish(block.origin, V_LANES, right[i], c + to[i])
        row_offsets += TILE
        to += TILE


cdef inline void tall_tiles(
    const Block *block, const Py_ssize_t *row_offsets, real *c, const Py_ssize_t *to, Py_ssize_t tiles
) noexcept nogil:
    """TALL rows of one vector, again and again."""
    cdef vec total[TALL]
    cdef const real *a[TALL]
    cdef vec factor
    cdef const Py_ssize_t *along
    cdef const Py_ssize_t *end = block.along + block.depth
    cdef const real *b
    cdef Py_ssize_t pitch = block.pitch, i, _n
    for _n in range(tiles):
        for i in range(TALL):
            a[i] = block.a + row_offsets[i]
            total[i] = v_opaque(v_set1(0))
        b = block.b
        along = block.along
        while True:
            factor = v_opaque(v_load(b))
            for i in range(TALL):
                total[i] = v_fma(v_set1(a[i][along[0]]), factor, total[i])
            b += pitch
            along += 1
            if along == end:
                break
        for i in range(TALL):
            finish(block.origin, 0, total[i], c + to[i])
        row_offsets += TALL
        to += TALL


cdef inline void single_rows(
    const Block *block, const Py_ssize_t *row_offsets, real *c, const Py_ssize_t *to, Py_ssize_t rows
) noexcept nogil:
    """Rows of one vector, one after the other."""
    cdef vec total[SUMS]
    cdef const real *a
    cdef Py_ssize_t row, t, i
    for row in range(rows):
        a = block.a + row_offsets[row]
        for i in range(SUMS):
            total[i] = v_set1(0)
        t = 0
        while t + SUMS <= block.depth:
            for i in range(SUMS):
                total[i] = v_fma(v_set1(a[block.along[t + i]]), v_load(block.b + (t + i) * block.pitch), total[i])
            t += SUMS
        for t in range(t, block.depth):
            total[0] = v_fma(v_set1(a[block.along[t]]), v_load(block.b + t * block.pitch), total[0])
        for i in range(1, SUMS):
            total[0] = v_add(total[0], total[i])
        finish(block.origin, 0, total[0], c + to[row])


cdef inline void edge_tile(
    Tiles tile, Block block, const Py_ssize_t *row_offsets, real *c, const Py_ssize_t *to, Py_ssize_t rows, Py_ssize_t width
) noexcept nogil:
    """`rows` rows of `width` columns: a whole tile aside, and what is wanted of it to c."""
    cdef real aside[TALL * 2 * MOST_LANES]
    cdef real zeros[2 * MOST_LANES]
    cdef Py_ssize_t lines[TALL]
    cdef const real *origin = block.origin
    cdef Py_ssize_t i, j
    for i in range(TALL):
        lines[i] = i * 2 * V_LANES
    memset(zeros, 0, sizeof(zeros))
    block.origin = zeros
    tile(&block, row_offsets, aside, lines, 1)
    for i in range(rows):
        j = 0
        while j < width:
            finish(origin, j, v_first(v_load(aside + lines[i] + j), width - j), c + to[i])
            j += V_LANES


cdef inline void multiply_block(const IndirectGemm *p, const Block *block, Py_ssize_t column) noexcept nogil:
    """All rows of a block."""
    cdef Py_ssize_t width = p.width - column, row = 0, height = TALL, whole = V_LANES
    cdef Tiles tiles = tall_tiles
    if width > V_LANES:
        tiles, height, whole = wide_tiles, TILE, 2 * V_LANES
    if width >= whole:
        row = p.rows // height * height
        tiles(block, p.row_offsets, p.c + column, p.to, p.rows // height)
    # Not where rows are outputs: equal windows shall have equal sums, or a maximum has no ties.
    if p.origin == NULL and width == V_LANES and p.rows - row <= FEW:
        single_rows(block, p.row_offsets + row, p.c + column, p.to + row, p.rows - row)
        return
    while row < p.rows:
        edge_tile(
            tiles, block[0], p.row_offsets + row, p.c + column, p.to + row, min(height, p.rows - row), min(width, whole)
        )
        row += height


cdef inline void multiply(const IndirectGemm *p) noexcept nogil:
    cdef Py_ssize_t blocks = (p.depth + DEPTH - 1) // DEPTH, number, first, column
    cdef Block block
    block.a = p.a
    for number in range(blocks):
        first = p.depth * number // blocks
        block.along = p.along + first
        block.depth = p.depth * (number + 1) // blocks - first
        column = 0
        while column < p.width:
            block.b, block.pitch = p.b + first * p.pitch + column, p.pitch
            block.origin = NULL
            if p.origin != NULL and first == 0:
                block.origin = p.origin + column
            multiply_block(p, &block, column)
            column += 2 * V_LANES
