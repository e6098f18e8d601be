# A matrix product whose left factor is read in place, element by element, through two tables of offsets: a convolution
# without the matrix of its windows.

from cgraph._kernels.simd cimport V_LANES, real, v_add, v_first, v_fma, v_load, v_opaque, v_set1, v_store, vec

cdef enum:
    TILE = 6        # rows that are summed side by side, two vectors of each: what 16 registers hold
    TALL = 10       # the same where there is but one vector
    DEPTH = 160     # terms summed at a time: as many rows of b stay in the nearest cache


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


cdef inline void finish(
    const Product *p, Py_ssize_t row, Py_ssize_t column, bint overwrite, vec total
) noexcept nogil:
    """Adds a row's sum to one vector of c, or overwrites it."""
    cdef real *c = p.c + p.to[row] + column
    cdef vec start
    if overwrite:
        start = v_load(p.origin + column)
    else:
        start = v_load(c)
    if column + V_LANES > p.width:
        total = v_first(total, p.width - column)
    v_store(c, v_add(start, total))


cdef inline void wide_tile(
    const Product *p, Py_ssize_t row, Py_ssize_t column, Py_ssize_t first, Py_ssize_t depth
) noexcept nogil:
    """TILE rows of two vectors from `column` on; terms from `first` on."""
    cdef vec left[TILE]
    cdef vec right[TILE]
    cdef const real *a[TILE]
    cdef vec b0, b1, x
    cdef const real *b = p.b + first * p.pitch + column
    cdef bint overwrite = p.origin != NULL and first == 0
    cdef const Py_ssize_t *along = p.along + first
    cdef Py_ssize_t pitch = p.pitch, t, i
    for i in range(TILE):
        a[i] = p.a + p.at[row + i]
        left[i] = right[i] = v_set1(0)
    for t in range(depth):
        b0 = v_opaque(v_load(b))
        b1 = v_opaque(v_load(b + V_LANES))
        for i in range(TILE):
            x = v_set1(a[i][along[t]])
            left[i] = v_fma(x, b0, left[i])
            right[i] = v_fma(x, b1, right[i])
        b += pitch
    for i in range(TILE):
        if row + i < p.rows:
            finish(p, row + i, column, overwrite, left[i])
            finish(p, row + i, column + V_LANES, overwrite, right[i])


cdef inline void tall_tile(
    const Product *p, Py_ssize_t row, Py_ssize_t column, Py_ssize_t first, Py_ssize_t depth
) noexcept nogil:
    """TALL rows of one vector."""
    cdef vec total[TALL]
    cdef const real *a[TALL]
    cdef vec factor
    cdef const real *b = p.b + first * p.pitch + column
    cdef bint overwrite = p.origin != NULL and first == 0
    cdef const Py_ssize_t *along = p.along + first
    cdef Py_ssize_t pitch = p.pitch, t, i
    for i in range(TALL):
        a[i] = p.a + p.at[row + i]
        total[i] = v_set1(0)
    for t in range(depth):
        factor = v_opaque(v_load(b))
        for i in range(TALL):
            total[i] = v_fma(v_set1(a[i][along[t]]), factor, total[i])
        b += pitch
    for i in range(TALL):
        if row + i < p.rows:
            finish(p, row + i, column, overwrite, total[i])


cdef inline void multiply(const Product *p) noexcept nogil:
    """The whole product, in blocks of terms and columns of tiles."""
    cdef Py_ssize_t blocks = (p.depth + DEPTH - 1) // DEPTH, block, first, depth, column, row
    for block in range(blocks):
        first = p.depth * block // blocks
        depth = p.depth * (block + 1) // blocks - first
        column = 0
        while column + V_LANES < p.width:
            row = 0
            while row < p.rows:
                wide_tile(p, row, column, first, depth)
                row += TILE
            column += 2 * V_LANES
        if column < p.width:
            row = 0
            while row < p.rows:
                tall_tile(p, row, column, first, depth)
                row += TALL
