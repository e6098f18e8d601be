# Kernels of MaxPooling2d and AveragePooling2d, over one channel or over several channels side by side.
#
# x: the input, m_h × m_w; d: the output, n_h × n_w; count: the number of elements within the domain that equal the
# maximum of a window; g: the gradient with respect to d; dx: the input's gradient, which backward ADDS into on the Node
# path.
#
# vectors: each element of x and d is a row of channels, whole vectors of them, and a kernel works on vectors of
# channels; else an element is a number of one channel. Lanes, which hold samples side by side, count as channels.
# two_by_two: all windows are 2 × 2 and lie within the domain.
# rectified: x is the input of a ReLU, and the maximum is over the ReLU's output, which is stored nowhere.
from libc.math cimport INFINITY

from cgraph._kernels.common.arrays cimport take_counts, take_input, take_output
from cgraph._kernels.common.geometry cimport FilterGeometry
from cgraph._kernels.common.guard cimport require
from cgraph._kernels.common.operands cimport (
    Input, Output, data_of, get_lanes, grad_of, gradient, input_from, input_lane, output, output_from, output_lane,
    put1, put_lanes
)
from cgraph._kernels.common.simd cimport (
    V_LANES, real, v_add, v_div, v_equal, v_keep_where, v_lane0, v_max, v_relu, v_set1, vec
)
from cgraph._kernels.runtime.step cimport Context, Operand, OperandFields, Step


# The part of a filter's window that lies within the domain.
cdef struct Window:
    Py_ssize_t first            # number of the first element
    Py_ssize_t rows, columns    # number of rows and columns
    Py_ssize_t width            # elements from one row to the next
    bint padded                 # whether the filter's window reaches beyond the domain


cdef inline Py_ssize_t clip(Py_ssize_t start, Py_ssize_t length, Py_ssize_t size) noexcept nogil:
    """Returns the length of the part of [start, start + length) within [0, size)."""
    return max(min(start + length, size) - max(start, 0), 0)


cdef inline Window clip_window(FilterGeometry f, Py_ssize_t a, Py_ssize_t b, bint two_by_two) noexcept nogil:
    """Returns the part of the window of output (a, b) that lies within the domain."""
    cdef Window window
    cdef Py_ssize_t top = a * f.s - f.p, left = b * f.s - f.q
    window.rows = 2 if two_by_two else clip(top, f.k_h, f.m_h)
    window.columns = 2 if two_by_two else clip(left, f.k_w, f.m_w)
    window.padded = not two_by_two and (window.rows < f.k_h or window.columns < f.k_w)
    window.width = f.m_w
    window.first = max(top, 0) * f.m_w + max(left, 0)
    return window


cdef inline vec fetch(Input x, Py_ssize_t i, bint vectors) noexcept nogil:
    """Returns the channels of element i; a single channel is repeated in all elements of the vector."""
    return get_lanes(x, i) if vectors else v_set1(x.start[i * x.stride])


cdef inline void store(Output d, Py_ssize_t i, vec v, bint vectors) noexcept nogil:
    """Writes, or adds, the channels of element i."""
    if vectors:
        put_lanes(d, i, v)
    else:
        put1(d, i, v_lane0(v))


cdef inline int require_sizes(Py_ssize_t inputs, Py_ssize_t outputs, FilterGeometry f) except -1:
    """Raises unless the numbers of inputs and outputs fit the geometry."""
    return require(inputs == f.m_h * f.m_w and outputs == f.n_h * f.n_w)


# d = max over the window, where an element outside the domain counts as pad_value

cdef inline vec fetch_pooled(Input x, Py_ssize_t i, bint vectors, bint rectified) noexcept nogil:
    """Returns the channels of element i, or their ReLU."""
    cdef vec v = fetch(x, i, vectors)
    return v_relu(v) if rectified else v


cdef inline vec window_maximum(Input x, Window window, real pad_value, bint vectors, bint rectified) noexcept nogil:
    cdef Py_ssize_t i, j
    cdef vec top = v_set1(pad_value if window.padded else -<real>INFINITY)
    for i in range(window.rows):
        for j in range(window.columns):
            top = v_max(top, fetch_pooled(x, window.first + i * window.width + j, vectors, rectified))
    return top


cdef inline vec window_count(Input x, Window window, vec top, bint vectors, bint rectified) noexcept nogil:
    """Returns the number of elements that equal the maximum: none, if the maximum is NaN."""
    cdef Py_ssize_t i, j
    cdef vec count = v_set1(0), v
    for i in range(window.rows):
        for j in range(window.columns):
            v = fetch_pooled(x, window.first + i * window.width + j, vectors, rectified)
            count = v_add(count, v_keep_where(v_equal(v, top), v_set1(1)))
    return count


cdef inline void max_pooling(
    Input x, FilterGeometry f, real pad_value, Py_ssize_t channels, unsigned int *counts, Output d, bint vectors,
    bint two_by_two, bint rectified
) noexcept nogil:
    """counts: receives the counts of a single channel, unless it is NULL."""
    cdef Py_ssize_t a, b, c, index
    cdef Window window
    cdef vec top
    for a in range(f.n_h):
        for b in range(f.n_w):
            window, index, c = clip_window(f, a, b, two_by_two), a * f.n_w + b, 0
            while c < channels:
                top = window_maximum(input_lane(x, c), window, pad_value, vectors, rectified)
                store(output_lane(d, c), index, top, vectors)
                if counts != NULL:
                    counts[index] = <unsigned int>v_lane0(window_count(x, window, top, vectors, rectified))
                c += V_LANES


# dx += g / count for each element of the window that equals the maximum. If none does, g / 0 is added to no element.
# The maximum over a ReLU's output is not negative, so no negative element of x equals that maximum.

cdef inline void distribute_to_maxima(
    Input x, Window window, vec top, vec share, Output dx, bint vectors
) noexcept nogil:
    cdef Py_ssize_t i, j, index
    for i in range(window.rows):
        for j in range(window.columns):
            index = window.first + i * window.width + j
            store(dx, index, v_keep_where(v_equal(fetch(x, index, vectors), top), share), vectors)


cdef inline void max_pooling_gradient(
    Input x, Input d, const unsigned int *counts, Input g, FilterGeometry f, Py_ssize_t channels,
    Output dx, bint vectors, bint two_by_two, bint rectified
) noexcept nogil:
    """counts: those of a single channel; if it is NULL, elements equal to the maximum are counted again."""
    cdef Py_ssize_t a, b, c, index
    cdef Window window
    cdef Input xc
    cdef vec top, share, count
    for a in range(f.n_h):
        for b in range(f.n_w):
            window, index, c = clip_window(f, a, b, two_by_two), a * f.n_w + b, 0
            while c < channels:
                xc, top = input_lane(x, c), fetch(input_lane(d, c), index, vectors)
                if counts != NULL:
                    count = v_set1(<real>counts[index])
                else:
                    count = window_count(xc, window, top, vectors, rectified)
                share = v_div(fetch(input_lane(g, c), index, vectors), count)
                distribute_to_maxima(xc, window, top, share, output_lane(dx, c), vectors)
                c += V_LANES


def max_pooling_forward(x, FilterGeometry geometry, real pad_value, d, counts, /):
    cdef Input inputs
    cdef Output outputs
    cdef unsigned int *of_windows
    require_sizes(take_input(x, &inputs), take_output(d, False, &outputs), geometry)
    require(take_counts(counts, &of_windows) == geometry.n_h * geometry.n_w)
    with nogil:
        max_pooling(inputs, geometry, pad_value, 1, of_windows, outputs, False, False, False)


def max_pooling_backward(x, d, counts, FilterGeometry geometry, g, dx, /):
    cdef Input inputs, maxima, grad
    cdef Output input_grad
    cdef unsigned int *of_windows
    require_sizes(take_input(x, &inputs), take_input(d, &maxima), geometry)
    require_sizes(take_output(dx, True, &input_grad), take_input(g, &grad), geometry)
    require(take_counts(counts, &of_windows) == geometry.n_h * geometry.n_w)
    with nogil:
        max_pooling_gradient(inputs, maxima, of_windows, grad, geometry, 1, input_grad, False, False, False)


# d = (1 / N) Σ over the window, where an element outside the domain counts as 0
# N: k_h k_w, or without count_padding the number of elements within the domain; where there are none, d is 0.

cdef inline vec window_size(FilterGeometry f, Window window, bint count_padding) noexcept nogil:
    """Returns N, or 1 for a window without elements."""
    return v_set1(<real>(f.k_h * f.k_w if count_padding else max(window.rows * window.columns, 1)))


cdef inline vec window_sum(Input x, Window window, bint vectors) noexcept nogil:
    """Returns the sum of the sums of rows, which rounds less than one long sum."""
    cdef Py_ssize_t i, j
    cdef vec total = v_set1(0), row
    for i in range(window.rows):
        row = v_set1(0)
        for j in range(window.columns):
            row = v_add(row, fetch(x, window.first + i * window.width + j, vectors))
        total = v_add(total, row)
    return total


cdef inline void average_pooling(
    Input x, FilterGeometry f, bint count_padding, Py_ssize_t channels, Output d, bint vectors, bint two_by_two
) noexcept nogil:
    cdef Py_ssize_t a, b, c
    cdef Window window
    cdef vec size
    for a in range(f.n_h):
        for b in range(f.n_w):
            window, c = clip_window(f, a, b, two_by_two), 0
            size = window_size(f, window, count_padding)
            while c < channels:
                store(
                    output_lane(d, c), a * f.n_w + b,
                    v_div(window_sum(input_lane(x, c), window, vectors), size), vectors
                )
                c += V_LANES


# dx += g / N for each element of the window

cdef inline void distribute_equally(vec share, Window window, Output dx, bint vectors) noexcept nogil:
    cdef Py_ssize_t i, j
    for i in range(window.rows):
        for j in range(window.columns):
            store(dx, window.first + i * window.width + j, share, vectors)


cdef inline void average_pooling_gradient(
    Input g, FilterGeometry f, bint count_padding, Py_ssize_t channels, Output dx, bint vectors, bint two_by_two
) noexcept nogil:
    cdef Py_ssize_t a, b, c
    cdef Window window
    cdef vec size, value
    for a in range(f.n_h):
        for b in range(f.n_w):
            window, c = clip_window(f, a, b, two_by_two), 0
            size = window_size(f, window, count_padding)
            while c < channels:
                value = fetch(input_lane(g, c), a * f.n_w + b, vectors)
                distribute_equally(v_div(value, size), window, output_lane(dx, c), vectors)
                c += V_LANES


def average_pooling_forward(x, FilterGeometry geometry, bint count_padding, d, /):
    cdef Input inputs
    cdef Output outputs
    require_sizes(take_input(x, &inputs), take_output(d, False, &outputs), geometry)
    with nogil:
        average_pooling(inputs, geometry, count_padding, 1, outputs, False, False)


def average_pooling_backward(g, FilterGeometry geometry, bint count_padding, dx, /):
    cdef Input grad
    cdef Output input_grad
    require_sizes(take_output(dx, True, &input_grad), take_input(g, &grad), geometry)
    with nogil:
        average_pooling_gradient(grad, geometry, count_padding, 1, input_grad, False, False)


# The steps of a Graph

cdef void clear(Output d, Py_ssize_t n, Py_ssize_t channels) noexcept nogil:
    """Sets n elements to 0."""
    cdef Py_ssize_t i, c
    for i in range(n):
        for c in range(channels):
            d.start[i * d.stride + c] = 0


cdef class _PoolingStep(Step):
    """The base of the steps of poolings, of a node or of a fused group of nodes.

    An image is one channel, or a row of channels or lanes at each position; several images lie one behind the other.
    The steps call `pool` and `pool_gradient` with constants, for which the compiler makes loops for each case.
    """
    cdef FilterGeometry geometry
    cdef bint tiled, two_by_two
    cdef Py_ssize_t channels, images, m, n
    cdef OperandFields x, d

    cdef int set_up(
        self, FilterGeometry f, Py_ssize_t channels, Operand x, Operand d, Py_ssize_t images
    ) except -1:
        cdef bint inside
        self.geometry, self.channels, self.images, self.x, self.d = f, channels, images, x.fields, d.fields
        self.m, self.n = f.m_h * f.m_w, f.n_h * f.n_w
        # inside: every window lies within the domain; tiled: and every element lies in exactly one window
        inside = f.p == f.q == 0 and (f.n_h - 1) * f.s + f.k_h <= f.m_h and (f.n_w - 1) * f.s + f.k_w <= f.m_w
        self.two_by_two = inside and f.k_h == f.k_w == 2
        self.tiled = inside and f.s == f.k_h == f.k_w and f.m_h == f.n_h * f.s and f.m_w == f.n_w * f.s
        return 0

    cdef inline Output input_gradient(self, const Context *context) noexcept nogil:
        """Returns the gradient of the input, which is set to 0 where windows add to it; NULL if it is not required."""
        cdef Output dx = gradient(context, &self.x)
        if dx.start != NULL and not (dx.accumulate or self.tiled):
            clear(dx, self.images * self.m, self.channels)
            dx.accumulate = True
        return dx


cdef class MaxPoolingStep(_PoolingStep):
    """The step of a max pooling; with `rectified`, of the ReLU of its input, too, which needs more than one channel."""
    cdef bint rectified
    cdef real pad_value

    def __init__(
        self, FilterGeometry geometry, double pad_value, Py_ssize_t channels, Operand x not None, Operand d not None,
        Py_ssize_t images=1, bint rectified=False
    ):
        self.set_up(geometry, channels, x, d, images)
        self.pad_value, self.rectified = <real>pad_value, rectified

    cdef void forward(self, Context *context) noexcept nogil:
        cdef Input x = data_of(context, &self.x)
        cdef Output d = output(context, &self.d)
        if self.channels == 1:
            self.pool(x, d, False, False, False)
        elif self.two_by_two and self.rectified:
            self.pool(x, d, True, True, True)
        elif self.two_by_two:
            self.pool(x, d, True, True, False)
        else:
            self.pool(x, d, True, False, self.rectified)

    cdef inline void pool(self, Input x, Output d, bint vectors, bint two_by_two, bint rectified) noexcept nogil:
        cdef Py_ssize_t _image
        for _image in range(self.images):
            max_pooling(x, self.geometry, self.pad_value, self.channels, NULL, d, vectors, two_by_two, rectified)
            x, d = input_from(x, self.m), output_from(d, self.n)

    cdef void backward(self, Context *context) noexcept nogil:
        cdef Output dx = self.input_gradient(context)
        if dx.start == NULL:
            return
        if self.channels == 1:
            self.pool_gradient(context, dx, False, False, False)
        elif self.two_by_two and self.rectified:
            self.pool_gradient(context, dx, True, True, True)
        elif self.two_by_two:
            self.pool_gradient(context, dx, True, True, False)
        else:
            self.pool_gradient(context, dx, True, False, self.rectified)

    cdef inline void pool_gradient(
        self, Context *context, Output dx, bint vectors, bint two_by_two, bint rectified
    ) noexcept nogil:
        cdef Input x = data_of(context, &self.x), d = data_of(context, &self.d), g = grad_of(context, &self.d)
        cdef Py_ssize_t _image
        for _image in range(self.images):
            max_pooling_gradient(x, d, NULL, g, self.geometry, self.channels, dx, vectors, two_by_two, rectified)
            x, dx = input_from(x, self.m), output_from(dx, self.m)
            d, g = input_from(d, self.n), input_from(g, self.n)


cdef class AveragePoolingStep(_PoolingStep):
    """The step of an average pooling."""
    cdef bint count_padding

    def __init__(
        self, FilterGeometry geometry, bint count_padding, Py_ssize_t channels, Operand x not None, Operand d not None,
        Py_ssize_t images=1
    ):
        self.set_up(geometry, channels, x, d, images)
        self.count_padding = count_padding

    cdef void forward(self, Context *context) noexcept nogil:
        cdef Input x = data_of(context, &self.x)
        cdef Output d = output(context, &self.d)
        if self.channels == 1:
            self.pool(x, d, False, False)
        elif self.two_by_two:
            self.pool(x, d, True, True)
        else:
            self.pool(x, d, True, False)

    cdef inline void pool(self, Input x, Output d, bint vectors, bint two_by_two) noexcept nogil:
        cdef Py_ssize_t _image
        for _image in range(self.images):
            average_pooling(x, self.geometry, self.count_padding, self.channels, d, vectors, two_by_two)
            x, d = input_from(x, self.m), output_from(d, self.n)

    cdef void backward(self, Context *context) noexcept nogil:
        cdef Output dx = self.input_gradient(context)
        if dx.start == NULL:
            return
        if self.channels == 1:
            self.pool_gradient(context, dx, False, False)
        elif self.two_by_two:
            self.pool_gradient(context, dx, True, True)
        else:
            self.pool_gradient(context, dx, True, False)

    cdef inline void pool_gradient(self, Context *context, Output dx, bint vectors, bint two_by_two) noexcept nogil:
        cdef Input g = grad_of(context, &self.d)
        cdef Py_ssize_t _image
        for _image in range(self.images):
            average_pooling_gradient(
                g, self.geometry, self.count_padding, self.channels, dx, vectors, two_by_two
            )
            dx, g = output_from(dx, self.m), input_from(g, self.n)
