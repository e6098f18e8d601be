"""Tables of Markdown, and what a benchmark reports."""

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field

from timing import Times


@dataclass
class Section:
    """Something that was measured: what was asked of it and came out, and the times."""

    title: str
    text: str
    table: str = ""
    asks: list[tuple[str, str, str, str]] = field(default_factory=list)

    def ask(
        self, work: str, unit: str, wanted: float, measured: float, at_most: bool = False
    ) -> None:
        """A line of the table of asks. unit: with {} for the figure."""
        met = measured <= wanted if at_most else measured >= wanted
        sign = "≤" if at_most else "≥"
        asked, came = (unit.format(number(value)) for value in (wanted, measured))
        self.asks.append((work, f"{sign} {asked}", came, "yes" if met else "no"))

    def markdown(self) -> str:
        return f"## {self.title}\n\n{self.text}\n\n{self.table}"


ASKS = ("work", "asked", "measured", "met")


def number(value: float) -> str:
    """Three digits, more where there are more before the point."""
    return f"{value:,.0f}" if value >= 99.95 else f"{value:.3g}"


def table(header: Sequence[str], rows: Iterable[Sequence[str]]) -> str:
    lines = [header, ["---"] * len(header), *rows]
    return "\n".join("| " + " | ".join(line) + " |" for line in lines)


def times_table(times: Mapping[str, Times], flop: float = 0, peak: Times | None = None) -> str:
    """Each contender's time; and, with the FLOP of a unit of work, how much of the peak that is."""
    first = next(iter(times.values())).median
    header = ["", "µs, median", "times the first", *(["of the FMA peak"] if peak else [])]
    rows = []
    for name, own in times.items():
        row = [name, number(own.median), number(own.median / first)]
        if peak:
            row.append(percent(share(flop, own, peak)))
        rows.append(row)
    return table(header, rows)


def share(flop: float, times: Times, peak: Times) -> float:
    """Of the peak, by the fastest third of the chunks of both."""
    return flop / 1000 * peak.fastest / times.fastest


def percent(value: float) -> str:
    return f"{number(100 * value)} %"
