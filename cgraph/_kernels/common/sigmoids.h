/* tanh, sigmoid and softplus on vectors. */
#ifndef CGRAPH_SIGMOIDS_H
#define CGRAPH_SIGMOIDS_H

#include "exponentials.h"
#include "logarithms.h"

#define TANH_SMALL ((real)0.625)
#ifdef CGRAPH_FLOAT32
#define TANH_OF_ONE ((real)10) /* tanh x rounds to 1 from here on */
#else
#define TANH_OF_ONE ((real)20)
#endif

/* tanh x = 1 - 2 / (e^2x + 1) for x >= 0, of which the quotient is at most a third where this is used.
 * 2 x = n ln 2 + 2 h, and with a = h coth h, e^2h = (a + h) / (a - h). So one quotient has both divisions.
 * a = 1 + h² c(h²); error 2^-28 in float32, 2^-59 in float64. */
static inline vec v_tanh_of_large(vec x) {
    static const real c[] = {
#ifdef CGRAPH_FLOAT32
        (real)0.333332509, (real)-0.022133654,
#else
        0.33333333333333198, -0.022222222221590069, 0.0021164020203158105, -0.00021163383561050014,
        2.1185560183261131e-5,
#endif
    };
    const vec one = v_set1(EXPONENT_IN_LAST_BITS);
    vec bounded = v_smaller(v_set1(TANH_OF_ONE), x);
    vec sum = v_fma(bounded, v_set1(2 * LOG2_E), one), n = v_sub(sum, one);
#if defined(R_FAST_FMA) && defined(CGRAPH_FLOAT32)
    vec h = v_fma(n, v_set1(-LN2 / 2), bounded); /* LN2 errs by 2^-29, which does not count where n is small. */
#else
    vec h = v_fma(n, v_set1(-LN2_LOW / 2), v_fma(n, v_set1(-LN2_HIGH / 2), bounded));
#endif
    vec h2 = v_mul(h, h);
    vec a = v_fma(h2, v_polynomial(h2, v_mul(h2, h2), c, sizeof c / sizeof *c), v_set1(1));
    vec minus = v_sub(a, h), sum_of_both = v_fma(v_power_of_2(sum), v_add(a, h), minus);
    return v_fma(v_set1(-2), v_div(minus, sum_of_both), v_set1(1));
}

/* tanh x = x + x³ t(x²) for |x| < TANH_SMALL. */
static inline vec v_tanh_of_small(vec x) {
    static const real t[] = {
#ifdef CGRAPH_FLOAT32
        (real)-0.333332866, (real)0.133315563, (real)-0.0537484214, (real)0.0206653941, (real)-0.00573246134,
#else
        -0.33333333333333315, 0.13333333333330033, -0.053968253966208801, 0.02186948847257714, -0.0088632343703707785,
        0.0035921145436225723, -0.0014557292990629309, 0.00058946553085891613, -0.00023704881483344067,
        9.1621822508998637e-5, -3.0249432653435357e-5, 6.0691476566199003e-6,
#endif
    };
    vec x2 = v_mul(x, x);
    return v_fma(v_mul(x, x2), v_polynomial(x2, v_mul(x2, x2), t, sizeof t / sizeof *t), x);
}

/* tanh x. Worst error: float32 1.50 ulp, float64 1.33 */
static inline vec v_tanh(vec x) {
    vec positive = v_abs(x);
    vmask small = v_less(positive, v_set1(TANH_SMALL));
    return v_signed_as(v_select(small, v_tanh_of_small(positive), v_tanh_of_large(positive)), x);
}

/* 1 / (1 + e^-x), of e = e^-|x| and q = e / (1 + e), so that nothing overflows: 1 - q, and where x < 0, q, which is
 * nearer to the result as e - e q where e is small. Worst error: float32 1.86 ulp, float64 1.84 */
static inline vec v_sigmoid(vec x) {
    const vec zero = v_set1(0), one = v_set1(1);
    vec e = v_exp_nonpositive(v_sub(zero, v_abs(x))), q = v_div(e, v_add(one, e));
    vec of_negative = v_select(v_less(e, v_set1((real)0.5)), v_fma(v_sub(zero, e), q, e), q);
    return v_select(v_less(x, zero), of_negative, v_sub(one, q));
}

/* ln(1 + e^x) = max(x, 0) + ln(1 + e^-|x|). Worst error: float32 1.23 ulp, float64 1.21 */
static inline vec v_softplus(vec x) {
    const vec one = v_set1(1);
    vec low, e = v_exp_nonpositive_parts(v_sub(v_set1(0), v_abs(x)), &low), sum = v_add(one, e);
    return v_add(v_relu(x), v_log_of_sum(sum, v_add(v_sub(e, v_sub(sum, one)), low)));
}

#endif
