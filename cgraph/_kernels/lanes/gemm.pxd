# Target channels over samples that lie side by side, each the sum of its source channels' taps: outputs of inputs, and
# inputs' gradients of outputs' gradients.

from cgraph._kernels.common.simd cimport real
from cgraph._kernels.lanes.microkernels cimport Row, Position, RowPanel, Term, all_sums, fetch_ahead

cdef enum:
    PACKED = 8      # as in lane_tables
    MOST = 6        # rows of a strip, or of a product; outputs of slopes


# Where a channel's elements lie, and what is wanted of it.
cdef struct OutputChannel:
    Py_ssize_t w, to, accumulate
    Py_ssize_t requires_grad[2]

# Targets that read the same sources. `term`: their first term, in the first area, where terms are kept.
cdef struct Group:
    Py_ssize_t channel, channels, source, sources, term

# Spots that read the same taps, in every column. `tap`: how many taps the areas before have.
cdef struct Area:
    Py_ssize_t position, positions, tap, taps

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
    const OutputChannel *channels
    const Term *sources
    const Group *groups
    const Area *areas
    const Position *positions
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
    bint parameters_only


cdef inline Sums sums_of(const Py_ssize_t *at) noexcept nogil:
    """What lane_tables.sums has found."""
    return Sums(
        <Reading>at[0], at[1], at[2], at[3], at[4], at[5],
        <const OutputChannel *>(at + at[6]), <const Term *>(at + at[7]), <const Group *>(at + at[8]),
        <const Area *>(at + at[9]), <const Position *>(at + at[10]), <const Term *>(at + at[11]), at + at[12],
        <const Shift *>(at + at[13])
    )


cdef inline void all_output_channels(const Sums *s, const Pass *p) noexcept nogil:
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
    cdef const OutputChannel *channel = s.channels + group.channel
    cdef Py_ssize_t requires_grad = 0, done = 0, size, panels, i
    cdef RowPanel panel
    panel.x = p.x
    for i in range(group.channels):
        requires_grad += channel[i].requires_grad[p.parameters_only]
    if requires_grad and not s.kept:
        make_terms(s, p, group, first, last)
    panels = (requires_grad + MOST - 1) // MOST
    while done < requires_grad:
        size = (requires_grad - done + panels - 1) // panels
        panels -= 1
        done += size
        panel.rows = 0
        while panel.rows < size:
            if channel.requires_grad[p.parameters_only]:
                panel.row[panel.rows] = row_of(p, channel, first)
                panel.rows += 1
            channel += 1
        sum_panel(s, p, group, first, last, &panel)


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


cdef inline Row row_of(const Pass *p, const OutputChannel *channel, Py_ssize_t first) noexcept nogil:
    """A target's row, for the sources from the first on."""
    cdef real start = p.factor * p.bias[channel.w] if p.bias != NULL else <real>0
    return Row(p.w + channel.w, p.to + channel.to, start, channel.accumulate or first > 0)


cdef inline void sum_panel(
    const Sums *s, const Pass *p, const Group *group, Py_ssize_t first, Py_ssize_t last, RowPanel *panel
) noexcept nogil:
    cdef const Area *area = s.areas
    cdef const Term *term
    cdef Py_ssize_t begin = first if s.kept else 0, end = begin + last - first, i
    if s.reading == COPIED:
        copy_weights(s, p, group, first, last, panel)
    for i in range(s.area_count):
        term = s.terms + group.term + area[i].tap * group.sources if s.kept else p.made + area[i].tap * end
        panel.term, panel.end = term + begin * area[i].taps, term + end * area[i].taps
        if s.reading == FAR:
            fetch_ahead(panel)
        if first == 0 or panel.term < panel.end:
            all_sums(panel, s.positions + area[i].position, area[i].positions * p.columns)


cdef inline void copy_weights(
    const Sums *s, const Pass *p, const Group *group, Py_ssize_t first, Py_ssize_t last, RowPanel *panel
) noexcept nogil:
    """Those of a strip, term after term."""
    cdef const Term *source = s.sources + group.source
    cdef Py_ssize_t c, tap, i, at
    cdef real *to = p.packed
    for c in range(first, last):
        for tap in range(s.tap_count):
            at = source[c].w + s.taps[tap]
            for i in range(panel.rows):
                to[i] = panel.row[i].w[at]
            to += PACKED
    for i in range(panel.rows):
        panel.row[i].w = p.packed + i - first * s.tap_count * PACKED
