# A GEMM over samples that lie side by side: output channels, each the sum of taps of its source channels. The output of
# a layer is a GEMM over its input; the gradient of the input is a GEMM over the output's gradient.
#
# Design: a term of a sum is a pair of offsets, of a weight and of a column of samples, so that one loop serves affine
# nodes, convolutions and their gradients. Output channels that read the same source channels form a *channel set*, and
# positions that read the same taps a *position set*: within both, all sums have one list of terms, without padding or
# missing connections, and the microkernels need no condition. A *block* has as few terms as keep its weights in the
# nearest cache; a *panel* has up to MAX_ROWS output channels, whose weights are packed where many positions read them.

from cgraph._kernels.common.simd cimport real
from cgraph._kernels.lanes.microkernels cimport MAX_ROWS, Row, RowPanel, gemm_tiles, prefetch_weights
from cgraph._kernels.lanes.tables cimport (
    PACKED, PACKED_STRIDE, PREFETCHED, ChannelSet, OutputChannel, Position, PositionSet, ShiftedTap, Term
)

# The tables of a GEMM. Their elements belong to the arrays of an offsets.GemmTables.
cdef struct Gemm:
    int reading                 # how weights are read: IN_PLACE, PREFETCHED or PACKED
    Py_ssize_t depth            # the number of terms of a block
    Py_ssize_t channel_set_count, position_set_count, tap_count
    bint terms_stored           # whether all terms are; if not, each block's are made of sources and shifted taps
    const OutputChannel *outputs
    const Term *sources
    const ChannelSet *channel_sets
    const PositionSet *position_sets
    const Position *positions
    const Term *terms
    const Py_ssize_t *taps      # the offset of each tap's weight
    const ShiftedTap *shifted_taps      # those of all position sets

# The memory that a GEMM reads and writes, and its share of a pass.
cdef struct GemmOperands:
    const real *x
    const real *w
    const real *bias        # NULL for none
    real factor             # of each bias
    real *y
    real *packed
    Term *terms             # room for the terms of a block
    Py_ssize_t columns, vectors     # the number of columns of samples, and of the vectors in each
    bint parameters_only


cdef inline void run_gemm(const Gemm *gemm, const GemmOperands *p) noexcept nogil:
    """Computes all output channels, one channel set after the other, in blocks of source channels."""
    cdef const ChannelSet *channels = gemm.channel_sets
    cdef Py_ssize_t most = max(gemm.depth // gemm.tap_count, 1), i, blocks, number, first, last
    for i in range(gemm.channel_set_count):
        blocks = max((channels[i].sources + most - 1) // most, 1)
        for number in range(blocks):
            first = channels[i].sources * number // blocks
            last = channels[i].sources * (number + 1) // blocks
            gemm_block(gemm, p, &channels[i], first, last)


cdef inline void gemm_block(
    const Gemm *gemm, const GemmOperands *p, const ChannelSet *channels, Py_ssize_t first, Py_ssize_t last
) noexcept nogil:
    """Adds the terms of source channels first … last - 1 to all outputs of a set, in panels of nearly equal sizes."""
    cdef const OutputChannel *output = gemm.outputs + channels.first_output
    cdef Py_ssize_t requires_grad = 0, done = 0, size, panels, i
    cdef RowPanel panel
    panel.x, panel.vectors = p.x, p.vectors
    for i in range(channels.outputs):
        requires_grad += output[i].requires_grad[p.parameters_only]
    if requires_grad and not gemm.terms_stored:
        make_terms(gemm, p, channels, first, last)
    panels = (requires_grad + MAX_ROWS - 1) // MAX_ROWS
    while done < requires_grad:
        size = (requires_grad - done + panels - 1) // panels
        panels -= 1
        done += size
        panel.rows = 0
        while panel.rows < size:
            if output.requires_grad[p.parameters_only]:
                panel.row[panel.rows] = panel_row(p, output, first)
                panel.rows += 1
            output += 1
        gemm_panel(gemm, p, channels, first, last, &panel)


cdef inline void make_terms(
    const Gemm *gemm, const GemmOperands *p, const ChannelSet *channels, Py_ssize_t first, Py_ssize_t last
) noexcept nogil:
    """Makes the terms of a block, one position set after the other."""
    cdef const Term *source = gemm.sources + channels.first_source
    cdef const ShiftedTap *shifted = gemm.shifted_taps
    cdef Term *term = p.terms
    cdef Py_ssize_t packed = gemm.reading == PACKED, i, c, t
    for i in range(gemm.position_set_count):
        for c in range(first, last):
            for t in range(gemm.position_sets[i].taps):
                if packed:
                    term.w = (c * gemm.tap_count + shifted[t].tap) * PACKED_STRIDE
                else:
                    term.w = source[c].w + gemm.taps[shifted[t].tap]
                term.x = source[c].x + shifted[t].x
                term += 1
        shifted += gemm.position_sets[i].taps


cdef inline Row panel_row(const GemmOperands *p, const OutputChannel *output, Py_ssize_t first) noexcept nogil:
    """Returns the row of an output channel; only the block of the first source channels may overwrite it."""
    cdef real start = p.factor * p.bias[output.w] if p.bias != NULL else <real>0
    return Row(p.w + output.w, p.y + output.y, start, output.accumulate or first > 0)


cdef inline void gemm_panel(
    const Gemm *gemm, const GemmOperands *p, const ChannelSet *channels, Py_ssize_t first, Py_ssize_t last,
    RowPanel *panel
) noexcept nogil:
    """Adds the terms of a block to the rows of a panel, one position set after the other."""
    cdef const PositionSet *positions = gemm.position_sets
    cdef const Term *term
    cdef Py_ssize_t begin = first if gemm.terms_stored else 0, end = begin + last - first, i
    if gemm.reading == PACKED:
        pack_weights(gemm, p, channels, first, last, panel)
    for i in range(gemm.position_set_count):
        if gemm.terms_stored:
            term = gemm.terms + channels.first_term + positions[i].first_tap * channels.sources
        else:
            term = p.terms + positions[i].first_tap * end
        panel.term, panel.end = term + begin * positions[i].taps, term + end * positions[i].taps
        if gemm.reading == PREFETCHED:
            prefetch_weights(panel)
        if first == 0 or panel.term < panel.end:
            gemm_tiles(panel, gemm.positions + positions[i].first, positions[i].count * p.columns)


cdef inline void pack_weights(
    const Gemm *gemm, const GemmOperands *p, const ChannelSet *channels, Py_ssize_t first, Py_ssize_t last,
    RowPanel *panel
) noexcept nogil:
    """Copies the weights of a panel's rows, term after term, and lets the rows read the copy."""
    cdef const Term *source = gemm.sources + channels.first_source
    cdef Py_ssize_t c, tap, i, offset
    cdef real *packed = p.packed
    for c in range(first, last):
        for tap in range(gemm.tap_count):
            offset = source[c].w + gemm.taps[tap]
            for i in range(panel.rows):
                packed[i] = panel.row[i].w[offset]
            packed += PACKED_STRIDE
    for i in range(panel.rows):
        panel.row[i].w = p.packed + i - first * gemm.tap_count * PACKED_STRIDE
