"""LeNet-5, training on batches, two threads: in a process of its own on two cores, by the clock.

The process is started by the command benchmarks.performance, and prints its times as JSON.
"""

from benchmarks.measure import one_core  # isort: skip
import json
import os
import subprocess
import sys
import time
from functools import partial
from pathlib import Path

from benchmarks.contenders import training
from benchmarks.contenders.training import GRAPH_STEP, image_contenders
from benchmarks.measure.peers import built
from benchmarks.measure.record import Record
from benchmarks.measure.tables import Ask, Section, thirds_table
from benchmarks.measure.timing import Effort, Times, alternate, load, ratio
from benchmarks.networks.lenet import LENET

THREADS = 2
# Beside anything else that runs, PyTorch takes ten times as long where its threads spin until each other's end.
SHORT_SPIN = {"GOMP_SPINCOUNT": "10000"}
CASES = [(dtype, batch) for dtype in ("float32", "float64") for batch in (32, 128)]
LOAD = "load average"
ALONE = "`Graph.step`, one thread"
PEERS_ASKED, SCALING_ASKED, SCALING_BATCH = 4, 1.7, 128


def two_threads(record: Record) -> list[Section]:
    """A table for each case; none where there was one core only."""
    if not record.replays and len(one_core.CORES) >= THREADS:
        run_on_two_cores(record)
    return [thread_section(*case, record) for case in CASES if record.has(heading(*case))]


def heading(dtype: str, batch: int) -> str:
    return f"LeNet-5, training, B = {batch}, {dtype}, {THREADS} threads"


def run_on_two_cores(record: Record) -> None:
    """Has a process of its own measure all cases."""
    effort = record.effort
    cores = ",".join(map(str, one_core.CORES[-THREADS:]))
    child = subprocess.run(
        [sys.executable, "-m", __spec__.name, str(effort.rounds), str(effort.seconds)],
        cwd=Path(__file__).parents[2],
        env={**os.environ, **SHORT_SPIN, one_core.PASSED_ON: cores},
        stdout=subprocess.PIPE,
        check=True,
    )
    measured = json.loads(child.stdout)
    for case, own in zip(CASES, measured["cases"], strict=True):
        record.keep(heading(*case), {name: Times(*values) for name, values in own.items()})
    record.note(LOAD, lambda: measured["load"])


def thread_section(dtype: str, batch: int, record: Record) -> Section:
    times = record.times(heading(dtype, batch))
    section = record.section(
        heading(dtype, batch),
        f"Microseconds of one sample of {batch}, by the clock; everybody on {THREADS} threads, unless the table says "
        f"otherwise. Load average: {record.notes[LOAD]} the rows on {THREADS} threads.",
        thirds_table(times),
    )
    peers = [name for name in times if name not in (GRAPH_STEP, ALONE)]
    section.compare(times, [ALONE])
    section.ask_ratios(times, [Ask("the fastest peer", PEERS_ASKED, peers)])
    if batch == SCALING_BATCH:
        section.ask("{} × one thread", SCALING_ASKED, ratio(times, ALONE))
    return section


def measure(dtype: str, batch: int, effort: Effort) -> dict[str, list[float]]:
    """Returns the times of each contender's chunks."""
    alone = {ALONE: partial(training.graph_step, LENET, dtype, batch)}
    makers = {**image_contenders(LENET, dtype, batch, THREADS), **alone}
    times = alternate(built(makers, report=False), effort)  # the other process has reported
    return {name: list(own) for name, own in times.items()}


def main(rounds: str, seconds: str) -> None:
    effort = Effort(int(rounds), float(seconds), time.perf_counter)
    before = load()
    cases = [measure(*case, effort) for case in CASES]
    print(json.dumps({"cases": cases, "load": f"{before} before, {load()} after"}))


if __name__ == "__main__":
    main(*sys.argv[1:])
