/* A vector type, and the functions on vectors that the kernels need.
 *
 * `real` is float or double (CGRAPH_FLOAT32). A `vec` has as many elements as one register of the instruction set that
 * this file is compiled for. For compilers without vector extensions (MSVC; or with -DCGRAPH_SCALAR, to try it) a vec
 * has one element, and kernels go element by element. V_BYTES alone says how wide vectors are: all kernels, and the
 * layout of memory, follow from it. -DCGRAPH_V_BYTES=64 without AVX-512 emulates its width, for tests: the compiler
 * computes such a vector as two or more that it has registers for.
 * The bits of a real are its sign, its exponent plus R_EXPONENT_OF_1, and R_MANTISSA bits of its mantissa.
 * A sum of squares between R_SQUARES_LOW and R_SQUARES_HIGH has lost nothing to underflow or overflow.
 */
#ifndef CGRAPH_SIMD_H
#define CGRAPH_SIMD_H

#include <float.h>
#include <math.h>
#include <stddef.h>
#include <stdint.h>

#ifdef CGRAPH_FLOAT32
typedef float real;
typedef int32_t r_int;
#define R_BYTES 4
typedef uint32_t r_bits;
#define R_TINY FLT_MIN
#define R_MANTISSA 23
#define R_EXPONENT_OF_1 127
#define R_SQUARES_LOW (FLT_MIN / FLT_EPSILON)
#define R_SQUARES_HIGH FLT_MAX
#define r_sqrt sqrtf
#define r_abs fabsf
#define r_fma fmaf
#ifdef FP_FAST_FMAF
#define R_FAST_FMA
#endif
#else
typedef double real;
typedef int64_t r_int;
#define R_BYTES 8
typedef uint64_t r_bits;
#define R_TINY DBL_MIN
#define R_MANTISSA 52
#define R_EXPONENT_OF_1 1023
#define R_SQUARES_LOW (DBL_MIN / DBL_EPSILON)
#define R_SQUARES_HIGH DBL_MAX
#define r_sqrt sqrt
#define r_abs fabs
#define r_fma fma
#ifdef FP_FAST_FMA
#define R_FAST_FMA
#endif
#endif

#if !defined(__GNUC__) || defined(CGRAPH_SCALAR)
#define V_BYTES R_BYTES
#elif defined(CGRAPH_V_BYTES)
#define V_BYTES CGRAPH_V_BYTES
#elif defined(__AVX512F__)
#define V_BYTES 64
#elif defined(__AVX2__)
#define V_BYTES 32
#else
#define V_BYTES 16
#endif
/* The elements of a vector: for the sizes of arrays, and as a signed number for all else. */
#define V_COUNT (V_BYTES / R_BYTES)
#define V_LANES ((ptrdiff_t)V_COUNT)
/* Rows of channels are padded to a multiple of these bytes, or elements; builds with vectors of up to 32 bytes lay out
 * memory alike. */
#define V_PADDED_BYTES (V_BYTES > 32 ? V_BYTES : 32)
#define V_PADDED (V_PADDED_BYTES / R_BYTES)
/* A line of samples is a cache line: two vectors of 32 bytes, or one of 64. */
#define V_LINE_BYTES 64

#if defined(__GNUC__) && !defined(CGRAPH_SCALAR)

typedef real vec __attribute__((vector_size(V_BYTES)));
/* An integer for each lane, as wide as a real; and the bits of each lane, on which the operators of C work. */
typedef r_int vlanes __attribute__((vector_size(V_BYTES)));
typedef r_bits vbits __attribute__((vector_size(V_BYTES)));
/* A vec in memory, at any address that a real may have. */
typedef real vec_unaligned __attribute__((vector_size(V_BYTES), aligned(sizeof(real)), may_alias));

/* The numbers of the lanes. A loop that writes them is left as it is in functions that are compiled for size. */
#if V_COUNT == 16
#define V_INDICES 0, 1, 2, 3, 4, 5, 6, 7, 8, 9, 10, 11, 12, 13, 14, 15
#elif V_COUNT == 8
#define V_INDICES 0, 1, 2, 3, 4, 5, 6, 7
#elif V_COUNT == 4
#define V_INDICES 0, 1, 2, 3
#else
#define V_INDICES 0, 1
#endif

#if defined(__AVX512F__) && V_BYTES == 64
#include "simd_avx512.h"
#define V_BIT_MASKS
#elif defined(__AVX2__) && V_BYTES == 32
#include <immintrin.h>
#ifdef CGRAPH_FLOAT32
#define V_MASKED_LOAD(p, mask) _mm256_maskload_ps(p, (__m256i)(mask))
#define V_MASKED_STORE(p, mask, v) _mm256_maskstore_ps(p, (__m256i)(mask), v)
#define V_SELECT(mask, yes, no) _mm256_blendv_ps(no, yes, (vec)(mask))
#define V_LARGER(a, b) _mm256_max_ps(a, b)
#define V_SMALLER(a, b) _mm256_min_ps(a, b)
#define V_SIGNS(v) _mm256_movemask_ps(v)
#else
#define V_MASKED_LOAD(p, mask) _mm256_maskload_pd(p, (__m256i)(mask))
#define V_MASKED_STORE(p, mask, v) _mm256_maskstore_pd(p, (__m256i)(mask), v)
#define V_SELECT(mask, yes, no) _mm256_blendv_pd(no, yes, (vec)(mask))
#define V_LARGER(a, b) _mm256_max_pd(a, b)
#define V_SMALLER(a, b) _mm256_min_pd(a, b)
#define V_SIGNS(v) _mm256_movemask_pd(v)
#endif
#elif defined(__SSE2__) && V_BYTES == 16
#include <emmintrin.h>
#ifdef CGRAPH_FLOAT32
#define V_LARGER(a, b) _mm_max_ps(a, b)
#define V_SMALLER(a, b) _mm_min_ps(a, b)
#define V_SIGNS(v) _mm_movemask_ps(v)
#else
#define V_LARGER(a, b) _mm_max_pd(a, b)
#define V_SMALLER(a, b) _mm_min_pd(a, b)
#define V_SIGNS(v) _mm_movemask_pd(v)
#endif
#endif

static inline vec v_load(const real *p) { return *(const vec_unaligned *)p; }
static inline void v_store(real *p, vec v) { *(vec_unaligned *)p = v; }
/* s - 0, not s + 0: only s - 0 is s for s = -0.0 too, so that the compiler folds it away. */
static inline vec v_set1(real s) { return s - (vec){0}; }
static inline vec v_add(vec a, vec b) { return a + b; }
static inline vec v_sub(vec a, vec b) { return a - b; }
static inline vec v_mul(vec a, vec b) { return a * b; }
static inline vec v_div(vec a, vec b) { return a / b; }
static inline vec v_fma(vec a, vec b, vec c) { return a * b + c; }

/* vmask, the result of a comparison, is a vector: all bits of a lane where it holds, none elsewhere. */
#ifndef V_BIT_MASKS
typedef vlanes vmask;
static inline vmask v_less(vec a, vec b) { return (vmask)(a < b); }
static inline vmask v_at_least(vec a, vec b) { return (vmask)(a >= b); }
static inline vmask v_equal(vec a, vec b) { return (vmask)(a == b); }
static inline vmask v_both(vmask a, vmask b) { return a & b; }
/* Whether the mask holds in all lanes. */
static inline int v_all(vmask m) {
#ifdef V_SIGNS
    return V_SIGNS((vec)m) == (1 << V_LANES) - 1;
#else
    r_int all = -1;
    ptrdiff_t i;
    for (i = 0; i < V_LANES; i++) all &= m[i];
    return all != 0;
#endif
}
/* v where the mask holds, 0 elsewhere, whatever v is there. */
static inline vec v_keep_where(vmask m, vec v) { return (vec)((vmask)v & m); }
/* NaN, whose bits are all ones here, where the mask holds, v elsewhere. */
static inline vec v_nan_where(vmask m, vec v) { return (vec)((vmask)v | m); }
#ifdef V_SELECT
static inline vec v_select(vmask m, vec yes, vec no) { return V_SELECT(m, yes, no); }
#else
static inline vec v_select(vmask m, vec yes, vec no) { return (vec)(((vmask)yes & m) | ((vmask)no & ~m)); }
#endif
/* v_larger: a where a > b, else b; so the result is b where a or b is NaN, or where both are zeros of either sign.
 * v_smaller: a where a < b, else b. */
#ifdef V_LARGER
static inline vec v_larger(vec a, vec b) { return V_LARGER(a, b); }
static inline vec v_smaller(vec a, vec b) { return V_SMALLER(a, b); }
#else
static inline vec v_larger(vec a, vec b) { return v_select((vmask)(a > b), a, b); }
static inline vec v_smaller(vec a, vec b) { return v_select((vmask)(a < b), a, b); }
#endif
static inline vmask v_nan(vec v) { return (vmask)(v != v); }
/* A mask of the first `count` lanes. */
static inline vmask v_lanes_below(ptrdiff_t count) {
    const vmask index = {V_INDICES};
    return index < (r_int)count - (vmask){0};
}
#endif

static inline vbits v_bits(vec v) { return (vbits)v; }
static inline vec v_of_bits(vbits bits) { return (vec)bits; }
static inline real v_lane0(vec v) { return v[0]; }

#ifdef __clang__
#define V_SHUFFLE(a, b, ...) __builtin_shufflevector(a, b, __VA_ARGS__)
#else
#define V_SHUFFLE(a, b, ...) __builtin_shuffle(a, b, (vlanes){__VA_ARGS__})
#endif

/* v_zip_low: a0 b0 a1 b1 … of the lower halves of a and b; v_zip_high: of the upper halves. */
#if V_COUNT == 16
static inline vec v_zip_low(vec a, vec b) {
    return V_SHUFFLE(a, b, 0, 16, 1, 17, 2, 18, 3, 19, 4, 20, 5, 21, 6, 22, 7, 23);
}
static inline vec v_zip_high(vec a, vec b) {
    return V_SHUFFLE(a, b, 8, 24, 9, 25, 10, 26, 11, 27, 12, 28, 13, 29, 14, 30, 15, 31);
}
#elif V_COUNT == 8
static inline vec v_zip_low(vec a, vec b) { return V_SHUFFLE(a, b, 0, 8, 1, 9, 2, 10, 3, 11); }
static inline vec v_zip_high(vec a, vec b) { return V_SHUFFLE(a, b, 4, 12, 5, 13, 6, 14, 7, 15); }
#elif V_COUNT == 4
static inline vec v_zip_low(vec a, vec b) { return V_SHUFFLE(a, b, 0, 4, 1, 5); }
static inline vec v_zip_high(vec a, vec b) { return V_SHUFFLE(a, b, 2, 6, 3, 7); }
#else
static inline vec v_zip_low(vec a, vec b) { return V_SHUFFLE(a, b, 0, 2); }
static inline vec v_zip_high(vec a, vec b) { return V_SHUFFLE(a, b, 1, 3); }
#endif

/* The largest of all lanes, NaNs aside, in every lane. */
static inline vec v_largest_lane(vec v) {
    ptrdiff_t distance;
    for (distance = V_LANES / 2; distance > 0; distance /= 2) v = v_larger(v_zip_low(v, v), v_zip_high(v, v));
    return v;
}

#include "transpose.h"

/* The sums of V_LANES vectors, which lie one behind the other; each is added in the order of v_hsum. */
static inline vec v_row_sums(const real *x) {
    vec row[V_LANES];
    ptrdiff_t half, i;
    for (i = 0; i < V_LANES; i++) row[i] = v_load(x + i * V_LANES);
    for (half = V_LANES / 2; half > 0; half /= 2)
        for (i = 0; i < half; i++)
            row[i] = v_zip_low(row[i], row[i + half]) + v_zip_high(row[i], row[i + half]);
    return row[0];
}

/* Hides the origin of v from the compiler: else gcc reads a vector from memory once for each of its uses. */
static inline vec v_opaque(vec v) {
#if defined(__x86_64__) && (V_BYTES < 64 || defined(__AVX512F__))
    __asm__("" : "+v"(v));
#elif defined(__aarch64__)
    __asm__("" : "+w"(v));
#endif
    return v;
}

/* The first `count` lanes of v, and zeros in the other lanes, whatever v has there. */
static inline vec v_first(vec v, ptrdiff_t count) { return v_keep_where(v_lanes_below(count), v); }
/* The first `count` lanes of v, and the other lanes of `rest`. */
static inline vec v_first_of(vec v, ptrdiff_t count, vec rest) { return v_select(v_lanes_below(count), v, rest); }

#else
#include "simd_scalar.h"
#endif

/* The highest bit of a real, which is its sign. */
#define R_SIGN ((r_bits)1 << (8 * sizeof(real) - 1))
static inline vec v_abs(vec v) { return v_of_bits(v_bits(v) & ~R_SIGN); }
/* v with the sign of x; v is not negative, or has that sign already. */
static inline vec v_signed_as(vec v, vec x) { return v_of_bits(v_bits(v) | (v_bits(x) & R_SIGN)); }

/* The larger of a and b, a if they are equal; NaN where a or b is NaN. */
static inline vec v_max(vec a, vec b) { return v_select(v_nan(b), b, v_larger(b, a)); }
/* v where v is not negative, else 0; a NaN stays a NaN. */
static inline vec v_relu(vec v) { return v_larger(v_set1(0), v); }

/* Functions that are seldom needed are not inlined, so that the loops around them stay small. */
#ifdef __GNUC__
#define SELDOM __attribute__((noinline, cold, unused))
#define ALWAYS_INLINE static inline __attribute__((always_inline))
#define UNROLLED _Pragma("GCC unroll 32")
#else
#define SELDOM
#define ALWAYS_INLINE static inline
#define UNROLLED
#endif

/* A vector of `count` elements that lie `stride` apart, and zeros behind them. */
SELDOM static vec v_gather(const real *p, ptrdiff_t stride, ptrdiff_t count) {
    real lane[V_LANES] = {0};
    ptrdiff_t i;
#ifdef V_MASKED_LOAD
    if (stride == 1) return V_MASKED_LOAD(p, v_lanes_below(count));
#endif
    for (i = 0; i < count && i < V_LANES; i++) lane[i] = p[i * stride];
    return v_load(lane);
}

/* Writes the first `count` lanes of v to elements that lie `stride` apart. */
SELDOM static void v_scatter(real *p, ptrdiff_t stride, ptrdiff_t count, vec v) {
    real lane[V_LANES];
    ptrdiff_t i;
#ifdef V_BIT_MASKS
    if (stride == 1) {
        v_store_first(p, count, v);
        return;
    }
#elif defined(V_MASKED_STORE)
    if (stride == 1) {
        V_MASKED_STORE(p, v_lanes_below(count), v);
        return;
    }
#endif
    v_store(lane, v);
    for (i = 0; i < count && i < V_LANES; i++) p[i * stride] = lane[i];
}

/* Whether a part of a vector is loaded and stored nearly as fast as a whole one: the last vector of a row need not be
 * computed element by element then. The emulation of such vectors does what they do. */
#define V_FAST_PARTS (V_BYTES == 64)

/* The first `count` elements from p on, and zeros behind them. */
static inline vec v_load_part(const real *p, ptrdiff_t count) {
    if (count >= V_LANES) return v_load(p);
#ifdef V_BIT_MASKS
    return V_MASKED_LOAD(p, v_lanes_below(count));
#else
    return v_gather(p, 1, count);
#endif
}

/* Writes the first `count` lanes of v. */
static inline void v_store_part(real *p, ptrdiff_t count, vec v) {
    if (count >= V_LANES)
        v_store(p, v);
    else
#ifdef V_BIT_MASKS
        v_store_first(p, count, v);
#else
        v_scatter(p, 1, count, v);
#endif
}

/* The sum of all lanes, pairwise: of the lower and the upper half, then of the halves of these sums, and so on. */
static inline real v_hsum(vec v) {
#ifdef V_SUM
    return V_SUM(v);
#else
    real lane[V_LANES];
    ptrdiff_t half, i;
    v_store(lane, v);
    for (half = V_LANES / 2; half > 0; half /= 2)
        for (i = 0; i < half; i++) lane[i] += lane[i + half];
    return lane[0];
#endif
}

#endif
