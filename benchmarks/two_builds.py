"""Two builds of cgraph against each other, row by row: a commit and an older one, two compilers, two Pythons.

python -m benchmarks.two_builds BEFORE [AFTER] [--quick] [--rows LeNet]

BEFORE and AFTER are folders, each with the sources of cgraph built in place, or Pythons of environments, each with a
cgraph installed; AFTER is this folder by default. Each build has a process of its own, on the core that the other one
has, too; they take turns in each round of a row, one waiting for the other. The rows come from this folder and use the
public names of cgraph alone; one that a build cannot run is named at the end. Since the addresses that a process gets
make a difference, there are several pairs of processes one after the other.
"""

from benchmarks.measure import one_core  # isort: skip
import argparse
import json
import os
import subprocess
import sys
import time
from collections import defaultdict
from pathlib import Path
from statistics import median
from typing import Any, NamedTuple, Self

from benchmarks.measure.tables import number, table
from benchmarks.measure.timing import QUICK, Effort, calls_in, load, machine, microseconds

ROOT = Path(__file__).parents[1]
THOROUGH = Effort(12, 0.01)
PAIRS, PAIRS_QUICK = 5, 2
SLOWER = 1.02  # a smaller ratio of times is not called slower
# The benchmarks are those of this folder, and cgraph that of the build, whose path replaces the folder's.
WORKER = """
import sys
sys.path[0] = {root!r}
import benchmarks
sys.path[:1] = {path!r}
from benchmarks.two_builds import answer
answer({seconds!r})
"""
Key = tuple[str, str, int, str]  # network, call, batch, dtype


class Round(NamedTuple):
    """The microseconds of both builds in one round."""

    before: float
    after: float

    @property
    def ratio(self) -> float:
        return self.after / self.before


def answer(seconds: float) -> None:
    """Prints the rows, then builds each row whose number it reads, and times it at every empty line that follows."""
    import cgraph
    from benchmarks.contenders.rows import all_rows

    rows = all_rows()
    say({"cgraph": str(Path(cgraph.__file__).parent), "rows": [[*r[:4], r.threads] for r in rows]})
    for line in sys.stdin:
        if line.strip():
            row = rows[int(line)]
            clock = time.process_time if row.threads == 1 else time.perf_counter
            try:
                call, units, _ = row.make()
                repeat = calls_in(Effort(1, seconds, clock), call)
            except Exception as error:
                say(f"{type(error).__name__}: {error}")
            else:
                say("")
        else:
            if row.threads > 1:
                time.sleep(0.01)  # for the other process's threads to go to sleep
            call()  # brings its memory back into the caches
            say(microseconds(call, repeat, clock) / units)


def say(answer: Any) -> None:
    print(json.dumps(answer), flush=True)


class Build:
    """A process that measures rows with the cgraph of a folder or of a Python, as `answer` does."""

    def __init__(self, folder: str, cores: int, seconds: float) -> None:
        self.folder = folder
        path = [str(Path(folder).resolve())] if Path(folder).is_dir() else []
        code = WORKER.format(root=str(ROOT), path=path, seconds=seconds)
        chosen = ",".join(map(str, one_core.CORES[-cores:]))
        self.process = subprocess.Popen(
            [sys.executable if path else folder, "-c", code],
            env={**os.environ, one_core.PASSED_ON: chosen},
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            text=True,
        )
        known = self.read()
        self.cgraph: str = known["cgraph"]
        if path and Path(self.cgraph).parent != Path(folder).resolve():
            raise SystemExit(f"{folder} has no cgraph, {self.cgraph} would be measured.")
        self.rows: list[tuple[Key, int]] = [(tuple(key), n) for *key, n in known["rows"]]

    def read(self) -> Any:
        assert self.process.stdout is not None
        line = self.process.stdout.readline()
        if not line:
            raise SystemExit(f"The process of {self.folder} has ended.")
        return json.loads(line)

    def ask(self, question: str) -> Any:
        assert self.process.stdin is not None
        print(question, file=self.process.stdin, flush=True)
        return self.read()

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.process.communicate()


class Comparison:
    """The rounds of all rows in each pair of processes, and the reason for each row that is left out."""

    def __init__(self, before: str, after: str, words: str, effort: Effort) -> None:
        self.folders = [before, after]
        self.words = words
        self.effort = effort
        self.found: dict[Key, list[list[Round]]] = defaultdict(list)
        self.left_out: dict[Key, str] = {}

    def run(self, cores: int, swapped: bool) -> None:
        """Measures the rows with as many threads as cores in one pair of processes, which AFTER begins if swapped."""
        first, second = reversed(self.folders) if swapped else self.folders
        seconds = self.effort.seconds
        with Build(first, cores, seconds) as one, Build(second, cores, seconds) as other:
            if one.cgraph == other.cgraph:
                raise SystemExit(f"Both builds import {one.cgraph}.")
            for index, (key, threads) in enumerate(one.rows):
                if threads == cores and self.words in str(key):
                    self.run_row(key, index, [one, other])

    def run_row(self, key: Key, index: int, builds: list[Build]) -> None:
        """Builds a row in both processes, and lets them take turns."""
        faults = [
            f"{build.folder}: {fault}" for build in builds if (fault := build.ask(str(index)))
        ]
        if faults:
            self.left_out[key] = "; ".join(faults)
            return
        rounds = []
        for _ in range(self.effort.rounds):
            times = {build.folder: build.ask("") for build in builds}
            rounds.append(Round(*(times[folder] for folder in self.folders)))
            builds.reverse()
        self.found[key].append(rounds)

    def report(self) -> None:
        """Prints a line for each row, then the rows that every pair of processes found slower, and those left out."""
        rows, slower = [], []
        for (name, call, batch, dtype), pairs in self.found.items():
            rounds = [each for pair in pairs for each in pair]
            before, after = median(r.before for r in rounds), median(r.after for r in rounds)
            ratios = sorted(median(each.ratio for each in pair) for pair in pairs)
            middle, spread = f"{median(ratios):.3f}", f"{ratios[0]:.3f} to {ratios[-1]:.3f}"
            rows.append(
                [name, call, str(batch), dtype, number(before), number(after), middle, spread]
            )
            if ratios[0] > 1 and median(ratios) > SLOWER:
                slower.append(f"{name}, {call}, B = {batch}, {dtype}: {middle}")
        times = ["before, µs", "after, µs", "after / before", "from pair to pair"]
        print(table(["network", "call", "batch", "dtype", *times], rows))
        print("\nSlower in each pair of processes, and in the median by more than", end=" ")
        print(f"{SLOWER - 1:.0%}: {'; '.join(slower) or 'no row'}.")
        for key, fault in self.left_out.items():
            print(f"Left out: {', '.join(map(str, key))}. {fault}")


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("before", metavar="BEFORE")
    parser.add_argument("after", metavar="AFTER", nargs="?", default=str(ROOT))
    parser.add_argument("--quick", action="store_true", help="few and short rounds")
    parser.add_argument("--rows", default="", help="only those with this in network, call or dtype")
    options = parser.parse_args()
    effort, pairs = (QUICK, PAIRS_QUICK) if options.quick else (THOROUGH, PAIRS)
    start = load()
    comparison = Comparison(options.before, options.after, options.rows, effort)
    for cores in (1, 2)[: len(one_core.CORES)]:
        for pair in range(pairs):
            comparison.run(cores, swapped=pair % 2 == 1)
    comparison.report()
    print(f"\n{machine()}. Load average: {start} at the start, {load()} at the end.")


if __name__ == "__main__":
    main()
