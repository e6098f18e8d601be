"""Measures all that docs/understand/performance.md says, and writes it.

python benchmarks/performance.py [--quick] [--rows lenet,conv]

It needs `pip install -e ".[bench]"` and a C compiler, and takes about ten minutes. With --quick or --rows it only
prints what it measures.
"""

import one_core  # isort: skip
import argparse
import datetime
import importlib.metadata
import os
import re
from pathlib import Path

import batch_scaling
import batch_sections
import scaling
import sections
from peak import TYPES, gflops, peak_loop
from tables import ASKS, Section, table
from timing import Effort, alternate, load, machine

DOCS = Path(__file__).parents[1] / "docs"
PAGE, PICTURES = DOCS / "understand/performance.md", DOCS / "pictures"
PLOTS = {"performance_scaling.svg": scaling.plot, "performance_batches.svg": batch_scaling.plot}
SECTIONS = {**sections.SECTIONS, **batch_sections.SECTIONS}
MEASURED = re.compile(r"(?<=<!-- measured -->\n).*(?=<!-- end -->)", re.DOTALL)
PACKAGES = ("numpy", "torch", "jax", "onnxruntime", "scikit-learn")
THOROUGH, QUICK = Effort(40, 0.01), Effort(5, 0.003)


def circumstances(effort: Effort) -> str:
    """Where and with what."""
    loops = alternate({dtype: peak_loop(dtype) for dtype in TYPES}, effort)
    peaks = ", ".join(f"{gflops(times):.1f} GFLOP/s in {dtype}" for dtype, times in loops.items())
    versions = ", ".join(f"{name} {importlib.metadata.version(name)}" for name in PACKAGES)
    return (
        f"Measured on {datetime.date.today()}: {machine()}, {os.cpu_count()} cores, of which one is used "
        "unless a table says otherwise"
        f"{'' if one_core.PINNED else ', though the process could not be pinned to it'}; {versions}. "
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


def main() -> None:
    parser = argparse.ArgumentParser(description="Measures, and writes the page on performance.")
    parser.add_argument("--quick", action="store_true", help="few and short rounds, no page")
    parser.add_argument("--rows", help=f"some of {','.join(SECTIONS)}; no page")
    options = parser.parse_args()
    effort = QUICK if options.quick else THOROUGH
    start = load()
    parts = [circumstances(effort)]
    found = measure(options.rows.split(",") if options.rows else list(SECTIONS), effort)
    asks = table(ASKS, [ask for section in found for ask in section.asks])
    parts[0] += f" Load average: {start} at the start, {load()} at the end."
    print(parts[0], asks, sep="\n\n")
    if options.quick or options.rows:
        return
    for name, plot in PLOTS.items():
        plot(PICTURES / name, effort)
    parts += ["## Asked and measured", asks, *(section.markdown() for section in found)]
    page = PAGE.read_text(encoding="utf-8")
    measured = "\n\n".join(parts).replace("\\", "") + "\n"
    PAGE.write_text(MEASURED.sub(lambda _: measured, page), encoding="utf-8")


if __name__ == "__main__":
    main()
