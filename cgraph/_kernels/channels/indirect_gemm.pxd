# The indirect GEMM: a matrix product whose left factor is read in place, element by element, through two tables of
# offsets. It computes a convolution without the matrix of its windows (im2col), as in M. Dukhan, "The Indirect
# Convolution Algorithm", 2019, arXiv:1907.02129; an offset per row and one per term stand for his indirection buffer.
#
# Design: terms are cut into blocks, so that the nearest cache still holds what the next tile reads. A *panel* of B
# has the terms of a block and two vectors of columns. Rows of b that lie kilobytes apart compete for few lines of that
# cache, so there a panel is packed before its tiles are computed, as in K. Goto and R. van de Geijn, "Anatomy of
# High-Performance Matrix Multiplication", 2008; and these tiles prefetch what the next panel packs. A factor that is
# stored transposed is transposed by this packing. The tiles are those of tiles.h.

from cgraph._kernels.channels.tables cimport RowGroup
from cgraph._kernels.channels.tiles cimport WIDE_ROWS, Prefetch, Panel, compute_rows, sum_rows
from cgraph._kernels.common.rows cimport transpose
from cgraph._kernels.common.simd cimport V_LANES, V_PADDED, real, v_load, v_store

cdef enum:
    DEPTH = 128             # terms of a block
    PACKED_BYTES = 81920    # rows of a product times bytes of b's pitch from which on panels are packed
    PACKED_PITCH = 512      # bytes of b's pitch from which on panels may be packed
    MOST_SINGLE_ROWS = 2    # rows that are not worth a tile


# c[c_offsets[i] + o] += Σ_t a[row_offsets[i] + term_offsets[t]] B[t][o]   for each row i and o < width
cdef struct IndirectGemm:
    const real *a
    const Py_ssize_t *row_offsets
    const Py_ssize_t *term_offsets
    # B[t][o] is b[t pitch + o], or with `runs` b[runs[t / run] + t % run + o pitch]
    const real *b
    Py_ssize_t pitch
    const Py_ssize_t *runs      # NULL, or the offsets of runs of `run` terms that lie side by side
    Py_ssize_t run
    real *packed                # room for a panel, packed_size() elements
    const real *start           # NULL to add to c; else c is overwritten, and each row begins with these values
    real *c
    const Py_ssize_t *c_offsets     # rows of c may overlap, for they are added one after the other
    Py_ssize_t width, depth
    bint any_order              # whether a sum's terms may be added in any order, and so differently in equal rows


cdef inline Py_ssize_t packed_size(Py_ssize_t depth) noexcept nogil:
    """The elements of a packed panel, with room for what a transposition writes, by V_PADDED alone."""
    return (min(depth, DEPTH) + V_PADDED) * 2 * V_PADDED


cdef inline Py_ssize_t block_end(const IndirectGemm *p, Py_ssize_t first) noexcept nogil:
    """Returns the term behind a block: whole runs, or a part of one, in blocks of nearly equal sizes."""
    cdef Py_ssize_t run = p.depth if p.runs == NULL else p.run, rest = run - first % run, size
    if run <= DEPTH:
        return min(first + DEPTH // run * run, p.depth)
    size = rest // ((rest + DEPTH - 1) // DEPTH)
    return first + min((size + V_LANES - 1) // V_LANES * V_LANES, rest)


cdef inline void pack(
    const IndirectGemm *p, Py_ssize_t first, Py_ssize_t end, Py_ssize_t column, Py_ssize_t width
) noexcept nogil:
    """Packs terms first … end - 1 of the columns of a panel."""
    cdef real *packed = p.packed
    cdef Py_ssize_t t = first, size
    while t < end:
        if p.runs == NULL:
            size = 1
            v_store(packed, v_load(p.b + t * p.pitch + column))
            if width > V_LANES:
                v_store(packed + V_LANES, v_load(p.b + t * p.pitch + column + V_LANES))
        else:
            size = min(end - t, p.run - t % p.run)
            transpose(
                p.b + p.runs[t // p.run] + t % p.run + column * p.pitch, p.pitch, packed, 2 * V_LANES, width, size
            )
        packed += size * 2 * V_LANES
        t += size


cdef inline Prefetch nothing_to_prefetch() noexcept nogil:
    return Prefetch(NULL, 0, 0, 0, 0)


cdef inline Prefetch next_panel(
    const IndirectGemm *p, Py_ssize_t first, Py_ssize_t end, Py_ssize_t column, Py_ssize_t rows
) noexcept nogil:
    """Returns the rows of b that are packed after this panel, for the tiles of this one to prefetch."""
    cdef Py_ssize_t terms = end - first, width = 2 * V_LANES, count
    cdef const real *b = p.b
    column += width
    if column >= p.width:
        first, column = end, 0
    if first >= p.depth or p.runs != NULL and terms > p.run:    # the end, or a small factor
        return nothing_to_prefetch()
    if p.runs == NULL:
        b += first * p.pitch + column
        count = min(terms, p.depth - first)
    else:
        b += p.runs[first // p.run] + first % p.run + column * p.pitch
        count, width = min(width, p.width - column), terms
    return Prefetch(b, p.pitch, width, count, count * WIDE_ROWS // rows + 1)


cdef inline void multiply(const IndirectGemm *p, const RowGroup *groups, Py_ssize_t count) noexcept nogil:
    """Computes the rows of all groups, which are one at least, block by block and panel by panel."""
    cdef Py_ssize_t rows = 0, first = 0, end, column, i
    cdef Py_ssize_t pitch_bytes = p.pitch * <Py_ssize_t>sizeof(real)
    cdef bint packing
    cdef Panel panel
    cdef Prefetch prefetch
    for i in range(count):
        rows += groups[i].rows
    packing = p.runs != NULL or pitch_bytes >= PACKED_PITCH and rows * pitch_bytes >= PACKED_BYTES
    prefetch = nothing_to_prefetch()
    panel.a, panel.prefetch = p.a, &prefetch
    while first < p.depth:
        end = block_end(p, first)
        column = 0
        while column < p.width:
            panel.width = min(p.width - column, 2 * V_LANES)
            panel.b, panel.pitch = p.b + first * p.pitch + column, p.pitch
            if packing:
                pack(p, first, end, column, panel.width)
                panel.b, panel.pitch = p.packed, 2 * V_LANES
                prefetch = next_panel(p, first, end, column, rows)
            multiply_panel(p, groups, count, panel, first, end, column)
            column += 2 * V_LANES
        first = end


cdef inline void multiply_panel(
    const IndirectGemm *p, const RowGroup *groups, Py_ssize_t count, Panel panel, Py_ssize_t first, Py_ssize_t end,
    Py_ssize_t column
) noexcept nogil:
    """Adds terms first … end - 1, which the panel holds, to the columns from `column` on of all rows that have them."""
    cdef const real *b = panel.b
    cdef Py_ssize_t begin, last, i
    cdef const RowGroup *group
    for i in range(count):
        group = &groups[i]
        begin, last = max(first, group.term), min(end, group.term + group.depth)
        if begin >= last:
            continue
        panel.term_offsets, panel.depth = p.term_offsets + begin - group.term, last - begin
        panel.b = b + (begin - first) * panel.pitch
        panel.start = p.start + column if p.start != NULL and begin == group.term else NULL
        if p.any_order and group.rows <= MOST_SINGLE_ROWS:
            sum_rows(&panel, p.row_offsets + group.first, p.c + column, p.c_offsets + group.first, group.rows)
        else:
            compute_rows(&panel, p.row_offsets + group.first, p.c + column, p.c_offsets + group.first, group.rows)
