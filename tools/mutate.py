"""Breaks the sources as the rows in tests/mutations say, one row at a time, and reports which test fails first.

    python tools/mutate.py [--report FILE] [--resume] [WORD ...]
    python tools/mutate.py --missing
    python tools/mutate.py --stale

Without words all rows are run; else those whose file or function has one of the words in its name. The report is
written row by row to build/mutations.md, or to FILE; with --resume, rows that it has already are not run again. With
--missing nothing is run: the loops of kernels that have no row are listed; with --stale, the rows that no longer fit
their source. Everything happens on copies in a temporary folder, with the kernels built as this environment builds
them; the Python that runs it needs what `pip install -e ".[test]"` installs, and setuptools and Cython. Ends with 1 if
a mutation was not caught.
"""

import argparse
import os
import re
import shutil
import subprocess
import sys
import tempfile
import time
import tomllib
from pathlib import Path
from typing import NamedTuple

ROOT = Path(__file__).resolve().parents[1]
ROWS = ROOT / "tests/mutations"
REPORT = ROOT / "build/mutations.md"
# The head of a function of a module or class, in Python, Cython or C; inner functions belong to it.
HEAD = r"^ {{0,4}}(?:def|cp?def|static inline|ALWAYS_INLINE)\b(?:[ \w*]*?)\b{name}\("
WHOLE_FILE = "-"
HEADER = """| file | in | instead of | stands | which breaks | caught by |
| --- | --- | --- | --- | --- | --- |
"""
COMPILED = {".pyx", ".pxd", ".pxi", ".h"}
TIMEOUT = 900  # seconds; the suite takes two minutes
# The test files that fail soonest come first, a part at a time; all others follow.
QUICK = [
    ["node", "ends", "own_nodes", "ties", "gradcheck"],
    ["ops", "scratch", "node_properties"],
    ["lane_layer", "lanes", "lane_ports", "learning", "rectified", "samples"],
    ["threads", "processes"],
]


class Mutation(NamedTuple):
    """A rule of a source file, and words in one of its functions with others that break the rule."""

    file: str
    function: str
    old: str
    new: str
    rule: str

    def mutated(self, text: str) -> str:
        """The file's text with this mutation, in the first place where it fits; ValueError if there is none."""
        found = [text.find(self.old, *span) for span in self.spans(text)]
        offsets = [offset for offset in found if offset >= 0]
        if not offsets:
            raise ValueError(f"{self.file}: {self.function} must hold `{self.old}`")
        offset = offsets[0]
        return text[:offset] + self.new + text[offset + len(self.old) :]

    def spans(self, text: str) -> list[tuple[int, int]]:
        """Returns the begin and end of each function of this name, of which several classes may have one."""
        if self.function == WHOLE_FILE:
            return [(0, len(text))]
        heads = list(re.finditer(HEAD.format(name=r"(\w+)"), text, re.MULTILINE))
        ends = [*(head.start() for head in heads[1:]), len(text)]
        return [
            (head.start(), end)
            for head, end in zip(heads, ends, strict=True)
            if head[1] == self.function
        ]

    def __str__(self) -> str:
        """The beginning of the row of a report."""
        return f"| `{self.file}` | `{self.function}` | `{self.old}` | `{self.new}` | {self.rule} |"


def rows_of(path: Path) -> list[Mutation]:
    """The mutations that one file in tests/mutations lists, for the source that it names."""
    table = tomllib.loads(path.read_text(encoding="utf-8"))
    return [Mutation(table["source"], **row) for row in table["mutation"]]


def all_rows() -> list[Mutation]:
    """The mutations of all sources, in the order of the names of their files."""
    return [row for path in sorted(ROWS.rglob("*.toml")) for row in rows_of(path)]


def stale(rows: list[Mutation]) -> list[str]:
    """A sentence for each row whose source is gone, or no longer holds the row's old words."""
    found = []
    for row in rows:
        path = ROOT / row.file
        if not path.exists():
            found.append(f"{row.file}: there is no such file")
            continue
        try:
            row.mutated(path.read_text(encoding="utf-8"))
        except ValueError as error:
            found.append(str(error))
    return found


def functions(text: str) -> list[str]:
    """The names of a kernel file's loops; the functions that Python calls only compare sizes and call them."""
    return re.findall(r"^cdef (?!class\b)[^(\n]*?\b(\w+)\(", text, re.MULTILINE)


def run(folder: Path, *command: str, **options) -> subprocess.CompletedProcess[str]:
    """A command in a copy of the tree, which comes before every installed cgraph."""
    return subprocess.run(
        [sys.executable, "-B", *command],
        cwd=folder,
        env=os.environ | {"PYTHONPATH": str(folder)},
        capture_output=True,
        text=True,
        check=False,
        **options,
    )


def build(folder: Path, all_builds: bool) -> None:
    """Compiles the changed sources: for all instruction sets, or for the baseline alone, which is half the work."""
    platform = [] if all_builds else ["--plat-name=baseline"]
    done = run(folder, "setup.py", "build_ext", "--inplace", *platform)
    if done.returncode:
        raise RuntimeError(f"the build failed:\n{done.stderr[-2000:]}")


def failure(folder: Path) -> str:
    """Returns the first test of the suite that fails, or an empty str."""
    files = {path.name: path for path in (folder / "tests").glob("*/test_*.py")}
    quick = [[f"test_{name}.py" for name in names] for names in QUICK]
    # The test of the rows themselves fails whenever a source is changed.
    rest = files.keys() - {"test_mutations.py"}.union(*quick)
    for names in (*quick, sorted(rest)):
        if found := first_failure(folder, [str(files[name]) for name in names]):
            return found
    return ""


def first_failure(folder: Path, names: list[str]) -> str:
    """Returns the first test in these files that fails, or an empty str."""
    options = ["-x", "-q", "--tb=no", "--no-header", "-p", "no:cacheprovider"]
    try:
        done = run(folder, "-m", "pytest", *options, *names, timeout=TIMEOUT)
    except subprocess.TimeoutExpired:
        return "it does not end"
    if done.returncode == 0:
        return ""
    first = re.search(r"^(?:FAILED|ERROR) tests/(\S+\.py)(?:::(\w+))?", done.stdout, re.MULTILINE)
    if first:
        return f"`{first[1]}`: {(first[2] or 'cannot be imported').replace('_', ' ')}"
    return f"the process ends with {done.returncode}"


def not_copied(folder: str, names: list[str]) -> set[str]:
    """Returns the files that are not copied."""
    return {name for name in names if name == "build" or name.startswith(".")} | {
        name for name in names if name.endswith((".so", ".pyc", ".egg-info"))
    }


def needs_all_builds(mutation: Mutation) -> bool:
    """Whether a mutation may fail in one build alone: kernels are equal in all builds, the headers below are not."""
    return mutation.file.endswith((".h", "_kernels/__init__.py"))


def pristine(parent: Path, all_builds: bool) -> Path:
    """A copy of the tree without a mutation, built, in which the suite passes."""
    folder = parent / f"pristine{all_builds:d}"
    if not folder.exists():
        shutil.copytree(ROOT, folder, ignore=not_copied)
        build(folder, all_builds)
        if found := failure(folder):
            raise SystemExit(f"without a mutation the suite fails already: {found}")
    return folder


def try_out(mutation: Mutation, built: Path, scratch: Path) -> str:
    """Returns the test that catches a mutation, or an empty str."""
    copy = scratch / "mutated"
    # With their times, so that only what the mutation changes is built.
    shutil.copytree(built, copy)
    try:
        path = copy / mutation.file
        path.write_text(mutation.mutated(path.read_text(encoding="utf-8")), encoding="utf-8")
        if path.suffix in COMPILED:
            build(copy, needs_all_builds(mutation))
        return failure(copy)
    finally:
        shutil.rmtree(copy)


def missing(rows: list[Mutation]) -> list[str]:
    """Returns the loops of kernels that no row breaks."""
    broken = {(row.file, row.function) for row in rows}
    kernels = sorted(ROOT.glob("cgraph/_kernels/**/*.p[yx][xi]"))
    found = [
        (path.relative_to(ROOT).as_posix(), name)
        for path in kernels
        for name in functions(path.read_text(encoding="utf-8"))
    ]
    return [f"{file}: {name}" for file, name in found if (file, name) not in broken]


def try_all(rows: list[Mutation], report: Path) -> list[Mutation]:
    """Tries the rows, adds each to the report once it is known what catches it, and returns those that survive."""
    survivors = []
    with tempfile.TemporaryDirectory() as name, report.open("a", encoding="utf-8") as lines:
        for done, row in enumerate(rows, 1):
            start = time.perf_counter()
            built = pristine(Path(name), needs_all_builds(row))
            found = try_out(row, built, Path(name))
            if not found:
                survivors.append(row)
            line = f"{row} {found or '**nothing**'} |"
            print(line, file=lines, flush=True)
            print(f"{done}/{len(rows)} {line} {time.perf_counter() - start:.0f} s", flush=True)
    return survivors


def arguments() -> argparse.Namespace:
    """Parses the command line."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--report", type=Path, default=REPORT, help="where results are written")
    parser.add_argument("--resume", action="store_true", help="without the rows in the report")
    parser.add_argument(
        "--missing", action="store_true", help="list loops of kernels without a row"
    )
    parser.add_argument(
        "--stale", action="store_true", help="list rows that fit their source no more"
    )
    parser.add_argument("words", nargs="*", help="in the name of a file or function")
    return parser.parse_args()


def main() -> int:
    asked = arguments()
    rows = [
        row
        for row in all_rows()
        if not asked.words or any(word in f"{row.file} {row.function}" for word in asked.words)
    ]
    if asked.missing or asked.stale:
        print(*(missing(rows) if asked.missing else stale(rows)), sep="\n")
        return 0
    if unfit := stale(rows):
        print(*unfit, sep="\n")
        return 1
    if asked.resume and asked.report.exists():
        known = asked.report.read_text(encoding="utf-8")
        rows = [row for row in rows if str(row) not in known]
    else:
        asked.report.parent.mkdir(parents=True, exist_ok=True)
        asked.report.write_text(HEADER, encoding="utf-8")
    survivors = try_all(rows, asked.report)
    print(f"{len(rows) - len(survivors)} of {len(rows)} mutations were caught: {asked.report}")
    return int(bool(survivors))


if __name__ == "__main__":
    sys.exit(main())
