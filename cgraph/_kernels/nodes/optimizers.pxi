# The rules of optimisers, applied to n parameters:   g = scale dw  is the gradient
#
# w: parameters; dw: their gradient sums; a, b, c: the state of a rule, which begins at 0. The rules are those of
# torch.optim, where the state has other names: cgraph/optimizers/ has both. runtime/optimizer_step.pyx calls them.

from libc.string cimport memcpy, memset

from cgraph._kernels.common.operands cimport Input
from cgraph._kernels.common.reductions cimport norm_of, sum_of
from cgraph._kernels.common.simd cimport (
    R_TINY, V_COUNT, V_LANES, real, v_abs, v_add, v_div, v_fma, v_lane0, v_less, v_load, v_mul, v_select, v_set1,
    v_store, v_sub, vec
)
from cgraph._kernels.common.vector_math cimport v_sqrt
from cgraph._kernels.runtime.optimizer_step cimport ADAM, NESTEROV, SCALE, SGD, Flat, Numbers, OptimizerKernels


# The numbers of an update as vectors, named as in `Numbers`.
cdef struct Terms:
    vec scale, weight_decay, kept, momentum, fresh_momentum, decay, fresh_decay, eps, correction, step

# The addresses of n parameters, of their gradient sums and of their state.
cdef struct Elements:
    real *w
    real *dw
    real *a
    real *b
    real *c


cdef inline vec decayed_gradient(const Elements *e, Py_ssize_t i, const Terms *t) noexcept nogil:
    """Returns g + weight_decay w."""
    return v_fma(t.weight_decay, v_load(e.w + i), v_mul(t.scale, v_load(e.dw + i)))


cdef inline void descend_along(real *w, vec step, vec way) noexcept nogil:
    """Computes w -= step way."""
    v_store(w, v_sub(v_load(w), v_mul(step, way)))


# The gradient itself, for rules that are written in Python:   dw = g + weight_decay w

cdef void scale_n(const Elements *e, Py_ssize_t n, const Terms *t) noexcept nogil:
    cdef Py_ssize_t i = 0
    while i < n:
        v_store(e.dw + i, decayed_gradient(e, i, t))
        i += V_LANES


# SGD:   g += weight_decay w;  a = momentum a + g;  w -= step a,  with Nesterov's momentum  w -= step (g + momentum a)

cdef inline void descend_with_momentum(const Elements *e, Py_ssize_t n, const Terms *t, bint nesterov) noexcept nogil:
    cdef Py_ssize_t i = 0
    cdef vec way, g
    while i < n:
        way = g = decayed_gradient(e, i, t)
        if e.a != NULL:
            way = v_fma(t.momentum, v_load(e.a + i), g)
            v_store(e.a + i, way)
            if nesterov:
                way = v_fma(t.momentum, way, g)
        descend_along(e.w + i, t.step, way)
        i += V_LANES


cdef void sgd_n(const Elements *e, Py_ssize_t n, const Terms *t) noexcept nogil:
    descend_with_momentum(e, n, t, False)


cdef void nesterov_n(const Elements *e, Py_ssize_t n, const Terms *t) noexcept nogil:
    descend_with_momentum(e, n, t, True)


# Adam:   g += weight_decay w;  a = momentum a + (1 - momentum) g;  b = decay b + (1 - decay) g²;
# w = kept w - step a / (correction sqrt(b) + eps)
#
# Without gradients, a would shrink to subnormal numbers, which are slow and by rounding never reach 0: they count as 0.

cdef void adam_n(const Elements *elements, Py_ssize_t n, const Terms *terms) noexcept nogil:
    cdef Py_ssize_t i = 0
    cdef vec g, mean, square, way
    # Copies, which stay in registers: stores to the state might change what the addresses lead to.
    cdef Elements e = elements[0]
    cdef Terms t = terms[0]
    while i < n:
        g = decayed_gradient(&e, i, &t)
        mean = v_load(e.a + i)
        mean = v_fma(t.fresh_momentum, v_sub(g, mean), mean)
        mean = v_select(v_less(v_abs(mean), v_set1(R_TINY)), v_set1(0), mean)
        square = v_fma(v_mul(t.fresh_decay, g), g, v_mul(t.decay, v_load(e.b + i)))
        v_store(e.a + i, mean)
        v_store(e.b + i, square)
        way = v_div(mean, v_fma(v_sqrt(square), t.correction, t.eps))
        v_store(e.w + i, v_sub(v_mul(t.kept, v_load(e.w + i)), v_mul(t.step, way)))
        i += V_LANES


# RMSprop:   g += weight_decay w;  a = decay a + (1 - decay) g²;  c = decay c + (1 - decay) g;
# b = momentum b + g / (sqrt(a - c²) + eps);  w -= step b;  without c and without b these are 0 and the quotient

cdef void rmsprop_n(const Elements *e, Py_ssize_t n, const Terms *t) noexcept nogil:
    cdef Py_ssize_t i = 0
    cdef vec g, square, mean
    while i < n:
        g = decayed_gradient(e, i, t)
        square = v_fma(v_mul(t.fresh_decay, g), g, v_mul(t.decay, v_load(e.a + i)))
        v_store(e.a + i, square)
        if e.c != NULL:
            mean = v_load(e.c + i)
            mean = v_fma(t.fresh_decay, v_sub(g, mean), mean)
            v_store(e.c + i, mean)
            square = v_sub(square, v_mul(mean, mean))
        g = v_div(g, v_add(v_sqrt(square), t.eps))
        if e.b != NULL:
            g = v_fma(t.momentum, v_load(e.b + i), g)
            v_store(e.b + i, g)
        descend_along(e.w + i, t.step, g)
        i += V_LANES


# What runtime/optimizer_step.pyx needs of this build

cdef inline real *at(char *x, Py_ssize_t i) noexcept nogil:
    return <real *>x + i if x != NULL else NULL


cdef inline void copy_elements(const Elements *source, const Elements *copy, Py_ssize_t n) noexcept nogil:
    memcpy(copy.w, source.w, n * sizeof(real))
    memcpy(copy.dw, source.dw, n * sizeof(real))
    if source.a != NULL:
        memcpy(copy.a, source.a, n * sizeof(real))
    if source.b != NULL:
        memcpy(copy.b, source.b, n * sizeof(real))
    if source.c != NULL:
        memcpy(copy.c, source.c, n * sizeof(real))


cdef void apply_whole(int rule, const Elements *e, Py_ssize_t n, const Terms *t) noexcept nogil:
    """Applies a rule to n elements, whole vectors of them."""
    if rule == SCALE:
        scale_n(e, n, t)
    elif rule == SGD:
        sgd_n(e, n, t)
    elif rule == NESTEROV:
        nesterov_n(e, n, t)
    elif rule == ADAM:
        adam_n(e, n, t)
    else:
        rmsprop_n(e, n, t)


cdef void apply_rule(int rule, const Flat *flat, Py_ssize_t first, Py_ssize_t n, const Numbers *x) noexcept nogil:
    """Applies a rule to n elements; those behind the last whole vector are changed in a copy of a whole vector."""
    cdef Py_ssize_t rest = n % V_LANES, end = first + n - rest
    cdef Elements copy, e = Elements(
        at(flat.w, first), at(flat.dw, first), at(flat.a, first), at(flat.b, first), at(flat.c, first)
    )
    cdef real[5 * V_COUNT] room
    cdef Terms t
    t.scale, t.weight_decay, t.kept = number(x.scale), number(x.weight_decay), number(x.kept)
    t.momentum, t.fresh_momentum = number(x.momentum), number(1 - x.momentum)
    t.decay, t.fresh_decay = number(x.decay), number(1 - x.decay)
    t.eps, t.correction, t.step = number(x.eps), number(x.correction), number(x.step)
    apply_whole(rule, &e, n - rest, &t)
    if rest:
        e = Elements(at(flat.w, end), at(flat.dw, end), at(flat.a, end), at(flat.b, end), at(flat.c, end))
        memset(room, 0, sizeof(room))
        copy.w, copy.dw = &room[0], &room[V_LANES]
        copy.a = &room[2 * V_LANES] if e.a != NULL else NULL
        copy.b = &room[3 * V_LANES] if e.b != NULL else NULL
        copy.c = &room[4 * V_LANES] if e.c != NULL else NULL
        copy_elements(&e, &copy, rest)
        apply_whole(rule, &copy, V_LANES, &t)
        copy_elements(&copy, &e, rest)


cdef inline vec number(double x) noexcept nogil:
    return v_set1(<real>x)


cdef inline vec square_term(vec x, vec y, vec c, vec total) noexcept nogil:
    return v_fma(x, x, total)


cdef double norm_n(const char *x, Py_ssize_t first, Py_ssize_t n) noexcept nogil:
    """Returns the norm of n elements."""
    cdef Input part = Input(<const real *>x + first, 1)
    return norm_of(v_lane0(sum_of(square_term, part, part, v_set1(0), n, False)), part, n)


cdef OptimizerKernels kernels = OptimizerKernels.__new__(OptimizerKernels)
kernels.apply_rule, kernels.norm, kernels.itemsize = apply_rule, norm_n, sizeof(real)
OPTIMIZER_KERNELS = kernels
