"""The peak of one core: a loop of multiply-adds in registers, with the instructions of a build of cgraph.

python -m benchmarks.measure.peak [--quick]

The command prints the peaks of all builds that this CPU runs; it needs a C compiler.
"""

from benchmarks.measure import one_core  # noqa: F401  isort: skip
import ctypes
from itertools import product

from benchmarks.measure.compiled import INSTRUCTIONS, library
from benchmarks.measure.internals import available_instructions, instructions_in_use
from benchmarks.measure.tables import number, table
from benchmarks.measure.timing import Effort, Times, Work, alternate, asked_effort, load, machine

THOROUGH = Effort(60, 0.01)
TURNS = 20_000
TYPES = {"float32": ctypes.c_float, "float64": ctypes.c_double}
PEAK = "peak"


def peak_loop(dtype: str, instructions: str | None = None) -> Work:
    """The loop of multiply-adds; its unit of work is 1,000 FLOP, so that Times are microseconds of that."""
    functions, real = library("peak", instructions), TYPES[dtype]
    loop = getattr(functions, f"peak_{dtype}")
    loop.argtypes, loop.restype = [ctypes.c_ssize_t, real, real], real
    flop = TURNS * getattr(functions, f"peak_{dtype}_flop")()
    return Work(lambda: loop(TURNS, 0.5, 1.0), flop // 1000)


def peak_name(instructions: str) -> str:
    """What the peak of a build is one of, for the tables that have shares of it."""
    if instructions == "baseline":
        return "peak of 16-byte multiply-adds"
    return f"FMA peak of {'64' if instructions == 'avx512' else '32'}-byte vectors"


def gflops(times: Times) -> float:
    """GFLOP/s of `peak_loop`."""
    return 1 / times.fastest


def all_peaks(effort: Effort) -> dict[str, dict[str, float]]:
    """GFLOP/s of each build that this CPU runs, in each dtype."""
    builds = [name for name in INSTRUCTIONS if name in available_instructions()]
    loops = {(name, dtype): peak_loop(dtype, name) for name, dtype in product(builds, TYPES)}
    times = alternate(loops, effort)
    return {name: {dtype: gflops(times[name, dtype]) for dtype in TYPES} for name in builds}


def main() -> None:
    effort, start = asked_effort(__doc__, THOROUGH), load()
    rows = [
        [name, peak_name(name), *(number(peaks[dtype]) for dtype in TYPES)]
        for name, peaks in all_peaks(effort).items()
    ]
    print(table(["build", "peak", *(f"{dtype}, GFLOP/s" for dtype in TYPES)], rows))
    print(f"\nIn use: {instructions_in_use()}.")
    print(f"{machine()}. Load average: {start} at the start, {load()} at the end.")


if __name__ == "__main__":
    main()
