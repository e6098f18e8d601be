/* The peak of the arithmetic unit: as many independent multiply-adds as its latency needs, all in registers.
   Where the instructions that this is compiled for have no fused multiply-add, it is a product and a sum. */
#include <stddef.h>

#if defined(__AVX512F__)
#define BYTES 64
#elif defined(__AVX2__)
#define BYTES 32
#else
#define BYTES 16
#endif
/* Two units with a latency of 4 or 5 want 8 to 10; a product and a sum, 12. 16 registers hold 14 and two factors. */
#define CHAINS 14
#define EACH_CHAIN _Pragma("GCC unroll 14") for (int i = 0; i < CHAINS; i++)

/* The compiler must not join what different turns do. */
#if defined(__AVX512F__)
#define KEEP(v) __asm__("" : "+v"(v))
#elif defined(__x86_64__)
#define KEEP(v) __asm__("" : "+x"(v))
#else
#define KEEP(v) __asm__("" : "+w"(v))
#endif

#define LOOP(NAME, REAL)                                                                   \
    typedef REAL NAME##_vector __attribute__((vector_size(BYTES)));                        \
    REAL NAME(ptrdiff_t n, REAL factor, REAL term) {                                       \
        NAME##_vector a = factor - (NAME##_vector){0}, b = term - (NAME##_vector){0};      \
        NAME##_vector c[CHAINS], sum = {0};                                                \
        EACH_CHAIN c[i] = a * (REAL)i;                                                     \
        for (; n > 0; n--) EACH_CHAIN { c[i] = c[i] * a + b; KEEP(c[i]); }                 \
        EACH_CHAIN sum += c[i];                                                            \
        return sum[0];                                                                     \
    }                                                                                      \
    ptrdiff_t NAME##_flop(void) { return 2 * CHAINS * (ptrdiff_t)(BYTES / sizeof(REAL)); }

LOOP(peak_float32, float)
LOOP(peak_float64, double)
