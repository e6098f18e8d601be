/* What a weight matrix costs beside all arithmetic: read for the forward pass, read for the backward pass, which writes
   its gradient or its new values. */
#include <stddef.h>

#if defined(__AVX512F__)
#define BYTES 64
#else
#define BYTES 32
#endif
typedef float vec __attribute__((vector_size(BYTES), aligned(4)));
enum { LANES = sizeof(vec) / sizeof(float), SUMS = 8 };
#define EACH_SUM _Pragma("GCC unroll 8") for (int i = 0; i < SUMS; i++)

/* n: a multiple of LANES * SUMS */
float traffic(ptrdiff_t turns, ptrdiff_t n, const float *w, float *to, float factor) {
    vec sums[SUMS] = {0}, f = factor - (vec){0}, sum = {0};
    for (; turns > 0; turns--) {
        for (ptrdiff_t at = 0; at < n; at += LANES * SUMS) EACH_SUM sums[i] += *(const vec *)(w + at + i * LANES);
        for (ptrdiff_t at = 0; at < n; at += LANES * SUMS) EACH_SUM {
            ptrdiff_t here = at + i * LANES;
            *(vec *)(to + here) = *(const vec *)(w + here) * f;
        }
    }
    EACH_SUM sum += sums[i];
    return sum[0];
}
