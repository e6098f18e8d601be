"""The pages: one that has the kinds of machine side by side, and one with all tables for each kind."""

from collections.abc import Callable, Iterable, Mapping, Sequence
from typing import Any, NamedTuple

from benchmarks.measure.tables import ASKS, Asked, Compared, Section, number, table
from benchmarks.pages.groups import GROUPS
from benchmarks.pages.results import Kind

NOTICE = "<!-- This page is written by python -m benchmarks.performance. -->"


class Measured(NamedTuple):
    """A kind of machine, and its tables by group."""

    kind: Kind
    sections: dict[str, list[Section]]

    @property
    def asks(self) -> list[Asked]:
        return [asked for own in self.sections.values() for each in own for asked in each.asks]

    @property
    def compared(self) -> dict[str, Compared]:
        every = (each for own in self.sections.values() for each in own)
        return {each.title: each.compared for each in every if each.compared is not None}


def measured(kind: Kind) -> Measured:
    """Computes all tables of a kind of machine."""
    return Measured(
        kind, {name: GROUPS[name].sections(own.record) for name, own in kind.results.items()}
    )


def side_by_side(
    found: Sequence[Measured], folder: str, pictures: Callable[[Kind], Mapping[str, str]]
) -> str:
    """What the page for all kinds of machine has: the kinds, the fastest peers, pictures of the first one, goals."""
    first = found[0].kind
    parts = [
        machines_table(found, folder),
        "## Beside the fastest peer",
        "cgraph, and how many times as long the fastest of its peers takes, by medians; **bold** where a peer is "
        "faster. jax.lax.scan, with many batches in a call as in `Graph.train`, is not among them. The page of each "
        "kind has all peers.",
        peers_table(found),
        f"The pictures are those of {first.words}.",
        *(image(group, path) for group, path in pictures(first).items()),
        "## Asked and measured",
        "What was measured, and in brackets what was asked; **bold** where that is not met, and an empty cell where "
        "nothing was asked of that kind of machine. Ratios are those of medians, percentages are of the peak of the "
        "instructions in use, and `the floor` is the time that the FLOP take at this peak.",
        asks_table(found),
    ]
    return "\n\n".join(parts) + "\n"


def machines_table(found: Sequence[Measured], folder: str) -> str:
    rows = []
    for own in found:
        circumstances = [each.circumstances for each in own.kind.results.values()]
        first = circumstances[0]
        peaks = first["peaks"][first["instructions"]]
        dates = sorted({each["date"] for each in circumstances})
        rows.append(
            [
                f"[{own.kind.words}]({folder}/{own.kind.name}.md)",
                f"{first['cpu']}, family {first['family']}, model {first['model']}, {first['cores']} cores",
                " / ".join(number(value) for value in peaks.values()),
                dates[0] if len(dates) == 1 else f"{dates[0]} to {dates[-1]}",
                loads(circumstances),
                f"{sum(asked.met for asked in own.asks)} of {len(own.asks)}",
            ]
        )
    header = [
        "kind of machine",
        "measured on",
        "peak, GFLOP/s, float32 / float64",
        "date",
        "load average",
        "goals met",
    ]
    return table(header, rows)


def loads(circumstances: Iterable[Mapping[str, Any]]) -> str:
    """The least and the largest load average before and after a group of tables."""
    known = [value for each in circumstances for value in each["load"] if value is not None]
    return f"{min(known):.2f} to {max(known):.2f}" if known else "unknown"


def asks_table(found: Sequence[Measured]) -> str:
    """A row for each goal that some kind of machine has, a column for each kind."""
    cells = [{key(asked): asked_cell(asked) for asked in own.asks} for own in found]
    keys = ordered(found, lambda own: map(key, own.asks))
    works = list(dict.fromkeys(work for work, _ in keys))
    titles = sorted(keys, key=lambda each: works.index(each[0]))
    rows = [
        [work, figure, *(own.get((work, figure), "") for own in cells)] for work, figure in titles
    ]
    return table(["work", "figure", *(own.kind.words for own in found)], rows)


def key(asked: Asked) -> tuple[str, str]:
    """What a goal is about; in which words in brackets may differ from one kind of machine to the other."""
    return asked.work.partition(" (")[0], asked.figure.replace("{}", "").strip()


def asked_cell(asked: Asked) -> str:
    got = number(asked.measured)
    sign = "≤" if asked.at_most else "≥"
    return f"{got if asked.met else f'**{got}**'} ({sign} {number(asked.goal)})"


def peers_table(found: Sequence[Measured]) -> str:
    cells = [{title: peer_cell(own) for title, own in each.compared.items()} for each in found]
    titles = ordered(found, lambda own: own.compared)
    rows = [[title, *(own.get(title, "") for own in cells)] for title in titles]
    return table(["work", *(own.kind.words for own in found)], rows)


def peer_cell(own: Compared) -> str:
    times = f"{number(own.ratio)} ×"
    return (
        f"{number(own.microseconds)} µs; {times if own.ratio >= 1 else f'**{times}**'} {own.peer}"
    )


def ordered(found: Iterable[Measured], keys: Callable[[Measured], Iterable[Any]]) -> list[Any]:
    """Each key once, in the order of the first kind of machine that has it."""
    return list(dict.fromkeys(each for own in found for each in keys(own)))


def image(group: str, path: str) -> str:
    return f"![{GROUPS[group].caption}]({path})"


def kind_page(own: Measured, pictures: Mapping[str, str]) -> str:
    """The page of one kind of machine: `pictures` has the paths of those that are drawn, by group."""
    parts = [
        NOTICE,
        f"# {own.kind.words}",
        f"[All kinds of machine](../performance.md). {machine_text(own)}",
    ]
    asks = [asked.cells() for asked in own.asks]
    if asks:
        parts += ["## Asked and measured", table(ASKS, asks)]
    for group, sections in own.sections.items():
        if group in pictures:
            parts.append(image(group, pictures[group]))
        parts += [section.markdown() for section in sections]
    return "\n\n".join(parts).replace("\\", "") + "\n"


def machine_text(own: Measured) -> str:
    """The circumstances of the first group, and the loads of all."""
    results = list(own.kind.results.values())
    first = results[0].circumstances
    peaks = "; ".join(
        f"{build}: {', '.join(f'{number(value)} in {dtype}' for dtype, value in peaks.items())}"
        for build, peaks in first["peaks"].items()
    )
    libraries = ", ".join(f"{name} {version}" for name, version in first["libraries"].items())
    switches = ", ".join(f"`{name}={value}`" for name, value in first["switches"].items())
    cores = f"{first['cores']} cores, of which one is used unless a table says otherwise"
    if not first["pinned"]:
        cores += ", though the process could not be pinned to it"
    commits = sorted({each.circumstances["commit"] for each in results} - {""})
    rounds = sorted({each.record.effort.rounds for each in results})
    return (
        f"Measured with cgraph of commit {', '.join(commits) or 'unknown'} on {first['cpu']} "
        f"(family {first['family']}, model {first['model']}), {cores}; Python "
        f"{first['python']}, {libraries}. Peaks in GFLOP/s of the instructions of each build: {peaks}; tables have "
        f"shares of that of `{first['instructions']}`. Switches: {switches or 'none'}. "
        f"{rounds[0]} to {rounds[-1]} rounds. Load average: "
        f"{loads(each.circumstances for each in results)}. Raw results: `benchmarks/results/{own.kind.name}`."
    )
