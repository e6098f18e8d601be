# Kernels of GRUCell and LSTMCell: the elements of all gates, behind the products of their matrices.
#
# a = W_ih x + b_ih and b = W_hh h + b_hh have a block of n elements for each gate; σ is the sigmoid.
#
# GRU, gates r, z, t:     r = σ(a_r + b_r),  z = σ(a_z + b_z),  t = tanh(a_t + r b_t),  h' = (1 - z) t + z h
# LSTM, gates i, f, u, o: i, f, o = σ(a + b),  u = tanh(a_u + b_u),  c' = f c + i u,  h' = o tanh(c')
#
# s is what the output reads directly, beside the products: the state h of a GRU, the cell state c of an LSTM. d: the
# output, h' or (h'; c'); g: its gradient.
# Forward keeps what backward reads: the gates' values in a; b_t of a GRU, and tanh(c') of an LSTM in block 1 of b.
# Backward writes the gradients da and db and, in block 0 of b, the direct share of the gradient of s.
#
# Design: over lanes an element is a row of samples, so a block has n = elements × lanes; one loop serves both layouts.
# It takes whole vectors; what is left of each block is copied to room for a vector, and back. The products are steps of
# their own, those of an Affine, in whose layout the matrices lie: transposed, each with its biases as the last row.
#
# The step, CellStep, is compiled once for all dtypes (cell_step.pxi).
from libc.string cimport memset

from cgraph._kernels.common.operands cimport Input, Output, input_from, output_from
from cgraph._kernels.common.simd cimport (
    V_COUNT, V_LANES, real, v_add, v_fma, v_load, v_mul, v_set1, v_store, v_sub, vec
)
from cgraph._kernels.common.vector_math cimport v_sigmoid, v_tanh
from cgraph._kernels.runtime.step cimport CellBlocks

# The addresses of element i of all blocks, each `pitch` behind the one before.
cdef struct Gates:
    real *a
    real *b
    real *da
    real *db
    Input s, g
    Output d
    Py_ssize_t pitch

# Computes n elements of each block, in whole vectors; strides are 1.
ctypedef void (*GatesLoop)(const Gates *p, Py_ssize_t n) noexcept nogil


cdef inline vec sum_of(const Gates *p, Py_ssize_t i) noexcept nogil:
    return v_add(v_load(p.a + i), v_load(p.b + i))


cdef inline vec slope_of_sigmoid(vec y) noexcept nogil:
    return v_fma(v_sub(v_set1(0), y), y, y)


cdef inline vec slope_of_tanh(vec y) noexcept nogil:
    return v_fma(v_sub(v_set1(0), y), y, v_set1(1))


cdef void gru(const Gates *p, Py_ssize_t n) noexcept nogil:
    cdef Py_ssize_t i = 0, k = p.pitch
    cdef vec r, z, t
    while i < n:
        r, z = v_sigmoid(sum_of(p, i)), v_sigmoid(sum_of(p, k + i))
        t = v_tanh(v_fma(r, v_load(p.b + 2 * k + i), v_load(p.a + 2 * k + i)))
        v_store(p.a + i, r)
        v_store(p.a + k + i, z)
        v_store(p.a + 2 * k + i, t)
        v_store(p.d.start + i, v_fma(z, v_sub(v_load(p.s.start + i), t), t))
        i += V_LANES


# dt = (1 - z) (1 - t²) g,  dz = z (1 - z) (h - t) g,  dr = r (1 - r) b_t dt;  of b_t: r dt, and of h directly: z g

cdef void gru_gradient(const Gates *p, Py_ssize_t n) noexcept nogil:
    cdef Py_ssize_t i = 0, k = p.pitch
    cdef vec r, z, t, g, part
    while i < n:
        r, z, t = v_load(p.a + i), v_load(p.a + k + i), v_load(p.a + 2 * k + i)
        g = v_load(p.g.start + i)
        v_store(p.b + i, v_mul(z, g))
        part = v_mul(v_mul(slope_of_sigmoid(z), v_sub(v_load(p.s.start + i), t)), g)
        v_store(p.da + k + i, part)
        v_store(p.db + k + i, part)
        part = v_mul(v_mul(v_sub(v_set1(1), z), slope_of_tanh(t)), g)
        v_store(p.da + 2 * k + i, part)
        v_store(p.db + 2 * k + i, v_mul(r, part))
        part = v_mul(v_mul(slope_of_sigmoid(r), v_load(p.b + 2 * k + i)), part)
        v_store(p.da + i, part)
        v_store(p.db + i, part)
        i += V_LANES


cdef void lstm(const Gates *p, Py_ssize_t n) noexcept nogil:
    cdef Py_ssize_t i = 0, k = p.pitch
    cdef vec in_gate, forget, update, out_gate, c
    while i < n:
        in_gate, forget = v_sigmoid(sum_of(p, i)), v_sigmoid(sum_of(p, k + i))
        update, out_gate = v_tanh(sum_of(p, 2 * k + i)), v_sigmoid(sum_of(p, 3 * k + i))
        v_store(p.a + i, in_gate)
        v_store(p.a + k + i, forget)
        v_store(p.a + 2 * k + i, update)
        v_store(p.a + 3 * k + i, out_gate)
        c = v_fma(forget, v_load(p.s.start + i), v_mul(in_gate, update))
        v_store(p.d.start + k + i, c)
        c = v_tanh(c)
        v_store(p.b + k + i, c)
        v_store(p.d.start + i, v_mul(out_gate, c))
        i += V_LANES


# With g = (g_h; g_c) and s = tanh(c'):  do = o (1 - o) s g_h,  dc = g_c + o (1 - s²) g_h,
# di = i (1 - i) u dc,  df = f (1 - f) c dc,  du = (1 - u²) i dc, and of c directly: f dc

cdef inline void store_both(const Gates *p, Py_ssize_t i, vec part) noexcept nogil:
    """Writes a gradient of the sum of both products."""
    v_store(p.da + i, part)
    v_store(p.db + i, part)


cdef void lstm_gradient(const Gates *p, Py_ssize_t n) noexcept nogil:
    cdef Py_ssize_t i = 0, k = p.pitch
    cdef vec in_gate, forget, update, out_gate, g, s
    while i < n:
        in_gate, forget = v_load(p.a + i), v_load(p.a + k + i)
        update, out_gate = v_load(p.a + 2 * k + i), v_load(p.a + 3 * k + i)
        s, g = v_load(p.b + k + i), v_load(p.g.start + i)
        store_both(p, 3 * k + i, v_mul(v_mul(slope_of_sigmoid(out_gate), s), g))
        g = v_fma(v_mul(out_gate, slope_of_tanh(s)), g, v_load(p.g.start + k + i))
        v_store(p.b + i, v_mul(forget, g))
        store_both(p, i, v_mul(v_mul(slope_of_sigmoid(in_gate), update), g))
        store_both(p, k + i, v_mul(v_mul(slope_of_sigmoid(forget), v_load(p.s.start + i)), g))
        store_both(p, 2 * k + i, v_mul(v_mul(slope_of_tanh(update), in_gate), g))
        i += V_LANES


cdef void copy_blocks(
    Input x, Py_ssize_t pitch, Output y, Py_ssize_t y_pitch, Py_ssize_t n, Py_ssize_t blocks
) noexcept nogil:
    """Copies n elements of each block; pitches are counted in elements."""
    cdef Py_ssize_t k
    for k in range(blocks):
        copy(input_from(x, k * pitch), output_from(y, k * y_pitch), n)


cdef void one_vector(GatesLoop loop, const Gates *p, Py_ssize_t n, Py_ssize_t gates, bint backward) noexcept nogil:
    """Computes at most one vector of each block, at any strides."""
    cdef real room[5 * 4 * V_COUNT]
    cdef real *own[5]
    cdef Py_ssize_t v = V_LANES, states = gates - 2, k
    cdef Gates q
    memset(room, 0, sizeof(room))
    for k in range(5):
        own[k] = room + k * 4 * v
    q = Gates(own[0], own[1], own[2], own[3], Input(own[4], 1), Input(own[4] + v, 1), Output(own[4] + v, 1, False), v)
    copy_blocks(Input(p.a, 1), p.pitch, Output(q.a, 1, False), v, n, gates)
    copy_blocks(Input(p.b, 1), p.pitch, Output(q.b, 1, False), v, n, gates)
    copy_blocks(p.s, 0, Output(own[4], 1, False), v, n, 1)
    if backward:
        copy_blocks(p.g, p.pitch, Output(own[4] + v, 1, False), v, n, states)
    loop(&q, v)
    copy_blocks(Input(q.b, 1), v, Output(p.b, 1, False), p.pitch, n, gates)
    if backward:
        copy_blocks(Input(q.da, 1), v, Output(p.da, 1, False), p.pitch, n, gates)
        copy_blocks(Input(q.db, 1), v, Output(p.db, 1, False), p.pitch, n, gates)
    else:
        copy_blocks(Input(q.a, 1), v, Output(p.a, 1, False), p.pitch, n, gates)
        copy_blocks(Input(q.d.start, 1), v, p.d, p.pitch, n, states)


cdef void run_gates(bint is_lstm, bint backward, const CellBlocks *p, Py_ssize_t n) noexcept nogil:
    """Computes all n elements of each block."""
    cdef Input s = Input(<const real *>p.s, p.s_stride), g = Input(<const real *>p.g, p.d_stride)
    cdef Output d = Output(<real *>p.d, p.d_stride, False)
    cdef Gates all = Gates(<real *>p.a, <real *>p.b, <real *>p.da, <real *>p.db, s, g, d, n), rest
    cdef Py_ssize_t gates = 4 if is_lstm else 3, i = 0
    cdef GatesLoop loop
    if backward:
        loop = lstm_gradient if is_lstm else gru_gradient
    else:
        loop = lstm if is_lstm else gru
    if p.s_stride == p.d_stride == 1:
        i = n // V_LANES * V_LANES
        loop(&all, i)
    while i < n:
        rest = Gates(
            all.a + i, all.b + i, all.da + i, all.db + i, input_from(s, i), input_from(g, i), output_from(d, i), n
        )
        one_vector(loop, &rest, min(n - i, V_LANES), gates, backward)
        i += V_LANES


cdef void put_direct_share(
    const char *share, char *ds, Py_ssize_t stride, bint accumulate, Py_ssize_t n
) noexcept nogil:
    """Writes the direct share to the gradient of s, or adds it."""
    copy(Input(<const real *>share, 1), Output(<real *>ds, stride, accumulate), n)


kernels.run_gates, kernels.put_direct_share = run_gates, put_direct_share
