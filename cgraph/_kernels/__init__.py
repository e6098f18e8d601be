"""The compiled kernels, and the choice of their build for this CPU.

Each family of kernels is compiled once per dtype and instruction set, as module
`builds.<family>_<dtype>_<instruction set>`. The name of a family is that of its file, for files in `channels` and
`lanes` with the name of the folder before it (`lanes_layer`). A module is loaded when a node of its dtype is first
constructed. The environment variable CGRAPH_SIMD names the instruction set to use; without it, the widest
one that this CPU runs is used.

All families of one build lay out memory alike, by the widths that simd.h has for it. A row that fits into a vector of
AVX2 (of channels, of outputs, of samples) is computed by the kernels of `avx2` also where `avx512` is in use, whose
vectors it would half fill (docs/understand/decisions/0012).
"""

import os
import threading
from functools import cache
from importlib import import_module
from importlib.util import find_spec
from typing import NamedTuple

import numpy as np
import numpy.typing as npt

from cgraph._kernels.missing import explained

try:
    from cgraph._kernels import protocols
    from cgraph._kernels.cpu import AVX512_IS_EMULATED, has_avx2, has_avx512
except ModuleNotFoundError as error:
    if not (error.name or "").startswith("cgraph."):
        raise
    raise explained(error) from None

NARROW_BYTES = 32  # a vector of AVX2


class Build(NamedTuple):
    """The kernels for one dtype and instruction set."""

    affine: protocols.Affine
    convolution: protocols.Convolution
    elementwise: protocols.Elementwise
    functions: protocols.Functions
    reduction: protocols.Reductions
    channels_convolution_group: protocols.ChannelsConvolutionGroup
    lanes_layer: protocols.LanesLayer

    @property
    def padded_bytes(self) -> int:
        """The bytes to a multiple of which buffers are padded: whole vectors, of this build and narrower."""
        return self.elementwise.PADDED_BYTES

    @property
    def line_bytes(self) -> int:
        """The bytes of a line of samples, which is a cache line."""
        return self.elementwise.LINE_BYTES

    @property
    def half_line_bytes(self) -> int:
        """The bytes of the smallest block of samples; where vectors are wider, `narrow_build` computes it."""
        return self.line_bytes // 2

    def pitch(self, channels: int, itemsize: int) -> int:
        """Returns the elements from one position of a group of channels to the next.

        These are whole vectors; of the narrow ones, if the group fits into one of these.
        """
        row = channels * itemsize
        unit = NARROW_BYTES if row <= NARROW_BYTES else self.padded_bytes
        return -(-row // unit) * unit // itemsize


def available() -> tuple[str, ...]:
    """The instruction sets for which kernels were built, and which this CPU runs, the default last."""
    return tuple(name for name, runs in _runs().items() if runs and _is_built(name))


def _runs() -> dict[str, bool]:
    """Whether this CPU runs the kernels for an instruction set, for each of them, the default last.

    An emulated AVX-512 is for those who choose it, since it is slower than AVX2.
    """
    if AVX512_IS_EMULATED:
        return {"baseline": True, "avx512": has_avx2(), "avx2": has_avx2()}
    return {"baseline": True, "avx2": has_avx2(), "avx512": has_avx512()}


def _is_built(simd: str) -> bool:
    return find_spec(f"{__name__}.builds.affine_float64_{simd}") is not None


def select(simd: str) -> str:
    """Uses an instruction set for all nodes that are constructed from now on, and returns the one used before."""
    global _selected
    if simd not in available():
        raise ValueError(
            f"CGRAPH_SIMD must be one of {', '.join(available())} on this CPU, got {simd!r}"
        )
    previous, _selected = _selected, simd
    _builds.clear()
    return previous


def show_config() -> None:
    """Prints which build of the kernels is in use and why, and why others are not to be had.

    Examples
    --------
    >>> import cgraph as CG
    >>> CG.show_config()  # doctest: +SKIP
    kernels in use: avx2, the widest on this CPU
    available on this CPU: baseline, avx2
    not available: avx512, which the CPU or the operating system does not run
    CGRAPH_SIMD: not set
    """
    wish = os.environ.get("CGRAPH_SIMD")
    if wish == _selected:
        reason = "chosen by CGRAPH_SIMD"
    elif _selected == available()[-1]:
        reason = "the widest on this CPU"
    else:
        reason = "selected by the program"
    print(f"kernels in use: {_selected}, {reason}")
    print(f"available on this CPU: {', '.join(available())}")
    for name, runs in _runs().items():
        if not runs:
            print(f"not available: {name}, which the CPU or the operating system does not run")
        elif not _is_built(name):
            print(f"not available: {name}, which this installation has not been built for")
    if AVX512_IS_EMULATED:
        print("avx512: emulated on AVX2, for tests")
    print(f"CGRAPH_SIMD: {wish or 'not set'}")


def build(dtype: np.dtype[np.floating]) -> Build:
    """The kernels for float32 or float64 data."""
    try:
        return _builds[dtype.char]
    except KeyError:
        return _builds.setdefault(dtype.char, _load(dtype.name, _selected))


def narrow_build(dtype: np.dtype[np.floating]) -> Build:
    """The kernels for rows of channels, outputs or samples that are narrower than the vectors of `build`."""
    return _load(dtype.name, "avx2")


@cache
def _load(dtype: str, simd: str) -> Build:
    modules = [
        import_module(f"{__name__}.builds.{family}_{dtype}_{simd}") for family in Build._fields
    ]
    return Build._make(modules)


_local = threading.local()


def scratch(dtype: np.dtype[np.floating], size: int) -> npt.NDArray[np.floating]:
    """A buffer of at least `size` elements, of undefined content, for this thread until its next call."""
    buffers = _local.__dict__
    buffer = buffers.get(dtype.char)
    if buffer is None or buffer.size < size:
        buffer = buffers[dtype.char] = np.empty(size, dtype)
    return buffer


# The builds in use, by the character of their dtype, which NumPy returns faster than the name.
_builds: dict[str, Build] = {}
if not available():  # as in an application that was frozen without the kernels
    missing = f"{__name__}.builds.affine_float64_baseline"
    raise explained(ModuleNotFoundError(name=missing))
_selected = available()[-1]
select(os.environ.get("CGRAPH_SIMD") or _selected)
