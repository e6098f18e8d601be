/* Vectors of one element, for compilers without vector extensions. simd.h includes this file there; the functions have
 * the names, and give the results, of those on wider vectors.
 */
#ifndef CGRAPH_SIMD_SCALAR_H
#define CGRAPH_SIMD_SCALAR_H

#include <string.h>

typedef real vec;
typedef int vmask;
typedef r_bits vbits;

static inline vec v_load(const real *p) { return *p; }
static inline void v_store(real *p, vec v) { *p = v; }
static inline vec v_set1(real s) { return s; }
static inline vec v_add(vec a, vec b) { return a + b; }
static inline vec v_sub(vec a, vec b) { return a - b; }
static inline vec v_mul(vec a, vec b) { return a * b; }
static inline vec v_div(vec a, vec b) { return a / b; }
/* An explicit fma where the machine has the instruction: else gcc uses it in one copy of a loop and not in another. */
#ifdef R_FAST_FMA
static inline vec v_fma(vec a, vec b, vec c) { return r_fma(a, b, c); }
#else
static inline vec v_fma(vec a, vec b, vec c) { return a * b + c; }
#endif
static inline vmask v_less(vec a, vec b) { return a < b; }
static inline vmask v_at_least(vec a, vec b) { return a >= b; }
static inline vmask v_equal(vec a, vec b) { return a == b; }
static inline vmask v_both(vmask a, vmask b) { return a && b; }
static inline int v_all(vmask m) { return m; }
static inline vec v_keep_where(vmask m, vec v) { return m ? v : 0; }
static inline vec v_nan_where(vmask m, vec v) { return m ? (real)NAN : v; }
static inline vec v_select(vmask m, vec yes, vec no) { return m ? yes : no; }
static inline vec v_larger(vec a, vec b) { return a > b ? a : b; }
static inline vec v_smaller(vec a, vec b) { return a < b ? a : b; }
static inline vbits v_bits(vec v) {
    vbits bits;
    memcpy(&bits, &v, sizeof bits);
    return bits;
}
static inline vec v_of_bits(vbits bits) {
    vec v;
    memcpy(&v, &bits, sizeof v);
    return v;
}
static inline vmask v_nan(vec v) { return v != v; }
static inline real v_lane0(vec v) { return v; }
static inline vec v_opaque(vec v) { return v; }
static inline vec v_first(vec v, ptrdiff_t count) { return count > 0 ? v : 0; }
static inline vec v_first_of(vec v, ptrdiff_t count, vec rest) { return count > 0 ? v : rest; }
static inline vec v_largest_lane(vec v) { return v; }
static inline vec v_row_sums(const real *x) { return *x; }
static inline void v_transpose(const real *x, ptrdiff_t x_stride, real *t, ptrdiff_t t_stride) {
    (void)x_stride;
    (void)t_stride;
    *t = *x;
}
static inline void v_transpose_part(
    const real *x, ptrdiff_t x_stride, ptrdiff_t rows, real *t, ptrdiff_t t_stride, ptrdiff_t t_rows) {
    (void)rows;
    (void)t_rows;
    v_transpose(x, x_stride, t, t_stride);
}

#endif
