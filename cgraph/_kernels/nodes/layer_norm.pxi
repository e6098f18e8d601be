# Kernels of LayerNorm: d_i = γ_i x̂_i + β_i,  x̂_i = (x_i - μ) ρ,  μ = (1/m) Σ x_j,  1/ρ² = (1/m) Σ (x_j - μ)² + ε.
#
# x: the input, m elements; d: the output; w: the gains γ and, behind them, the biases β, 2 m elements; g: the gradient
# with respect to d; dx, dw: the gradients of x and w, which backward ADDS into on the Node path. x, d, g and dx may be
# strided. The loops over lanes are in layer_norm_lanes.pxi.
from cgraph._kernels.common.guard cimport require
from cgraph._kernels.common.operands cimport (
    Input, Output, added_to, data_of, descend_learning, get, get1, grad_of, gradient, input_lane, input_of, output,
    output_lane, overwritten, put
)
from cgraph._kernels.common.reductions cimport BLOCK, Total, add_block, blocks, no_total, sum_of, value_of
from cgraph._kernels.common.simd cimport (
    V_LANES, real, v_add, v_div, v_fma, v_load, v_mul, v_opaque, v_set1, v_store, v_sub, vec
)
from cgraph._kernels.common.vector_math cimport v_sqrt
from cgraph._kernels.runtime.step cimport Context, LearningStep, Operand, OperandFields, adds_to_sums

cdef struct Moments:
    vec mean, root      # μ and ρ, in all lanes or for each lane its own


# Moments that are kept lie at any address of a real.

cdef inline void keep(const Moments *p, real *kept) noexcept nogil:
    v_store(kept, p.mean)
    v_store(kept + V_LANES, p.root)


cdef inline Moments kept_at(const real *kept) noexcept nogil:
    return Moments(v_load(kept), v_load(kept + V_LANES))


cdef inline vec root_of(vec variance, real eps) noexcept nogil:
    return v_div(v_set1(1), v_sqrt(v_add(variance, v_set1(eps))))


cdef inline vec normal_of(vec x, const Moments *p) noexcept nogil:
    return v_mul(v_sub(x, p.mean), p.root)


# One sample

cdef inline vec distance_term(vec x, vec y, vec first, vec total) noexcept nogil:
    return v_add(total, v_sub(x, first))


cdef inline vec square_term(vec x, vec y, vec mean, vec total) noexcept nogil:
    return v_fma(v_sub(x, mean), v_sub(x, mean), total)


cdef Moments moments(Input x, Py_ssize_t m, real eps) noexcept nogil:
    # Distances from the first element are summed, so that the mean of equal elements is exactly their value.
    cdef vec count = v_set1(<real>m), first = v_set1(get1(x, 0))
    cdef vec mean = v_add(first, v_div(sum_of(distance_term, x, x, first, m, False, True), count))
    return Moments(mean, root_of(v_div(sum_of(square_term, x, x, mean, m, False, True), count), eps))


cdef void normalise(Input x, const real *w, const Moments *p, Output d, Py_ssize_t m) noexcept nogil:
    cdef Input gain = Input(w, 1), bias = Input(w + m, 1)
    cdef Py_ssize_t i = 0
    while i < m:
        put(d, i, m, v_fma(get(gain, i, m), normal_of(get(x, i, m), p), get(bias, i, m)))
        i += V_LANES


def layer_norm_forward(const real[:] x, const real[::1] w, double eps, real[:] d, /):
    cdef Py_ssize_t m = x.shape[0]
    cdef Moments p
    require(m == d.shape[0] and w.shape[0] == 2 * m)
    with nogil:
        p = moments(input_of(x), m, <real>eps)
        normalise(input_of(x), &w[0], &p, overwritten(d), m)


# dx_i += ρ (h_i - (1/m) Σ h_j - x̂_i (1/m) Σ h_j x̂_j),  h_i = γ_i g_i

cdef inline vec input_share(vec h, vec x, const Moments *p, vec level, vec tilt) noexcept nogil:
    """level, tilt: the means of h_j and of h_j x̂_j."""
    # Rounded as in the sum, not part of a multiply-subtract: so the gradient of one element alone is 0.
    return v_mul(p.root, v_sub(v_sub(v_opaque(h), level), v_mul(normal_of(x, p), tilt)))


cdef void input_gradient(
    Input x, const real *w, const Moments *p, Input g, Output dx, Py_ssize_t m
) noexcept nogil:
    cdef Input gain = Input(w, 1)
    cdef vec count = v_set1(<real>m), level, tilt, level_sum, tilt_sum, h
    cdef Total levels = no_total(), tilts = no_total()
    cdef Py_ssize_t block, i
    for block in range(blocks(m)):
        level_sum = tilt_sum = v_set1(0)
        i = block * BLOCK
        while i < min((block + 1) * BLOCK, m):      # behind the last element, g is 0
            h = v_mul(get(gain, i, m), get(g, i, m))
            level_sum, tilt_sum = v_add(level_sum, h), v_fma(h, normal_of(get(x, i, m), p), tilt_sum)
            i += V_LANES
        add_block(&levels, level_sum)
        add_block(&tilts, tilt_sum)
    level, tilt = v_div(value_of(&levels, False), count), v_div(value_of(&tilts, False), count)
    i = 0
    while i < m:
        put(dx, i, m, input_share(v_mul(get(gain, i, m), get(g, i, m)), get(x, i, m), p, level, tilt))
        i += V_LANES


def layer_norm_backward_input(const real[:] x, const real[::1] w, double eps, const real[:] g, real[:] dx, /):
    cdef Py_ssize_t m = x.shape[0]
    cdef Moments p
    require(m == g.shape[0] == dx.shape[0] and w.shape[0] == 2 * m)
    with nogil:
        p = moments(input_of(x), m, <real>eps)
        input_gradient(input_of(x), &w[0], &p, input_of(g), added_to(dx), m)


# dγ_i += g_i x̂_i,  dβ_i += g_i

cdef void gain_gradient(Input x, const Moments *p, Input g, Output dw, Py_ssize_t m) noexcept nogil:
    """Computes the gradients of the gains for one sample."""
    cdef Py_ssize_t i = 0
    while i < m:
        put(dw, i, m, v_mul(get(g, i, m), normal_of(get(x, i, m), p)))
        i += V_LANES


cdef void bias_gradient(Input g, Output dw, Py_ssize_t m) noexcept nogil:
    """Computes the gradients of the biases for one sample."""
    cdef Py_ssize_t i = 0
    while i < m:
        put(dw, i, m, get(g, i, m))
        i += V_LANES


def layer_norm_backward_parameters(const real[:] x, double eps, const real[:] g, real[::1] dw, /):
    cdef Py_ssize_t m = x.shape[0]
    cdef Moments p
    require(m == g.shape[0] and dw.shape[0] == 2 * m)
    with nogil:
        p = moments(input_of(x), m, <real>eps)
        gain_gradient(input_of(x), &p, input_of(g), Output(&dw[0], 1, True), m)
        bias_gradient(input_of(g), Output(&dw[m], 1, True), m)


include "nodes/layer_norm_lanes.pxi"


cdef class LayerNormStep(LearningStep):
    """The step of one LayerNorm, for one sample or over lanes.

    scratch_offset: that of a mean and a root for each lane, in whole vectors, which the forward pass keeps.
    """
    cdef Py_ssize_t m, lanes, columns, parameters_offset, scratch_offset
    cdef real eps
    cdef bint over_lanes
    cdef OperandFields x, d

    def __init__(
        self, Py_ssize_t m, Py_ssize_t lanes, Operand x not None, Operand d not None, Py_ssize_t parameters_offset,
        Py_ssize_t scratch_offset, double eps
    ):
        """lanes: 1 for one sample."""
        self.m, self.lanes, self.over_lanes, self.x, self.d = m, lanes, lanes > 1, x.fields, d.fields
        self.columns = COLUMNS if lanes % (COLUMNS * V_LANES) == 0 else 1
        self.parameters_offset, self.scratch_offset, self.eps = parameters_offset, scratch_offset, <real>eps

    cdef real *kept(self, Context *context, Py_ssize_t lane) noexcept nogil:
        """Returns where the moments of a vector of lanes are kept, the means before the roots."""
        return <real *>context.scratch + self.scratch_offset + 2 * lane

    cdef void keep_moments(self, Context *context) noexcept nogil:
        """Computes the moments anew."""
        cdef Input x = data_of(context, &self.x)
        cdef Moments p
        cdef Py_ssize_t lane = 0
        if not self.over_lanes:
            p = moments(x, self.m, self.eps)
            keep(&p, self.kept(context, 0))
            return
        while lane < self.lanes:
            lane_moments(input_lane(x, lane), self.m, self.eps, self.columns, self.kept(context, lane))
            lane += self.columns * V_LANES

    cdef void forward(self, Context *context) noexcept nogil:
        cdef const real *w = <real *>context.parameters + self.parameters_offset
        cdef Input x = data_of(context, &self.x), lanes
        cdef Output d = output(context, &self.d)
        cdef Moments p
        cdef real *kept
        cdef Py_ssize_t lane = 0
        self.keep_moments(context)
        if not self.over_lanes:
            p = kept_at(self.kept(context, 0))
            normalise(x, w, &p, d, self.m)
            return
        while lane < self.lanes:
            lanes, kept = input_lane(x, lane), self.kept(context, lane)
            if self.columns == COLUMNS:
                lane_normalise(lanes, w, kept, output_lane(d, lane), self.m, COLUMNS)
            else:
                lane_normalise(lanes, w, kept, output_lane(d, lane), self.m, 1)
            lane += self.columns * V_LANES

    cdef void backward(self, Context *context) noexcept nogil:
        cdef Input x = data_of(context, &self.x), g = grad_of(context, &self.d)
        cdef Output dx = gradient(context, &self.x)
        cdef Gradients dw = self.parameter_gradients(context)
        if context.apart:
            self.keep_moments(context)
        if self.over_lanes:
            self.backward_over_lanes(context, x, g, dx, &dw)
        else:
            self.backward_of_sample(context, x, g, dx, &dw)
        if context.fused_sgd and (self.weights_learn or self.biases_learn):
            descend_learning(self, context, self.parameters_offset, self.m, self.m)

    cdef Gradients parameter_gradients(self, Context *context) noexcept nogil:
        """Returns the gradient sums of the gains and of the biases, as far as they learn."""
        cdef real *dw = <real *>context.parameter_grads + self.parameters_offset
        cdef bint accumulate = adds_to_sums(self, context)
        cdef Gradients found = Gradients(Output(NULL, 1, accumulate), Output(NULL, 1, accumulate))
        if self.weights_learn:
            found.gains.start = dw
        if self.biases_learn:
            found.biases.start = dw + self.m
        return found

    cdef void backward_of_sample(
        self, Context *context, Input x, Input g, Output dx, const Gradients *dw
    ) noexcept nogil:
        cdef const real *w = <real *>context.parameters + self.parameters_offset
        cdef Moments p = kept_at(self.kept(context, 0))
        if dx.start != NULL:
            input_gradient(x, w, &p, g, dx, self.m)
        if dw.gains.start != NULL:
            gain_gradient(x, &p, g, dw.gains, self.m)
        if dw.biases.start != NULL:
            bias_gradient(g, dw.biases, self.m)

    cdef void backward_over_lanes(
        self, Context *context, Input x, Input g, Output dx, Gradients *dw
    ) noexcept nogil:
        cdef const real *w = <real *>context.parameters + self.parameters_offset
        cdef Output shares = dx
        cdef Py_ssize_t lane = 0, m = self.m, valid
        cdef real *kept
        while lane < self.lanes:
            kept, valid = self.kept(context, lane), context.valid - lane
            if dx.start != NULL:
                shares = output_lane(dx, lane)
            if self.columns == COLUMNS:
                lane_backward(input_lane(x, lane), w, input_lane(g, lane), shares, m, COLUMNS, valid, kept, dw)
            else:
                lane_backward(input_lane(x, lane), w, input_lane(g, lane), shares, m, 1, valid, kept, dw)
            dw.gains.accumulate = dw.biases.accumulate = True
            lane += self.columns * V_LANES
