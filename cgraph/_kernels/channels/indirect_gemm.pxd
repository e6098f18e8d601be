# The indirect GEMM: a matrix product whose left factor is read in place, element by element, through two tables of
# offsets. It computes a convolution without the matrix of its windows (im2col), as in M. Dukhan, "The Indirect
# Convolution Algorithm", 2019, arXiv:1907.02129; an offset per row and one per term stand for his indirection buffer.
#
# Design: a tile keeps its sums in registers while it runs over the terms, since each load of b then serves all rows
# of the tile, and each element of a serves two vectors. Terms are cut into blocks, so that the nearest cache still
# holds what the next tile reads again. Tiles of two shapes are functions of their own, called by address, for the
# compiler to give each of them all registers; the last rows and columns are computed as a whole tile beside c.

from libc.string cimport memset

from cgraph._kernels.common.simd cimport (
    V_COUNT, V_LANES, real, v_add, v_first, v_fma, v_load, v_opaque, v_set1, v_store, vec
)

cdef enum:
    TILE = 6        # rows of a tile of two vectors: 12 of 16 registers hold its sums
    TALL = 8        # rows of a tile of one vector
    DEPTH = 128     # terms of a block, so that the parts of a and b that all tiles read stay in the nearest cache
    SUMS = 4        # running sums of a row that is summed alone
    FEW = 2         # rows at the end that are not worth a tile


# c[c_offsets[i] + o] += Σ_t a[row_offsets[i] + term_offsets[t]] b[t pitch + o]   for i < rows, o < width, t < depth
cdef struct IndirectGemm:
    const real *a
    const Py_ssize_t *row_offsets   # with TALL valid ones behind the last row, as offsets.extended makes them
    const Py_ssize_t *term_offsets
    const real *b
    Py_ssize_t pitch
    const real *start           # NULL to add to c; else c is overwritten, and each row begins with these values
    real *c
    const Py_ssize_t *c_offsets     # rows of c may overlap, for they are added one after the other
    Py_ssize_t rows, width, depth


cdef inline void finish(const real *start, Py_ssize_t column, vec total, real *c) noexcept nogil:
    """Writes one vector of a row's sums to c, or adds it."""
    if start == NULL:
        total = v_add(v_load(c + column), total)
    else:
        total = v_add(v_load(start + column), total)
    v_store(c + column, total)


# A block of a GEMM: `depth` terms of all rows, in one or two vectors of columns.
cdef struct Block:
    const real *a
    const Py_ssize_t *term_offsets
    const real *b
    Py_ssize_t pitch, depth
    const real *start


# Tiles are called by address: inlined into one function, they would take each other's registers.
ctypedef void (*TileKernel)(const Block *, const Py_ssize_t *, real *, const Py_ssize_t *, Py_ssize_t) noexcept nogil


cdef inline void wide_tiles(
    const Block *block, const Py_ssize_t *row_offsets, real *c, const Py_ssize_t *c_offsets, Py_ssize_t tiles
) noexcept nogil:
    """Computes tiles of TILE rows and two vectors."""
    cdef vec left[TILE]
    cdef vec right[TILE]
    cdef const real *a[TILE]
    cdef vec b0, b1, x
    cdef const Py_ssize_t *term_offsets
    cdef const Py_ssize_t *end = block.term_offsets + block.depth
    cdef const real *b
    cdef Py_ssize_t pitch = block.pitch, i, _n
    for _n in range(tiles):
        for i in range(TILE):
            a[i] = block.a + row_offsets[i]
            left[i] = v_opaque(v_set1(0))       # without v_opaque, gcc clears the sums in memory
            right[i] = v_opaque(v_set1(0))
        b = block.b
        term_offsets = block.term_offsets
        while True:     # a block has a term: a loop that might not run at all would keep the sums in memory
            b0 = v_opaque(v_load(b))
            b1 = v_opaque(v_load(b + V_LANES))
            for i in range(TILE):
                x = v_set1(a[i][term_offsets[0]])
                left[i] = v_fma(x, b0, left[i])
                right[i] = v_fma(x, b1, right[i])
            b += pitch
            term_offsets += 1
            if term_offsets == end:
                break
        for i in range(TILE):
            finish(block.start, 0, left[i], c + c_offsets[i])
            finish(block.start, V_LANES, right[i], c + c_offsets[i])
        row_offsets += TILE
        c_offsets += TILE


cdef inline void tall_tiles(
    const Block *block, const Py_ssize_t *row_offsets, real *c, const Py_ssize_t *c_offsets, Py_ssize_t tiles
) noexcept nogil:
    """Computes tiles of TALL rows and one vector."""
    cdef vec total[TALL]
    cdef const real *a[TALL]
    cdef vec factor
    cdef const Py_ssize_t *term_offsets
    cdef const Py_ssize_t *end = block.term_offsets + block.depth
    cdef const real *b
    cdef Py_ssize_t pitch = block.pitch, i, _n
    for _n in range(tiles):
        for i in range(TALL):
            a[i] = block.a + row_offsets[i]
            total[i] = v_opaque(v_set1(0))
        b = block.b
        term_offsets = block.term_offsets
        while True:
            factor = v_opaque(v_load(b))
            for i in range(TALL):
                total[i] = v_fma(v_set1(a[i][term_offsets[0]]), factor, total[i])
            b += pitch
            term_offsets += 1
            if term_offsets == end:
                break
        for i in range(TALL):
            finish(block.start, 0, total[i], c + c_offsets[i])
        row_offsets += TALL
        c_offsets += TALL


cdef inline void single_rows(
    const Block *block, const Py_ssize_t *row_offsets, real *c, const Py_ssize_t *c_offsets, Py_ssize_t rows
) noexcept nogil:
    """Computes rows of one vector, one after the other."""
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
                total[i] = v_fma(
                    v_set1(a[block.term_offsets[t + i]]), v_load(block.b + (t + i) * block.pitch), total[i]
                )
            t += SUMS
        for t in range(t, block.depth):
            total[0] = v_fma(v_set1(a[block.term_offsets[t]]), v_load(block.b + t * block.pitch), total[0])
        for i in range(1, SUMS):
            total[0] = v_add(total[0], total[i])
        finish(block.start, 0, total[0], c + c_offsets[row])


cdef inline void edge_tile(
    TileKernel tile, Block block, const Py_ssize_t *row_offsets, real *c, const Py_ssize_t *c_offsets, Py_ssize_t rows,
    Py_ssize_t width
) noexcept nogil:
    """Computes `rows` rows of `width` columns: a whole tile beside c, and then its first rows and columns into c."""
    cdef real tile_sums[TALL * 2 * V_COUNT]
    cdef real zeros[2 * V_COUNT]
    cdef Py_ssize_t tile_offsets[TALL]
    cdef const real *start = block.start
    cdef Py_ssize_t i, j
    for i in range(TALL):
        tile_offsets[i] = i * 2 * V_LANES
    memset(zeros, 0, sizeof(zeros))
    block.start = zeros
    tile(&block, row_offsets, tile_sums, tile_offsets, 1)
    for i in range(rows):
        j = 0
        while j < width:
            finish(start, j, v_first(v_load(tile_sums + tile_offsets[i] + j), width - j), c + c_offsets[i])
            j += V_LANES


cdef inline void multiply_block(const IndirectGemm *p, const Block *block, Py_ssize_t column) noexcept nogil:
    """Computes all rows of a block."""
    cdef Py_ssize_t width = p.width - column, row = 0, height = TALL, whole = V_LANES
    cdef TileKernel tile = tall_tiles
    if width > V_LANES:
        tile, height, whole = wide_tiles, TILE, 2 * V_LANES
    if width >= whole:
        row = p.rows // height * height
        tile(block, p.row_offsets, p.c + column, p.c_offsets, p.rows // height)
    # Not where rows are outputs: equal windows must have equal sums, for max pooling to find ties among them.
    if p.start == NULL and width == V_LANES and p.rows - row <= FEW:
        single_rows(block, p.row_offsets + row, p.c + column, p.c_offsets + row, p.rows - row)
        return
    while row < p.rows:
        edge_tile(
            tile, block[0], p.row_offsets + row, p.c + column, p.c_offsets + row, min(height, p.rows - row),
            min(width, whole)
        )
        row += height


cdef inline void multiply(const IndirectGemm *p) noexcept nogil:
    """Computes a GEMM, block by block."""
    cdef Py_ssize_t blocks = (p.depth + DEPTH - 1) // DEPTH, number, first, column
    cdef Block block
    block.a = p.a
    for number in range(blocks):
        first = p.depth * number // blocks
        block.term_offsets = p.term_offsets + first
        block.depth = p.depth * (number + 1) // blocks - first
        column = 0
        while column < p.width:
            block.b, block.pitch = p.b + first * p.pitch + column, p.pitch
            block.start = NULL
            if p.start != NULL and first == 0:
                block.start = p.start + column
            multiply_block(p, &block, column)
            column += 2 * V_LANES
