"""The time of each single call that learns one sample of a stream, beside PyTorch and scikit-learn.

python -m benchmarks.latency [--quick] [--write]

prints the tables of docs/understand/latency.md, and with --write puts them there; meant for five minutes of an idle
machine. Contenders take turns of a thousand calls, and each call is timed: by the clock on the wall, so that what else
runs on the core counts, too, but in the row "CPU time" by that of the thread, whose own cost of about 0.8 µs is in each
time. A Learner makes a million calls, and the slower rows a part of them, as each row says. Python's garbage collector
is on, but where a row says otherwise; "nothing" is a call that does nothing, and has the worst times of the machine.
"""

from benchmarks.measure import one_core  # noqa: F401  isort: skip
import argparse
import gc
from array import array
from pathlib import Path
from time import perf_counter_ns, thread_time_ns

import numpy as np

from benchmarks.contenders.streams import CASES, CPU_TIME, LEARNER, NO_GC, Case, Stream
from benchmarks.measure.peers import built, versions
from benchmarks.measure.tables import table
from benchmarks.measure.timing import load, machine

TURN = 1000  # calls
CALLS, QUICK_CALLS = 1_000_000, 10_000
NOTHING = "nothing"
GOAL = 5.0  # µs, of the median of the MLP
PAGE = Path(__file__).parents[1] / "docs/understand/latency.md"
BEGIN, END = "<!-- measured -->\n", "<!-- end -->\n"


def turns_between(case: Case, name: str) -> int:
    """Returns how many turns of the Learner there are for one of a contender, the slower the more."""
    if name in (LEARNER, NOTHING):
        return 1
    if name.startswith(LEARNER):
        return 1 if case.layers else 10
    return 50 if case.layers else 500


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
            if number % turns_between(case, name) == 0:
                turn(name, stream, times[name])
    return {name: np.array(found) / 1000 for name, found in times.items()}


def rows(case: Case, found: dict[str, np.ndarray]) -> list[list[str]]:
    """Returns a row for each contender: how many calls, their median, high percentiles, and the worst."""
    result = []
    for name, times in found.items():
        cells = [np.median(times), *np.percentile(times, [99, 99.9]), times.max()]
        result.append([name, f"{times.size:,}", *(cell(value) for value in cells)])
    if not case.layers:
        result.append(["scikit-learn, which has no convolutions", *["–"] * 5])
    return result


def cell(value: float) -> str:
    return f"{value:.2f}" if value < 100 else f"{value:,.0f}"


def sections(calls: int) -> list[str]:
    """Returns the text of the page: a section for each case, what was asked, and the machine."""
    start, parts, medians = load(), [], []
    for case in CASES:
        found = measured(case, calls)
        heads = ["µs", "calls", "median", "99 %", "99.9 %", "worst"]
        parts.append(f"## {case.title}\n\n{table(heads, rows(case, found))}\n")
        print(parts[-1], flush=True)
        if case.layers:
            medians.append([case.title, f"≤ {GOAL:.0f} µs", f"{np.median(found[LEARNER]):.2f} µs"])
    libraries = ", ".join(f"{name} {version}" for name, version in versions().items() if version)
    asked = table(["median of Learner.learn_one", "asked", "measured"], medians)
    parts.append(
        f"## Asked and measured\n\n{asked}\n\n{machine()}; {libraries}.\n"
        f"Load average: {start} at the start, {load()} at the end.\n"
    )
    print(parts[-1])
    return parts


def main() -> None:
    form = argparse.RawDescriptionHelpFormatter
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=form)
    parser.add_argument("--quick", action="store_true", help="a hundredth of the calls")
    parser.add_argument("--write", action="store_true", help="put the tables into the page")
    asked = parser.parse_args()
    parts = sections(QUICK_CALLS if asked.quick else CALLS)
    if asked.write:
        text = PAGE.read_text(encoding="utf-8")
        before, after = text.split(BEGIN)[0], text.split(END)[1]
        PAGE.write_text(
            before + BEGIN + "\n" + "\n".join(parts) + "\n" + END + after, encoding="utf-8"
        )


if __name__ == "__main__":
    main()
