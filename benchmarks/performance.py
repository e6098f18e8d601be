"""Measures all figures of the pages about performance, and writes these pages.

python -m benchmarks.performance [--quick] [--rows lenet,conv] [--save] [--render] [--instructions avx512]

A process for each set of instructions that is worth it measures all groups of tables and writes the raw results to
benchmarks/results/, a folder for each kind of machine; docs/understand/performance.md, a page for each kind below it
and the pictures are made of these files, which --render does without measuring. It needs a C compiler and the peers,
`pip install -e ".[bench]"`, and takes about half an hour. With --quick (short and few rounds) or --rows it only prints
what it measures, without the peers that are not installed; --rows with --save writes these rows, too.
"""

from benchmarks.measure import one_core  # isort: skip
import argparse
import os
import re
import subprocess
import sys
from collections.abc import Mapping
from pathlib import Path

from benchmarks.measure.instructions import environment, worth_measuring
from benchmarks.measure.machine import circumstances
from benchmarks.measure.peers import versions
from benchmarks.pages.groups import GROUPS, measure
from benchmarks.pages.report import kind_page, measured, side_by_side
from benchmarks.pages.results import FOLDER, Kind, Result, kinds, save

DOCS = Path(__file__).parents[1] / "docs"
PAGE, PAGES, PICTURES = (
    DOCS / "understand/performance.md",
    DOCS / "understand/performance",
    DOCS / "pictures/performance",
)
MEASURED = re.compile(r"(?<=<!-- measured -->\n).*(?=<!-- end -->)", re.DOTALL)


def measure_here(names: list[str], quick: bool, saved: bool) -> None:
    """Measures groups with the instructions of this process, and writes their raw results if they are saved."""
    found = circumstances()
    print(f"# {found['kind']}\n", flush=True)
    for name in names:
        start = load_average()
        record = measure(name, quick)
        if saved:
            own = {**found, "load": [start, load_average()]}
            save(FOLDER / found["kind"], name, Result(own, record))


def load_average() -> float | None:
    return round(os.getloadavg()[0], 2) if hasattr(os, "getloadavg") else None


def measure_in_processes(instructions: list[str], arguments: list[str]) -> None:
    """Starts a process for each set of instructions, one after the other; each chooses its core by itself."""
    if one_core.PINNED:
        os.sched_setaffinity(0, one_core.CORES)
    for each in instructions:
        command = [sys.executable, "-m", __spec__.name, "--here", *arguments]
        root = Path(__file__).parents[1]
        if subprocess.run(command, cwd=root, env=environment(each)).returncode:
            raise SystemExit(f"The process with {each} has failed.")


def render() -> None:
    """Writes the pages and the pictures from the raw results."""
    for kind in kinds(FOLDER, GROUPS):
        draw(kind)
    PAGES.mkdir(exist_ok=True)
    for path, text in pages(FOLDER).items():
        path.write_text(text, encoding="utf-8")


def pages(folder: Path) -> dict[Path, str]:
    """The text of all pages that are made of raw results."""
    found = [measured(kind) for kind in kinds(folder, GROUPS)]
    block = side_by_side(found, PAGES.name, lambda kind: pictures_from("../", kind))
    main_page = MEASURED.sub(lambda _: block, PAGE.read_text(encoding="utf-8"))
    kind_pages = {
        PAGES / f"{own.kind.name}.md": kind_page(own, pictures_from("../../", own.kind))
        for own in found
    }
    return {PAGE: main_page, **kind_pages}


def draw(kind: Kind) -> None:
    """Draws the pictures of a kind of machine."""
    PICTURES.mkdir(exist_ok=True)
    for name, own in kind.results.items():
        plot = GROUPS[name].draw
        if plot is not None:
            plot(PICTURES / picture(kind, name), own.record)


def picture(kind: Kind, group: str) -> str:
    return f"{kind.name}_{group}.svg"


def pictures_from(docs: str, kind: Kind) -> Mapping[str, str]:
    """The paths of a kind's pictures by group, from a page for which `docs` leads to the folder of all pages."""
    drawn = [name for name in kind.results if GROUPS[name].draw is not None]
    return {name: f"{docs}pictures/performance/{picture(kind, name)}" for name in drawn}


def require_peers() -> None:
    """Ends the program where a peer is missing on the pages."""
    missing = [name for name, version in versions().items() if not version]
    if missing:
        raise SystemExit(
            f"Nothing is saved without {', '.join(missing)}; --quick and --rows print what there is."
        )


def arguments() -> argparse.Namespace:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--quick", action="store_true", help="few and short rounds, no page")
    parser.add_argument("--rows", help=f"some of {','.join(GROUPS)}; no page")
    parser.add_argument("--save", action="store_true", help="save the results of --rows, too")
    parser.add_argument("--render", action="store_true", help="write the pages, measure nothing")
    parser.add_argument(
        "--instructions", choices=worth_measuring(), help="those of one process only"
    )
    parser.add_argument("--here", action="store_true", help=argparse.SUPPRESS)
    return parser.parse_args()


def main() -> None:
    options = arguments()
    saved = options.save or not (options.quick or options.rows)
    if options.quick and options.save:
        raise SystemExit("Results of few and short rounds are not saved.")
    if options.here:
        names = options.rows.split(",") if options.rows else list(GROUPS)
        measure_here(names, options.quick, saved)
        return
    if not options.render:
        if saved:
            require_peers()
        instructions = [options.instructions] if options.instructions else worth_measuring()
        measure_in_processes(instructions, sys.argv[1:])
    if options.render or saved:
        render()


if __name__ == "__main__":
    main()
