"""Measures the functions of cgraph/_kernels/common/vector_math.pxd, and prints a Markdown table of their worst errors.

python tools/accuracy.py [NAME...]
    [--dtype DTYPE]     float32 or float64 alone
    [--random N]        random arguments of float64, 10^8 by default
    [--every N]         of the 2^32 arguments of float32 every N-th, 1 by default

float32 is measured with every bit pattern there is, against float64; float64 with random arguments of every size, with
the arguments around which a formula changes, and with special values, against long double. With mpmath installed, the
worst error of float64 is computed again in 50 digits. All functions take an hour for each dtype, on one core. Errors
are in units in the last place, those of `ulps` in tests/support/exact_functions.py: infinite for a wrong sign or a NaN
in the wrong place. Odd functions have to be odd to the bit.
"""

import argparse
import sys
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np

sys.path.append(str(Path(__file__).parents[1] / "tests/support"))

from exact_functions import CRITICAL, FUNCTIONS, ODD, exact, ulps

from cgraph import _kernels

CHUNK = 1 << 16
Array = np.ndarray[Any, Any]


def float32_arguments(every: int) -> Iterator[Array]:
    """Yields all numbers of float32, or every N-th."""
    steps = np.arange(CHUNK, dtype=np.uint64) * np.uint64(every)
    for start in range(0, 1 << 32, CHUNK * every):
        # From one chunk to the next, other last digits.
        offset = start + (start // (CHUNK * every)) % every
        yield (steps + np.uint64(offset)).astype(np.uint32).view(np.float32)


def float64_arguments(count: int) -> Iterator[Array]:
    """Yields the critical numbers of float64 and those around them, and `count` random ones."""
    near = np.arange(-500, 501)
    for part in np.array_split(CRITICAL, 100):
        x = (part.view(np.int64)[:, None] + near).ravel().view(np.float64)
        yield np.concatenate([x, -x])
    special = np.array([0, np.inf, np.nan])
    yield np.concatenate([special, -special])
    rng = np.random.default_rng(0)
    quarter = CHUNK // 4
    for _ in range(0, count, CHUNK):
        sign = rng.choice([-1.0, 1.0], quarter)
        yield np.concatenate(
            [
                rng.integers(0, 1 << 64, quarter, dtype=np.uint64).view(np.float64),
                sign * np.exp2(rng.uniform(-56, 10, quarter)),
                rng.uniform(-1, 1, quarter) * rng.choice([1, 2, 7, 20]),
                np.exp2(rng.uniform(-2, 2, quarter)) - rng.choice([0, 1]),
            ]
        )


def measure(name: str, dtype: str, arguments: Iterator[Array]) -> dict[str, tuple[float, float]]:
    """Returns for each build the worst error of a function, and the argument that has it."""
    builds = {}
    for build in _kernels.available():
        _kernels.select(build)
        builds[build] = _kernels.build(np.dtype(dtype)).elementwise
    worst = dict.fromkeys(builds, (0.5, 0.0))
    bits = np.uint32 if dtype == "float32" else np.uint64
    for x in arguments:
        values = exact(name, x)
        with np.errstate(all="ignore"):
            rounded = values.astype(dtype)
        for build, kernels in builds.items():
            d = np.empty_like(x)
            kernels.apply(name, x, d)
            if name in ODD:
                opposite = np.empty_like(x)
                kernels.apply(name, -x, opposite)
                if (d.view(bits) != (-opposite).view(bits))[~np.isnan(x)].any():
                    raise AssertionError(f"{name} is not odd")
            # Where d is the exact value rounded, the error is half a unit at most.
            unequal = np.flatnonzero(d.view(bits) != rounded.view(bits))
            if len(unequal):
                errors = ulps(d[unequal], values[unequal])
                at = errors.argmax()
                if errors[at] > worst[build][0]:
                    worst[build] = float(errors[at]), float(x[unequal[at]])
    return worst


def in_fifty_digits(name: str, x: float, build: str) -> float:
    """Returns the error of float64 at x, computed by mpmath."""
    import mpmath as mp

    mp.mp.dps = 50
    functions = {
        "sigmoid": lambda x: 1 / (1 + mp.exp(-x)),
        "softplus": lambda x: mp.log1p(mp.exp(x)),
        "log1p": mp.log1p,
    }
    _kernels.select(build)
    d = np.empty(1)
    _kernels.build(np.dtype("float64")).elementwise.apply(name, np.array([x]), d)
    value = functions.get(name, getattr(mp, name, None))(mp.mpf(x))
    exponent = max(int(mp.floor(mp.log(abs(value), 2))) + 1, -1021)
    return float(abs(mp.mpf(float(d[0])) - value) / mp.mpf(2) ** (exponent - 53))


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("names", nargs="*", metavar="NAME", choices=[[], *FUNCTIONS])
    parser.add_argument("--dtype", choices=["float32", "float64"])
    parser.add_argument("--random", type=float, default=1e8)
    parser.add_argument("--every", type=int, default=1)
    options = parser.parse_args()
    builds = _kernels.available()
    print("| function | dtype |", " | ".join(f"{build}, at" for build in builds), "|")
    print("| --- | --- |", " --- |" * len(builds))
    for name in options.names or FUNCTIONS:
        for dtype in [options.dtype] if options.dtype else ["float32", "float64"]:
            start = time.perf_counter()
            if dtype == "float32":
                worst = measure(name, dtype, float32_arguments(options.every))
            else:
                worst = measure(name, dtype, float64_arguments(int(options.random)))
                try:
                    worst = {b: (in_fifty_digits(name, x, b), x) for b, (_, x) in worst.items()}
                except ModuleNotFoundError:
                    print("without mpmath", file=sys.stderr)
            cells = " | ".join(f"{error:.3f} at {x:.17g}" for error, x in worst.values())
            print(f"| {name} | {dtype} | {cells} |", flush=True)
            print(f"{name} {dtype}: {time.perf_counter() - start:.0f} s", file=sys.stderr)


if __name__ == "__main__":
    main()
