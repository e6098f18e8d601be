# Kernels of LayerNorm: d_i = γ_i x̂_i + β_i,  x̂_i = (x_i - μ) ρ,  μ = (1/m) Σ x_j,  1/ρ² = (1/m) Σ (x_j - μ)² + ε.
#
# x: the input, m elements; d: the output; w: the gains γ and, behind them, the biases β, 2 m elements; g: the gradient
# with respect to d; dx, dw: the gradients of x and w, which backward ADDS into on the Node path. x, d, g and dx may be
# strided. over_lanes: as in reduction.pyx; every lane has its own moments μ and ρ, and gradients of w are sums over the
# lanes that hold a sample.
from cgraph._kernels.common.guard cimport require
from cgraph._kernels.common.operands cimport (
    Input, Output, added_to, data_of, descend_learning, get, get1, get_lanes, grad_of, gradient, input_lane,
    input_of, output, output_lane, overwritten, put, put1
)
from cgraph._kernels.common.reductions cimport (
    BLOCK, Total, add_block, blocks, get_at, no_total, pace, put_at, sum_of, value_of
)
from cgraph._kernels.common.simd cimport (
    V_LANES, real, v_add, v_div, v_first, v_fma, v_hsum, v_load, v_mul, v_opaque, v_set1, v_store, v_sub, vec
)
from cgraph._kernels.common.vector_math cimport v_sqrt
from cgraph._kernels.runtime.step cimport Context, LearningStep, Operand, OperandFields, adds_to_sums


cdef struct Moments:
    vec mean, root      # μ and ρ, in all lanes or for each lane its own


cdef inline vec distance_term(vec x, vec y, vec first, vec total) noexcept nogil:
    return v_add(total, v_sub(x, first))


cdef inline vec square_term(vec x, vec y, vec mean, vec total) noexcept nogil:
    return v_fma(v_sub(x, mean), v_sub(x, mean), total)


cdef inline vec weight_at(const real *w, Py_ssize_t i, Py_ssize_t m, bint over_lanes) noexcept nogil:
    """Returns the vector of parameters i, i + 1, … below m, or parameter i in all lanes."""
    return v_set1(w[i]) if over_lanes else get(Input(w, 1), i, m)


cdef Moments moments(Input x, Py_ssize_t m, real eps, bint over_lanes) noexcept nogil:
    # Distances from the first element are summed, so that the mean of equal elements is exactly their value.
    cdef vec count = v_set1(<real>m), first = get_lanes(x, 0) if over_lanes else v_set1(get1(x, 0))
    cdef vec mean = v_add(first, v_div(sum_of(distance_term, x, x, first, m, over_lanes, True), count))
    cdef vec variance = v_div(sum_of(square_term, x, x, mean, m, over_lanes, True), count)
    return Moments(mean, v_div(v_set1(1), v_sqrt(v_add(variance, v_set1(eps)))))


cdef inline void normalise_loop(
    Input x, const real *w, const Moments *p, Output d, Py_ssize_t m, bint over_lanes
) noexcept nogil:
    cdef vec normal
    cdef Py_ssize_t i = 0
    while i < m:
        normal = v_mul(v_sub(get_at(x, i, m, over_lanes), p.mean), p.root)
        put_at(d, i, m, v_fma(weight_at(w, i, m, over_lanes), normal, weight_at(w + m, i, m, over_lanes)), over_lanes)
        i += pace(over_lanes)


cdef void normalise(
    Input x, const real *w, const Moments *p, Output d, Py_ssize_t m, bint over_lanes
) noexcept nogil:
    if over_lanes:
        normalise_loop(x, w, p, d, m, True)
    else:
        normalise_loop(x, w, p, d, m, False)


def layer_norm_forward(const real[:] x, const real[::1] w, double eps, real[:] d):
    cdef Py_ssize_t m = x.shape[0]
    cdef Moments p
    require(m == d.shape[0] and w.shape[0] == 2 * m)
    with nogil:
        p = moments(input_of(x), m, <real>eps, False)
        normalise(input_of(x), &w[0], &p, overwritten(d), m, False)


# dx_i += ρ (h_i - (1/m) Σ h_j - x̂_i (1/m) Σ h_j x̂_j),  h_i = γ_i g_i

cdef inline void input_gradient_loop(
    Input x, const real *w, const Moments *p, Input g, Output dx, Py_ssize_t m, bint over_lanes
) noexcept nogil:
    cdef vec count = v_set1(<real>m), level, tilt, level_sum, tilt_sum, h, normal
    cdef Total levels = no_total(), tilts = no_total()
    cdef Py_ssize_t block, i
    for block in range(blocks(m)):
        level_sum = tilt_sum = v_set1(0)
        i = block * BLOCK
        while i < min((block + 1) * BLOCK, m):      # behind the last element, g is 0
            h = v_mul(weight_at(w, i, m, over_lanes), get_at(g, i, m, over_lanes))
            normal = v_mul(v_sub(get_at(x, i, m, over_lanes), p.mean), p.root)
            level_sum, tilt_sum = v_add(level_sum, h), v_fma(h, normal, tilt_sum)
            i += pace(over_lanes)
        add_block(&levels, level_sum, over_lanes)
        add_block(&tilts, tilt_sum, over_lanes)
    level, tilt = v_div(value_of(&levels, over_lanes), count), v_div(value_of(&tilts, over_lanes), count)
    i = 0
    while i < m:
        # Rounded as in the sum, not part of a multiply-subtract: so the gradient of one element alone is 0.
        h = v_opaque(v_mul(weight_at(w, i, m, over_lanes), get_at(g, i, m, over_lanes)))
        normal = v_mul(v_sub(get_at(x, i, m, over_lanes), p.mean), p.root)
        put_at(dx, i, m, v_mul(p.root, v_sub(v_sub(h, level), v_mul(normal, tilt))), over_lanes)
        i += pace(over_lanes)


cdef void input_gradient(
    Input x, const real *w, const Moments *p, Input g, Output dx, Py_ssize_t m, bint over_lanes
) noexcept nogil:
    if over_lanes:
        input_gradient_loop(x, w, p, g, dx, m, True)
    else:
        input_gradient_loop(x, w, p, g, dx, m, False)


def layer_norm_backward_input(const real[:] x, const real[::1] w, double eps, const real[:] g, real[:] dx):
    cdef Py_ssize_t m = x.shape[0]
    cdef Moments p
    require(m == g.shape[0] == dx.shape[0] and w.shape[0] == 2 * m)
    with nogil:
        p = moments(input_of(x), m, <real>eps, False)
        input_gradient(input_of(x), &w[0], &p, input_of(g), added_to(dx), m, False)


# dγ_i += g_i x̂_i,  dβ_i += g_i

cdef void gain_gradient(Input x, const Moments *p, Input g, Output dw, Py_ssize_t m) noexcept nogil:
    """Computes the gradients of the gains for one sample."""
    cdef Py_ssize_t i = 0
    while i < m:
        put(dw, i, m, v_mul(get(g, i, m), v_mul(v_sub(get(x, i, m), p.mean), p.root)))
        i += V_LANES


cdef void bias_gradient(Input g, Output dw, Py_ssize_t m) noexcept nogil:
    """Computes the gradients of the biases for one sample."""
    cdef Py_ssize_t i = 0
    while i < m:
        put(dw, i, m, get(g, i, m))
        i += V_LANES


def layer_norm_backward_parameters(const real[:] x, double eps, const real[:] g, real[::1] dw):
    cdef Py_ssize_t m = x.shape[0]
    cdef Moments p
    require(m == g.shape[0] and dw.shape[0] == 2 * m)
    with nogil:
        p = moments(input_of(x), m, <real>eps, False)
        gain_gradient(input_of(x), &p, input_of(g), Output(&dw[0], 1, True), m)
        bias_gradient(input_of(g), Output(&dw[m], 1, True), m)


cdef class LayerNormStep(LearningStep):
    """The step of one LayerNorm, for one sample or over lanes.

    scratch_offset: that of a mean and a root for each lane, in whole vectors, which the forward pass keeps.
    """
    cdef Py_ssize_t m, lanes, parameters_offset, scratch_offset
    cdef real eps
    cdef bint over_lanes
    cdef OperandFields x, d

    def __init__(
        self, Py_ssize_t m, Py_ssize_t lanes, Operand x not None, Operand d not None, Py_ssize_t parameters_offset,
        Py_ssize_t scratch_offset, double eps
    ):
        """lanes: 1 for one sample."""
        self.m, self.lanes, self.over_lanes, self.x, self.d = m, lanes, lanes > 1, x.fields, d.fields
        self.parameters_offset, self.scratch_offset, self.eps = parameters_offset, scratch_offset, <real>eps

    cdef real *kept(self, Context *context, Py_ssize_t lane) noexcept nogil:
        """Returns where the moments of a vector of lanes are kept, the means before the roots."""
        return <real *>context.scratch + self.scratch_offset + 2 * lane

    cdef void keep_moments(self, Context *context) noexcept nogil:
        """Computes the moments of all lanes."""
        cdef Moments p
        cdef Py_ssize_t lane = 0
        while lane < self.lanes:
            p = moments(input_lane(data_of(context, &self.x), lane), self.m, self.eps, self.over_lanes)
            v_store(self.kept(context, lane), p.mean)
            v_store(self.kept(context, lane) + V_LANES, p.root)
            lane += V_LANES

    cdef Moments moments_at(self, Context *context, Py_ssize_t lane) noexcept nogil:
        return Moments(v_load(self.kept(context, lane)), v_load(self.kept(context, lane) + V_LANES))

    cdef void forward(self, Context *context) noexcept nogil:
        cdef const real *w = <real *>context.parameters + self.parameters_offset
        cdef Input x = data_of(context, &self.x)
        cdef Output d = output(context, &self.d)
        cdef Moments p
        cdef Py_ssize_t lane = 0
        self.keep_moments(context)
        while lane < self.lanes:
            p = self.moments_at(context, lane)
            normalise(input_lane(x, lane), w, &p, output_lane(d, lane), self.m, self.over_lanes)
            lane += V_LANES

    cdef void backward(self, Context *context) noexcept nogil:
        cdef const real *w = <real *>context.parameters + self.parameters_offset
        cdef Input x = data_of(context, &self.x), g = grad_of(context, &self.d)
        cdef Output dx = gradient(context, &self.x)
        cdef Moments p
        cdef Py_ssize_t lane = 0
        if context.apart:
            self.keep_moments(context)
        while dx.start != NULL and lane < self.lanes:
            p = self.moments_at(context, lane)
            input_gradient(
                input_lane(x, lane), w, &p, input_lane(g, lane), output_lane(dx, lane), self.m, self.over_lanes
            )
            lane += V_LANES
        if self.weights_learn or self.biases_learn:
            self.parameter_gradients(context, x, g)
            if context.fused_sgd:
                descend_learning(self, context, self.parameters_offset, self.m, self.m)

    cdef void parameter_gradients(self, Context *context, Input x, Input g) noexcept nogil:
        """Computes the gradient sums of the gains and of the biases, as far as they learn."""
        cdef real *dw = <real *>context.parameter_grads + self.parameters_offset
        cdef bint accumulate = adds_to_sums(self, context)
        cdef Moments p
        if self.over_lanes:
            self.sums_over_lanes(context, x, g, dw, accumulate)
            return
        p = self.moments_at(context, 0)
        if self.weights_learn:
            gain_gradient(x, &p, g, Output(dw, 1, accumulate), self.m)
        if self.biases_learn:
            bias_gradient(g, Output(dw + self.m, 1, accumulate), self.m)

    cdef void sums_over_lanes(
        self, Context *context, Input x, Input g, real *dw, bint accumulate
    ) noexcept nogil:
        """Computes the gradient sums, element by element; the lanes without a sample are left out."""
        cdef vec gains, biases, slope, normal
        cdef Moments p
        cdef Py_ssize_t i, lane
        for i in range(self.m):
            gains = biases = v_set1(0)
            lane = 0
            while lane < context.valid:
                p = self.moments_at(context, lane)
                slope = get_lanes(input_lane(g, lane), i)
                normal = v_mul(v_sub(get_lanes(input_lane(x, lane), i), p.mean), p.root)
                biases = v_add(biases, v_first(slope, context.valid - lane))
                gains = v_add(gains, v_first(v_mul(slope, normal), context.valid - lane))
                lane += V_LANES
            if self.weights_learn:
                put1(Output(dw, 1, accumulate), i, v_hsum(gains))
            if self.biases_learn:
                put1(Output(dw + self.m, 1, accumulate), i, v_hsum(biases))
