/* Masks of AVX-512: one bit for each lane, in a mask register, instead of a vector of all ones and zeros.
 *
 * simd.h includes this file where vec is 64 bytes wide and the compiler has AVX-512; the functions have the names, and
 * give the results, of those for masks that are vectors. A comparison with a NaN does not hold, and raises no exception.
 */
#ifndef CGRAPH_SIMD_AVX512_H
#define CGRAPH_SIMD_AVX512_H

#include <immintrin.h>

#ifdef CGRAPH_FLOAT32
typedef __mmask16 vmask;
#define V_512(name) _mm512_##name##_ps
#define V_COMPARE(a, b, how) _mm512_cmp_ps_mask(a, b, how)
#define V_INDEX_BELOW(index, count) _mm512_cmplt_epi32_mask((__m512i)(index), _mm512_set1_epi32((int32_t)(count)))
#else
typedef __mmask8 vmask;
#define V_512(name) _mm512_##name##_pd
#define V_COMPARE(a, b, how) _mm512_cmp_pd_mask(a, b, how)
#define V_INDEX_BELOW(index, count) _mm512_cmplt_epi64_mask((__m512i)(index), _mm512_set1_epi64(count))
#endif

static inline vmask v_less(vec a, vec b) { return V_COMPARE(a, b, _CMP_LT_OQ); }
static inline vmask v_at_least(vec a, vec b) { return V_COMPARE(a, b, _CMP_GE_OQ); }
static inline vmask v_equal(vec a, vec b) { return V_COMPARE(a, b, _CMP_EQ_OQ); }
static inline vmask v_nan(vec v) { return V_COMPARE(v, v, _CMP_UNORD_Q); }
static inline vmask v_both(vmask a, vmask b) { return a & b; }
static inline int v_all(vmask m) { return m == (vmask)-1; }
static inline vec v_keep_where(vmask m, vec v) { return V_512(maskz_mov)(m, v); }
static inline vec v_nan_where(vmask m, vec v) { return V_512(mask_blend)(m, v, (vec)_mm512_set1_epi32(-1)); }
static inline vec v_select(vmask m, vec yes, vec no) { return V_512(mask_blend)(m, no, yes); }
static inline vec v_larger(vec a, vec b) { return V_512(max)(a, b); }
static inline vec v_smaller(vec a, vec b) { return V_512(min)(a, b); }
static inline vmask v_lanes_below(ptrdiff_t count) {
    const vlanes index = {V_INDICES};
    return V_INDEX_BELOW(index, count);
}

/* The parts of vectors are loaded as fast as whole ones; lanes outside the mask are not touched. */
#define V_MASKED_LOAD(p, mask) V_512(maskz_loadu)(mask, p)

/* Writes the first `count` lanes of v, in up to four pieces: a masked store is as fast, but a load behind it, of the
 * next row of a matrix, would wait for it as if it had written all lanes. */
static inline void v_store_first(real *p, ptrdiff_t count, vec v) {
#ifdef CGRAPH_FLOAT32
    __m256 half = _mm512_castps512_ps256(v);
    __m128 quarter;
    if (count & 8) {
        _mm256_storeu_ps(p, half);
        half = _mm512_extractf32x8_ps(v, 1);
        p += 8;
    }
    quarter = _mm256_castps256_ps128(half);
    if (count & 4) {
        _mm_storeu_ps(p, quarter);
        quarter = _mm256_extractf128_ps(half, 1);
        p += 4;
    }
    if (count & 2) {
        _mm_storel_pi((__m64 *)p, quarter);
        quarter = _mm_movehl_ps(quarter, quarter);
        p += 2;
    }
    if (count & 1) _mm_store_ss(p, quarter);
#else
    __m256d half = _mm512_castpd512_pd256(v);
    __m128d quarter;
    if (count & 4) {
        _mm256_storeu_pd(p, half);
        half = _mm512_extractf64x4_pd(v, 1);
        p += 4;
    }
    quarter = _mm256_castpd256_pd128(half);
    if (count & 2) {
        _mm_storeu_pd(p, quarter);
        quarter = _mm256_extractf128_pd(half, 1);
        p += 2;
    }
    if (count & 1) _mm_store_sd(p, quarter);
#endif
}
/* The sum of all lanes in the order of v_hsum, which _mm512_reduce_add_ps does not promise. */
static inline real v_sum_of_halves(vec v) {
#ifdef CGRAPH_FLOAT32
    __m256 upper = _mm256_castpd_ps(_mm512_extractf64x4_pd(_mm512_castps_pd(v), 1));
    __m256 half = _mm256_add_ps(_mm512_castps512_ps256(v), upper);
    __m128 quarter = _mm_add_ps(_mm256_castps256_ps128(half), _mm256_extractf128_ps(half, 1));
    quarter = _mm_add_ps(quarter, _mm_movehl_ps(quarter, quarter));
#else
    __m256d half = _mm256_add_pd(_mm512_castpd512_pd256(v), _mm512_extractf64x4_pd(v, 1));
    __m128d quarter = _mm_add_pd(_mm256_castpd256_pd128(half), _mm256_extractf128_pd(half, 1));
#endif
    return quarter[0] + quarter[1];
}
#define V_SUM(v) v_sum_of_halves(v)

#endif
