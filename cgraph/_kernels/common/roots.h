/* Square roots of vectors, by one instruction where there is one for vectors of this width. */
#ifndef CGRAPH_ROOTS_H
#define CGRAPH_ROOTS_H

#include "simd.h"

#if defined(__AVX512F__) && V_BYTES == 64
#define V_SQRT(v) V_512(sqrt)(v)
#elif defined(__AVX2__) && V_BYTES == 32
#ifdef CGRAPH_FLOAT32
#define V_SQRT(v) _mm256_sqrt_ps(v)
#else
#define V_SQRT(v) _mm256_sqrt_pd(v)
#endif
#elif defined(__SSE2__) && V_BYTES == 16
#ifdef CGRAPH_FLOAT32
#define V_SQRT(v) _mm_sqrt_ps(v)
#else
#define V_SQRT(v) _mm_sqrt_pd(v)
#endif
#endif

/* √v, correctly rounded; NaN for negative numbers. */
static inline vec v_sqrt(vec v) {
#ifdef V_SQRT
    return V_SQRT(v);
#else
    real lane[V_LANES];
    ptrdiff_t i;
    v_store(lane, v);
    for (i = 0; i < V_LANES; i++) lane[i] = r_sqrt(lane[i]);
    return v_load(lane);
#endif
}

#endif
