/* ln x and ln(1 + x) on vectors.
 *
 * x = 2^k (1 + f) with an integer k and 1 + f between √½ and √2. With s = f / (2 + f), which is at most 0.172,
 * ln(1 + f) = ln((1 + s) / (1 - s)) = 2 s + s R(s²) = f - f²/2 + s (f²/2 + R(s²)), where f is exact and all
 * else is small beside it.
 */
#ifndef CGRAPH_LOGARITHMS_H
#define CGRAPH_LOGARITHMS_H

#include "exponentials.h"

#ifdef CGRAPH_FLOAT32
#define BITS_OF_ROOT_HALF ((r_bits)0x3f3504f3)
#else
#define BITS_OF_ROOT_HALF ((r_bits)0x3fe6a09e667f3bcd)
#endif
#define BITS_OF_1 ((r_bits)R_EXPONENT_OF_1 << R_MANTISSA)
#define MANTISSA_BITS (((r_bits)1 << R_MANTISSA) - 1)
#define R_2_TO_MANTISSA ((real)((r_int)1 << R_MANTISSA))

/* A positive normal number as 2^k (1 + f). */
typedef struct {
    vec k, f;
    vec scale; /* 2^-k, for k < R_EXPONENT_OF_1 */
} Split;

static inline Split v_split(vec x) {
    /* The exponent, and how far the mantissa is above that of √½: both as if √½ were 1. */
    vbits bits = v_bits(x) + (BITS_OF_1 - BITS_OF_ROOT_HALF);
    Split split;
    /* An integer in the mantissa of 2^R_MANTISSA adds to it. */
    split.k = v_sub(v_of_bits((bits >> R_MANTISSA) | v_bits(v_set1(R_2_TO_MANTISSA))),
                    v_set1(R_2_TO_MANTISSA + R_EXPONENT_OF_1));
    split.f = v_sub(v_of_bits((bits & MANTISSA_BITS) + BITS_OF_ROOT_HALF), v_set1(1));
    split.scale = v_of_bits(2 * BITS_OF_1 - (bits & ~MANTISSA_BITS));
    return split;
}

/* k ln 2 + ln(1 + f) + low, low being far smaller; k LN2_HIGH and f are added without loss. Error of R relative to f:
 * 2^-29 in float32, 2^-57 in float64. */
static inline vec v_log_of_split(vec k, vec f, vec s, vec low) {
    static const real c[] = {
#ifdef CGRAPH_FLOAT32
        (real)0.666667759, (real)0.399775773, (real)0.298710674,
#else
        0.66666666666667351, 0.39999999999413144, 0.28571428742763738, 0.22222198531285986, 0.18183566664329601,
        0.15313986841148744, 0.14796624259487889,
#endif
    };
    vec z = v_mul(s, s), half_square = v_mul(v_set1((real)0.5), v_mul(f, f));
    vec rest = v_mul(z, v_polynomial(z, v_mul(z, z), c, sizeof c / sizeof *c));
    vec large = v_mul(k, v_set1(LN2_HIGH)), high = v_add(large, f), lost = v_sub(f, v_sub(high, large));
    rest = v_fma(s, v_add(half_square, rest), v_fma(k, v_set1(LN2_LOW), low));
    return v_add(high, v_sub(lost, v_sub(half_square, rest)));
}

/* The logarithm of x, given what it is for positive finite x: -inf for 0, inf for inf, NaN for all others. */
static inline vec v_log_everywhere(vec log, vec x) {
    const vec zero = v_set1(0), infinity = v_set1((real)INFINITY);
    /* (0 - 1) inf = -inf, (inf - 1) inf = inf. */
    vec edge = v_nan_where(v_less(x, zero), v_mul(v_sub(x, v_set1(1)), infinity));
    return v_select(v_both(v_less(zero, x), v_less(x, infinity)), log, edge);
}

/* ln x. Worst error: float32 0.84 ulp, float64 0.85 */
static inline vec v_log(vec x) {
    /* Subnormal numbers are made normal. */
    vmask subnormal = v_less(x, v_set1(R_TINY));
    vec normal = v_select(subnormal, v_mul(x, v_set1(R_2_TO_MANTISSA)), x);
    vec lift = v_keep_where(subnormal, v_set1(R_MANTISSA));
    Split split = v_split(normal);
    vec s = v_div(split.f, v_add(v_set1(2), split.f));
    return v_log_everywhere(v_log_of_split(v_sub(split.k, lift), split.f, s, v_set1(0)), x);
}

/* ln(high + low), for a positive normal number and one that is below a unit in its last place:
 * ln(1 + f + low) = ln(1 + f) + low / (1 + f), 1 / (1 + f) being about 1 - 2 s + 2 s². */
static inline vec v_log_of_sum(vec high, vec low) {
    Split split = v_split(high);
    vec s = v_div(split.f, v_add(v_set1(2), split.f)), two_s = v_add(s, s);
    /* From 2^(2 R_MANTISSA) on, low is below all that counts, and the scale may be no number. */
    low = v_keep_where(v_less(high, v_set1(R_2_TO_MANTISSA * R_2_TO_MANTISSA)), v_mul(low, split.scale));
    low = v_fma(low, v_sub(v_mul(two_s, s), two_s), low);
    return v_log_of_split(split.k, split.f, s, low);
}

/* ln(1 + x). Worst error: float32 0.88 ulp, float64 0.85 */
static inline vec v_log1p(vec x) {
    const vec one = v_set1(1);
    vec sum = v_add(one, x), without_1 = v_sub(sum, one);
    vec lost = v_add(v_sub(one, v_sub(sum, without_1)), v_sub(x, without_1));
    return v_signed_as(v_log_everywhere(v_log_of_sum(sum, lost), sum), x);
}

#endif
