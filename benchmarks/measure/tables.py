"""Tables of Markdown, and the sections of a report."""

from collections.abc import Collection, Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import NamedTuple

from benchmarks.measure.timing import Times, ratio


class Ask(NamedTuple):
    """The first contender of a table is to be `goal` times as fast as the fastest of some others."""

    peer: str  # a contender, or words for several, which are then named
    goal: float
    contenders: Collection[str] = ()


@dataclass
class Section:
    """A measured piece of work: its title, its text and table, and its goals with the measured figures."""

    title: str
    text: str
    table: str = ""
    asks: list[tuple[str, str, str, str]] = field(default_factory=list)

    def ask(
        self, unit: str, goal: float, measured: float, at_most: bool = False, work: str = ""
    ) -> None:
        """Adds a line to the table of asks; `unit` has {} for the figure, and `work` is the title by default."""
        met = measured <= goal if at_most else measured >= goal
        sign = "≤" if at_most else "≥"
        asked, got = (unit.format(number(value)) for value in (goal, measured))
        self.asks.append((work or self.title, f"{sign} {asked}", got, "yes" if met else "no"))

    def ask_ratios(self, times: Mapping[str, Times], asks: Iterable[Ask]) -> None:
        """Adds a line for each ask of which at least one contender was measured."""
        for peer, goal, contenders in asks:
            ratios = [ratio(times, name) for name in contenders or [peer] if name in times]
            if ratios:
                self.ask(f"{{}} × {peer}", goal, min(ratios))

    def markdown(self) -> str:
        return f"## {self.title}\n\n{self.text}\n\n{self.table}"


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
) -> str:
    """Returns a table of the contenders' times and, if the FLOP of a unit of work are given, shares of the peak."""
    first = next(iter(times.values())).median
    header = ["", "µs, median", "times the first", *(["of the FMA peak"] if peak else [])]
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


def percent(value: float) -> str:
    return f"{number(100 * value)} %"
