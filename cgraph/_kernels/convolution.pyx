"""Kernels of Convolution2d: C input channels, one output channel.

xs: the C input channels, m_h × m_w each; w: the C k_h k_w elements of the kernel and behind them the bias; d: the
output, n_h × n_w; g: the gradient with respect to d; dxs, dw: the gradients of xs and w, which backward ADDS into.
Views of nodes' data may be strided. Each function copies what it reads more than once into `scratch`, of
convolution2d_scratch elements: the channels as frames (window.pyx), in which a tap of the kernel, number t, lies
taps[t] elements behind the output that it contributes to. So a convolution of any stride and padding is a sum of
shifted copies of the frame. The positions between two rows of outputs are computed with the rest and dropped.
"""
from libc.string cimport memset

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


# Of row y of the padded input, one column phase: `count` columns of the domain, every s-th from `column` on, lie side
# by side in the frame, from `offset` on.

cdef struct Run:
    Py_ssize_t column, count, offset


cdef inline Run run_in_frame(Py_ssize_t y, Py_ssize_t phase, Window w) noexcept nogil:
    cdef Run run
    run.column = (phase - w.q % w.s + w.s) % w.s
    run.count = max(w.m_w - run.column + w.s - 1, 0) // w.s
    run.offset = (y % w.s * w.phases_w + phase) * w.plane + y // w.s * w.pitch + (run.column + w.q) // w.s
    return run


cdef void fill_frame(const real[:] x, Window w, real *frame) noexcept nogil:
    """The frame of one channel: the padding's zeros, and x."""
    cdef Py_ssize_t i, j, phase
    cdef Run run
    memset(frame, 0, w.frame * sizeof(real))
    for i in range(w.m_h):
        if (i + w.p) % w.s < w.phases_h:
            for phase in range(w.phases_w):
                run = run_in_frame(i + w.p, phase, w)
                for j in range(run.count):
                    frame[run.offset + j] = x[i * w.m_w + run.column + j * w.s]


cdef void add_frame(const real *frame, Window w, real[:] dx) noexcept nogil:
    """Adds the gradient of one channel, given as a frame, to dx; what lies in the padding is dropped."""
    cdef Py_ssize_t i, j, phase
    cdef Run run
    for i in range(w.m_h):
        if (i + w.p) % w.s < w.phases_h:
            for phase in range(w.phases_w):
                run = run_in_frame(i + w.p, phase, w)
                for j in range(run.count):
                    dx[i * w.m_w + run.column + j * w.s] += frame[run.offset + j]


cdef void fill_frames(list xs, Window w, real *frame):
    cdef const real[:] x
    for x in xs:
        with nogil:
            fill_frame(x, w, frame)
        frame += w.frame


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


def convolution2d_forward(
    list xs, const real[::1] w, const Py_ssize_t[::1] taps, Window window, real[::1] scratch, real[:] d
):
    cdef Window o = window
    cdef Py_ssize_t last = (o.n_h - 1) * o.pitch + o.n_w, start = 0, a, b
    cdef real *frame = &scratch[0]
    cdef real *wide = frame + len(xs) * o.frame + SLACK
    fill_frames(xs, o, frame)
    with nogil:
        while start < last:
            output_tile(frame + start, taps, w, wide + start)
            start += TILE * V_LANES
        for a in range(o.n_h):
            for b in range(o.n_w):
                d[a * o.n_w + b] = wide[a * o.pitch + b]


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


def convolution2d_backward_input(const real[::1] w, const real[:] g, Window window, real[::1] scratch, list dxs):
    cdef Window o = window
    cdef Py_ssize_t channels = len(dxs), a, b, c
    cdef real *frame = &scratch[0]
    cdef real *wide = frame + channels * o.frame + SLACK + o.reach
    cdef const real *k
    cdef real[:] dx
    with nogil:
        memset(wide - o.reach, 0, (o.reach + o.plane + SLACK) * sizeof(real))
        for a in range(o.n_h):
            for b in range(o.n_w):
                wide[a * o.pitch + b] = g[a * o.n_w + b]
        for c in range(channels):
            k = &w[c * o.k_h * o.k_w]
            if all_finite(k, o.k_h * o.k_w):
                channel_gradient(wide, k, o, frame + c * o.frame)
            else:
                channel_gradient_by_terms(wide, k, o, frame + c * o.frame)
    for c in range(channels):
        dx = dxs[c]
        with nogil:
            add_frame(frame + c * o.frame, o, dx)


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


def convolution2d_backward_kernel(
    list xs, const real[:] g, const Py_ssize_t[::1] taps, Window window, real[::1] scratch, real[::1] dw
):
    """Adds the bias's gradient, Σ_a Σ_b G[a, b], too."""
    cdef Window o = window
    cdef Py_ssize_t count = taps.shape[0], first = 0, a, i
    cdef real *frame = &scratch[0]
    cdef real *packed = frame + len(xs) * o.frame + SLACK
    cdef real row_sum
    fill_frames(xs, o, frame)
    with nogil:
        for a in range(o.n_h):
            row_sum = 0
            for i in range(a * o.n_w, (a + 1) * o.n_w):
                packed[i] = g[i]
                row_sum += g[i]
            dw[count] += row_sum
        while first < count:
            kernel_tile(frame, taps, first, packed, o, dw)
            first += TILE
