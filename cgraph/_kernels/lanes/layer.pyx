"""The step of Affine and of Convolution2d nodes over samples that lie side by side (batch last, CHWN).

D[o][a, b] = bias_o + Σ_c Σ_i Σ_j K[o][c, i, j] X_c[a s + i - p, b s + j - q]

An element is a row of `lanes` samples. An Affine is a convolution with windows of 1×1 over an input of 1×1, whose
channels are the elements of x. x, dx: the input and its gradient; d, g: the output and its gradient; w, dw: the weights
and their gradient sums, the biases behind them.

Design: vectors run over samples, so that every position has whole vectors, however few channels there are, and a weight
is a broadcast factor. The output and the input's gradient are GEMMs (gemm.pxd) whose lists of terms leave out padding
and missing connections. Only where a weight is not finite is padding multiplied afterwards, since 0 times such a weight
is NaN. The weight gradient sums over samples, and has two forms: where each weight has one term of a sample, it is one
matrix product with the transposed gradient (weight_gradient.h); else tiles of taps and outputs sum over positions, lane
by lane, and the lanes are summed last (microkernels.h).
"""
from libc.string cimport memcpy, memset

from cgraph._kernels.common.geometry cimport FilterGeometry
from cgraph._kernels.common.operands cimport clear_learning, descend_learning
from cgraph._kernels.common.rows cimport rows_are_finite
from cgraph._kernels.common.simd cimport (
    V_LANES, V_PADDED, real, v_add, v_first, v_hsum, v_load, v_row_sums, v_set1, v_store, v_transpose, vec
)
from cgraph._kernels.lanes import offsets
from cgraph._kernels.lanes.gemm cimport MAX_ROWS, Gemm, GemmOperands, run_gemm
from cgraph._kernels.lanes.microkernels cimport GradientTile, WeightGradient, gradient_taps, weight_gradient_rows
from cgraph._kernels.lanes.tables cimport (
    ChannelSet, LayerSizes, OutputChannel, Position, PositionSet, ShiftedTap, Term
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
    cdef const Term[::1] weight_rows            # the offsets of each row of weights and of its x
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
        self.weight_rows = structs.checked(TERM, tables.weight_rows)

    cdef void run(
        self, const Gemm *gemm, Context *context, char *memory, const real *bias, bint parameters_only
    ) noexcept nogil:
        """Computes a GEMM within the data of a pass, or within its gradients."""
        cdef GemmOperands p
        cdef Py_ssize_t column = 2 * V_LANES
        p.x, p.y, p.w = <real *>memory, <real *>memory, <real *>context.parameters + self.sizes.parameters_offset
        p.bias, p.factor, p.parameters_only = bias, self.bias, parameters_only
        p.packed = <real *>context.scratch + self.sizes.packed_offset
        p.terms = <Term *>(<real *>context.scratch + self.sizes.terms_offset)
        p.columns = (context.valid + column - 1) // column
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
        if self.sizes.one_gemm:
            self.matrix_gradient(context, grads_are_zero)
            return
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
        cdef Py_ssize_t rows = self.sizes.rows if self.weights_learn else 0
        cdef Py_ssize_t column = 2 * V_LANES, first = 0, tiles = (rows + MAX_ROWS - 1) // MAX_ROWS, i, row
        # The outputs of a chunk, whose part of the gradient stays in the nearest cache.
        cdef Py_ssize_t column_bytes = self.sizes.lanes * column * <Py_ssize_t>sizeof(real)
        cdef Py_ssize_t chunk = max(TRANSPOSED_BYTES // column_bytes, 1) * column
        cdef WeightGradient p
        cdef Term bias_row
        cdef const real *g = <const real *>context.grad + self.sizes.d_offset
        transpose_gradient(g, self.sizes.lanes, self.sizes.c_out, transposed)
        bias_row.w, bias_row.x = self.sizes.rows * self.sizes.pitch, 0
        for i in range(self.sizes.lanes):
            biases[i] = self.bias
        p.depth, p.stride = context.valid, self.sizes.lanes * column
        p.accumulate, p.fused_sgd, p.eta = not grads_are_zero, context.fused_sgd, <real>context.eta
        while first < self.sizes.c_out:
            p.width = min(chunk, self.sizes.c_out - first)
            p.g = transposed + first * self.sizes.lanes
            p.parameter_grads = <real *>context.parameter_grads + self.sizes.parameters_offset + first
            p.parameters = <real *>context.parameters + self.sizes.parameters_offset + first
            p.x = <const real *>context.data
            for i in range(tiles):
                row = rows * i // tiles
                weight_gradient_rows(&p, &self.weight_rows[row], rows * (i + 1) // tiles - row)
            p.x = biases
            if self.biases_learn:
                weight_gradient_rows(&p, &bias_row, 1)
            first += chunk

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
        """Computes the gradients of all weights of an input channel; whole vectors of samples come first."""
        cdef const Term *sources = self.gradient_gemm.sources + channels.first_source
        cdef Py_ssize_t whole = context.valid // V_LANES, rest = context.valid % V_LANES
        cdef real *totals = <real *>context.scratch + self.sizes.totals_offset
        cdef GradientTile p
        p.x, p.g, p.grad_offsets = self.padded_input(context, channel.y), <const real *>context.grad, sources
        p.pitch = channels.sources * V_LANES
        if whole > 0:
            p.vectors = whole
            self.tap_gradients(&p, channels.sources, totals)
            self.add_totals(totals, V_LANES, sources, channels.sources, dw, grads_are_zero)
        if rest > 0:
            p.x += whole * V_LANES
            p.g += whole * V_LANES
            p.vectors = 1
            self.tap_gradients(&p, channels.sources, totals)
            self.add_totals(totals, rest, sources, channels.sources, dw, grads_are_zero and whole == 0)

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

    cdef void tap_gradients(self, GradientTile *p, Py_ssize_t outputs, real *totals) noexcept nogil:
        """Sums over positions, chunk by chunk, for each tap and output; a total is a vector, one sum for each lane."""
        cdef Py_ssize_t positions = self.sizes.positions, size, chunks, number, tiles, o, width
        cdef const Term *sources = p.grad_offsets
        memset(totals, 0, self.sizes.tap_count * p.pitch * sizeof(real))
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
                self.gradient_column(p, width)
                o += width
        p.grad_offsets = sources

    cdef void gradient_column(self, GradientTile *p, Py_ssize_t width) noexcept nogil:
        """Sums the tiles of all taps and of `width` outputs."""
        cdef Py_ssize_t t = 0, taps
        while t < self.sizes.tap_count:
            p.tap_offsets = &self.tap_offsets[t]
            taps = gradient_taps(p, self.sizes.tap_count - t, width)
            p.total += taps * p.pitch
            t += taps

    cdef void add_totals(
        self, real *totals, Py_ssize_t samples, const Term *sources, Py_ssize_t outputs, real *dw, bint grads_are_zero
    ) noexcept nogil:
        """Adds the first `samples` lanes of each total to the gradient sums."""
        cdef Py_ssize_t count = self.sizes.tap_count * outputs, i = 0, t, k
        cdef real *sums
        while samples < V_LANES and i < count:
            v_store(totals + i * V_LANES, v_first(v_load(totals + i * V_LANES), samples))
            i += 1
        i = 0
        while i < count:    # in place: a sum overwrites a total already read; room is left behind the last total
            v_store(totals + i, v_row_sums(totals + i * V_LANES))
            i += V_LANES
        for t in range(self.sizes.tap_count):
            for k in range(outputs):
                sums = dw + self.gradient_gemm.taps[t] + sources[k].w
                sums[0] = totals[0] if grads_are_zero else sums[0] + totals[0]
                totals += 1


cdef void transpose_gradient(const real *g, Py_ssize_t lanes, Py_ssize_t c_out, real *transposed) noexcept nogil:
    """Lays outputs instead of samples side by side, in columns of two vectors."""
    cdef Py_ssize_t column = 2 * V_LANES, o = 0, l
    cdef real *row
    while o < c_out:
        row = transposed + o // column * column * lanes + o % column
        if o + V_LANES <= c_out:
            for l in range(lanes // V_LANES):
                v_transpose(g + o * lanes + l * V_LANES, lanes, row + l * V_LANES * column, column)
            o += V_LANES
        else:
            for l in range(lanes):
                row[l * column] = g[o * lanes + l]
            o += 1


cdef real sample_sum(const real *g, Py_ssize_t positions, Py_ssize_t lanes, Py_ssize_t valid) noexcept nogil:
    """Returns Σ g of the first `valid` samples; four running sums, since each addition waits for the one before."""
    cdef vec even[4]
    cdef vec odd[4]
    cdef vec total = v_set1(0)
    cdef Py_ssize_t column = 2 * V_LANES, v = 0, _i, e, i
    cdef const real *element
    while v < valid:
        element = g + v
        for i in range(4):
            even[i] = odd[i] = v_set1(0)
        for _i in range(positions // 4):
            for i in range(4):
                even[i] = v_add(even[i], v_load(element))
                odd[i] = v_add(odd[i], v_load(element + V_LANES))
                element += lanes
        for e in range(positions % 4):
            even[e] = v_add(even[e], v_load(element))
            odd[e] = v_add(odd[e], v_load(element + V_LANES))
            element += lanes
        for i in range(4):
            total = v_add(total, v_first(even[i], valid - v))
            total = v_add(total, v_first(odd[i], valid - v - V_LANES))
        v += column
    return v_hsum(total)
