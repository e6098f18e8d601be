"""The FMA peak of one core, measured by a loop that stays in registers; it needs a C compiler.

python benchmarks/peak.py
"""

import ctypes

from compiled import library
from timing import Effort, Times, Work, alternate, machine

TURNS = 20_000
TYPES = {"float32": ctypes.c_float, "float64": ctypes.c_double}


def peak_loop(dtype: str) -> Work:
    """Its unit of work is 1,000 FLOP, so that Times are microseconds of that."""
    functions, real = library("peak"), TYPES[dtype]
    loop = getattr(functions, f"peak_{dtype}")
    loop.argtypes, loop.restype = [ctypes.c_ssize_t, real, real], real
    flop = TURNS * getattr(functions, f"peak_{dtype}_flop")()
    return Work(lambda: loop(TURNS, 0.5, 1.0), flop // 1000)


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
