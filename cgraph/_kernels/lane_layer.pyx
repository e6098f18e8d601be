"""The step of Affine and of Convolution2d nodes over samples that lie side by side.

D[o][a, b] = bias_o + Σ_c Σ_i Σ_j K[o][c, i, j] X_c[a s + i - p, b s + j - q]

An element is a row of `lanes` samples; an Affine is a window of 1×1 on a domain of 1×1, whose channels are the elements
of x. x, dx: the input and its gradient; d, g: the output and its gradient; w, dw: the weights and their gradient sums,
and behind them the biases. The output and the input's gradient are sums as in lane_tile.h, of shifted channels.
Elements with equal taps, those that lie within the source, are an *area*: padding is not multiplied, unless by what is
not finite. Channels that read the same sources are a *group*: nor are missing connections.
"""
from libc.stdlib cimport free, malloc
from libc.string cimport memcpy, memset

from cgraph._kernels import lane_tables
from cgraph._kernels.channels cimport all_finite
from cgraph._kernels.lane_tile cimport (
    Patch, Product, Spot, Strip, Term, all_sums, fetch_ahead, product_rows, some_slopes
)
from cgraph._kernels.simd cimport V_LANES, real, v_add, v_first, v_hsum, v_load, v_set1, v_transpose, vec
from cgraph._kernels.step cimport Arena, Step
from cgraph._kernels.window cimport Window

cdef enum:
    PACKED = 8      # as in lane_tables
    DEPTH = 384     # terms summed at a time, so that their weights stay in the nearest cache
    NEAR = 16384    # bytes of x that stay there, too, where there is but one spot and all strips read them
    NARROW = 128    # terms whose weights stay there, in rows that lie apart
    FAR = 1024      # bytes from one term's weights to the next, from which on they are fetched ahead
    MOST = 6        # rows of a strip
    TURNED = 16384  # bytes of the gradient, which a product reads again and again
    CHUNK = 3072    # bytes of a channel's gradient, which slopes read again and again


cdef class Table:
    """Numbers that kernels read: offsets, or structs of them."""
    cdef Py_ssize_t *at
    cdef Py_ssize_t size

    def __cinit__(self, list numbers):
        cdef Py_ssize_t i
        self.size = len(numbers)
        self.at = <Py_ssize_t *>malloc((self.size + 1) * sizeof(Py_ssize_t))
        if self.at == NULL:
            raise MemoryError()
        for i in range(self.size):
            self.at[i] = numbers[i]

    def __dealloc__(self):
        free(self.at)


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


cdef class LaneSums:
    """Target channels, each the sum of its source channels' taps."""
    cdef Table targets, sources, groups, areas, spots, terms, taps
    cdef bint packs
    cdef bint far               # the weights of a term from those of the next
    cdef Py_ssize_t group_count, area_count, tap_count
    cdef Py_ssize_t depth       # terms summed at a time

    def __init__(self, tables, Py_ssize_t lanes, Py_ssize_t source_step, bint packs):
        """tables: lane_tables.Sums; source_step: from one source's weights to the next; packs: as in the tables."""
        self.targets, self.sources, self.groups = Table(tables[0]), Table(tables[1]), Table(tables[2])
        self.areas, self.spots, self.terms, self.taps = map(Table, tables[3:])
        self.packs = packs
        self.group_count, self.area_count = self.groups.size // 5, self.areas.size // 4
        self.tap_count = self.taps.size
        self.far = not packs and source_step * <Py_ssize_t>sizeof(real) >= FAR
        self.depth = DEPTH if packs else min(NEAR // (lanes * <Py_ssize_t>sizeof(real)), NARROW)

    cdef void run(self, Pass *p) noexcept nogil:
        cdef const Group *group = <const Group *>self.groups.at
        cdef Py_ssize_t most = max(self.depth // self.tap_count, 1), g, blocks, number, first
        for g in range(self.group_count):
            blocks = max((group[g].sources + most - 1) // most, 1)
            for number in range(blocks):
                first = group[g].sources * number // blocks
                self.block(p, &group[g], first, group[g].sources * (number + 1) // blocks)

    cdef void block(self, const Pass *p, const Group *group, Py_ssize_t first, Py_ssize_t last) noexcept nogil:
        """All of a group's targets, for some of its sources; in strips of sizes as equal as can be."""
        cdef const Target *target = <const Target *>self.targets.at + group.target
        cdef Py_ssize_t wanted = 0, done = 0, size, strips, i
        cdef const Target *member[MOST]
        for i in range(group.targets):
            wanted += target[i].wanted[p.lean]
        strips = (wanted + MOST - 1) // MOST
        while done < wanted:
            size = (wanted - done + strips - 1) // strips
            strips -= 1
            done += size
            i = 0
            while i < size:
                if target.wanted[p.lean]:
                    member[i] = target
                    i += 1
                target += 1
            self.strip(p, group, first, last, member, size)

    cdef void strip(
        self, const Pass *p, const Group *group, Py_ssize_t first, Py_ssize_t last, const Target **member,
        Py_ssize_t count
    ) noexcept nogil:
        cdef const Area *area = <const Area *>self.areas.at
        cdef const Term *term
        cdef Strip strip
        cdef Py_ssize_t i
        strip.rows, strip.x = count, p.x
        for i in range(count):
            strip.row[i].w = p.w + member[i].w
            strip.row[i].to = p.to + member[i].to
            strip.row[i].add = member[i].add or first > 0
            strip.row[i].start = p.factor * p.bias[member[i].w] if p.bias != NULL else <real>0
        if self.packs:
            self.pack(p, group, first, last, &strip)
        for i in range(self.area_count):
            term = <const Term *>self.terms.at + group.term + area[i].tap * group.sources
            strip.term, strip.end = term + first * area[i].taps, term + last * area[i].taps
            if self.far:
                fetch_ahead(&strip)
            if first == 0 or strip.term < strip.end:
                all_sums(&strip, <const Spot *>self.spots.at + area[i].spot, area[i].spots * p.columns)

    cdef void pack(
        self, const Pass *p, const Group *group, Py_ssize_t first, Py_ssize_t last, Strip *strip
    ) noexcept nogil:
        """Copies the weights of a strip, term after term."""
        cdef const Term *source = <const Term *>self.sources.at + group.source
        cdef Py_ssize_t c, tap, i, at
        cdef real *to = p.packed
        for c in range(first, last):
            for tap in range(self.tap_count):
                at = source[c].w + self.taps.at[tap]
                for i in range(strip.rows):
                    to[i] = strip.row[i].w[at]
                to += PACKED
        for i in range(strip.rows):
            strip.row[i].w = p.packed + i - first * self.tap_count * PACKED


cdef inline Py_ssize_t aligned(Py_ssize_t n) noexcept nogil:
    """n elements as whole cache lines."""
    cdef Py_ssize_t line = 64 // <Py_ssize_t>sizeof(real)
    return (n + line - 1) // line * line


# The windows of a Filter2d reach the end of its input: so far goes the frame, too.

cdef inline Py_ssize_t frame_height(Window o) noexcept:
    return (o.n_h - 1) * o.s + o.k_h


cdef inline Py_ssize_t frame_width(Window o) noexcept:
    return (o.n_w - 1) * o.s + o.k_w


cdef Py_ssize_t packed_size(Window o) noexcept:
    return aligned(max(DEPTH, o.k_h * o.k_w) * PACKED)


cdef Py_ssize_t frame_size(Window o, Py_ssize_t lanes) noexcept:
    return frame_height(o) * frame_width(o) * lanes


cdef Py_ssize_t total_size(Window o, Py_ssize_t c_out) noexcept:
    return aligned(o.k_h * o.k_w * c_out * V_LANES)


cdef bint is_product(Window o) noexcept:
    """Whether the weight gradient is a product of matrices: few terms for each weight."""
    return o.n_h * o.n_w == 1 and o.m_h == o.k_h and o.m_w == o.k_w


cdef Py_ssize_t turned_size(Py_ssize_t lanes, Py_ssize_t c_out) noexcept:
    cdef Py_ssize_t column = 2 * V_LANES
    return (c_out + column - 1) // column * column * lanes


def lane_layer_scratch(Window window, Py_ssize_t lanes, Py_ssize_t c_in, Py_ssize_t c_out):
    """The number of elements of scratch that LaneLayerStep needs."""
    if is_product(window):
        return packed_size(window) + turned_size(lanes, c_out) + lanes
    return packed_size(window) + frame_size(window, lanes) + total_size(window, c_out)


cdef class LaneLayerStep(Step):
    """c_in channels to c_out channels."""
    cdef Window o
    cdef LaneSums outputs, gradients
    cdef Table taps, windows    # of the frame
    cdef Table products         # of each weight's row: where it lies, and x
    cdef Py_ssize_t d_at, lanes, c_in, c_out, area, tap_count
    cdef Py_ssize_t values_at, rows, pitch
    cdef Py_ssize_t packed_at, frame_at, totals_at, turned_at, biases_at
    cdef Py_ssize_t frame_width
    cdef real bias
    cdef bint in_place          # the input is a frame
    cdef bint gaps              # between the weights
    cdef bint one_product       # the weight gradient is one

    def __init__(
        self, Window window, Py_ssize_t lanes, inputs, d, Py_ssize_t c_out,
        Py_ssize_t values_at, Py_ssize_t scratch_at, Py_ssize_t tap_step, Py_ssize_t channel_step, Py_ssize_t pitch,
        double bias, connected
    ):
        """inputs, d: the fields of _places.Place. Weight (tap, c, o) lies at `values_at` + tap `tap_step` +
        c `channel_step` + o, the biases, which count `bias` times, behind k_h k_w c_in rows of `pitch`. connected:
        None, or which (c_in, c_out) are."""
        cdef Window o = window
        self.o, self.lanes, self.d_at = o, lanes, d[0]
        self.c_in, self.c_out, self.area, self.tap_count = len(inputs), c_out, o.n_h * o.n_w, o.k_h * o.k_w
        self.values_at, self.pitch, self.bias = values_at, pitch, <real>bias
        self.rows = self.tap_count * self.c_in
        self.gaps = connected is not None or channel_step == pitch > c_out
        self.packed_at = scratch_at
        self.frame_at = self.packed_at + packed_size(o)
        self.totals_at = self.frame_at + frame_size(o, lanes)
        self.one_product = connected is None and is_product(o)
        self.turned_at = self.packed_at + packed_size(o)
        self.biases_at = self.turned_at + turned_size(lanes, c_out)
        self.in_place = frame_height(o) == o.m_h and frame_width(o) == o.m_w
        self.frame_width = frame_width(o)
        outputs, gradients, taps, windows, products = lane_tables.layer(
            o, lanes, 2 * V_LANES, inputs, self.d_at, c_out, (tap_step, channel_step), connected
        )
        self.outputs = LaneSums(outputs, lanes, channel_step, self.area > 1)
        self.gradients = LaneSums(gradients, lanes, 1, o.m_h * o.m_w > 1)
        self.taps, self.windows, self.products = Table(taps), Table(windows), Table(products)

    cdef void run(self, LaneSums sums, Arena *arena, char *numbers, const real *bias, bint lean) noexcept nogil:
        cdef Pass p
        cdef Py_ssize_t column = 2 * V_LANES
        p.x, p.to, p.w = <real *>numbers, <real *>numbers, <real *>arena.values + self.values_at
        p.bias, p.factor, p.lean = bias, self.bias, lean
        p.packed = <real *>arena.scratch + self.packed_at
        p.columns = (arena.valid + column - 1) // column
        sums.run(&p)

    cdef void forward(self, Arena *arena) noexcept nogil:
        cdef const real *bias = <real *>arena.values + self.values_at + self.rows * self.pitch
        self.run(self.outputs, arena, arena.data, bias, False)
        if not self.in_place and not all_finite(bias - self.rows * self.pitch, self.pitch, self.rows, self.c_out):
            self.multiply_padding(arena)

    cdef void multiply_padding(self, Arena *arena) noexcept nogil:
        """0 times a weight that is not finite is NaN."""
        cdef const Group *group = <const Group *>self.outputs.groups.at
        cdef const Target *target = <const Target *>self.outputs.targets.at
        cdef const Term *source
        cdef const real *w = <real *>arena.values + self.values_at
        cdef Py_ssize_t i, k, c, t
        cdef real product
        for i in range(self.outputs.group_count):
            source = <const Term *>self.outputs.sources.at + group[i].source
            for k in range(group[i].target, group[i].target + group[i].targets):
                for c in range(group[i].sources):
                    for t in range(self.tap_count):
                        product = 0 * w[target[k].w + source[c].w + self.outputs.taps.at[t]]
                        if product != 0:
                            self.add_beyond(<real *>arena.data + target[k].to, t, product)

    cdef void add_beyond(self, real *d, Py_ssize_t tap, real product) noexcept nogil:
        """To the elements of an output whose tap lies beyond the input."""
        cdef Py_ssize_t a, b, y, x, l
        for a in range(self.o.n_h):
            y = a * self.o.s + tap // self.o.k_w - self.o.p
            for b in range(self.o.n_w):
                x = b * self.o.s + tap % self.o.k_w - self.o.q
                if y < 0 or y >= self.o.m_h or x < 0 or x >= self.o.m_w:
                    for l in range(self.lanes):
                        d[l] += product
                d += self.lanes

    cdef void backward(self, Arena *arena) noexcept nogil:
        self.run(self.gradients, arena, arena.grad, NULL, arena.lean)
        self.weight_gradient(arena)

    # dK[o][c, i, j] += Σ_a Σ_b X_c[a s + i - p, b s + j - q] G[o][a, b]

    cdef void weight_gradient(self, Arena *arena) noexcept nogil:
        cdef real *dw = <real *>arena.sums + self.values_at
        cdef const Group *group = <const Group *>self.gradients.groups.at
        cdef const Target *target = <const Target *>self.gradients.targets.at
        cdef bint fresh = arena.fresh
        cdef Py_ssize_t i, c
        if fresh and self.gaps:
            memset(dw, 0, (self.rows + 1) * self.pitch * sizeof(real))
            fresh = False
        if self.one_product:
            self.product(arena, dw, not fresh)
            return
        for i in range(self.gradients.group_count):
            for c in range(group[i].target, group[i].target + group[i].targets):
                self.channel_slopes(arena, &group[i], &target[c], dw + target[c].w, fresh)
        self.bias_gradient(arena, dw + self.rows * self.pitch, fresh)

    cdef void product(self, Arena *arena, real *dw, bint add) noexcept nogil:
        """The weight gradient where each weight has one term of a sample; the biases have an input of their own."""
        cdef real *turned = <real *>arena.scratch + self.turned_at
        cdef real *biases = <real *>arena.scratch + self.biases_at
        cdef Py_ssize_t column = 2 * V_LANES, first = 0, tiles = (self.rows + MOST - 1) // MOST, i, at
        # Columns whose part of the gradient stays in the nearest cache.
        cdef Py_ssize_t chunk = max(TURNED // (self.lanes * column * <Py_ssize_t>sizeof(real)), 1) * column
        cdef Product p
        cdef Term bias_row
        turn(<const real *>arena.grad + self.d_at, self.lanes, self.c_out, turned)
        bias_row.w, bias_row.x = self.rows * self.pitch, 0
        for i in range(self.lanes):
            biases[i] = self.bias
        p.depth, p.step, p.add = arena.valid, self.lanes * column, add
        while first < self.c_out:
            p.width = min(chunk, self.c_out - first)
            p.g, p.to = turned + first * self.lanes, dw + first
            p.x = <const real *>arena.data
            for i in range(tiles):
                at = self.rows * i // tiles
                product_rows(&p, <const Term *>self.products.at + at, self.rows * (i + 1) // tiles - at)
            p.x = biases
            product_rows(&p, &bias_row, 1)
            first += chunk

    cdef void bias_gradient(self, Arena *arena, real *db, bint fresh) noexcept nogil:
        cdef const real *g = <const real *>arena.grad + self.d_at
        cdef Py_ssize_t k
        cdef real total
        for k in range(self.c_out):
            total = self.bias * sample_sum(g + k * self.area * self.lanes, self.area, self.lanes, arena.valid)
            db[k] = total if fresh else db[k] + total

    cdef void channel_slopes(
        self, Arena *arena, const Group *group, const Target *target, real *dw, bint fresh
    ) noexcept nogil:
        """The gradients of all kernels of an input channel; whole vectors of samples first."""
        cdef const Term *out = <const Term *>self.gradients.sources.at + group.source
        cdef Py_ssize_t whole = arena.valid // V_LANES, rest = arena.valid % V_LANES
        cdef real *totals = <real *>arena.scratch + self.totals_at
        cdef Patch p
        p.x, p.g, p.out = self.frame(arena, target.to), <const real *>arena.grad, out
        p.pitch = group.sources * V_LANES
        if whole > 0:
            p.vectors = whole
            self.slopes(&p, group.sources, totals)
            self.deliver(totals, V_LANES, out, group.sources, dw, fresh)
        if rest > 0:
            p.x += whole * V_LANES
            p.g += whole * V_LANES
            p.vectors = 1
            self.slopes(&p, group.sources, totals)
            self.deliver(totals, rest, out, group.sources, dw, fresh and whole == 0)

    cdef const real *frame(self, Arena *arena, Py_ssize_t at) noexcept nogil:
        """A channel, between the zeros of a frame where it needs them."""
        cdef const real *x = <const real *>arena.data + at
        cdef real *frame = <real *>arena.scratch + self.frame_at
        cdef Py_ssize_t y
        if self.in_place:
            return x
        for y in range(self.o.m_h):
            memcpy(
                frame + ((self.o.p + y) * self.frame_width + self.o.q) * self.lanes, x + y * self.o.m_w * self.lanes,
                self.o.m_w * self.lanes * sizeof(real)
            )
        return frame

    cdef void slopes(self, Patch *p, Py_ssize_t outs, real *totals) noexcept nogil:
        """Totals of all taps and outputs, sample by sample; a chunk of spots after the other."""
        cdef const Spot *spot = <const Spot *>self.windows.at
        cdef Py_ssize_t chunks, number, tiles, o, width
        cdef const Term *out = p.out
        memset(totals, 0, self.tap_count * p.pitch * sizeof(real))
        chunks = min((self.area * self.lanes * <Py_ssize_t>sizeof(real) + CHUNK - 1) // CHUNK, self.area)
        for number in range(chunks):
            p.spot = spot + self.area * number // chunks
            p.end = spot + self.area * (number + 1) // chunks
            tiles = 1 if outs <= MOST else (outs + 3) // 4      # twelve sums are four times three
            o = 0
            while o < outs:
                width = (outs - o + tiles - 1) // tiles
                tiles -= 1
                p.out, p.total = out + o, totals + o * V_LANES
                self.slope_column(p, width)
                o += width
        p.out = out

    cdef void slope_column(self, Patch *p, Py_ssize_t width) noexcept nogil:
        """All taps of some outputs."""
        cdef Py_ssize_t t = 0, taps
        while t < self.tap_count:
            p.under = self.taps.at + t
            taps = some_slopes(p, self.tap_count - t, width)
            p.total += taps * p.pitch
            t += taps

    cdef void deliver(
        self, const real *totals, Py_ssize_t samples, const Term *out, Py_ssize_t outs, real *dw, bint fresh
    ) noexcept nogil:
        """The sums of the first samples of each total."""
        cdef Py_ssize_t t, k
        cdef real total
        cdef real *to
        for t in range(self.tap_count):
            for k in range(outs):
                total = v_hsum(v_first(v_load(totals), samples))
                totals += V_LANES
                to = dw + self.gradients.taps.at[t] + out[k].w
                to[0] = total if fresh else to[0] + total


cdef void turn(const real *g, Py_ssize_t lanes, Py_ssize_t c_out, real *turned) noexcept nogil:
    """Outputs beside each other instead of samples, in columns of two vectors."""
    cdef Py_ssize_t column = 2 * V_LANES, o = 0, l
    cdef real *to
    while o < c_out:
        to = turned + o // column * column * lanes + o % column
        if o + V_LANES <= c_out:
            for l in range(lanes // V_LANES):
                v_transpose(g + o * lanes + l * V_LANES, lanes, to + l * V_LANES * column, column)
            o += V_LANES
        else:
            for l in range(lanes):
                to[l * column] = g[o * lanes + l]
            o += 1


cdef real sample_sum(const real *g, Py_ssize_t area, Py_ssize_t lanes, Py_ssize_t valid) noexcept nogil:
    """Σ of the first samples of each element; in two sums, since each addition waits for the one before it."""
    cdef vec even = v_set1(0), odd = v_set1(0)
    cdef Py_ssize_t column = 2 * V_LANES, _i, v
    for _i in range(area):
        v = 0
        while v + column <= valid:
            even = v_add(even, v_load(g + v))
            odd = v_add(odd, v_load(g + v + V_LANES))
            v += column
        if v < valid:
            even = v_add(even, v_first(v_load(g + v), valid - v))
            odd = v_add(odd, v_first(v_load(g + v + V_LANES), valid - v - V_LANES))
        g += lanes
    return v_hsum(v_add(even, odd))
