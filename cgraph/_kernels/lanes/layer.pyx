"""The step of Affine and of Convolution2d nodes over samples that lie side by side.

D[o][a, b] = bias_o + Σ_c Σ_i Σ_j K[o][c, i, j] X_c[a s + i - p, b s + j - q]

An element is a row of `lanes` samples; an Affine is a window of 1×1 on a domain of 1×1, whose channels are the elements
of x. x, dx: the input and its gradient; d, g: the output and its gradient; w, dw: the weights and their gradient sums,
and behind them the biases. The output and the input's gradient are sums as in lane_tile.h, of shifted channels.
Elements with equal taps, those that lie within the source, are an *area*: padding is not multiplied, unless by what is
not finite. Channels that read the same sources are a *group*: nor are missing connections.
"""
from libc.string cimport memcpy, memset

from cgraph._kernels.lanes import offsets
from cgraph._kernels.common.geometry cimport FilterGeometry
from cgraph._kernels.common.operands cimport descend
from cgraph._kernels.common.rows cimport all_finite
from cgraph._kernels.common.simd cimport (
    V_LANES, real, v_add, v_first, v_hsum, v_load, v_row_sums, v_set1, v_store, v_transpose, vec
)
from cgraph._kernels.lanes.gemm cimport MOST, Group, Pass, Sums, OutputChannel, all_output_channels, sums_of
from cgraph._kernels.lanes.microkernels cimport GradientTile, WeightGradient, Position, Term, weight_gradient_rows, some_weight_gradients
from cgraph._kernels.runtime.step cimport Context, Step, Table, bytes_of

cdef enum:
    TRANSPOSED = 16384  # bytes of the gradient, which a product reads again and again
    CHUNK = 3200    # bytes of a channel's gradient, which slopes read again and again


def lane_layer_scratch(geometry, lanes, c_in, c_out, connected):
    """The number of elements of scratch that LaneLayerStep needs."""
    return offsets.scratch(geometry, lanes, c_in, c_out, sizeof(real), connected).size


# What offsets.layer has found, in this order.
cdef struct Layout:
    Py_ssize_t lanes, c_out, area, tap_count, frame_width
    Py_ssize_t d_at, parameters_offset, rows, pitch
    Py_ssize_t packed_at, frame_at, totals_at, transposed_offset, biases_at, terms_at   # scratch
    Py_ssize_t in_place         # the input is a frame
    Py_ssize_t gaps             # between the weights
    Py_ssize_t one_product      # the weight gradient is one
    Py_ssize_t taps, windows, products      # where these begin


cdef class LaneLayerStep(Step):
    """Channels to c_out channels."""
    cdef FilterGeometry o
    cdef Sums outputs, gradients
    cdef Table numbers, outputs_table, gradients_table
    cdef Layout layout
    cdef const Py_ssize_t *taps     # of the frame
    cdef const Position *windows        # of the frame
    cdef const Term *products       # of each weight's row: where it lies, and x
    cdef real bias

    def __init__(self, FilterGeometry geometry, *given):
        """given: what offsets.layer takes."""
        numbers, outputs, gradients, bias = offsets.layer(geometry, V_LANES, sizeof(real), *given)
        self.o, self.bias = geometry, bias
        self.numbers, self.outputs_table, self.gradients_table = Table(numbers), Table(outputs), Table(gradients)
        self.table_bytes = bytes_of([self.numbers, self.outputs_table, self.gradients_table])
        self.outputs, self.gradients = sums_of(self.outputs_table.data), sums_of(self.gradients_table.data)
        cdef const Py_ssize_t *at = self.numbers.data
        self.layout = (<const Layout *>at)[0]
        self.taps, self.windows = at + self.layout.taps, <const Position *>(at + self.layout.windows)
        self.products = <const Term *>(at + self.layout.products)

    cdef void run(self, const Sums *sums, Context *context, char *numbers, const real *bias, bint parameters_only) noexcept nogil:
        cdef Pass p
        cdef Py_ssize_t column = 2 * V_LANES
        p.x, p.to, p.w = <real *>numbers, <real *>numbers, <real *>context.parameters + self.layout.parameters_offset
        p.bias, p.factor, p.parameters_only = bias, self.bias, parameters_only
        p.packed = <real *>context.scratch + self.layout.packed_at
        p.made = <Term *>(<real *>context.scratch + self.layout.terms_at)
        p.columns = (context.valid + column - 1) // column
        all_output_channels(sums, &p)

    cdef void forward(self, Context *context) noexcept nogil:
        cdef const real *w = <real *>context.parameters + self.layout.parameters_offset
        self.run(&self.outputs, context, context.data, w + self.layout.rows * self.layout.pitch, False)
        if not self.layout.in_place and not all_finite(w, self.layout.pitch, self.layout.rows, self.layout.c_out):
            self.multiply_padding(context)

    cdef void multiply_padding(self, Context *context) noexcept nogil:
        """0 times a weight that is not finite is NaN."""
        cdef const Group *group = self.outputs.groups
        cdef const OutputChannel *channel = self.outputs.channels
        cdef const Term *source
        cdef const real *w = <real *>context.parameters + self.layout.parameters_offset
        cdef Py_ssize_t i, k, c, t
        cdef real product
        for i in range(self.outputs.group_count):
            source = self.outputs.sources + group[i].source
            for k in range(group[i].channel, group[i].channel + group[i].channels):
                for c in range(group[i].sources):
                    for t in range(self.layout.tap_count):
                        product = 0 * w[channel[k].w + source[c].w + self.outputs.taps[t]]
                        if product != 0:
                            self.add_beyond(<real *>context.data + channel[k].to, t, product)

    cdef void add_beyond(self, real *d, Py_ssize_t tap, real product) noexcept nogil:
        """To the elements of an output whose tap lies beyond the input."""
        cdef Py_ssize_t a, b, y, x, l
        for a in range(self.o.n_h):
            y = a * self.o.s + tap // self.o.k_w - self.o.p
            for b in range(self.o.n_w):
                x = b * self.o.s + tap % self.o.k_w - self.o.q
                if y < 0 or y >= self.o.m_h or x < 0 or x >= self.o.m_w:
                    for l in range(self.layout.lanes):
                        d[l] += product
                d += self.layout.lanes

    cdef void backward(self, Context *context) noexcept nogil:
        self.run(&self.gradients, context, context.grad, NULL, context.parameters_only)
        self.weight_gradient(context)

    # dK[o][c, i, j] += Σ_a Σ_b X_c[a s + i - p, b s + j - q] G[o][a, b]

    cdef void weight_gradient(self, Context *context) noexcept nogil:
        cdef real *w = <real *>context.parameters + self.layout.parameters_offset
        cdef real *dw = <real *>context.parameter_grads + self.layout.parameters_offset
        cdef const Group *group = self.gradients.groups
        cdef const OutputChannel *channel = self.gradients.channels
        cdef bint grads_are_zero = context.grads_are_zero
        cdef Py_ssize_t i, c
        if grads_are_zero and self.layout.gaps:
            memset(dw, 0, (self.layout.rows + 1) * self.layout.pitch * sizeof(real))
            grads_are_zero = False
        if self.layout.one_product:
            self.product(context, grads_are_zero)
            return
        for i in range(self.gradients.group_count):
            for c in range(group[i].channel, group[i].channel + group[i].channels):
                self.channel_weight_gradient(context, &group[i], &channel[c], dw + channel[c].w, grads_are_zero)
        self.bias_gradient(context, dw + self.layout.rows * self.layout.pitch, grads_are_zero)
        if context.fused_sgd:
            descend(w, dw, <real>context.eta, (self.layout.rows + 1) * self.layout.pitch)

    cdef void product(self, Context *context, bint grads_are_zero) noexcept nogil:
        """The weight gradient where each weight has one term of a sample; the biases have an input of their own."""
        cdef real *transposed = <real *>context.scratch + self.layout.transposed_offset
        cdef real *biases = <real *>context.scratch + self.layout.biases_at
        cdef Py_ssize_t column = 2 * V_LANES, first = 0, tiles = (self.layout.rows + MOST - 1) // MOST, i, at
        # Columns whose part of the gradient stays in the nearest cache.
        cdef Py_ssize_t chunk = max(TRANSPOSED // (self.layout.lanes * column * <Py_ssize_t>sizeof(real)), 1) * column
        cdef WeightGradient p
        cdef Term bias_row
        transpose_gradient(<const real *>context.grad + self.layout.d_at, self.layout.lanes, self.layout.c_out, transposed)
        bias_row.w, bias_row.x = self.layout.rows * self.layout.pitch, 0
        for i in range(self.layout.lanes):
            biases[i] = self.bias
        p.depth, p.stride = context.valid, self.layout.lanes * column
        p.accumulate, p.fused_sgd, p.eta = not grads_are_zero, context.fused_sgd, <real>context.eta
        while first < self.layout.c_out:
            p.width = min(chunk, self.layout.c_out - first)
            p.g = transposed + first * self.layout.lanes
            p.parameter_grads = <real *>context.parameter_grads + self.layout.parameters_offset + first
            p.parameters = <real *>context.parameters + self.layout.parameters_offset + first
            p.x = <const real *>context.data
            for i in range(tiles):
                at = self.layout.rows * i // tiles
                weight_gradient_rows(&p, self.products + at, self.layout.rows * (i + 1) // tiles - at)
            p.x = biases
            weight_gradient_rows(&p, &bias_row, 1)
            first += chunk

    cdef void bias_gradient(self, Context *context, real *db, bint grads_are_zero) noexcept nogil:
        cdef const real *g = <const real *>context.grad + self.layout.d_at
        cdef Py_ssize_t lanes = self.layout.lanes, area = self.layout.area, k
        cdef real total
        for k in range(self.layout.c_out):
            total = self.bias * sample_sum(g + k * area * lanes, area, lanes, context.valid)
            db[k] = total if grads_are_zero else db[k] + total

    cdef void channel_weight_gradient(
        self, Context *context, const Group *group, const OutputChannel *channel, real *dw, bint grads_are_zero
    ) noexcept nogil:
        """The gradients of all kernels of an input channel; whole vectors of samples first."""
        cdef const Term *out = self.gradients.sources + group.source
        cdef Py_ssize_t whole = context.valid // V_LANES, rest = context.valid % V_LANES
        cdef real *totals = <real *>context.scratch + self.layout.totals_at
        cdef GradientTile p
        p.x, p.g, p.grad_offsets = self.frame(context, channel.to), <const real *>context.grad, out
        p.pitch = group.sources * V_LANES
        if whole > 0:
            p.vectors = whole
            self.weight_gradients(&p, group.sources, totals)
            self.deliver(totals, V_LANES, out, group.sources, dw, grads_are_zero)
        if rest > 0:
            p.x += whole * V_LANES
            p.g += whole * V_LANES
            p.vectors = 1
            self.weight_gradients(&p, group.sources, totals)
            self.deliver(totals, rest, out, group.sources, dw, grads_are_zero and whole == 0)

    cdef const real *frame(self, Context *context, Py_ssize_t at) noexcept nogil:
        """A channel, between the zeros of a frame where it needs them."""
        cdef const real *x = <const real *>context.data + at
        cdef real *frame = <real *>context.scratch + self.layout.frame_at
        cdef Py_ssize_t lanes = self.layout.lanes, y
        if self.layout.in_place:
            return x
        for y in range(self.o.m_h):
            memcpy(
                frame + ((self.o.p + y) * self.layout.frame_width + self.o.q) * lanes, x + y * self.o.m_w * lanes,
                self.o.m_w * lanes * sizeof(real)
            )
        return frame

    cdef void weight_gradients(self, GradientTile *p, Py_ssize_t outs, real *totals) noexcept nogil:
        """Totals of all taps and outputs, sample by sample; a chunk of spots after the other."""
        cdef Py_ssize_t area = self.layout.area, chunks, number, tiles, o, width
        cdef const Term *out = p.grad_offsets
        memset(totals, 0, self.layout.tap_count * p.pitch * sizeof(real))
        chunks = min((area * self.layout.lanes * <Py_ssize_t>sizeof(real) + CHUNK - 1) // CHUNK, area)
        for number in range(chunks):
            p.position = self.windows + area * number // chunks
            p.end = self.windows + area * (number + 1) // chunks
            tiles = 1 if outs <= MOST else (outs + 3) // 4      # twelve sums are four times three
            o = 0
            while o < outs:
                width = (outs - o + tiles - 1) // tiles
                tiles -= 1
                p.grad_offsets, p.total = out + o, totals + o * V_LANES
                self.slope_column(p, width)
                o += width
        p.grad_offsets = out

    cdef void slope_column(self, GradientTile *p, Py_ssize_t width) noexcept nogil:
        """All taps of some outputs."""
        cdef Py_ssize_t t = 0, taps
        while t < self.layout.tap_count:
            p.tap_offsets = self.taps + t
            taps = some_weight_gradients(p, self.layout.tap_count - t, width)
            p.total += taps * p.pitch
            t += taps

    cdef void deliver(
        self, real *totals, Py_ssize_t samples, const Term *out, Py_ssize_t outs, real *dw, bint grads_are_zero
    ) noexcept nogil:
        """The sums of the first samples of each total."""
        cdef Py_ssize_t count = self.layout.tap_count * outs, i = 0, t, k
        cdef real *to
        while samples < V_LANES and i < count:
            v_store(totals + i * V_LANES, v_first(v_load(totals + i * V_LANES), samples))
            i += 1
        i = 0
        while i < count:    # in place: the sums, and what is read behind the last total, are in nobody's way
            v_store(totals + i, v_row_sums(totals + i * V_LANES))
            i += V_LANES
        for t in range(self.layout.tap_count):
            for k in range(outs):
                to = dw + self.gradients.taps[t] + out[k].w
                to[0] = totals[0] if grads_are_zero else to[0] + totals[0]
                totals += 1


cdef void transpose_gradient(const real *g, Py_ssize_t lanes, Py_ssize_t c_out, real *transposed) noexcept nogil:
    """Outputs beside each other instead of samples, in columns of two vectors."""
    cdef Py_ssize_t column = 2 * V_LANES, o = 0, l
    cdef real *to
    while o < c_out:
        to = transposed + o // column * column * lanes + o % column
        if o + V_LANES <= c_out:
            for l in range(lanes // V_LANES):
                v_transpose(g + o * lanes + l * V_LANES, lanes, to + l * V_LANES * column, column)
            o += V_LANES
        else:
            for l in range(lanes):
                to[l * column] = g[o * lanes + l]
            o += 1


cdef real sample_sum(const real *g, Py_ssize_t area, Py_ssize_t lanes, Py_ssize_t valid) noexcept nogil:
    """Σ of the first samples of each element; in four sums a vector, since additions wait for each other."""
    cdef vec even[4]
    cdef vec odd[4]
    cdef vec total = v_set1(0)
    cdef Py_ssize_t column = 2 * V_LANES, v = 0, _i, e, i
    cdef const real *element
    while v < valid:
        element = g + v
        for i in range(4):
            even[i] = odd[i] = v_set1(0)
        for _i in range(area // 4):
            for i in range(4):
                even[i] = v_add(even[i], v_load(element))
                odd[i] = v_add(odd[i], v_load(element + V_LANES))
                element += lanes
        for e in range(area % 4):
            even[e] = v_add(even[e], v_load(element))
            odd[e] = v_add(odd[e], v_load(element + V_LANES))
            element += lanes
        for i in range(4):
            total = v_add(total, v_first(even[i], valid - v))
            total = v_add(total, v_first(odd[i], valid - v - V_LANES))
        v += column
    return v_hsum(total)
