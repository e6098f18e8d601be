"""The step of Affine and of Convolution2d nodes over samples that lie side by side (batch last, CHWN).

D[o][a, b] = bias_o + Σ_c Σ_i Σ_j K[o][c, i, j] X_c[a s + i - p, b s + j - q]

An element is a row of `lanes` samples. An Affine is a convolution with windows of 1×1 over an input of 1×1, whose
channels are the elements of x. x, dx: the input and its gradient; d, g: the output and its gradient; w, dw: the weights
and their gradient sums, the biases behind them.

Design: vectors run over samples, so that every position has whole vectors, however few channels there are, and a weight
is a broadcast factor. The output and the input's gradient are GEMMs (gemm.pxd) whose lists of terms leave out padding
and missing connections. Only where a weight is not finite is padding multiplied afterwards, since 0 times such a weight
is NaN. The weight gradient sums over samples, and has two forms: where each weight has one term of a sample, it is one
matrix product with the transposed gradient (weight_gradient.h), unless outputs are few; else tiles of taps and outputs
sum over positions, lane by lane, and the lanes are summed last (microkernels.h).
"""
from libc.string cimport memcpy, memset

from cgraph._kernels.common.geometry cimport FilterGeometry
from cgraph._kernels.common.operands cimport clear_learning, descend_learning
from cgraph._kernels.common.rows cimport rows_are_finite
from cgraph._kernels.common.simd cimport (
    V_LANES, V_PADDED, real, v_add, v_first, v_hsum, v_load, v_row_sums, v_set1, v_store, v_transpose,
    v_transpose_part, vec
)
from cgraph._kernels.lanes import offsets
from cgraph._kernels.lanes.gemm cimport Gemm, GemmOperands, run_gemm
from cgraph._kernels.lanes.microkernels cimport (
    MAX_ROWS, GradientTile, WeightGradient, gradient_taps, sums_by_lanes, weight_gradient_rows
)
from cgraph._kernels.lanes.tables cimport (
    SUMMED_ROWS, ChannelSet, LayerSizes, OutputChannel, Position, PositionSet, ShiftedTap, Term
)
from cgraph._kernels.lanes.tables import (
    CHANNEL_SET, LAYER_SIZES, OUTPUT_CHANNEL, POSITION, POSITION_SET, SHIFTED_TAP, TERM
)
from cgraph._kernels.runtime import structs
from cgraph._kernels.runtime.step cimport Context, LearningStep, Operand, adds_to_sums

cdef enum:
    TRANSPOSED_BYTES = 16384    # a chunk of the transposed gradient, which each tile of rows reads again
    CHUNK_BYTES = 3200          # a chunk of a channel's gradient, which each tile of taps reads again


def lane_layer_scratch(geometry, lanes, c_out, connected):
    """Returns the number of elements of scratch that a LaneLayerStep needs."""
    return offsets.scratch(geometry, V_PADDED, sizeof(real), lanes, c_out, connected).size


# Taps of a gradient: for each the offset of its x, and that of its weights.
cdef struct Taps:
    const Py_ssize_t *x
    const Py_ssize_t *w
    Py_ssize_t count


cdef Gemm gemm_of(tables) except *:
    """Returns the GEMM of an offsets.GemmTables, which must outlive it."""
    cdef Gemm gemm
    cdef const OutputChannel[::1] outputs = structs.checked(OUTPUT_CHANNEL, tables.outputs)
    cdef const Term[::1] sources = structs.checked(TERM, tables.sources), terms = structs.checked(TERM, tables.terms)
    cdef const ChannelSet[::1] channel_sets = structs.checked(CHANNEL_SET, tables.channel_sets)
    cdef const PositionSet[::1] position_sets = structs.checked(POSITION_SET, tables.position_sets)
    cdef const Position[::1] positions = structs.checked(POSITION, tables.positions)
    cdef const ShiftedTap[::1] shifted_taps = structs.checked(SHIFTED_TAP, tables.shifted_taps)
    cdef const Py_ssize_t[::1] taps = tables.taps
    gemm.reading, gemm.depth, gemm.terms_stored = tables.reading, tables.depth, tables.terms_stored
    gemm.channel_set_count, gemm.position_set_count = channel_sets.shape[0], position_sets.shape[0]
    gemm.tap_count = taps.shape[0]
    gemm.outputs, gemm.channel_sets, gemm.taps = &outputs[0], &channel_sets[0], &taps[0]
    gemm.position_sets, gemm.positions = &position_sets[0], &positions[0]
    gemm.sources = &sources[0] if sources.shape[0] else NULL
    gemm.terms = &terms[0] if terms.shape[0] else NULL
    gemm.shifted_taps = &shifted_taps[0] if shifted_taps.shape[0] else NULL
    return gemm


cdef class LaneLayerStep(LearningStep):
    """Connects its input channels to c_out output channels: an affine map, or convolutions."""
    cdef FilterGeometry f
    cdef Gemm output_gemm, gradient_gemm
    cdef LayerSizes sizes
    cdef const Py_ssize_t[::1] tap_offsets      # of each tap, in the padded input
    cdef const Position[::1] window_positions   # of each window, in the padded input and in the output
    # Where each weight has one term, for each row of weights, the biases last, the offsets of its x and of the weights.
    cdef const Py_ssize_t[::1] row_offsets, row_weights
    cdef real bias
    cdef object tables          # the owner of all of these

    def __init__(
        self, FilterGeometry geometry, Py_ssize_t lanes, inputs, Operand d not None, Py_ssize_t c_out,
        Py_ssize_t parameters_offset, Py_ssize_t scratch_offset, Py_ssize_t tap_stride, Py_ssize_t channel_stride,
        Py_ssize_t pitch, double bias, connected
    ):
        """inputs: an Operand for each input channel.

        Weight (tap, c, o) has the offset `parameters_offset` + tap `tap_stride` + c `channel_stride` + o; the biases,
        each multiplied by `bias`, lie behind k_h k_w c_in rows of `pitch`. connected: whether each (c_in, c_out) is, or
        None for all.
        """
        self.f, self.bias = geometry, <real>bias
        self.tables = tables = offsets.layer(
            geometry, V_LANES, V_PADDED, sizeof(real), lanes, inputs, d, c_out, parameters_offset, scratch_offset,
            tap_stride, channel_stride, pitch, connected
        )
        cdef const LayerSizes[::1] sizes = structs.checked(LAYER_SIZES, tables.sizes)
        self.sizes, self.table_bytes = sizes[0], tables.nbytes
        self.output_gemm, self.gradient_gemm = gemm_of(tables.output_gemm), gemm_of(tables.gradient_gemm)
        self.tap_offsets = tables.tap_offsets
        self.window_positions = structs.checked(POSITION, tables.window_positions)
        self.row_offsets, self.row_weights = tables.row_offsets, tables.row_weights

    cdef void run(
        self, const Gemm *gemm, Context *context, char *memory, const real *bias, bint parameters_only
    ) noexcept nogil:
        """Computes a GEMM within the data of a pass, or within its gradients."""
        cdef GemmOperands p
        cdef Py_ssize_t column = min(2 * V_LANES, self.sizes.lanes)
        p.x, p.y, p.w = <real *>memory, <real *>memory, <real *>context.parameters + self.sizes.parameters_offset
        p.bias, p.factor, p.parameters_only = bias, self.bias, parameters_only
        p.packed = <real *>context.scratch + self.sizes.packed_offset
        p.terms = <Term *>(<real *>context.scratch + self.sizes.terms_offset)
        p.columns, p.vectors = (context.valid + column - 1) // column, column // V_LANES
        run_gemm(gemm, &p)

    cdef void forward(self, Context *context) noexcept nogil:
        cdef const real *w = <real *>context.parameters + self.sizes.parameters_offset
        self.run(&self.output_gemm, context, context.data, w + self.sizes.rows * self.sizes.pitch, False)
        if not self.sizes.in_place and not rows_are_finite(w, self.sizes.pitch, self.sizes.rows, self.sizes.c_out):
            self.multiply_padding(context)

    cdef void multiply_padding(self, Context *context) noexcept nogil:
        """Adds the terms of the padding where they are NaN, 0 times a weight that is not finite."""
        cdef const ChannelSet *channels = self.output_gemm.channel_sets
        cdef const OutputChannel *outputs = self.output_gemm.outputs
        cdef const Term *source
        cdef const real *w = <real *>context.parameters + self.sizes.parameters_offset
        cdef Py_ssize_t i, k, c, t
        cdef real term
        for i in range(self.output_gemm.channel_set_count):
            source = self.output_gemm.sources + channels[i].first_source
            for k in range(channels[i].first_output, channels[i].first_output + channels[i].outputs):
                for c in range(channels[i].sources):
                    for t in range(self.sizes.tap_count):
                        term = 0 * w[outputs[k].w + source[c].w + self.output_gemm.taps[t]]
                        if term != 0:
                            self.add_padding(<real *>context.data + outputs[k].y, t, term)

    cdef void add_padding(self, real *d, Py_ssize_t tap, real term) noexcept nogil:
        """Adds a term to the elements of an output whose tap lies in the padding."""
        cdef Py_ssize_t a, b, y, x, l
        for a in range(self.f.n_h):
            y = a * self.f.s + tap // self.f.k_w - self.f.p
            for b in range(self.f.n_w):
                x = b * self.f.s + tap % self.f.k_w - self.f.q
                if y < 0 or y >= self.f.m_h or x < 0 or x >= self.f.m_w:
                    for l in range(self.sizes.lanes):
                        d[l] += term
                d += self.sizes.lanes

    cdef void backward(self, Context *context) noexcept nogil:
        self.run(&self.gradient_gemm, context, context.grad, NULL, context.parameters_only)
        if self.weights_learn or self.biases_learn:
            self.parameter_gradients(context)

    # dK[o][c, i, j] += Σ_a Σ_b X_c[a s + i - p, b s + j - q] G[o][a, b]

    cdef void parameter_gradients(self, Context *context) noexcept nogil:
        """Computes the gradient sums of the weights and of the biases, as far as they learn."""
        cdef real *dw = <real *>context.parameter_grads + self.sizes.parameters_offset
        cdef bint grads_are_zero = not adds_to_sums(self, context)
        cdef Py_ssize_t weights = self.sizes.rows * self.sizes.pitch
        if grads_are_zero and self.sizes.gaps:
            clear_learning(self, dw, weights, self.sizes.pitch)
            grads_are_zero = False
        cdef bint narrow = sums_by_lanes(self.sizes.c_out, context.valid)
        if self.sizes.one_gemm and not narrow:
            self.matrix_gradient(context, grads_are_zero)
            return
        if self.sizes.one_gemm:
            self.narrow_gradient(context, dw, grads_are_zero)
        else:
            if self.weights_learn:
                self.weight_gradient(context, dw, grads_are_zero)
            if self.biases_learn:
                self.bias_gradient(context, dw + weights, grads_are_zero)
        if context.fused_sgd:
            descend_learning(self, context, self.sizes.parameters_offset, weights, self.sizes.pitch)

    cdef void weight_gradient(self, Context *context, real *dw, bint grads_are_zero) noexcept nogil:
        """Computes the weight gradient, one input channel after the other."""
        cdef const ChannelSet *channels = self.gradient_gemm.channel_sets
        cdef const OutputChannel *outputs = self.gradient_gemm.outputs
        cdef Py_ssize_t i, c
        for i in range(self.gradient_gemm.channel_set_count):
            for c in range(channels[i].first_output, channels[i].first_output + channels[i].outputs):
                self.channel_weight_gradient(context, &channels[i], &outputs[c], dw + outputs[c].w, grads_are_zero)

    cdef void matrix_gradient(self, Context *context, bint grads_are_zero) noexcept nogil:
        """Computes the weight gradient as one matrix product; the row of biases has an input of its own, all `bias`."""
        cdef real *transposed = <real *>context.scratch + self.sizes.transposed_offset
        cdef real *biases = <real *>context.scratch + self.sizes.biases_offset
        cdef Py_ssize_t begin = 0 if self.weights_learn else self.sizes.rows, rows, tiles, number, i
        cdef Py_ssize_t column = 2 * V_LANES, first = 0
        # The outputs of a chunk, whose part of the gradient stays in the nearest cache.
        cdef Py_ssize_t column_bytes = self.sizes.lanes * column * <Py_ssize_t>sizeof(real)
        cdef Py_ssize_t chunk = max(TRANSPOSED_BYTES // column_bytes, 1) * column
        cdef WeightGradient p
        cdef const real *g = <const real *>context.grad + self.sizes.d_offset
        transpose_gradient(g, self.sizes.lanes, self.sizes.c_out, transposed)
        self.fill_biases(biases)
        rows = self.sizes.rows + self.biases_learn - begin
        tiles = (rows + MAX_ROWS - 1) // MAX_ROWS
        p.x, p.depth, p.stride = <const real *>context.data, context.valid, self.sizes.lanes * column
        p.accumulate, p.fused_sgd, p.eta = not grads_are_zero, context.fused_sgd, <real>context.eta
        while first < self.sizes.c_out:
            p.width = min(chunk, self.sizes.c_out - first)
            p.g = transposed + first * self.sizes.lanes
            p.parameter_grads = <real *>context.parameter_grads + self.sizes.parameters_offset + first
            p.parameters = <real *>context.parameters + self.sizes.parameters_offset + first
            for number in range(tiles):
                i = begin + rows * number // tiles
                p.rows = begin + rows * (number + 1) // tiles - i
                p.row_x, p.row_w = &self.row_offsets[i], &self.row_weights[i]
                p.biases = biases if i + p.rows > self.sizes.rows else NULL
                weight_gradient_rows(&p)
            first += chunk

    cdef void fill_biases(self, real *biases) noexcept nogil:
        """Writes the input of the row of biases."""
        cdef Py_ssize_t i
        for i in range(self.sizes.lanes):
            biases[i] = self.bias

    cdef void narrow_gradient(self, Context *context, real *dw, bint grads_are_zero) noexcept nogil:
        """Computes the gradient of a matrix with less than a vector of outputs: tiles of rows and outputs, by lanes."""
        cdef real *biases = <real *>context.scratch + self.sizes.biases_offset
        cdef Py_ssize_t rows = self.sizes.rows if self.weights_learn else 0, first = 0
        cdef Taps taps
        while first < rows:
            taps.x, taps.w = &self.row_offsets[first], &self.row_weights[first]
            taps.count = min(SUMMED_ROWS, rows - first)
            self.tap_gradients(
                context, <const real *>context.data, &taps, self.gradient_gemm.sources, self.sizes.c_out, dw,
                grads_are_zero
            )
            first += SUMMED_ROWS
        if self.biases_learn:
            self.fill_biases(biases)
            taps.x, taps.w = &self.row_offsets[self.sizes.rows], &self.row_weights[self.sizes.rows]
            taps.count = 1
            self.tap_gradients(
                context, biases, &taps, self.gradient_gemm.sources, self.sizes.c_out, dw, grads_are_zero
            )

    cdef void bias_gradient(self, Context *context, real *db, bint grads_are_zero) noexcept nogil:
        cdef const real *g = <const real *>context.grad + self.sizes.d_offset
        cdef Py_ssize_t lanes = self.sizes.lanes, positions = self.sizes.positions, k
        cdef real total
        for k in range(self.sizes.c_out):
            total = self.bias * sample_sum(g + k * positions * lanes, positions, lanes, context.valid)
            db[k] = total if grads_are_zero else db[k] + total

    cdef void channel_weight_gradient(
        self, Context *context, const ChannelSet *channels, const OutputChannel *channel, real *dw, bint grads_are_zero
    ) noexcept nogil:
        """Computes the gradients of all weights of an input channel."""
        cdef const Term *sources = self.gradient_gemm.sources + channels.first_source
        cdef Taps taps
        taps.x, taps.w, taps.count = &self.tap_offsets[0], self.gradient_gemm.taps, self.sizes.tap_count
        self.tap_gradients(
            context, self.padded_input(context, channel.y), &taps, sources, channels.sources, dw, grads_are_zero
        )

    cdef const real *padded_input(self, Context *context, Py_ssize_t offset) noexcept nogil:
        """Returns an input channel, copied between the zeros of the padding where there is any."""
        cdef const real *x = <const real *>context.data + offset
        cdef real *padded = <real *>context.scratch + self.sizes.padded_offset
        cdef Py_ssize_t lanes = self.sizes.lanes, y
        if self.sizes.in_place:
            return x
        for y in range(self.f.m_h):
            memcpy(
                padded + ((self.f.p + y) * self.sizes.padded_width + self.f.q) * lanes, x + y * self.f.m_w * lanes,
                self.f.m_w * lanes * sizeof(real)
            )
        return padded

    cdef void tap_gradients(
        self, Context *context, const real *x, const Taps *taps, const Term *sources, Py_ssize_t outputs, real *dw,
        bint grads_are_zero
    ) noexcept nogil:
        """Computes the gradients of the weights of some taps and outputs; whole vectors of samples come first."""
        cdef Py_ssize_t whole = context.valid // V_LANES, rest = context.valid % V_LANES
        cdef real *totals = <real *>context.scratch + self.sizes.totals_offset
        cdef GradientTile p
        p.x, p.g, p.grad_offsets, p.pitch = x, <const real *>context.grad, sources, outputs * V_LANES
        if whole > 0:
            p.vectors = whole
            self.sum_over_positions(&p, taps, outputs, totals)
            add_totals(totals, V_LANES, taps, sources, outputs, dw, grads_are_zero)
        if rest > 0:
            p.x += whole * V_LANES
            p.g += whole * V_LANES
            p.vectors = 1
            self.sum_over_positions(&p, taps, outputs, totals)
            add_totals(totals, rest, taps, sources, outputs, dw, grads_are_zero and whole == 0)

    cdef void sum_over_positions(
        self, GradientTile *p, const Taps *taps, Py_ssize_t outputs, real *totals
    ) noexcept nogil:
        """Sums over positions, chunk by chunk, for each tap and output; a total is a vector, one sum for each lane."""
        cdef Py_ssize_t positions = self.sizes.positions, size, chunks, number, tiles, o, width
        cdef const Term *sources = p.grad_offsets
        memset(totals, 0, taps.count * p.pitch * sizeof(real))
        size = positions * self.sizes.lanes * <Py_ssize_t>sizeof(real)
        chunks = min((size + CHUNK_BYTES - 1) // CHUNK_BYTES, positions)
        for number in range(chunks):
            p.position = &self.window_positions[0] + positions * number // chunks
            p.end = &self.window_positions[0] + positions * (number + 1) // chunks
            tiles = 1 if outputs <= MAX_ROWS else (outputs + 3) // 4  # a tile of 3 * 4 sums is full
            o = 0
            while o < outputs:
                width = (outputs - o + tiles - 1) // tiles
                tiles -= 1
                p.grad_offsets, p.total = sources + o, totals + o * V_LANES
                gradient_column(p, taps, width)
                o += width
        p.grad_offsets = sources


cdef void gradient_column(GradientTile *p, const Taps *taps, Py_ssize_t width) noexcept nogil:
    """Sums the tiles of all taps and of `width` outputs."""
    cdef Py_ssize_t t = 0, done
    while t < taps.count:
        p.tap_offsets = taps.x + t
        done = gradient_taps(p, taps.count - t, width)
        p.total += done * p.pitch
        t += done


cdef void add_totals(
    real *totals, Py_ssize_t samples, const Taps *taps, const Term *sources, Py_ssize_t outputs, real *dw,
    bint grads_are_zero
) noexcept nogil:
    """Adds the first `samples` lanes of each total to the gradient sums."""
    cdef Py_ssize_t count = taps.count * outputs, i = 0, t, k
    cdef real *sums
    while samples < V_LANES and i < count:
        v_store(totals + i * V_LANES, v_first(v_load(totals + i * V_LANES), samples))
        i += 1
    i = 0
    while i < count:    # in place: a sum overwrites a total already read; room is left behind the last total
        v_store(totals + i, v_row_sums(totals + i * V_LANES))
        i += V_LANES
    for t in range(taps.count):
        for k in range(outputs):
            sums = dw + taps.w[t] + sources[k].w
            sums[0] = totals[0] if grads_are_zero else sums[0] + totals[0]
            totals += 1


cdef void transpose_gradient(const real *g, Py_ssize_t lanes, Py_ssize_t c_out, real *transposed) noexcept nogil:
    """Lays outputs instead of samples side by side, in columns of two vectors."""
    cdef Py_ssize_t column = 2 * V_LANES, o = 0, l
    cdef real *row
    while o < c_out:
        row = transposed + o // column * column * lanes + o % column
        l = 0
        while l < lanes:
            if o + V_LANES <= c_out:
                v_transpose(g + o * lanes + l, lanes, row + l * column, column)
            else:
                v_transpose_part(g + o * lanes + l, lanes, c_out - o, row + l * column, column, V_LANES)
            l += V_LANES
        o += V_LANES


cdef real sample_sum(const real *g, Py_ssize_t positions, Py_ssize_t lanes, Py_ssize_t valid) noexcept nogil:
    """Returns Σ g of the first `valid` samples; running sums, since each addition waits for the one before."""
    cdef vec sums[8]
    cdef vec total = v_set1(0)
    cdef Py_ssize_t v = 0, _i, i
    cdef const real *element
    while v < valid:
        element = g + v
        for i in range(8):
            sums[i] = v_set1(0)
        for _i in range(positions // 8):
            for i in range(8):
                sums[i] = v_add(sums[i], v_load(element))
                element += lanes
        for _i in range(positions % 8):
            sums[0] = v_add(sums[0], v_load(element))
            element += lanes
        for i in range(1, 8):
            sums[0] = v_add(sums[0], sums[i])
        total = v_add(total, v_first(sums[0], valid - v))
        v += V_LANES
    return v_hsum(total)
