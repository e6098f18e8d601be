/* One vector type and the few functions on it that the kernels need.
 *
 * `real` is float or double (CGRAPH_FLOAT32), `vec` as many of them as one register of the instruction set that this
 * file is compiled for. Compilers without vector extensions (MSVC; or with -DCGRAPH_SCALAR, to try it) get vectors of one
 * element: the same code, one by one.
 * A sum of squares between R_SQUARES_LOW and R_SQUARES_HIGH has lost nothing to underflow or overflow.
 */
#ifndef CGRAPH_SIMD_H
#define CGRAPH_SIMD_H

#include <float.h>
#include <math.h>
#include <stddef.h>
#include <stdint.h>
#include <string.h>

#ifdef CGRAPH_FLOAT32
typedef float real;
typedef int32_t r_int;
#define R_TINY FLT_MIN
#define R_SQUARES_LOW (FLT_MIN / FLT_EPSILON)
#define R_SQUARES_HIGH FLT_MAX
#define r_exp expf
#define r_log logf
#define r_sqrt sqrtf
#define r_tanh tanhf
#define r_abs fabsf
#else
typedef double real;
typedef int64_t r_int;
#define R_TINY DBL_MIN
#define R_SQUARES_LOW (DBL_MIN / DBL_EPSILON)
#define R_SQUARES_HIGH DBL_MAX
#define r_exp exp
#define r_log log
#define r_sqrt sqrt
#define r_tanh tanh
#define r_abs fabs
#endif

#if defined(__GNUC__) && !defined(CGRAPH_SCALAR)

#ifdef __AVX2__
#define V_BYTES 32
#else
#define V_BYTES 16
#endif
#define V_LANES ((ptrdiff_t)(V_BYTES / sizeof(real)))

typedef real vec __attribute__((vector_size(V_BYTES)));
/* The same register read from or written to any address that a real may have. */
typedef real vec_unaligned __attribute__((vector_size(V_BYTES), aligned(sizeof(real)), may_alias));

static inline vec v_load(const real *p) { return *(const vec_unaligned *)p; }
static inline void v_store(real *p, vec v) { *(vec_unaligned *)p = v; }
/* s - 0, not s + 0: only the first is s for s = -0.0 too, so that only it is folded away. */
static inline vec v_set1(real s) { return s - (vec){0}; }
static inline vec v_fma(vec a, vec b, vec c) { return a * b + c; }

/* The first `count` lanes of v and zeros, whatever stood in the other lanes. */
static inline vec v_first(vec v, ptrdiff_t count) {
    typedef r_int mask __attribute__((vector_size(V_BYTES)));
    static const r_int lane[] = {0, 1, 2, 3, 4, 5, 6, 7};
    mask index;
    memcpy(&index, lane, sizeof index);
    return (vec)((mask)v & (index < (r_int)count - (mask){0}));
}

#else

#define V_LANES ((ptrdiff_t)1)
typedef real vec;

static inline vec v_load(const real *p) { return *p; }
static inline void v_store(real *p, vec v) { *p = v; }
static inline vec v_set1(real s) { return s; }
static inline vec v_fma(vec a, vec b, vec c) { return a * b + c; }
static inline vec v_first(vec v, ptrdiff_t count) { return count > 0 ? v : 0; }

#endif

/* The sum of all lanes. */
static inline real v_hsum(vec v) {
    real lane[V_LANES], sum = 0;
    ptrdiff_t i;
    v_store(lane, v);
    for (i = 0; i < V_LANES; i++) sum += lane[i];
    return sum;
}

#endif
