"""Measures all figures of docs/understand/performance.md, and writes the page.

python -m benchmarks.performance [--quick] [--rows lenet,conv]

It needs a C compiler and the peers, `pip install -e ".[bench]"`, and takes about ten minutes. With --quick (short and
few rounds) or --rows it only prints what it measures, without the peers that are not installed.
"""

from benchmarks.measure import one_core  # isort: skip
import argparse
import datetime
import os
import re
from collections.abc import Callable
from pathlib import Path

from benchmarks.measure.peak import TYPES, gflops, peak_loop
from benchmarks.measure.peers import versions
from benchmarks.measure.tables import ASKS, Section, table
from benchmarks.measure.timing import QUICK, Effort, alternate, load, machine
from benchmarks.pages import layers, scaling, sections
from benchmarks.pages.two_threads import two_threads

DOCS = Path(__file__).parents[1] / "docs"
PAGE, PICTURES = DOCS / "understand/performance.md", DOCS / "pictures"
PLOTS = {
    "performance_scaling.svg": scaling.plot_sizes,
    "performance_batches.svg": scaling.plot_batches,
}
SECTIONS: dict[str, Callable[[Effort], list[Section]]] = {
    "lenet": sections.lenet_training,
    "inference": sections.lenet_inference,
    "mlp": sections.mlp_training,
    "vgg": sections.vgg_training,
    "affine": layers.affine_layer,
    "conv": layers.convolutions,
    "chain": layers.tiny_nodes,
    "threads": two_threads,
}
MEASURED = re.compile(r"(?<=<!-- measured -->\n).*(?=<!-- end -->)", re.DOTALL)
THOROUGH = Effort(40, 0.01)


def circumstances(effort: Effort) -> str:
    """The machine, the versions of all libraries and the peaks."""
    loops = alternate({dtype: peak_loop(dtype) for dtype in TYPES}, effort)
    peaks = ", ".join(f"{gflops(times):.1f} GFLOP/s in {dtype}" for dtype, times in loops.items())
    libraries = ", ".join(f"{name} {version}" for name, version in versions().items() if version)
    return (
        f"Measured on {datetime.date.today()}: {machine()}, {os.cpu_count()} cores, of which one is used "
        "unless a table says otherwise"
        f"{'' if one_core.PINNED else ', though the process could not be pinned to it'}; {libraries}. "
        f"FMA peak: {peaks}. {effort.rounds} rounds."
    )


def measure(names: list[str], effort: Effort) -> list[Section]:
    """Prints each section when it is done."""
    measured = []
    for name in names:
        for section in SECTIONS[name](effort):
            print(section.markdown(), end="\n\n", flush=True)
            measured.append(section)
    return measured


def require_peers() -> None:
    """Ends the program where a peer is missing on the page."""
    missing = [name for name, version in versions().items() if not version]
    if missing:
        raise SystemExit(
            f"No page is written without {', '.join(missing)}; --quick and --rows print what there is."
        )


def write(parts: list[str], effort: Effort) -> None:
    """Writes the page and its pictures."""
    for name, plot in PLOTS.items():
        plot(PICTURES / name, effort)
    page = PAGE.read_text(encoding="utf-8")
    measured = "\n\n".join(parts).replace("\\", "") + "\n"
    PAGE.write_text(MEASURED.sub(lambda _: measured, page), encoding="utf-8")


def main() -> None:
    parser = argparse.ArgumentParser(
        description="Measures, and writes docs/understand/performance.md."
    )
    parser.add_argument("--quick", action="store_true", help="few and short rounds, no page")
    parser.add_argument("--rows", help=f"some of {','.join(SECTIONS)}; no page")
    options = parser.parse_args()
    effort, prints = QUICK if options.quick else THOROUGH, options.quick or options.rows
    if not prints:
        require_peers()
    start = load()
    where = circumstances(effort)
    found = measure(options.rows.split(",") if options.rows else list(SECTIONS), effort)
    asks = table(ASKS, [ask for section in found for ask in section.asks])
    where += f" Load average: {start} at the start, {load()} at the end."
    print(where, asks, sep="\n\n")
    if not prints:
        tables = [section.markdown() for section in found]
        write([where, "## Asked and measured", asks, *tables], effort)


if __name__ == "__main__":
    main()
