"""The switches that hold cgraph and its peers to AVX2 on a machine that has more.

That they act was seen in profiles: the libraries run other functions with them than without.
"""

import os
from importlib.metadata import PackageNotFoundError, version

# XLA's flag holds what it compiles; its library YNNPACK takes AVX-512 all the same, and so has to be left out.
XLA_AVX2 = "--xla_cpu_max_isa=AVX2"
XLA_WITHOUT_YNNPACK = "--xla_cpu_experimental_ynn_fusion_type="
YNNPACK_SINCE = (0, 9)  # of jaxlib: older ones know no such flag, and end the process
AVX2 = {
    "CGRAPH_SIMD": "avx2",
    "ATEN_CPU_CAPABILITY": "avx2",  # PyTorch
    "MKL_ENABLE_INSTRUCTIONS": "AVX2",  # in PyTorch: products of matrices, Tanh
    "ONEDNN_MAX_CPU_ISA": "AVX2",  # in PyTorch
    "NPY_DISABLE_CPU_FEATURES": "X86_V4 AVX512_ICL AVX512_SPR",  # NumPy
    "OPENBLAS_CORETYPE": "Haswell",  # in NumPy
}


def held_to_avx2() -> dict[str, str]:
    """The environment of a process in which all libraries are held to AVX2."""
    try:
        jaxlib = tuple(map(int, version("jaxlib").split(".")[:2]))
    except PackageNotFoundError:
        jaxlib = (0, 0)
    flags = [XLA_AVX2, *([XLA_WITHOUT_YNNPACK] if jaxlib >= YNNPACK_SINCE else [])]
    return {**os.environ, **AVX2, "XLA_FLAGS": " ".join(flags)}
