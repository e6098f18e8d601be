/* The distribution functions of the normal and of the logistic distribution on vectors, with their densities.
 *
 * Both are computed for -|x|, where they are small and have to be as exact relative to themselves, and are 1 minus that
 * for positive x. All is 0 or 1 in the limits, and a NaN stays a NaN.
 */
#ifndef CGRAPH_DISTRIBUTIONS_H
#define CGRAPH_DISTRIBUTIONS_H

#include "exponentials.h"

/* Beyond these numbers the functions are 0 or 1 in both dtypes. */
#define NORMAL_BOUND ((real)39)
#define LOGISTIC_BOUND ((real)800)

/* x between -bound and bound; a NaN stays a NaN. */
static inline vec v_bounded(vec x, real bound) { return v_larger(v_set1(-bound), v_smaller(v_set1(bound), x)); }

/* Φ(x) = ½ erfc(-x / √2) for |x| <= NORMAL_BOUND, and its density: Φ(-x) = e^-x²/2 p(x) / q(x) for x >= 0. */
static inline vec v_normal(vec x, vec *density) {
#ifdef CGRAPH_FLOAT32
    static const real p[] = {
        (real)0.5, (real)0.502287924, (real)0.228808805, (real)0.0555104278, (real)0.00620387914,
    };
    static const real q[] = {
        1, (real)1.80246103, (real)1.39576483, (real)0.589453876, (real)0.139116928, (real)0.0155516099,
    };
#else
    static const real p[] = {
        0.5, 0.75826795479340559, 0.57009557305851677, 0.27229512981921961, 0.090084094548619598,
        0.021306201495560874, 0.0035997782305822244, 0.00042002311756179618, 3.0903573131911903e-5,
        1.1053345953002902e-6,
    };
    static const real q[] = {
        1, 2.3144204703896754, 2.4868315066471003, 1.6375460091825134, 0.73387190095226063, 0.23467569116993187,
        0.054454028638005955, 0.0091007696342409045, 0.001055612486057548, 7.7463770191933763e-5,
        2.7706629495492951e-6,
    };
#endif
    vec positive = v_abs(x), x2 = v_mul(x, x);
    vec e = v_exp_nonpositive(v_mul(v_set1((real)-0.5), x2));
    vec quotient = v_div(v_polynomial(positive, x2, p, sizeof p / sizeof *p),
                         v_polynomial(positive, x2, q, sizeof q / sizeof *q));
    vec tail = v_mul(e, quotient);
    *density = v_mul(v_set1((real)0.39894228040143268), e); /* 1 / √(2 π) */
    return v_select(v_less(x, v_set1(0)), tail, v_sub(v_set1(1), tail));
}

/* 1 / (1 + e^-x), and its density. */
static inline vec v_logistic(vec x, vec *density) {
    const vec zero = v_set1(0), one = v_set1(1);
    vec e = v_exp_nonpositive(v_sub(zero, v_abs(x))), large = v_div(one, v_add(one, e)), tail = v_mul(e, large);
    *density = v_mul(tail, large);
    return v_select(v_less(x, zero), tail, large);
}

#endif
