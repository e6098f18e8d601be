/* Whether this CPU, and the operating system on it, can run code that is compiled for AVX2 and FMA. */
#ifndef CGRAPH_CPU_H
#define CGRAPH_CPU_H

#if defined(__GNUC__) && (defined(__x86_64__) || defined(__i386__))

static int cpu_has_avx2(void) { return __builtin_cpu_supports("avx2") && __builtin_cpu_supports("fma"); }

#elif defined(_MSC_VER) && defined(_M_X64)

#include <immintrin.h>
#include <intrin.h>

static int cpu_has_avx2(void) {
    int leaf[4];
    __cpuid(leaf, 0);
    if (leaf[0] < 7) return 0;
    __cpuid(leaf, 1);
    /* CPUID must report FMA, OSXSAVE and AVX; XGETBV, that the operating system saves the 256-bit registers. */
    if ((leaf[2] & 0x18001000) != 0x18001000 || (_xgetbv(0) & 6) != 6) return 0;
    __cpuidex(leaf, 7, 0);
    return (leaf[1] >> 5) & 1;
}

#else

static int cpu_has_avx2(void) { return 0; }

#endif
#endif
