"""Kernels of Convolution2d: C input channels, one output channel.

xs: the C input channels, m_h × m_w each; w: the C k_h k_w elements of the kernel and behind them the bias; d: the
output, n_h × n_w; g: the gradient with respect to d; dxs, dw: the gradients of xs and w, which backward ADDS into.
Views of nodes' data may be strided. Each function copies what it reads more than once into `scratch`, of
convolution2d_scratch elements: the channels as frames (window.pyx), in which a tap of the kernel, number t, lies
taps[t] elements behind the output that it contributes to. So a convolution of any stride and padding is a sum of
shifted copies of the frame. The positions between two rows of outputs are computed with the rest and dropped.
"""
from libc.string cimport memcpy, memset

from cgraph._kernels.guard cimport require
from cgraph._kernels.simd cimport (
    V_LANES, real, v_first, v_fma, v_hsum, v_load, v_set1, v_store, vec
)
from cgraph._kernels.window cimport Window

cdef enum:
    TILE = 8        # vectors that are summed side by side
    SLACK = 128     # elements behind a buffer that a tile may touch: TILE vectors of 64 bytes


def convolution2d_scratch(Window window, Py_ssize_t channels):
    """The number of elements of scratch that the functions below need."""
    return channels * window.frame + SLACK + window.reach + window.plane + SLACK


# Between a channel and its frame. For each column phase, `count` columns of the domain, every s-th from `column` on,
# lie side by side in a row of the frame.

cdef inline void copy_run(const real *x, Py_ssize_t step, Py_ssize_t count, real *row) noexcept nogil:
    cdef Py_ssize_t j
    if step == 1:
        memcpy(row, x, count * sizeof(real))
    else:
        for j in range(count):
            row[j] = x[j * step]


cdef inline void add_run(const real *row, Py_ssize_t step, Py_ssize_t count, real *dx) noexcept nogil:
    cdef Py_ssize_t j
    if step == 1:       # the same loop, for the compiler to vectorise
        for j in range(count):
            dx[j] += row[j]
    else:
        for j in range(count):
            dx[j * step] += row[j]


cdef inline void exchange(real *x, Py_ssize_t stride, Window w, real *frame, bint fill) noexcept nogil:
    """Copies the channel x into its frame, or adds its frame to it; `stride` is that of x, in elements."""
    cdef Py_ssize_t phase, column, count, i, y_phase, y
    cdef real *plane
    for phase in range(w.phases_w):
        column = (phase - w.q % w.s + w.s) % w.s
        count = max(w.m_w - column + w.s - 1, 0) // w.s
        y_phase = w.p % w.s
        y = w.p // w.s
        for i in range(w.m_h):
            if y_phase < w.phases_h:
                plane = frame + (y_phase * w.phases_w + phase) * w.plane + y * w.pitch + (column + w.q) // w.s
                if fill:
                    copy_run(x + (i * w.m_w + column) * stride, w.s * stride, count, plane)
                else:
                    add_run(plane, w.s * stride, count, x + (i * w.m_w + column) * stride)
            y_phase += 1
            if y_phase == w.s:
                y_phase = 0
                y += 1


cdef void fill_frame(const real[:] x, Window w, real *frame) noexcept nogil:
    """The frame of one channel: the padding's zeros, and x."""
    memset(frame, 0, w.frame * sizeof(real))
    exchange(<real *>&x[0], x.strides[0] // <Py_ssize_t>sizeof(real), w, frame, True)


cdef void add_frame(real *frame, Window w, real[:] dx) noexcept nogil:
    """Adds the gradient of one channel, given as a frame, to dx; what lies in the padding is dropped."""
    exchange(&dx[0], dx.strides[0] // <Py_ssize_t>sizeof(real), w, frame, False)


cdef int fill_frames(list xs, Window w, real *frame) except -1:
    cdef const real[:] x
    for x in xs:
        require(x.shape[0] == w.m_h * w.m_w)
        with nogil:
            fill_frame(x, w, frame)
        frame += w.frame
    return 0


cdef int require_sizes(
    Py_ssize_t channels, Py_ssize_t parameters, Py_ssize_t outputs, Py_ssize_t scratch, Window w
) except -1:
    require(parameters == channels * w.k_h * w.k_w + 1 and outputs == w.n_h * w.n_w)
    return require(scratch >= convolution2d_scratch(w, channels))


# D[a, b] = Σ_c Σ_i Σ_j K[c, i, j] X_c[a s + i - p, b s + j - q] + bias

cdef inline void output_tile(
    const real *frame, const Py_ssize_t[::1] taps, const real[::1] w, real *d
) noexcept nogil:
    """The TILE vectors of outputs whose first taps lie at frame."""
    cdef Py_ssize_t count = taps.shape[0], t, v
    cdef vec total[TILE]
    cdef vec factor = v_set1(w[count])
    cdef const real *x
    for v in range(TILE):
        total[v] = factor
    for t in range(count):
        factor = v_set1(w[t])
        x = frame + taps[t]
        for v in range(TILE):
            total[v] = v_fma(factor, v_load(x + v * V_LANES), total[v])
    for v in range(TILE):
        v_store(d + v * V_LANES, total[v])


cdef void outputs(
    const real *frame, const Py_ssize_t[::1] taps, const real[::1] w, Window o, real *wide, real[:] d
) noexcept nogil:
    """All outputs; `wide` takes them with the positions between two rows."""
    cdef Py_ssize_t last = (o.n_h - 1) * o.pitch + o.n_w, start = 0, a, b
    while start < last:
        output_tile(frame + start, taps, w, wide + start)
        start += TILE * V_LANES
    for a in range(o.n_h):
        for b in range(o.n_w):
            d[a * o.n_w + b] = wide[a * o.pitch + b]


def convolution2d_forward(
    list xs, const real[::1] w, const Py_ssize_t[::1] taps, Window window, real[::1] scratch, real[:] d
):
    cdef real *frame = &scratch[0]
    require_sizes(len(xs), w.shape[0], d.shape[0], scratch.shape[0], window)
    require(taps.shape[0] == w.shape[0] - 1)
    cdef real *wide = frame + len(xs) * window.frame + SLACK
    fill_frames(xs, window, frame)
    with nogil:
        outputs(frame, taps, w, window, wide, d)


# dX_c[a s + i - p, b s + j - q] += K[c, i, j] G[a, b]: each element of the frame gathers what its windows' outputs send

cdef inline void input_tile(
    const real *g, const real *k, Window w, Py_ssize_t row_phase, Py_ssize_t column_phase, real *dx
) noexcept nogil:
    """TILE vectors of one plane of a channel's frame; g: the output at the first element's position."""
    cdef Py_ssize_t i = row_phase, j, v
    cdef vec total[TILE]
    cdef vec factor
    for v in range(TILE):
        total[v] = v_set1(0)
    while i < w.k_h:
        j = column_phase
        while j < w.k_w:
            factor = v_set1(k[i * w.k_w + j])
            for v in range(TILE):
                total[v] = v_fma(factor, v_load(g + v * V_LANES), total[v])
            g -= 1
            j += w.s
        g += (w.k_w - column_phase + w.s - 1) // w.s - w.pitch
        i += w.s
    for v in range(TILE):
        v_store(dx + v * V_LANES, total[v])


cdef void channel_gradient(const real *g, const real *k, Window w, real *frame) noexcept nogil:
    """The gradient of one channel as a frame."""
    cdef Py_ssize_t i, j, start
    for i in range(w.phases_h):
        for j in range(w.phases_w):
            start = 0
            while start < w.plane:
                input_tile(g + start, k, w, i, j, frame + start)
                start += TILE * V_LANES
            frame += w.plane


cdef void channel_gradient_by_terms(const real *g, const real *k, Window w, real *frame) noexcept nogil:
    """The same, one term after the other. The tiles above multiply kernel elements with the zeros around G, too, which
    would spread a kernel element that is NaN or infinite to inputs that it has no term with."""
    cdef Py_ssize_t i, j, a, b
    cdef real *dx
    memset(frame, 0, w.frame * sizeof(real))
    for i in range(w.k_h):
        for j in range(w.k_w):
            dx = frame + (i % w.s * w.phases_w + j % w.s) * w.plane + i // w.s * w.pitch + j // w.s
            for a in range(w.n_h):
                for b in range(w.n_w):
                    dx[a * w.pitch + b] += k[i * w.k_w + j] * g[a * w.pitch + b]


cdef bint all_finite(const real *k, Py_ssize_t count) noexcept nogil:
    cdef Py_ssize_t t
    for t in range(count):
        if k[t] - k[t] != 0:
            return False
    return True


cdef void input_gradients(
    const real[::1] w, const real[:] g, Py_ssize_t channels, Window o, real *wide, real *frame
) noexcept nogil:
    """The frames of all channels' gradients; `wide` takes G with zeros around it."""
    cdef Py_ssize_t count = o.k_h * o.k_w, a, b, c
    memset(wide - o.reach, 0, (o.reach + o.plane + SLACK) * sizeof(real))
    for a in range(o.n_h):
        for b in range(o.n_w):
            wide[a * o.pitch + b] = g[a * o.n_w + b]
    for c in range(channels):
        if all_finite(&w[c * count], count):
            channel_gradient(wide, &w[c * count], o, frame + c * o.frame)
        else:
            channel_gradient_by_terms(wide, &w[c * count], o, frame + c * o.frame)


def convolution2d_backward_input(const real[::1] w, const real[:] g, Window window, real[::1] scratch, list dxs):
    cdef Py_ssize_t channels = len(dxs)
    cdef real *frame = &scratch[0]
    cdef real[:] dx
    require_sizes(channels, w.shape[0], g.shape[0], scratch.shape[0], window)
    with nogil:
        input_gradients(w, g, channels, window, frame + channels * window.frame + SLACK + window.reach, frame)
    for dx in dxs:
        require(dx.shape[0] == window.m_h * window.m_w)
        with nogil:
            add_frame(frame, window, dx)
        frame += window.frame


# dK[c, i, j] += Σ_a Σ_b X_c[a s + i - p, b s + j - q] G[a, b]

cdef inline void kernel_tile(
    const real *frame, const Py_ssize_t[::1] taps, Py_ssize_t first, const real *g, Window w, real[::1] dw
) noexcept nogil:
    """TILE taps from number `first` on; where there are fewer, the last is computed again and dropped."""
    cdef Py_ssize_t count = taps.shape[0], rest = w.n_w % V_LANES, full = w.n_w - w.n_w % V_LANES, _a, b, v
    cdef vec total[TILE]
    cdef const real *x[TILE]
    cdef vec factor
    for v in range(TILE):
        total[v] = v_set1(0)
        x[v] = frame + taps[min(first + v, count - 1)]
    for _a in range(w.n_h):
        b = 0
        while b < full:
            factor = v_load(g + b)
            for v in range(TILE):
                total[v] = v_fma(v_load(x[v] + b), factor, total[v])
            b += V_LANES
        if rest:
            factor = v_first(v_load(g + full), rest)
            for v in range(TILE):
                total[v] = v_fma(v_first(v_load(x[v] + full), rest), factor, total[v])
        for v in range(TILE):
            x[v] += w.pitch
        g += w.n_w
    for v in range(min(TILE, count - first)):
        dw[first + v] += v_hsum(total[v])


cdef void kernel_gradient(
    const real *frame, const real[:] g, const Py_ssize_t[::1] taps, Window o, real *packed, real[::1] dw
) noexcept nogil:
    """The gradients of all kernel elements and, last, of the bias: Σ_a Σ_b G[a, b]; `packed` takes G."""
    cdef Py_ssize_t count = taps.shape[0], first = 0, a, i
    cdef real row_sum
    for a in range(o.n_h):
        row_sum = 0
        for i in range(a * o.n_w, (a + 1) * o.n_w):
            packed[i] = g[i]
            row_sum += g[i]
        dw[count] += row_sum
    while first < count:
        kernel_tile(frame, taps, first, packed, o, dw)
        first += TILE


def convolution2d_backward_kernel(
    list xs, const real[:] g, const Py_ssize_t[::1] taps, Window window, real[::1] scratch, real[::1] dw
):
    cdef real *frame = &scratch[0]
    require_sizes(len(xs), dw.shape[0], g.shape[0], scratch.shape[0], window)
    require(taps.shape[0] == dw.shape[0] - 1)
    cdef real *packed = frame + len(xs) * window.frame + SLACK
    fill_frames(xs, window, frame)
    with nogil:
        kernel_gradient(frame, g, taps, window, packed, dw)
