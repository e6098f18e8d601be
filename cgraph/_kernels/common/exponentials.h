/* e^x and e^x - 1 on vectors.
 *
 * x = n ln 2 + r with an integer n and |r| <= ln 2 / 2, so e^x = 2^n (1 + p) with p = e^r - 1.
 * - n: x / ln 2 is added to a number so large that its last bit is worth 1, which rounds. Since this number ends in the
 *   exponent of 1, the last bits of the sum are those of the exponent of 2^n: shifted to their place, they are 2^n.
 * - r: ln 2 = LN2_HIGH + LN2_LOW. LN2_HIGH is so short that n LN2_HIGH, and its difference from x, are exact.
 * - p = r + r² q(r), with a polynomial q.
 */
#ifndef CGRAPH_EXPONENTIALS_H
#define CGRAPH_EXPONENTIALS_H

#include "polynomial.h"

#define LOG2_E ((real)1.4426950408889634)
#define LN2 ((real)0.69314718055994531)
#ifdef CGRAPH_FLOAT32
#define LN2_HIGH ((real)0.693145751953125)
#define LN2_LOW ((real)1.42860677e-06)
#define EXP_HIGH ((real)89)   /* e^x is infinite from here on */
#define EXP_LOW ((real)-104)  /* e^x is 0 from here down */
#define EXPM1_LOW ((real)-18) /* e^x - 1 is -1 from here down */
#define EXP_LIFT 24           /* 2^(n + EXP_LIFT) is a normal number where e^x is not 0 */
#else
#define LN2_HIGH ((real)0.6931471805598903)
#define LN2_LOW ((real)5.497923018708371e-14)
#define EXP_HIGH ((real)710)
#define EXP_LOW ((real)-746)
#define EXPM1_LOW ((real)-38)
#define EXP_LIFT 54
#endif
/* 1.5 2^R_MANTISSA + the exponent of 1: the sum of it and an integer n ends in the exponent of 2^n. */
#define EXPONENT_IN_LAST_BITS ((real)(((r_int)3 << (R_MANTISSA - 1)) + R_EXPONENT_OF_1))

/* 2^n of the sum of n and EXPONENT_IN_LAST_BITS. */
static inline vec v_power_of_2(vec sum) { return v_of_bits(v_bits(sum) << R_MANTISSA); }

/* r + lost = x - n ln 2 */
static inline vec v_exp_rest(vec x, vec n, vec *lost) {
    vec high = v_fma(n, v_set1(-LN2_HIGH), x), r = v_fma(n, v_set1(-LN2_LOW), high);
    *lost = v_fma(n, v_set1(-LN2_LOW), v_sub(high, r));
    return r;
}

/* e^r - 1 - r = r² q(r) for |r| <= ln 2 / 2; error relative to e^r: 2^-28 in float32, 2^-59 in float64. */
static inline vec v_exp_tail(vec r) {
    static const real q[] = {
#ifdef CGRAPH_FLOAT32
        (real)0.49999994, (real)0.166665152, (real)0.0416680872, (real)0.00836929586, (real)0.00138382195,
#else
        0.5, 0.16666666666666685, 0.041666666666666081, 0.0083333333333166972, 0.0013888888889120364,
        0.0001984126989723864, 2.4801586920751531e-5, 2.7557233991527878e-6, 2.7557584608367632e-7,
        2.5112345362886802e-8, 2.082635482658938e-9,
#endif
    };
    vec r2 = v_mul(r, r);
    return v_mul(r2, v_polynomial(r, r2, q, sizeof q / sizeof *q));
}

/* e^x for x <= 0, as a sum of two numbers, the second of which is below half a unit in the last place of the first.
 * 2^n is taken 2^EXP_LIFT times too large, so that one rounding at the end makes subnormal results. */
static inline vec v_exp_nonpositive_parts(vec x, vec *low) {
    const vec lift = v_set1(EXPONENT_IN_LAST_BITS + EXP_LIFT);
    const vec lower = v_set1(1 / (real)((r_int)1 << EXP_LIFT));
    vec sum, scale, r, lost, p, high;
    x = v_larger(v_set1(EXP_LOW), x);
    sum = v_fma(x, v_set1(LOG2_E), lift);
    scale = v_power_of_2(sum);
    r = v_exp_rest(x, v_sub(sum, lift), &lost);
    p = v_add(r, v_exp_tail(r));
    high = v_add(v_set1(1), p);
    *low = v_mul(v_mul(v_sub(p, v_sub(high, v_set1(1))), scale), lower);
    return v_mul(v_mul(high, scale), lower);
}

/* e^x for x <= 0: the same bits as v_exp(x), in less time. */
static inline vec v_exp_nonpositive(vec x) {
    vec low;
    return v_exp_nonpositive_parts(x, &low);
}

/* e^x. Worst error: float32 1.05 ulp, float64 1.03
 * 2^n is the product of two powers, since it may be above or below all normal numbers where e^x is not. */
static inline vec v_exp(vec x) {
    const vec one = v_set1(EXPONENT_IN_LAST_BITS);
    vec half, rest, sum, r, lost;
    x = v_larger(v_set1(EXP_LOW), v_smaller(v_set1(EXP_HIGH), x));
    half = v_fma(x, v_set1(LOG2_E / 2), one); /* about n / 2 */
    rest = v_sub(v_add(one, one), half);      /* one - n / 2 */
    sum = v_fma(x, v_set1(LOG2_E), rest);     /* one + n - n / 2 */
    r = v_exp_rest(x, v_sub(sum, rest), &lost);
    r = v_add(v_set1(1), v_add(r, v_exp_tail(r)));
    return v_mul(v_mul(r, v_power_of_2(half)), v_power_of_2(sum));
}

/* e^x - 1. Worst error: float32 1.30 ulp, float64 1.32
 * For n = 0, it is p. Else 2^n - 1 and 2^n r are added without loss, then what is left; all halved, since 2^n may be
 * too large. */
static inline vec v_expm1(vec x) {
    const vec half_one = v_set1(EXPONENT_IN_LAST_BITS - 1), half = v_set1((real)0.5);
    vec bounded = v_larger(v_set1(EXPM1_LOW), v_smaller(v_set1(EXP_HIGH), x));
    vec sum = v_fma(bounded, v_set1(LOG2_E), half_one);
    vec scale = v_power_of_2(sum), n = v_sub(sum, half_one), lost;
    vec r = v_exp_rest(bounded, n, &lost);
    vec tail = v_exp_tail(r);
    vec a = v_sub(scale, half), b = v_mul(scale, r), high = v_add(a, b);
    vec low = v_add(v_sub(b, v_sub(high, a)), v_sub(v_sub(scale, a), half));
    high = v_add(high, v_fma(scale, v_add(tail, lost), low));
    high = v_select(v_equal(n, v_set1(0)), v_add(r, tail), v_add(high, high));
    return v_signed_as(high, x);
}

#endif
