/* Polynomials on vectors, whose coefficients are those of tools/coefficients.py. */
#ifndef CGRAPH_POLYNOMIAL_H
#define CGRAPH_POLYNOMIAL_H

#include "simd.h"

/* c_0 + c_1 x + c_2 x² + …, of `count` > 1 coefficients, given x and x²: the even and the odd terms beside each other,
 * which takes half as long as one chain. `count` is a constant wherever this is called, and the loop is unrolled. */
static inline vec v_polynomial(vec x, vec x2, const real *c, int count) {
    vec high = v_set1(c[count - 1]), low = v_set1(c[count - 2]);
    int i;
    for (i = count - 3; i > 0; i -= 2) {
        high = v_fma(high, x2, v_set1(c[i]));
        low = v_fma(low, x2, v_set1(c[i - 1]));
    }
    if (i == 0) return v_fma(low, x, v_fma(high, x2, v_set1(c[0])));
    return v_fma(high, x, low);
}

#endif
