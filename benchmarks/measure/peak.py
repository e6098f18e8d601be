"""The FMA peak of one core, measured by a loop that stays in registers; it needs a C compiler.

python -m benchmarks.measure.peak
"""

import ctypes

from benchmarks.measure.compiled import library
from benchmarks.measure.peers import Makers, built
from benchmarks.measure.timing import Effort, Times, Work, alternate, machine

TURNS = 20_000
TYPES = {"float32": ctypes.c_float, "float64": ctypes.c_double}
PEAK = "peak"


def peak_loop(dtype: str) -> Work:
    """The loop of multiply-adds; its unit of work is 1,000 FLOP, so that Times are microseconds of that."""
    functions, real = library("peak"), TYPES[dtype]
    loop = getattr(functions, f"peak_{dtype}")
    loop.argtypes, loop.restype = [ctypes.c_ssize_t, real, real], real
    flop = TURNS * getattr(functions, f"peak_{dtype}_flop")()
    return Work(lambda: loop(TURNS, 0.5, 1.0), flop // 1000)


def with_peak(
    makers: Makers, effort: Effort, dtype: str = "float32"
) -> tuple[dict[str, Times], Times]:
    """The times of the contenders that can be built, and those of the peak in the same rounds."""
    times = alternate({PEAK: peak_loop(dtype), **built(makers)}, effort)
    return times, times.pop(PEAK)


def gflops(times: Times) -> float:
    """GFLOP/s of `peak_loop`."""
    return 1 / times.fastest


def main() -> None:
    loops = {dtype: peak_loop(dtype) for dtype in TYPES}
    for dtype, times in alternate(loops, Effort(60, 0.01)).items():
        print(f"{dtype}: {gflops(times):.1f} GFLOP/s")
    print(machine())


if __name__ == "__main__":
    main()
