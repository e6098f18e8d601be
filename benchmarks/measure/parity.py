"""Contenders are compared by what they compute, before they are by the time that they take."""

from collections.abc import Mapping
from itertools import groupby

from benchmarks.measure.peers import Makers, built
from benchmarks.measure.timing import Work

CALLS = 10
# What differs by rounding alone, relative to the largest value, after some steps of learning.
TOLERANCES = {"float32": 1e-5, "float64": 1e-13}


def deviations(works: Mapping[str, Work]) -> dict[str, float]:
    """The largest difference of each contender's result from that of the first with as many units of work in a call,
    relative to the largest value, after some calls."""
    found = {}
    by_units = sorted(works.items(), key=lambda item: item[1].units)
    for _, group in groupby(by_units, key=lambda item: item[1].units):
        first = None
        for name, work in group:
            if work.result is None:
                continue
            for _ in range(CALLS):
                work.call()
            result = work.result()
            if first is None:
                first = result
            else:
                found[name] = float(abs(result - first).max() / abs(first).max())
    return found


def checked(makers: Makers, dtype: str) -> str:
    """Says how far the contenders differ that can be built; ends the program where that is more than rounding."""
    found = deviations(built(makers))
    different = [
        f"{name} by {value:.1e}" for name, value in found.items() if not value <= TOLERANCES[dtype]
    ]
    if different:
        raise SystemExit(f"Contenders compute different numbers: {', '.join(different)}.")
    if not found:
        return "There is nothing to compare the results with."
    return f"Results differ by at most {max(found.values()):.0e} of the largest value."
