"""The instructions that cgraph and its peers use: all that the machine has, or none beyond AVX2.

That the switches act was seen in profiles: the libraries run other functions with them than without.
"""

import os
import tempfile
from importlib.metadata import PackageNotFoundError, version

from benchmarks.measure.internals import available_instructions

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

# Of variables of these libraries.
PREFIXES = ("ATEN_", "MKL_", "NPY_", "ONEDNN_", "OPENBLAS_", "XLA_")
SWITCHES = ("XLA_FLAGS", *AVX2)


def worth_measuring() -> list[str]:
    """The instruction sets of this machine in which cgraph and its peers are measured, the widest first."""
    found = [name for name in ("avx512", "avx2") if name in available_instructions()]
    return found or ["baseline"]


def environment(instructions: str) -> dict[str, str]:
    """The environment of a process in which cgraph and its peers use these instructions, whatever this one has set."""
    unset = {name: value for name, value in os.environ.items() if not name.startswith(PREFIXES)}
    own = {**unset, "CGRAPH_SIMD": instructions, **compiled_by_torch(instructions)}
    if instructions == "avx2" and "avx512" in available_instructions():
        return {**own, **AVX2, "XLA_FLAGS": " ".join(xla_avx2_flags())}
    return own


def compiled_by_torch(instructions: str) -> dict[str, str]:
    """A folder for what torch.compile keeps: with parts of others, its results are wrong, or the process ends."""
    return {"TORCHINDUCTOR_CACHE_DIR": f"{tempfile.gettempdir()}/cgraph_torch_{instructions}"}


def xla_avx2_flags() -> list[str]:
    try:
        jaxlib = tuple(map(int, version("jaxlib").split(".")[:2]))
    except PackageNotFoundError:
        jaxlib = (0, 0)
    return [XLA_AVX2, *([XLA_WITHOUT_YNNPACK] if jaxlib >= YNNPACK_SINCE else [])]
