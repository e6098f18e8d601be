"""The time of one function: the difference between chains of 8 and of 24 of it."""

from collections.abc import Callable
from functools import partial
from itertools import product
from typing import NamedTuple

from benchmarks.contenders import functions
from benchmarks.contenders.functions import PYTORCH, SAMPLES, SIZE
from benchmarks.measure.parity import checked
from benchmarks.measure.peers import Makers
from benchmarks.measure.record import Record
from benchmarks.measure.tables import Section, number, table
from benchmarks.networks.functions import SIGMOID, SOFTMAX, TANH, Function

SHORT, LONG = 8, 24


class Case(NamedTuple):
    function: Function
    dtype: str
    backward: bool

    @property
    def title(self) -> str:
        passes = "forward and backward" if self.backward else "forward"
        return f"{self.function.node.__name__}, {self.dtype}, {passes}"

    def makers(self, links: int) -> Makers:
        return functions.contenders(self.function, links, self.dtype, self.backward)


CASES = [
    Case(*case) for case in product((TANH, SIGMOID, SOFTMAX), ("float32", "float64"), (False, True))
]


def one_function(record: Record) -> Section:
    section = record.section(
        "One function",
        f"Nanoseconds of an element, in {SAMPLES} samples of {SIZE}: the difference between the medians of chains of "
        f"{SHORT} and of {LONG} of the function. JAX compiles a chain as a whole.",
    )
    rows, header = [], [""]
    for case in CASES:
        record.note(case.title, partial(checked, case.makers(SHORT), case.dtype))
        times = link_times(case.title, case.makers, record)
        rows.append([case.title, *map(number, times.values())])
        header = ["ns", *times]
        ours, *_ = times.values()
        peers = [times[peer] for peer in PYTORCH if peer in times]
        if peers:
            section.ask("{} × the fastest PyTorch", 1, min(peers) / ours, work=case.title)
    section.table = table(header, rows)
    return section


def link_times(title: str, of_links: Callable[[int], Makers], record: Record) -> dict[str, float]:
    """The nanoseconds of each contender for an element of a link; `of_links` makes chains of so many."""
    names = list(of_links(SHORT))
    makers = {
        linked(name, links): make
        for links in (SHORT, LONG)
        for name, make in of_links(links).items()
    }
    medians = {key: own.median for key, own in record.times(title, makers).items()}
    return {
        name: 1000 * (medians[linked(name, LONG)] - medians[linked(name, SHORT)]) / (LONG - SHORT)
        for name in names
        if linked(name, SHORT) in medians
    }


def linked(name: str, links: int) -> str:
    return f"{name}, {links} links"
