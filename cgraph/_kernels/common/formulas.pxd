# The formulas of functions of one element or of two: the value d, and the share of the gradient that x, or y, gets.
#
# x, y: inputs; d: the output; g: the gradient with respect to d; a, b: numbers that the node's constructor was given.
# The loops around them are in elementwise_loops.pxd.

from cgraph._kernels.common.simd cimport (
    real, v_abs, v_add, v_at_least, v_div, v_equal, v_fma, v_keep_where, v_larger, v_less, v_max, v_mul, v_relu,
    v_select, v_set1, v_smaller, v_sub, vec
)
from cgraph._kernels.common.vector_math cimport (
    LOGISTIC_BOUND, NORMAL_BOUND, v_bounded, v_exp, v_exp_nonpositive, v_expm1, v_log, v_logistic, v_normal, v_sigmoid,
    v_softplus, v_sqrt, v_tanh
)


# d = e^x;   dx += d g

cdef inline vec exp_value(vec x, vec a, vec b) noexcept nogil:
    return v_exp(x)

cdef inline vec exp_share(vec x, vec d, vec g, vec a, vec b) noexcept nogil:
    return v_mul(d, g)


# d = ln x;   dx += g / x

cdef inline vec log_value(vec x, vec a, vec b) noexcept nogil:
    return v_log(x)

cdef inline vec log_share(vec x, vec d, vec g, vec a, vec b) noexcept nogil:
    return v_div(g, x)


# d = x²;   dx += 2 x g

cdef inline vec square_value(vec x, vec a, vec b) noexcept nogil:
    return v_mul(x, x)

cdef inline vec square_share(vec x, vec d, vec g, vec a, vec b) noexcept nogil:
    return v_mul(v_add(x, x), g)


# d = √x;   dx += g / (2 d)

cdef inline vec sqrt_value(vec x, vec a, vec b) noexcept nogil:
    return v_sqrt(x)

cdef inline vec sqrt_share(vec x, vec d, vec g, vec a, vec b) noexcept nogil:
    return v_div(g, v_add(d, d))


# d = a / x;   dx -= g d / x

cdef inline vec reciprocal_value(vec x, vec a, vec b) noexcept nogil:
    return v_div(a, x)

cdef inline vec reciprocal_share(vec x, vec d, vec g, vec a, vec b) noexcept nogil:
    return v_sub(v_set1(0), v_mul(g, v_div(d, x)))


# d = a x + b;   dx += a g

cdef inline vec scale_value(vec x, vec a, vec b) noexcept nogil:
    return v_fma(a, x, b)

cdef inline vec scale_share(vec x, vec d, vec g, vec a, vec b) noexcept nogil:
    return v_mul(a, g)


# d = |x|;   dx += g where x > 0, -g where x < 0, else 0

cdef inline vec abs_value(vec x, vec a, vec b) noexcept nogil:
    return v_abs(x)

cdef inline vec abs_share(vec x, vec d, vec g, vec a, vec b) noexcept nogil:
    return v_sub(v_keep_where(v_less(v_set1(0), x), g), v_keep_where(v_less(x, v_set1(0)), g))


# d = min(max(x, a), b);   dx += g where a <= x <= b.   A NaN stays a NaN, and gets no gradient.

cdef inline vec clip_value(vec x, vec a, vec b) noexcept nogil:
    return v_smaller(b, v_larger(a, x))

cdef inline vec clip_share(vec x, vec d, vec g, vec a, vec b) noexcept nogil:
    return v_keep_where(v_at_least(x, a), v_keep_where(v_at_least(b, x), g))


# d = x where x >= 0, else 0;   dx += g where x >= 0.   A NaN is not < 0 and stays; it is not >= 0 either.

cdef inline vec relu_value(vec x, vec a, vec b) noexcept nogil:
    return v_relu(x)

cdef inline vec relu_share(vec x, vec d, vec g, vec a, vec b) noexcept nogil:
    return v_keep_where(v_at_least(x, v_set1(0)), g)


# d = x where x > 0, else a x;   dx += g where x > 0, else a g

cdef inline vec leaky_relu_value(vec x, vec a, vec b) noexcept nogil:
    return v_select(v_less(v_set1(0), x), x, v_mul(a, x))

cdef inline vec leaky_relu_share(vec x, vec d, vec g, vec a, vec b) noexcept nogil:
    return v_select(v_less(v_set1(0), x), g, v_mul(a, g))


# d = x where x > 0, else a (e^x - 1);   dx += g where x > 0, else a e^x g

cdef inline vec elu_value(vec x, vec a, vec b) noexcept nogil:
    return v_select(v_less(v_set1(0), x), x, v_mul(a, v_expm1(x)))

cdef inline vec elu_share(vec x, vec d, vec g, vec a, vec b) noexcept nogil:
    return v_select(v_less(v_set1(0), x), g, v_mul(v_mul(a, v_exp_nonpositive(v_smaller(v_set1(0), x))), g))


# d = ln(1 + e^x);   dx += g / (1 + e^-x)

cdef inline vec softplus_value(vec x, vec a, vec b) noexcept nogil:
    return v_softplus(x)

cdef inline vec softplus_share(vec x, vec d, vec g, vec a, vec b) noexcept nogil:
    return v_mul(v_sigmoid(x), g)


# d = x F(x) of a distribution function F with the density f;   dx += (F + x f) g.   x is bounded where F and f no
# longer change, so that -inf gives 0, and inf the slope 1.

# F(x) = 1 / (1 + e^-x)

cdef inline vec silu_value(vec x, vec a, vec b) noexcept nogil:
    cdef vec density
    return v_mul(v_larger(v_set1(-LOGISTIC_BOUND), x), v_logistic(x, &density))

cdef inline vec silu_share(vec x, vec d, vec g, vec a, vec b) noexcept nogil:
    cdef vec density, part
    x = v_bounded(x, LOGISTIC_BOUND)
    part = v_logistic(x, &density)
    return v_mul(v_fma(x, density, part), g)


# F = Φ, the distribution function of the normal distribution

cdef inline vec gelu_value(vec x, vec a, vec b) noexcept nogil:
    cdef vec density
    return v_mul(v_larger(v_set1(-NORMAL_BOUND), x), v_normal(v_bounded(x, NORMAL_BOUND), &density))

cdef inline vec gelu_share(vec x, vec d, vec g, vec a, vec b) noexcept nogil:
    cdef vec density, part
    x = v_bounded(x, NORMAL_BOUND)
    part = v_normal(x, &density)
    return v_mul(v_fma(x, density, part), g)


# F(x) = ½ (1 + tanh u) = 1 / (1 + e^-2u) with 2 u = a x + b x³;   f = (a + 3 b x²) e^-2u / (1 + e^-2u)²

cdef inline vec gelu_tanh_value(vec x, vec a, vec b) noexcept nogil:
    cdef vec density, bounded = v_bounded(x, NORMAL_BOUND), slope = v_fma(v_mul(b, bounded), bounded, a)
    return v_mul(v_larger(v_set1(-NORMAL_BOUND), x), v_logistic(v_mul(bounded, slope), &density))

cdef inline vec gelu_tanh_share(vec x, vec d, vec g, vec a, vec b) noexcept nogil:
    cdef vec density, part, cubic
    x = v_bounded(x, NORMAL_BOUND)
    cubic = v_mul(v_mul(b, x), x)
    part = v_logistic(v_mul(x, v_add(a, cubic)), &density)
    density = v_mul(density, v_fma(v_set1(3), cubic, a))
    return v_mul(v_fma(x, density, part), g)


# d = 1 / (1 + e^-x);   dx += d (1 - d) g

cdef inline vec sigmoid_value(vec x, vec a, vec b) noexcept nogil:
    return v_sigmoid(x)

cdef inline vec sigmoid_share(vec x, vec d, vec g, vec a, vec b) noexcept nogil:
    return v_mul(v_mul(d, v_sub(v_set1(1), d)), g)


# d = tanh x;   dx += (1 - d²) g

cdef inline vec tanh_value(vec x, vec a, vec b) noexcept nogil:
    return v_tanh(x)

cdef inline vec tanh_share(vec x, vec d, vec g, vec a, vec b) noexcept nogil:
    return v_mul(v_sub(v_set1(1), v_mul(d, d)), g)


# Two inputs
#
# A share is that of its first operand. Add, Mul, Maximum and Minimum have one for both, which are exchanged for y.

# d = x + y;   dx += g,  dy += g

cdef inline vec add_value(vec x, vec y) noexcept nogil:
    return v_add(x, y)

cdef inline vec add_share(vec x, vec y, vec d, vec g) noexcept nogil:
    return g


# d = x - y;   dx += g,  dy -= g

cdef inline vec sub_value(vec x, vec y) noexcept nogil:
    return v_sub(x, y)

cdef inline vec sub_share_y(vec y, vec x, vec d, vec g) noexcept nogil:
    return v_sub(v_set1(0), g)


# d = x y;   dx += y g,  dy += x g

cdef inline vec mul_value(vec x, vec y) noexcept nogil:
    return v_mul(x, y)

cdef inline vec mul_share(vec x, vec y, vec d, vec g) noexcept nogil:
    return v_mul(y, g)


# d = x / y;   dx += g / y,  dy -= g d / y

cdef inline vec div_value(vec x, vec y) noexcept nogil:
    return v_div(x, y)

cdef inline vec div_share(vec x, vec y, vec d, vec g) noexcept nogil:
    return v_div(g, y)

cdef inline vec div_share_y(vec y, vec x, vec d, vec g) noexcept nogil:
    return v_sub(v_set1(0), v_mul(g, v_div(d, y)))


# d = max(x, y);   dx += g where x > y, g / 2 where x = y, 0 where x < y, and g where one is NaN; dy likewise

cdef inline vec maximum_value(vec x, vec y) noexcept nogil:
    return v_max(x, y)

cdef inline vec maximum_share(vec x, vec y, vec d, vec g) noexcept nogil:
    return v_select(v_less(x, y), v_set1(0), v_select(v_equal(x, y), v_mul(v_set1(<real>0.5), g), g))


# d = min(x, y) = -max(-x, -y);   dx += g where x < y, g / 2 where x = y, 0 where x > y, and g where one is NaN; dy
# likewise

cdef inline vec minimum_value(vec x, vec y) noexcept nogil:
    return v_sub(v_set1(0), v_max(v_sub(v_set1(0), x), v_sub(v_set1(0), y)))

cdef inline vec minimum_share(vec x, vec y, vec d, vec g) noexcept nogil:
    return maximum_share(y, x, d, g)
