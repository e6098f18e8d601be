"""Kernels of MaxPooling2d and AveragePooling2d, over one channel or over a block of channels.

x: the input, m_h × m_w; d: the output, n_h × n_w; count: how many elements within the domain equal the maximum;
g: the gradient with respect to d; dx: the input's gradient, which backward ADDS into on the Node path.

Elements lie `step` apart. In a block each of them stands for as many channels, whole vectors of them; `block` tells
the kernels to work on vectors of channels, instead of on the elements of one channel.

`rectified`: x is what a ReLU would read whose output is pooled; so that no one needs to store that.
"""
from libc.math cimport INFINITY

from cgraph._kernels.common.geometry cimport FilterGeometry
from cgraph._kernels.common.guard cimport require
from cgraph._kernels.common.operands cimport (
    Input, Output, added_to, data_of, get_lanes, grad_of, gradient, output, overwritten, put1, put_lanes, input_of,
    input_lane, input_from, output_lane, output_from
)
from cgraph._kernels.common.simd cimport (
    V_LANES, real, v_add, v_div, v_equal, v_keep_where, v_lane0, v_max, v_relu, v_set1, vec
)
from cgraph._kernels.runtime.step cimport Context, Operand, Step, operand


# The part of one window that lies within the domain
cdef struct Part:
    Py_ssize_t first            # its first element
    Py_ssize_t rows, columns    # how many it has
    Py_ssize_t width            # from one row to the next
    bint padded                 # whether the window reaches beyond the domain


cdef inline Py_ssize_t clip(Py_ssize_t start, Py_ssize_t length, Py_ssize_t size) noexcept nogil:
    """How much of [start, start + length) lies within [0, size)."""
    return max(min(start + length, size) - max(start, 0), 0)


cdef inline Part part(FilterGeometry w, Py_ssize_t a, Py_ssize_t b, bint pairs) noexcept nogil:
    """What the window of output (a, b) sees; pairs: it is known to be 2 × 2 within the domain."""
    cdef Part seen
    cdef Py_ssize_t top = a * w.s - w.p, left = b * w.s - w.q
    seen.rows = 2 if pairs else clip(top, w.k_h, w.m_h)
    seen.columns = 2 if pairs else clip(left, w.k_w, w.m_w)
    seen.padded = not pairs and (seen.rows < w.k_h or seen.columns < w.k_w)
    seen.width = w.m_w
    seen.first = max(top, 0) * w.m_w + max(left, 0)
    return seen


cdef inline vec fetch(Input x, Py_ssize_t i, bint block) noexcept nogil:
    """The channels of element i; one channel fills the vector."""
    return get_lanes(x, i) if block else v_set1(x.start[i * x.stride])


cdef inline void store(Output d, Py_ssize_t i, vec v, bint block) noexcept nogil:
    """Writes, or adds, the channels of element i."""
    if block:
        put_lanes(d, i, v)
    else:
        put1(d, i, v_lane0(v))


cdef inline int require_sizes(Py_ssize_t inputs, Py_ssize_t outputs, FilterGeometry w) except -1:
    return require(inputs == w.m_h * w.m_w and outputs == w.n_h * w.n_w)


# d = max over the window, where an element outside the domain counts as pad_value

cdef inline vec fetch_pooled(Input x, Py_ssize_t i, bint block, bint rectified) noexcept nogil:
    cdef vec v = fetch(x, i, block)
    return v_relu(v) if rectified else v


cdef inline vec window_maximum(Input x, Part seen, real pad_value, bint block, bint rectified) noexcept nogil:
    cdef Py_ssize_t i, j
    cdef vec top = v_set1(pad_value if seen.padded else -<real>INFINITY)
    for i in range(seen.rows):
        for j in range(seen.columns):
            top = v_max(top, fetch_pooled(x, seen.first + i * seen.width + j, block, rectified))
    return top


cdef inline vec window_count(Input x, Part seen, vec top, bint block, bint rectified) noexcept nogil:
    """How many elements equal the maximum: none, if it is NaN."""
    cdef Py_ssize_t i, j
    cdef vec count = v_set1(0), v
    for i in range(seen.rows):
        for j in range(seen.columns):
            v = fetch_pooled(x, seen.first + i * seen.width + j, block, rectified)
            count = v_add(count, v_keep_where(v_equal(v, top), v_set1(1)))
    return count


cdef inline void max_pooling(
    Input x, FilterGeometry w, real pad_value, Py_ssize_t channels, unsigned int *counts, Output d, bint block, bint pairs,
    bint rectified
) noexcept nogil:
    """counts: of one channel; NULL where nobody asks for them."""
    cdef Py_ssize_t a, b, c, at
    cdef Part seen
    cdef vec top
    for a in range(w.n_h):
        for b in range(w.n_w):
            seen, at, c = part(w, a, b, pairs), a * w.n_w + b, 0
            while c < channels:
                top = window_maximum(input_lane(x, c), seen, pad_value, block, rectified)
                store(output_lane(d, c), at, top, block)
                if counts != NULL:
                    counts[at] = <unsigned int>v_lane0(window_count(x, seen, top, block, rectified))
                c += V_LANES


# dx += g / count for each element of the window that equals the maximum; if there is none, g / 0 goes nowhere. Behind a
# ReLU the maximum is not negative: so what is negative does not equal it.

cdef inline void share_out(Input x, Part seen, vec top, vec share, Output dx, bint block) noexcept nogil:
    cdef Py_ssize_t i, j, at
    for i in range(seen.rows):
        for j in range(seen.columns):
            at = seen.first + i * seen.width + j
            store(dx, at, v_keep_where(v_equal(fetch(x, at, block), top), share), block)


cdef inline void max_pooling_gradient(
    Input x, Input d, const unsigned int *counts, Input g, FilterGeometry w, Py_ssize_t channels,
    Output dx, bint block, bint pairs, bint rectified
) noexcept nogil:
    """counts: of one channel; without them, the maxima are counted again."""
    cdef Py_ssize_t a, b, c, at
    cdef Part seen
    cdef Input xc
    cdef vec top, share, count
    for a in range(w.n_h):
        for b in range(w.n_w):
            seen, at, c = part(w, a, b, pairs), a * w.n_w + b, 0
            while c < channels:
                xc, top = input_lane(x, c), fetch(input_lane(d, c), at, block)
                count = v_set1(<real>counts[at]) if counts != NULL else window_count(xc, seen, top, block, rectified)
                share = v_div(fetch(input_lane(g, c), at, block), count)
                share_out(xc, seen, top, share, output_lane(dx, c), block)
                c += V_LANES


def max_pooling_forward(const real[:] x, FilterGeometry geometry, real pad_value, real[:] d, unsigned int[:, ::1] count):
    require_sizes(x.shape[0], d.shape[0], geometry)
    require(count.shape[0] == geometry.n_h and count.shape[1] == geometry.n_w)
    with nogil:
        max_pooling(input_of(x), geometry, pad_value, 1, &count[0, 0], overwritten(d), False, False, False)


def max_pooling_backward(
    const real[:] x, const real[:] d, const unsigned int[:, ::1] count, FilterGeometry geometry, const real[:] g, real[:] dx
):
    require_sizes(x.shape[0], d.shape[0], geometry)
    require_sizes(dx.shape[0], g.shape[0], geometry)
    require(count.shape[0] == geometry.n_h and count.shape[1] == geometry.n_w)
    with nogil:
        max_pooling_gradient(
            input_of(x), input_of(d), &count[0, 0], input_of(g), geometry, 1, added_to(dx), False, False, False
        )


# d = (1 / (k_h k_w)) Σ over the window, where an element outside the domain counts as 0

cdef inline vec window_sum(Input x, Part seen, bint block) noexcept nogil:
    """The sum over the rows' sums, whose rounding errors are smaller than those of one long sum."""
    cdef Py_ssize_t i, j
    cdef vec total = v_set1(0), row
    for i in range(seen.rows):
        row = v_set1(0)
        for j in range(seen.columns):
            row = v_add(row, fetch(x, seen.first + i * seen.width + j, block))
        total = v_add(total, row)
    return total


cdef inline void average_pooling(
    Input x, FilterGeometry w, Py_ssize_t channels, Output d, bint block, bint pairs
) noexcept nogil:
    cdef Py_ssize_t a, b, c
    cdef Part seen
    cdef vec size = v_set1(<real>(w.k_h * w.k_w))
    for a in range(w.n_h):
        for b in range(w.n_w):
            seen, c = part(w, a, b, pairs), 0
            while c < channels:
                store(
                    output_lane(d, c), a * w.n_w + b,
                    v_div(window_sum(input_lane(x, c), seen, block), size), block
                )
                c += V_LANES


# dx += g / (k_h k_w) for each element of the window

cdef inline void share_equally(vec share, Part seen, Output dx, bint block) noexcept nogil:
    cdef Py_ssize_t i, j
    for i in range(seen.rows):
        for j in range(seen.columns):
            store(dx, seen.first + i * seen.width + j, share, block)


cdef inline void average_pooling_gradient(
    Input g, FilterGeometry w, Py_ssize_t channels, Output dx, bint block, bint pairs
) noexcept nogil:
    cdef Py_ssize_t a, b, c
    cdef Part seen
    cdef vec size = v_set1(<real>(w.k_h * w.k_w)), value
    for a in range(w.n_h):
        for b in range(w.n_w):
            seen, c = part(w, a, b, pairs), 0
            while c < channels:
                value = fetch(input_lane(g, c), a * w.n_w + b, block)
                share_equally(v_div(value, size), seen, output_lane(dx, c), block)
                c += V_LANES


def average_pooling_forward(const real[:] x, FilterGeometry geometry, real[:] d):
    require_sizes(x.shape[0], d.shape[0], geometry)
    with nogil:
        average_pooling(input_of(x), geometry, 1, overwritten(d), False, False)


def average_pooling_backward(const real[:] g, FilterGeometry geometry, real[:] dx):
    require_sizes(dx.shape[0], g.shape[0], geometry)
    with nogil:
        average_pooling_gradient(input_of(g), geometry, 1, added_to(dx), False, False)


# The step of a Graph

cdef void clear(Output d, Py_ssize_t n, Py_ssize_t channels) noexcept nogil:
    cdef Py_ssize_t i, c
    for i in range(n):
        for c in range(channels):
            d.start[i * d.stride + c] = 0


cdef class PoolingStep(Step):
    """One channel, or a block of channels that lie together at each position; or several such images, one behind the
    other. Samples side by side count as channels."""
    cdef FilterGeometry geometry
    cdef bint average, tiled, pairs, rectified
    cdef real pad_value
    cdef Py_ssize_t channels, images, m, n
    cdef Operand x, d

    def __init__(
        self, FilterGeometry geometry, bint average, double pad_value, Py_ssize_t channels, x, d, Py_ssize_t images=1,
        bint rectified=False
    ):
        """x, d: the fields of `_lowering.buffers.Operand`. rectified: of the maxima of a block of channels."""
        cdef FilterGeometry w = geometry
        cdef bint inside
        self.geometry, self.average, self.pad_value, self.channels = w, average, <real>pad_value, channels
        self.x, self.d, self.images, self.rectified = operand(x), operand(d), images, rectified
        self.m, self.n = w.m_h * w.m_w, w.n_h * w.n_w
        # Whether every window lies within the domain; and then, whether every element lies in exactly one
        inside = w.p == w.q == 0 and (w.n_h - 1) * w.s + w.k_h <= w.m_h and (w.n_w - 1) * w.s + w.k_w <= w.m_w
        self.pairs = inside and w.k_h == w.k_w == 2
        self.tiled = inside and w.s == w.k_h == w.k_w and w.m_h == w.n_h * w.s and w.m_w == w.n_w * w.s

    cdef void forward(self, Context *context) noexcept nogil:
        """Calls with constants, so that there are loops for each case."""
        cdef Input x = data_of(context, &self.x)
        cdef Output d = output(context, &self.d)
        if self.channels == 1:
            self.pool(x, d, False, False, False)
        elif self.pairs and self.rectified:
            self.pool(x, d, True, True, True)
        elif self.pairs:
            self.pool(x, d, True, True, False)
        else:
            self.pool(x, d, True, False, self.rectified)

    cdef inline void pool(self, Input x, Output d, bint block, bint pairs, bint rectified) noexcept nogil:
        cdef Py_ssize_t _image
        for _image in range(self.images):
            if self.average:
                average_pooling(x, self.geometry, self.channels, d, block, pairs)
            else:
                max_pooling(x, self.geometry, self.pad_value, self.channels, NULL, d, block, pairs, rectified)
            x, d = input_from(x, self.m), output_from(d, self.n)

    cdef void backward(self, Context *context) noexcept nogil:
        cdef Output dx = gradient(context, &self.x)
        if dx.start == NULL:
            return
        if not (dx.accumulate or self.tiled):
            clear(dx, self.images * self.m, self.channels)
            dx.accumulate = True
        if self.channels == 1:
            self.share(context, dx, False, False, False)
        elif self.pairs and self.rectified:
            self.share(context, dx, True, True, True)
        elif self.pairs:
            self.share(context, dx, True, True, False)
        else:
            self.share(context, dx, True, False, self.rectified)

    cdef inline void share(self, Context *context, Output dx, bint block, bint pairs, bint rectified) noexcept nogil:
        cdef Input x = data_of(context, &self.x), d = data_of(context, &self.d), g = grad_of(context, &self.d)
        cdef Py_ssize_t _image
        for _image in range(self.images):
            if self.average:
                average_pooling_gradient(g, self.geometry, self.channels, dx, block, pairs)
            else:
                max_pooling_gradient(x, d, NULL, g, self.geometry, self.channels, dx, block, pairs, rectified)
            x, dx = input_from(x, self.m), output_from(dx, self.m)
            d, g = input_from(d, self.n), input_from(g, self.n)
