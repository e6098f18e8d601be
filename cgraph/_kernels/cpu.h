/* Whether this CPU, and the operating system on it, run the instructions that the builds of the kernels are compiled for.
 *
 * CPUID tells what the CPU has; XGETBV, which registers the operating system saves when it changes from one thread to
 * another. macOS begins to save those of AVX-512 when a thread first uses them, and reports them only from then on: there
 * AVX-512 counts as missing.
 */
#ifndef CGRAPH_CPU_H
#define CGRAPH_CPU_H

#if defined(__x86_64__) || defined(_M_X64)

#ifdef _MSC_VER
#include <immintrin.h>
#include <intrin.h>
#else
#include <cpuid.h>
#endif

/* Bits of EBX of CPUID leaf 7. AVX-512: F, DQ, CD, BW and VL. */
#define CPU_AVX2 (1u << 5)
#define CPU_AVX512 (1u << 16 | 1u << 17 | 1u << 28 | 1u << 30 | 1u << 31)
/* Bits of XCR0: the registers of 16 and of 32 bytes; the masks, the registers of 64 bytes, and the second half of them. */
#define CPU_YMM_SAVED (1u << 1 | 1u << 2)
#define CPU_ZMM_SAVED (CPU_YMM_SAVED | 1u << 5 | 1u << 6 | 1u << 7)

/* EAX, EBX, ECX and EDX. */
static void cpu_id(unsigned leaf, unsigned result[4]) {
#ifdef _MSC_VER
    __cpuidex((int *)result, (int)leaf, 0);
#else
    __cpuid_count(leaf, 0, result[0], result[1], result[2], result[3]);
#endif
}

/* The lower half of XCR0. CPUID must have reported OSXSAVE before. */
static unsigned cpu_saved(void) {
#ifdef _MSC_VER
    return (unsigned)_xgetbv(0);
#else
    unsigned low, high;
    __asm__("xgetbv" : "=a"(low), "=d"(high) : "c"(0));
    return low;
#endif
}

/* Whether the CPU has FMA, AVX and all `extensions` of leaf 7, and all `registers` are saved. */
static int cpu_runs(unsigned extensions, unsigned registers) {
    unsigned id[4];
    const unsigned fma_osxsave_avx = 1u << 12 | 1u << 27 | 1u << 28; /* of ECX of leaf 1 */
    cpu_id(0, id);
    if (id[0] < 7) return 0;
    cpu_id(1, id);
    if ((id[2] & fma_osxsave_avx) != fma_osxsave_avx || (cpu_saved() & registers) != registers) return 0;
    cpu_id(7, id);
    return (id[1] & extensions) == extensions;
}

static int cpu_has_avx2(void) { return cpu_runs(CPU_AVX2, CPU_YMM_SAVED); }
static int cpu_has_avx512(void) { return cpu_runs(CPU_AVX2 | CPU_AVX512, CPU_ZMM_SAVED); }

#else

static int cpu_has_avx2(void) { return 0; }
static int cpu_has_avx512(void) { return 0; }

#endif

/* Whether the avx512 modules have vectors of their width, and instructions of AVX2 alone. */
#ifdef CGRAPH_EMULATE_512
#define CPU_AVX512_IS_EMULATED 1
#else
#define CPU_AVX512_IS_EMULATED 0
#endif
#endif
