# Target channels over samples that lie side by side, each the sum of its source channels' taps: outputs of inputs, and
# inputs' gradients of outputs' gradients.

from cgraph._kernels.common.simd cimport real
from cgraph._kernels.lanes.microkernels cimport Row, Spot, Strip, Term, all_sums, fetch_ahead

cdef enum:
    PACKED = 8      # as in lane_tables
    MOST = 6        # rows of a strip, or of a product; outputs of slopes


# Where a channel's elements lie, and what is wanted of it.
cdef struct Target:
    Py_ssize_t w, to, add
    Py_ssize_t wanted[2]

# Targets that read the same sources. `term`: their first term, in the first area, where terms are kept.
cdef struct Group:
    Py_ssize_t target, targets, source, sources, term

# Spots that read the same taps, in every column. `tap`: how many taps the areas before have.
cdef struct Area:
    Py_ssize_t spot, spots, tap, taps

# A tap of an area: its number, and how far its source is shifted.
cdef struct Shift:
    Py_ssize_t tap, x

# How weights are read, as in lane_tables: where they lie; the same, but fetched ahead; copied, to be read again.
cdef enum Reading:
    IN_PLACE, FAR, COPIED

cdef struct Sums:
    Reading reading
    Py_ssize_t depth            # terms summed at a time
    Py_ssize_t group_count, area_count, tap_count
    Py_ssize_t kept             # the terms of all groups are; else they are made of sources and shifts
    const Target *targets
    const Term *sources
    const Group *groups
    const Area *areas
    const Spot *spots
    const Term *terms
    const Py_ssize_t *taps
    const Shift *shifts         # of all areas

# What a pass reads and writes.
cdef struct Pass:
    const real *x
    const real *w
    const real *bias        # or NULL; each counts `factor` times
    real factor
    real *to
    real *packed
    Term *made              # where the terms of a block have room
    Py_ssize_t columns
    bint lean


cdef inline Sums sums_of(const Py_ssize_t *at) noexcept nogil:
    """What lane_tables.sums has found."""
    return Sums(
        <Reading>at[0], at[1], at[2], at[3], at[4], at[5],
        <const Target *>(at + at[6]), <const Term *>(at + at[7]), <const Group *>(at + at[8]),
        <const Area *>(at + at[9]), <const Spot *>(at + at[10]), <const Term *>(at + at[11]), at + at[12],
        <const Shift *>(at + at[13])
    )


cdef inline void all_targets(const Sums *s, const Pass *p) noexcept nogil:
    cdef const Group *group = s.groups
    cdef Py_ssize_t most = max(s.depth // s.tap_count, 1), g, blocks, number
    for g in range(s.group_count):
        blocks = max((group[g].sources + most - 1) // most, 1)
        for number in range(blocks):
            sum_block(
                s, p, &group[g], group[g].sources * number // blocks, group[g].sources * (number + 1) // blocks
            )


cdef inline void sum_block(
    const Sums *s, const Pass *p, const Group *group, Py_ssize_t first, Py_ssize_t last
) noexcept nogil:
    """All of a group's targets, for some of its sources; in strips of sizes as equal as can be."""
    cdef const Target *target = s.targets + group.target
    cdef Py_ssize_t wanted = 0, done = 0, size, strips, i
    cdef Strip strip
    strip.x = p.x
    for i in range(group.targets):
        wanted += target[i].wanted[p.lean]
    if wanted and not s.kept:
        make_terms(s, p, group, first, last)
    strips = (wanted + MOST - 1) // MOST
    while done < wanted:
        size = (wanted - done + strips - 1) // strips
        strips -= 1
        done += size
        strip.rows = 0
        while strip.rows < size:
            if target.wanted[p.lean]:
                strip.row[strip.rows] = row_of(p, target, first)
                strip.rows += 1
            target += 1
        sum_strip(s, p, group, first, last, &strip)


cdef inline void make_terms(
    const Sums *s, const Pass *p, const Group *group, Py_ssize_t first, Py_ssize_t last
) noexcept nogil:
    """Those of some sources of a group, area after area."""
    cdef const Term *source = s.sources + group.source
    cdef const Shift *shift = s.shifts
    cdef Term *to = p.made
    cdef Py_ssize_t copied = s.reading == COPIED, a, c, t
    for a in range(s.area_count):
        for c in range(first, last):
            for t in range(s.areas[a].taps):
                to.w = (c * s.tap_count + shift[t].tap) * PACKED if copied else source[c].w + s.taps[shift[t].tap]
                to.x = source[c].x + shift[t].x
                to += 1
        shift += s.areas[a].taps


cdef inline Row row_of(const Pass *p, const Target *target, Py_ssize_t first) noexcept nogil:
    """A target's row, for the sources from the first on."""
    cdef real start = p.factor * p.bias[target.w] if p.bias != NULL else <real>0
    return Row(p.w + target.w, p.to + target.to, start, target.add or first > 0)


cdef inline void sum_strip(
    const Sums *s, const Pass *p, const Group *group, Py_ssize_t first, Py_ssize_t last, Strip *strip
) noexcept nogil:
    cdef const Area *area = s.areas
    cdef const Term *term
    cdef Py_ssize_t begin = first if s.kept else 0, end = begin + last - first, i
    if s.reading == COPIED:
        copy_weights(s, p, group, first, last, strip)
    for i in range(s.area_count):
        term = s.terms + group.term + area[i].tap * group.sources if s.kept else p.made + area[i].tap * end
        strip.term, strip.end = term + begin * area[i].taps, term + end * area[i].taps
        if s.reading == FAR:
            fetch_ahead(strip)
        if first == 0 or strip.term < strip.end:
            all_sums(strip, s.spots + area[i].spot, area[i].spots * p.columns)


cdef inline void copy_weights(
    const Sums *s, const Pass *p, const Group *group, Py_ssize_t first, Py_ssize_t last, Strip *strip
) noexcept nogil:
    """Those of a strip, term after term."""
    cdef const Term *source = s.sources + group.source
    cdef Py_ssize_t c, tap, i, at
    cdef real *to = p.packed
    for c in range(first, last):
        for tap in range(s.tap_count):
            at = source[c].w + s.taps[tap]
            for i in range(strip.rows):
                to[i] = strip.row[i].w[at]
            to += PACKED
    for i in range(strip.rows):
        strip.row[i].w = p.packed + i - first * s.tap_count * PACKED
