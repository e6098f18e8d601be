"""The compiled kernels, and the choice of their build for this CPU.

Each family of kernels is compiled once per dtype and instruction set, as module
`builds.<family>_<dtype>_<instruction set>`. The name of a family is that of its file, for files in `channels` and
`lanes` with the name of the folder before it (`lanes_layer`). A module is loaded when a node of its dtype is first
constructed. The environment variable CGRAPH_SIMD names the instruction set to use; without it, the best one that this
CPU runs is used.
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
    from cgraph._kernels.cpu import has_avx2
except ModuleNotFoundError as error:
    if not (error.name or "").startswith("cgraph."):
        raise
    raise explained(error) from None


class Build(NamedTuple):
    """The kernels for one dtype and instruction set."""

    affine: protocols.Affine
    concatenation: protocols.Concatenation
    convolution: protocols.Convolution
    elementwise: protocols.Elementwise
    pooling: protocols.Pooling
    reduction: protocols.Reduction
    channels_convolution_group: protocols.ChannelsConvolutionGroup
    lanes_layer: protocols.LanesLayer
    lanes_ports: protocols.LanesPorts

    @property
    def padded_bytes(self) -> int:
        """The bytes to a multiple of which rows of channels are padded: whole vectors, of this build and narrower."""
        return self.elementwise.PADDED_BYTES

    @property
    def line_bytes(self) -> int:
        """The bytes of a line of samples, which steps over lanes compute as a whole, and of a cache line at least."""
        return self.elementwise.LINE_BYTES


def available() -> tuple[str, ...]:
    """The instruction sets for which kernels were built, and which this CPU runs; the best one is the last."""
    runnable = {"baseline": True, "avx2": has_avx2()}
    return tuple(
        name
        for name, runs in runnable.items()
        if runs and find_spec(f"{__name__}.builds.affine_float64_{name}")
    )


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
    """Prints the builds of the kernels that this CPU runs, and the one in use.

    Examples
    --------
    >>> import cgraph as CG
    >>> CG.show_config()  # doctest: +SKIP
    kernels in use: avx2
    available on this CPU: baseline, avx2
    CGRAPH_SIMD: not set
    """
    print(f"kernels in use: {_selected}")
    print(f"available on this CPU: {', '.join(available())}")
    print(f"CGRAPH_SIMD: {os.environ.get('CGRAPH_SIMD', 'not set')}")


def build(dtype: np.dtype[np.floating]) -> Build:
    """The kernels for float32 or float64 data."""
    try:
        return _builds[dtype.char]
    except KeyError:
        return _builds.setdefault(dtype.char, _load(dtype.name, _selected))


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
