"""The instruction sets that this CPU can run."""

cdef extern from "cpu.h":
    int cpu_has_avx2()
    int cpu_has_avx512()
    int CPU_AVX512_IS_EMULATED

# Whether the avx512 modules were compiled to run on a CPU that has AVX2 alone, for tests.
AVX512_IS_EMULATED = CPU_AVX512_IS_EMULATED != 0


def has_avx2() -> bool:
    """Whether the CPU and the operating system run AVX2 and FMA instructions."""
    return cpu_has_avx2() != 0


def has_avx512() -> bool:
    """Whether they run AVX2, FMA, and those of AVX-512 that x86-64-v4 has: F, BW, CD, DQ and VL."""
    return cpu_has_avx512() != 0
