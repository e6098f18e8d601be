"""The step of Affine and of Convolution2d nodes over samples that lie side by side.

D[o][a, b] = bias_o + Σ_c Σ_i Σ_j K[o][c, i, j] X_c[a s + i - p, b s + j - q]

An element is a row of `lanes` samples; an Affine is a window of 1×1 on a domain of 1×1, whose channels are the elements
of x. x, dx: the input and its gradient; d, g: the output and its gradient; w, dw: the weights and their gradient sums,
and behind them the biases. The output and the input's gradient are sums as in lane_tile.pxd, of shifted channels.
Elements with equal taps, those that lie within the source, are an *area*: padding is not multiplied. Channels that read
the same sources are a *group*: nor are missing connections.
"""
from libc.stdlib cimport free, malloc
from libc.string cimport memcpy, memset

from cgraph._kernels.lane_tile cimport Patch, Product, Spot, Strip, Term, all_sums, product_rows, some_slopes
from cgraph._kernels.simd cimport V_LANES, real, v_add, v_first, v_hsum, v_load, v_set1, v_transpose, vec
from cgraph._kernels.step cimport Arena, Place, Step, place
from cgraph._kernels.window cimport Window

cdef enum:
    PACKED = 8      # from the weights of one term to those of the next, where they are packed
    DEPTH = 384     # terms summed at a time, so that they stay in the nearest cache with their weights
    NARROW = 128    # the same where weights are read in place
    MOST = 6        # rows of a strip
    TURNED = 4096   # of the gradient, which a product reads again and again
    CHUNK = 768     # of a channel's gradient: what slopes read again and again


cdef class Table:
    """Numbers that kernels read: offsets, or structs of them."""
    cdef Py_ssize_t *at
    cdef Py_ssize_t size

    def __cinit__(self, rows):
        cdef list numbers = [number for row in rows for number in row]
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


cdef list spread(list spots, Py_ssize_t lanes):
    """The spots of all columns, column after column."""
    return [(x + v, to + v) for v in range(0, lanes, 2 * V_LANES) for x, to in spots]


cdef list reading_areas(Window o, Py_ssize_t lanes):
    """Of outputs: pairs of taps, as (number, shift), and spots."""
    areas = {}
    for a in range(o.n_h):
        rows = tuple([i for i in range(o.k_h) if 0 <= a * o.s + i - o.p < o.m_h])
        for b in range(o.n_w):
            columns = tuple([j for j in range(o.k_w) if 0 <= b * o.s + j - o.q < o.m_w])
            spot = ((a * o.s - o.p) * o.m_w + b * o.s - o.q) * lanes, (a * o.n_w + b) * lanes
            areas.setdefault((rows, columns), []).append(spot)
    return [
        ([(i * o.k_w + j, (i * o.m_w + j) * lanes) for i in rows for j in columns], spots)
        for (rows, columns), spots in areas.items()
    ]


cdef list sending_areas(Window o, Py_ssize_t lanes):
    """Of inputs, which get something from the outputs whose windows they lie in."""
    areas = {}
    for y in range(o.m_h):
        rows = tuple([i for i in range((y + o.p) % o.s, o.k_h, o.s) if 0 <= (y + o.p - i) // o.s < o.n_h])
        for x in range(o.m_w):
            columns = tuple([j for j in range((x + o.q) % o.s, o.k_w, o.s) if 0 <= (x + o.q - j) // o.s < o.n_w])
            spot = ((y + o.p) // o.s * o.n_w + (x + o.q) // o.s) * lanes, (y * o.m_w + x) * lanes
            areas.setdefault((rows, columns), []).append(spot)
    return [
        ([(i * o.k_w + j, -(i // o.s * o.n_w + j // o.s) * lanes) for i in rows for j in columns], spots)
        for (rows, columns), spots in areas.items()
    ]


cdef list grouped(list targets, list links):
    """Pairs of linked sources and the targets that have them; of equal targets, all but the first add."""
    groups, seen = {}, {}
    for target, linked in zip(targets, links):
        groups.setdefault(linked, []).append(target)
        seen[target[1]] = seen.get(target[1], True) and target[2]
    return [
        (linked, [(w, to, seen.pop(to, True), *wanted) for w, to, _, *wanted in members])
        for linked, members in groups.items()
    ]


cdef class LaneSums:
    """Target channels, each the sum of its source channels' taps."""
    cdef Table targets, sources, groups, areas, spots, terms, taps
    cdef bint packs
    cdef Py_ssize_t group_count, area_count, tap_count

    def __init__(self, lanes, sources, targets, links, taps, areas, packs):
        """sources: (w, x); targets: (w, to, add, wanted, wanted_lean); links: the sources' numbers of each target;
        taps: the weights' offsets; areas: as found above; packs: copy weights to where they are read again."""
        groups, targets_, sources_, terms, found, spots = [], [], [], [], [], []
        for linked, members in grouped(targets, links):
            groups.append((len(targets_), len(members), len(sources_), len(linked), len(terms)))
            targets_ += members
            sources_ += [sources[c] for c in linked]
            for shifts, _ in areas:
                for number, c in enumerate(linked):
                    w, x = sources[c]
                    terms += [
                        ((number * len(taps) + tap) * PACKED if packs else w + taps[tap], x + shift)
                        for tap, shift in shifts
                    ]
        tap = 0
        for shifts, where in areas:
            found.append((len(spots), len(where), tap, len(shifts)))
            spots += spread(where, lanes)
            tap += len(shifts)
        self.targets, self.sources, self.groups = Table(targets_), Table(sources_), Table(groups)
        self.areas, self.spots, self.terms = Table(found), Table(spots), Table(terms)
        self.taps, self.packs = Table([taps]), packs
        self.group_count, self.area_count, self.tap_count = len(groups), len(found), len(taps)

    cdef void run(self, Pass *p) noexcept nogil:
        cdef const Group *group = <const Group *>self.groups.at
        cdef Py_ssize_t most = max((DEPTH if self.packs else NARROW) // self.tap_count, 1), g, blocks, number, first
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
    cdef Place d
    cdef Py_ssize_t lanes, c_in, c_out, area, tap_count
    cdef Py_ssize_t values_at, rows, pitch
    cdef Py_ssize_t packed_at, frame_at, totals_at, turned_at, biases_at
    cdef Py_ssize_t frame_width
    cdef real bias
    cdef bint in_place          # the input is a frame
    cdef bint gaps              # between the weights
    cdef bint one_product       # the weight gradient is one

    def __init__(
        self, Window window, Py_ssize_t lanes, const Py_ssize_t[:, ::1] inputs, d, Py_ssize_t c_out,
        Py_ssize_t values_at, Py_ssize_t scratch_at, Py_ssize_t tap_step, Py_ssize_t channel_step, Py_ssize_t pitch,
        double bias, const unsigned char[:, ::1] connected
    ):
        """inputs, d: the fields of _places.Place. Weight (tap, c, o) lies at `values_at` + tap `tap_step` +
        c `channel_step` + o, the biases, which count `bias` times, behind k_h k_w c_in rows of `pitch`. connected:
        None, or which (c_in, c_out) are."""
        cdef Window o = window
        self.o, self.lanes, self.d = o, lanes, place(d)
        self.c_in, self.c_out, self.area, self.tap_count = inputs.shape[0], c_out, o.n_h * o.n_w, o.k_h * o.k_w
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
        self.make_sums([tuple(row) for row in inputs], tap_step, channel_step, connected)
        self.frame_width = width = frame_width(o)
        self.taps = Table([[(i * width + j) * lanes for i in range(o.k_h) for j in range(o.k_w)]])
        self.windows = Table(
            ((a * width + b) * o.s * lanes, (a * o.n_w + b) * lanes) for a in range(o.n_h) for b in range(o.n_w)
        )

        self.products = Table(
            (t * tap_step + c * channel_step, inputs[c, 0] + t * lanes)
            for c in range(self.c_in if self.one_product else 0) for t in range(self.tap_count)
        )

    cdef int make_sums(self, list inputs, tap_step, channel_step, const unsigned char[:, ::1] connected) except -1:
        cdef Py_ssize_t c, k
        ins, outs = range(self.c_in), range(self.c_out)
        readers, senders = [tuple(ins)] * self.c_out, [tuple(outs)] * self.c_in
        if connected is not None:
            readers = [tuple([c for c in ins if connected[c, k]]) for k in outs]
            senders = [tuple([k for k in outs if connected[c, k]]) for c in ins]
        taps = [t * tap_step for t in range(self.tap_count)]
        size = self.area * self.lanes
        self.outputs = LaneSums(
            self.lanes, [(c * channel_step, inputs[c][0]) for c in ins],
            [(k, self.d.at + k * size, False, True, True) for k in outs], readers, taps,
            reading_areas(self.o, self.lanes), self.area > 1
        )
        self.gradients = LaneSums(
            self.lanes, [(k, self.d.at + k * size) for k in outs],
            [(c * channel_step, inputs[c][0], *inputs[c][2:]) for c in ins], senders, taps,
            sending_areas(self.o, self.lanes), self.o.m_h * self.o.m_w > 1
        )

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
        cdef Py_ssize_t column = 2 * V_LANES, step = self.lanes * column, first = 0, last, i
        cdef Py_ssize_t chunk = max(TURNED // step, 1) * column
        cdef Product p
        cdef Term bias_row
        turn(<const real *>arena.grad + self.d.at, self.lanes, self.c_out, turned)
        bias_row.w, bias_row.x = self.rows * self.pitch, 0
        for i in range(self.lanes):
            biases[i] = self.bias
        p.depth, p.add = arena.valid, add
        while first < self.c_out:
            last = min(first + chunk, self.c_out)
            p.x = <const real *>arena.data
            self.product_columns(p, <const Term *>self.products.at, self.rows, turned, dw, first, last)
            p.x = biases
            self.product_columns(p, &bias_row, 1, turned, dw, first, last)
            first = last

    cdef void product_columns(
        self, Product p, const Term *row, Py_ssize_t rows, const real *turned, real *dw, Py_ssize_t first,
        Py_ssize_t last
    ) noexcept nogil:
        """Columns whose part of the gradient stays in the nearest cache."""
        cdef Py_ssize_t tiles = (rows + MOST - 1) // MOST, number, o, at
        for number in range(tiles):
            at = rows * number // tiles
            o = first
            while o < last:
                p.g, p.to, p.width = turned + o * self.lanes, dw + o, last - o
                product_rows(&p, row + at, rows * (number + 1) // tiles - at)
                o += 2 * V_LANES

    cdef void bias_gradient(self, Arena *arena, real *db, bint fresh) noexcept nogil:
        cdef const real *g = <const real *>arena.grad + self.d.at
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
        cdef Py_ssize_t chunks = (self.area * self.lanes + CHUNK - 1) // CHUNK, number, tiles, o, width
        cdef const Term *out = p.out
        memset(totals, 0, self.tap_count * p.pitch * sizeof(real))
        chunks = min(chunks, self.area)
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
    """Σ of the first samples of each element."""
    cdef vec total = v_set1(0)
    cdef Py_ssize_t i, v
    for i in range(area):
        v = 0
        while v < valid:
            total = v_add(total, v_first(v_load(g + v), valid - v))
            v += V_LANES
        g += lanes
    return v_hsum(total)
