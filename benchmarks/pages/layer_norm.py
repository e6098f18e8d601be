"""The time of one LayerNorm: the difference between chains of 8 and of 24 of it."""

from functools import partial
from itertools import product

from benchmarks.contenders.layer_norm import NormChain
from benchmarks.measure.parity import checked
from benchmarks.measure.peers import Makers
from benchmarks.measure.record import Record
from benchmarks.measure.tables import Section, number, table
from benchmarks.pages.functions import LONG, SHORT, link_times

CASES = [NormChain(*case, SHORT) for case in product((1, 64), (64, 256, 1024), (False, True))]
# What PyTorch is asked to take at least, as a multiple of a Graph's time, by samples, elements and backward.
GOALS = {(1, 64, False): 10, (1, 64, True): 20, (1, 1024, False): 2, (1, 1024, True): 2}


def chains(case: NormChain, links: int) -> Makers:
    return case._replace(links=links).makers


def title(case: NormChain) -> str:
    passes = "forward and backward" if case.backward else "forward"
    return f"LayerNorm, {case.samples} × {case.size}, float32, {passes}"


def one_layer_norm(record: Record) -> list[Section]:
    section = record.section(
        "LayerNorm",
        "Nanoseconds of an element, on samples × elements: the difference between the medians of chains of "
        f"{SHORT} and of {LONG} LayerNorms. Gains and biases learn.",
    )
    rows, header = [], [""]
    for case in CASES:
        record.note(title(case), partial(checked, case.makers, "float32"))
        times = link_times(title(case), partial(chains, case), record)
        rows.append([title(case), *map(number, times.values())])
        header = ["ns", *times]
        ours, *peers = times.values()
        goal = 1 if case.samples == 64 else GOALS.get(case[:3])
        if peers and goal:
            section.ask("{} × the fastest PyTorch", goal, min(peers) / ours, work=title(case))
    section.table = table(header, rows)
    return [section]
