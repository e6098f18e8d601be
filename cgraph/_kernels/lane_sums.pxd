# Target channels over samples that lie side by side, each the sum of its source channels' taps: outputs of inputs, and
# inputs' gradients of outputs' gradients.

from cgraph._kernels.lane_tile cimport Row, Spot, Strip, Term, all_sums, fetch_ahead
from cgraph._kernels.simd cimport real

cdef enum:
    PACKED = 8      # as in lane_tables
    MOST = 6        # rows of a strip, or of a product; outputs of slopes


# Where a channel's elements lie, and what is wanted of it.
cdef struct Target:
    Py_ssize_t w, to, add
    Py_ssize_t wanted[2]

# Targets that read the same sources. `term`: their first term, in the first area.
cdef struct Group:
    Py_ssize_t target, targets, source, sources, term

# Spots that read the same taps, in every column. `tap`: how many taps the areas before have.
cdef struct Area:
    Py_ssize_t spot, spots, tap, taps

# How weights are read, as in lane_tables: where they lie; the same, but fetched ahead; copied, to be read again.
cdef enum Reading:
    IN_PLACE, FAR, COPIED

cdef struct Sums:
    Reading reading
    Py_ssize_t depth            # terms summed at a time
    Py_ssize_t group_count, area_count, tap_count
    const Target *targets
    const Term *sources
    const Group *groups
    const Area *areas
    const Spot *spots
    const Term *terms
    const Py_ssize_t *taps

# What a pass reads and writes.
cdef struct Pass:
    const real *x
    const real *w
    const real *bias        # or NULL; each counts `factor` times
    real factor
    real *to
    real *packed
    Py_ssize_t columns
    bint lean


cdef inline Sums sums_of(const Py_ssize_t *at) noexcept nogil:
    """What lane_tables.sums has found."""
    return Sums(
        <Reading>at[0], at[1], at[2], at[3], at[4],
        <const Target *>(at + at[5]), <const Term *>(at + at[6]), <const Group *>(at + at[7]),
        <const Area *>(at + at[8]), <const Spot *>(at + at[9]), <const Term *>(at + at[10]), at + at[11]
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


cdef inline Row row_of(const Pass *p, const Target *target, Py_ssize_t first) noexcept nogil:
    """A target's row, for the sources from the first on."""
    cdef real start = p.factor * p.bias[target.w] if p.bias != NULL else <real>0
    return Row(p.w + target.w, p.to + target.to, start, target.add or first > 0)


cdef inline void sum_strip(
    const Sums *s, const Pass *p, const Group *group, Py_ssize_t first, Py_ssize_t last, Strip *strip
) noexcept nogil:
    cdef const Area *area = s.areas
    cdef const Term *term
    cdef Py_ssize_t i
    if s.reading == COPIED:
        copy_weights(s, p, group, first, last, strip)
    for i in range(s.area_count):
        term = s.terms + group.term + area[i].tap * group.sources
        strip.term, strip.end = term + first * area[i].taps, term + last * area[i].taps
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
