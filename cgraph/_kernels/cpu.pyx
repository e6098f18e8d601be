"""The instruction sets that this CPU can run."""

cdef extern from "cpu.h":
    int cpu_has_avx2()


def has_avx2() -> bool:
    """Whether the CPU and the operating system run AVX2 and FMA instructions."""
    return cpu_has_avx2() != 0
