# A matrix product whose left factor is read in place, element by element, through two tables of offsets: a convolution
# without the matrix of its windows.

from libc.string cimport memset

from cgraph._kernels.simd cimport V_LANES, real, v_add, v_first, v_fma, v_load, v_opaque, v_set1, v_store, vec

cdef enum:
    TILE = 6        # rows that are summed side by side, two vectors of each: what 16 registers hold
    TALL = 9        # the same where there is but one vector
    DEPTH = 192     # terms summed at a time: as many rows of b stay in the nearest cache
    PACKED = 96     # rows for which it pays to copy those of b first
    MOST_LANES = 8


# c[to[i] + o] += Σ_t a[at[i] + along[t]] b[t pitch + o]   for i < rows, o < width, t < depth
cdef struct Product:
    const real *a
    const Py_ssize_t *at        # a tile reads up to TALL entries more than there are rows
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


cdef inline void wide_tile(const Block *block, const Py_ssize_t *at, real *c, const Py_ssize_t *to) noexcept nogil:
    """TILE rows of two vectors."""
    cdef vec left[TILE]
    cdef vec right[TILE]
    cdef const real *a[TILE]
    cdef vec b0, b1, x
    cdef const real *b = block.b
    cdef const real *origin = block.origin
    cdef const Py_ssize_t *along = block.along
    cdef const Py_ssize_t *end = along + block.depth
    cdef Py_ssize_t pitch = block.pitch, i
    for i in range(TILE):
        a[i] = block.a + at[i]
        left[i] = v_opaque(v_set1(0))       # opaque: else gcc clears the sums in memory
        right[i] = v_opaque(v_set1(0))
    while True:     # at least one term
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
        finish(origin, 0, left[i], c + to[i])
        finish(origin, V_LANES, right[i], c + to[i])


cdef inline void tall_tile(const Block *block, const Py_ssize_t *at, real *c, const Py_ssize_t *to) noexcept nogil:
    """TALL rows of one vector."""
    cdef vec total[TALL]
    cdef const real *a[TALL]
    cdef vec factor
    cdef const real *b = block.b
    cdef const real *origin = block.origin
    cdef const Py_ssize_t *along = block.along
    cdef const Py_ssize_t *end = along + block.depth
    cdef Py_ssize_t pitch = block.pitch, i
    for i in range(TALL):
        a[i] = block.a + at[i]
        total[i] = v_opaque(v_set1(0))
    while True:
        factor = v_opaque(v_load(b))
        for i in range(TALL):
            total[i] = v_fma(v_set1(a[i][along[0]]), factor, total[i])
        b += pitch
        along += 1
        if along == end:
            break
    for i in range(TALL):
        finish(origin, 0, total[i], c + to[i])


# Called by address: side by side in one function, the tiles would take each other's registers.
ctypedef void (*Tile)(const Block *, const Py_ssize_t *, real *, const Py_ssize_t *) noexcept nogil


cdef inline void edge_tile(
    Tile tile, Block block, const Py_ssize_t *at, real *c, const Py_ssize_t *to, Py_ssize_t rows, Py_ssize_t width
) noexcept nogil:
    """`rows` rows of `width` columns: a whole tile aside, and what is wanted of it to c."""
    cdef real aside[TALL * 2 * MOST_LANES]
    cdef Py_ssize_t lines[TALL]
    cdef const real *origin = block.origin
    cdef real zeros[2 * MOST_LANES]
    cdef Py_ssize_t i, j
    for i in range(TALL):
        lines[i] = i * 2 * V_LANES
    memset(zeros, 0, sizeof(zeros))
    block.origin = zeros
    tile(&block, at, aside, lines)
    for i in range(rows):
        j = 0
        while j < width:
            finish(origin, j, v_first(v_load(aside + lines[i] + j), width - j), c + to[i])
            j += V_LANES


cdef inline void multiply_block(const Product *p, const Block *block, Py_ssize_t column) noexcept nogil:
    """All rows of a block."""
    cdef Py_ssize_t width = p.width - column, row = 0, height, whole
    cdef Tile tile
    if width > V_LANES:
        tile, height, whole = wide_tile, TILE, 2 * V_LANES
    else:
        tile, height, whole = tall_tile, TALL, V_LANES
    while row < p.rows:
        if width >= whole and row + height <= p.rows:
            tile(block, p.at + row, p.c + column, p.to + row)
        else:
            edge_tile(
                tile, block[0], p.at + row, p.c + column, p.to + row, min(height, p.rows - row), min(width, whole)
            )
        row += height


cdef inline void pack(Block *block, real *panel) noexcept nogil:
    """Copies the block's part of b to where its rows do not compete for the same few lines of the cache."""
    cdef Py_ssize_t t
    for t in range(block.depth):
        v_store(panel + t * 2 * V_LANES, v_load(block.b + t * block.pitch))
        v_store(panel + (2 * t + 1) * V_LANES, v_load(block.b + t * block.pitch + V_LANES))
    block.b, block.pitch = panel, 2 * V_LANES


cdef inline void multiply(const Product *p) noexcept nogil:
    cdef Py_ssize_t blocks = (p.depth + DEPTH - 1) // DEPTH, number, first, column
    cdef real panel[DEPTH * 2 * MOST_LANES]
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
            if column + V_LANES < p.width and p.pitch > 2 * V_LANES and p.rows >= PACKED:
                pack(&block, panel)
            multiply_block(p, &block, column)
            column += 2 * V_LANES
