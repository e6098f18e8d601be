"""Tables of Markdown, and the sections of a report."""

from collections.abc import Collection, Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import NamedTuple

from benchmarks.measure.timing import Times, ratio


class Goals(NamedTuple):
    """A goal that depends on the instructions in use; None where there is none."""

    avx2: float | None
    avx512: float | None

    def of(self, instructions: str) -> float | None:
        return self.avx512 if instructions == "avx512" else self.avx2


class Ask(NamedTuple):
    """The first contender of a table is to be `goal` times as fast as the fastest of some others."""

    peer: str  # a contender, or words for several, which are then named
    goal: float | Goals
    contenders: Collection[str] = ()


class Asked(NamedTuple):
    """A goal, and what was measured; `figure` has {} for both numbers."""

    work: str
    figure: str
    goal: float
    measured: float
    at_most: bool

    @property
    def met(self) -> bool:
        return self.measured <= self.goal if self.at_most else self.measured >= self.goal

    def cells(self) -> list[str]:
        """The work, what was asked, what was measured, and whether that is enough."""
        sign = "≤" if self.at_most else "≥"
        asked, got = (self.figure.format(number(value)) for value in (self.goal, self.measured))
        return [self.work, f"{sign} {asked}", got, "yes" if self.met else "no"]


class Compared(NamedTuple):
    """The median of cgraph in a table, and how many times as long its fastest peer takes."""

    microseconds: float
    peer: str
    ratio: float


@dataclass
class Section:
    """A measured piece of work: its title, its text and table, and its goals with the measured figures.

    `instructions` are those in use, on which goals may depend.
    """

    title: str
    text: str
    instructions: str
    table: str = ""
    asks: list[Asked] = field(default_factory=list)
    compared: Compared | None = None

    def ask(
        self,
        figure: str,
        goal: float | Goals,
        measured: float,
        at_most: bool = False,
        work: str = "",
    ) -> None:
        """Adds a goal, if there is one for the instructions in use; `work` is the title by default."""
        wanted = goal.of(self.instructions) if isinstance(goal, Goals) else goal
        if wanted is not None:
            self.asks.append(Asked(work or self.title, figure, wanted, measured, at_most))

    def ask_ratios(self, times: Mapping[str, Times], asks: Iterable[Ask]) -> None:
        """Adds a goal for each ask of which at least one contender was measured."""
        for peer, goal, contenders in asks:
            ratios = [ratio(times, name) for name in contenders or [peer] if name in times]
            if ratios:
                self.ask(f"{{}} × {peer}", goal, min(ratios))

    def compare(self, times: Mapping[str, Times], left_out: Collection[str]) -> None:
        """Compares the first contender with the fastest one that is not left out, as ours are and yardsticks."""
        first = next(iter(times))
        peers = [name for name in times if name not in left_out and name != first]
        if peers:
            peer = min(peers, key=lambda name: times[name].median)
            self.compared = Compared(times[first].median, peer, ratio(times, peer))

    def markdown(self) -> str:
        return f"## {self.title}\n\n{self.text}\n\n{self.table}".rstrip()


ASKS = ("work", "asked", "measured", "met")


def number(value: float) -> str:
    """Writes a value with three digits, or with all those before the point."""
    return f"{value:,.0f}" if value >= 99.95 else f"{value:.3g}"


def table(header: Sequence[str], rows: Iterable[Sequence[str]]) -> str:
    lines = [header, ["---"] * len(header), *rows]
    return "\n".join("| " + " | ".join(line) + " |" for line in lines)


def times_table(
    times: Mapping[str, Times],
    flop: float = 0,
    peak: Times | None = None,
    no_flop: Collection[str] = (),
    peak_name: str = "",
) -> str:
    """Returns a table of the contenders' times and, if the FLOP of a unit of work are given, shares of the peak."""
    first = next(iter(times.values())).median
    header = ["", "µs, median", "times the first", *([f"of the {peak_name}"] if peak else [])]
    rows = []
    for name, own in times.items():
        row = [name, number(own.median), number(own.median / first)]
        if peak:
            row.append("" if name in no_flop else percent(share(flop, own, peak)))
        rows.append(row)
    return table(header, rows)


def thirds_table(times: Mapping[str, Times]) -> str:
    """Medians, and the fastest thirds, which other work on the machine disturbs least."""
    first = next(iter(times.values()))
    rows = []
    for name, own in times.items():
        pairs = ((own.median, first.median), (own.fastest, first.fastest))
        cells = [number(value) for mine, ours in pairs for value in (mine, mine / ours)]
        rows.append([name, *cells])
    columns = ["µs, median", "times the first", "µs, fastest third", "times the first"]
    return table(["", *columns], rows)


def share(flop: float, times: Times, peak: Times) -> float:
    """The share of the peak, by the fastest third of the chunks of both."""
    return flop / 1000 * peak.fastest / times.fastest


def share_of_all(shares: Mapping[str, float]) -> float:
    """The share of the peak of all parts one after the other; both gradients have twice the FLOP of any other part."""
    flop = {part: 2 if part == "both gradients" else 1 for part in shares}
    return sum(flop.values()) / sum(flop[part] / value for part, value in shares.items())


def percent(value: float) -> str:
    return f"{number(100 * value)} %"
