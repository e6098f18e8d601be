/* The error function erf on vectors. */
#ifndef CGRAPH_ERROR_FUNCTION_H
#define CGRAPH_ERROR_FUNCTION_H

#include "exponentials.h"

#ifdef CGRAPH_FLOAT32
#define ERF_OF_ONE ((real)4) /* erf x rounds to 1 from here on */
#else
#define ERF_OF_ONE ((real)6)
#endif

/* erf x = x + x p(x²) for |x| < 1. */
static inline vec v_erf_of_small(vec x) {
    static const real p[] = {
#ifdef CGRAPH_FLOAT32
        (real)0.128379166, (real)-0.376126289, (real)0.112836182, (real)-0.026855126, (real)0.00519073335,
        (real)-0.000803075032, (real)7.92030332e-5,
#else
        0.12837916709551259, -0.37612638903183748, 0.11283791670954885, -0.026866170645077875, 0.0052239776248284315,
        -0.00085483269814258837, 0.00012055331132976754, -1.4925595772854553e-5, 1.6461008490952578e-6,
        -1.6350396383911513e-7, 1.4660329934243189e-8, -1.1374960859212245e-9, 5.9606946687796139e-11,
#endif
    };
    vec x2 = v_mul(x, x);
    return v_fma(x, v_polynomial(x2, v_mul(x2, x2), p, sizeof p / sizeof *p), x);
}

/* 1 - erf x for x >= 1, which is below 0.16: e^-g(x) in float32, with a polynomial g; e^-x² p(x) / q(x) in float64. */
static inline vec v_erfc_of_large(vec x) {
#ifdef CGRAPH_FLOAT32
    static const real g[] = {
        (real)-2.99154526e-5, (real)1.12887001, (real)0.634546757, (real)0.107073955, (real)-0.024413323,
        (real)0.00393079827, (real)-0.000390545058, (real)1.77732454e-5,
    };
    x = v_smaller(v_set1(ERF_OF_ONE), x);
    return v_exp_nonpositive(v_sub(v_set1(0), v_polynomial(x, v_mul(x, x), g, sizeof g / sizeof *g)));
#else
    static const real p[] = {
        1.0000000324725742, 1.637350248864837, 1.317895200102889, 0.64009052930050636, 0.19621695565432204,
        0.036190080848923868, 0.0032270397542916093,
    };
    static const real q[] = {
        1, 2.7657297661850198, 3.4386852421445551, 2.5067603014137783, 1.1666214788896296, 0.35064413763359986,
        0.064145302874082807, 0.0057197779123022647,
    };
    vec x2;
    x = v_smaller(v_set1(ERF_OF_ONE), x);
    x2 = v_mul(x, x);
    return v_mul(v_exp_nonpositive(v_sub(v_set1(0), x2)),
                 v_div(v_polynomial(x, x2, p, sizeof p / sizeof *p), v_polynomial(x, x2, q, sizeof q / sizeof *q)));
#endif
}

/* erf x. Worst error: float32 1.35 ulp, float64 1.47 */
static inline vec v_erf(vec x) {
    const vec one = v_set1(1);
    vec positive = v_abs(x);
    vec large = v_sub(one, v_erfc_of_large(positive));
    return v_signed_as(v_select(v_less(positive, one), v_erf_of_small(positive), large), x);
}

#endif
