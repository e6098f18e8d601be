"""The time of each single call that learns one sample of a stream, beside PyTorch and scikit-learn.

python -m benchmarks.latency [--quick]

Contenders take turns of a thousand calls, and each call is timed: by the clock on the wall, so that what else runs on
the core counts, too, but in the row "CPU time" by that of the thread, whose own cost of about 0.8 µs is in each time.
Graph.step and the peers make a fiftieth of the calls. Python's garbage collector is on, but where a row says
otherwise; "nothing" is a call that does nothing, whose worst times are those of the machine.
"""

from benchmarks.measure import one_core  # noqa: F401  isort: skip
import gc
import sys
from array import array
from time import perf_counter_ns, thread_time_ns

import numpy as np

from benchmarks.contenders.streams import CASES, CPU_TIME, LEARNER, NO_GC, Case, Stream
from benchmarks.measure.peers import built, versions
from benchmarks.measure.tables import table
from benchmarks.measure.timing import QUICK, Effort, asked_effort, load, machine

TURN = 1000  # calls
CALLS, CALLS_LENET = 1_000_000, 100_000
NOTHING = "nothing"
SHARE = 50  # the calls of a Learner for one of another contender


def turn(name: str, stream: Stream, times: array) -> None:
    """Times single calls."""
    call, samples = stream
    clock = thread_time_ns if CPU_TIME in name else perf_counter_ns
    if NO_GC in name:
        gc.disable()
    for _ in range(TURN):
        sample = next(samples)
        start = clock()
        call(*sample)
        times.append(clock() - start)
    gc.enable()


def nothing(*_: object) -> None:
    """Does nothing."""


def measured(case: Case, calls: int) -> dict[str, np.ndarray]:
    """Returns the microseconds of all calls of each contender."""
    streams = built(case.makers)
    streams[NOTHING] = nothing, streams[LEARNER][1]
    times = {name: array("q") for name in streams}
    for name, stream in streams.items():
        turn(name, stream, array("q"))  # warms up
    for number in range(calls // TURN):
        for name, stream in streams.items():
            if name.startswith((LEARNER, NOTHING)) or number % SHARE == 0:
                turn(name, stream, times[name])
    return {name: np.array(found) / 1000 for name, found in times.items()}


def rows(case: Case, calls: int) -> list[list[str]]:
    """Returns a row for each contender: how many calls, their median, high percentiles, and the worst."""
    found = []
    for name, times in measured(case, calls).items():
        cells = [np.median(times), *np.percentile(times, [99, 99.9]), times.max()]
        found.append([name, f"{times.size:,}", *(cell(value) for value in cells)])
    return found


def cell(value: float) -> str:
    return f"{value:.2f}" if value < 100 else f"{value:,.0f}"


def report(effort: Effort) -> None:
    share = 100 if effort is QUICK else 1
    start = load()
    for case in CASES:
        calls = (CALLS if case.layers else CALLS_LENET) // share
        print(f"\n### {case.title}\n")
        heads = ["µs", "calls", "median", "99 %", "99.9 %", "worst"]
        print(table(heads, rows(case, max(calls, TURN))))
        sys.stdout.flush()
    libraries = ", ".join(f"{name} {version}" for name, version in versions().items() if version)
    print(f"\n{machine()}; {libraries}. Load average: {start} at the start, {load()} at the end.")


if __name__ == "__main__":
    report(asked_effort(__doc__, Effort(1, 1)))
