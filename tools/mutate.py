"""Breaks the sources as docs/mutations.md lists it, one row at a time, and notes there which test fails first.

    python tools/mutate.py [--open] [WORD ...]
    python tools/mutate.py --missing

Without words all rows are run; else those whose file or function has one of the words in its name; with --open, only
those that have not been run as they stand. With --missing nothing is run: the loops of kernels that have no row are
listed. Everything happens
on copies in a temporary folder, with the kernels built as this environment builds them; the Python that runs it needs
what `pip install -e ".[test]"` installs, and setuptools and Cython. Ends with 1 if a mutation was not caught.
"""

import os
import re
import shutil
import subprocess
import sys
import tempfile
import time
from pathlib import Path
from typing import NamedTuple

ROOT = Path(__file__).resolve().parents[1]
PAGE = ROOT / "docs/mutations.md"
ROW = re.compile(r"\| `(.*?)` \| `(.*?)` \| `(.*?)` \| (.*?) \| (.*?) ?\|")
# The head of a function of a module or class, in Python, Cython or C; what it holds belongs to it.
HEAD = r"^ {{0,4}}(?:def|cdef|static inline)\b(?:[ \w*]*?)\b{name}\("
WHOLE_FILE = "-"
OPEN = "--open"
MISSING = "--missing"
COMPILED = {".pyx", ".pxd", ".h"}
TIMEOUT = 900  # seconds; the suite takes four minutes
# The test files that fail soonest come first, a part at a time; all others follow.
QUICK = [
    ["node", "ends", "own_nodes", "ties", "gradcheck"],
    ["ops", "scratch", "node_properties"],
    ["lane_layer", "lanes", "lane_ports", "learning", "rectified", "samples"],
    ["threads", "processes"],
]


class Mutation(NamedTuple):
    """A row of the page."""

    file: str
    function: str
    old: str
    new: str
    rule: str
    caught: str

    def mutated(self, text: str) -> str:
        """The file's text with this mutation, in the first place where it fits; ValueError if there is none."""
        found = [text.find(self.old, *span) for span in self.spans(text)]
        places = [place for place in found if place >= 0]
        if not places:
            raise ValueError(f"{self.file}: {self.function} must hold `{self.old}`")
        place = places[0]
        return text[:place] + self.new + text[place + len(self.old) :]

    def spans(self, text: str) -> list[tuple[int, int]]:
        """Where the functions of this name begin and end: several classes or branches may have one."""
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
        return f"| `{self.function}` | `{self.old}` | `{self.new}` | {self.rule} | {self.caught} |"


def mutations(page: str) -> list[Mutation | str]:
    """The lines of the page, its rows as mutations."""
    file, lines = "", []
    for line in page.splitlines():
        if line.startswith("## `"):
            file = line.strip("# `")
        row = ROW.fullmatch(line)
        lines.append(Mutation(file, *row.groups()) if row else line)
    return lines


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
    """Compiles what has changed: for all instruction sets, or for the baseline alone, which is half the work."""
    platform = [] if all_builds else ["--plat-name=baseline"]
    done = run(folder, "setup.py", "build_ext", "--inplace", *platform)
    if done.returncode:
        raise RuntimeError(f"the build failed:\n{done.stderr[-2000:]}")


def failure(folder: Path) -> str:
    """What the suite finds: the first test that fails, or nothing."""
    files = {path.name: path for path in (folder / "tests").glob("*/test_*.py")}
    quick = [[f"test_{name}.py" for name in names] for names in QUICK]
    # The page's own test fails whenever a source is changed.
    rest = files.keys() - {"test_mutations.py"}.union(*quick)
    for names in (*quick, sorted(rest)):
        if found := first_failure(folder, [str(files[name]) for name in names]):
            return found
    return ""


def first_failure(folder: Path, names: list[str]) -> str:
    """The first test in these files that fails, or nothing."""
    options = ["-x", "-q", "--tb=no", "--no-header", "-p", "no:cacheprovider"]
    try:
        done = run(folder, "-m", "pytest", *options, *names, timeout=TIMEOUT)
    except subprocess.TimeoutExpired:
        return "it does not end"
    if done.returncode == 0:
        return ""
    first = re.search(
        r"^(?:FAILED|ERROR) tests/\w+/(\S+\.py)(?:::(\w+))?", done.stdout, re.MULTILINE
    )
    if first:
        return f"`{first[1]}`: {(first[2] or 'cannot be imported').replace('_', ' ')}"
    return f"the process ends with {done.returncode}"


def sources(folder: str, names: list[str]) -> set[str]:
    """What a copy does without."""
    return {name for name in names if name == "build" or name.startswith(".")} | {
        name for name in names if name.endswith((".so", ".pyc", ".egg-info"))
    }


def needs_all_builds(mutation: Mutation) -> bool:
    """The kernels are the same in all builds; what lies under them is not."""
    return mutation.file.endswith((".h", "_kernels/__init__.py"))


def pristine(parent: Path, all_builds: bool) -> Path:
    """A copy of the tree without a mutation, built, in which the suite passes."""
    folder = parent / f"pristine{all_builds:d}"
    if not folder.exists():
        shutil.copytree(ROOT, folder, ignore=sources)
        build(folder, all_builds)
        if found := failure(folder):
            raise SystemExit(f"without a mutation the suite fails already: {found}")
    return folder


def try_out(mutation: Mutation, built: Path, scratch: Path) -> str:
    """What catches a mutation."""
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


def note(tried: Mutation) -> None:
    """Writes into the page, as it stands now, what caught a mutation."""
    lines = [
        tried if isinstance(line, Mutation) and line[:4] == tried[:4] else line
        for line in mutations(PAGE.read_text(encoding="utf-8"))
    ]
    PAGE.write_text("\n".join(map(str, lines)) + "\n", encoding="utf-8")


def selected(mutation: Mutation, words: list[str]) -> bool:
    wanted = [word for word in words if word != OPEN]
    named = any(word in mutation.file + " " + mutation.function for word in wanted)
    return (named or not wanted) and not (OPEN in words and mutation.caught)


def missing(lines: list[Mutation | str]) -> list[str]:
    """The loops of kernels that no row of the page breaks."""
    broken = {(line.file, line.function) for line in lines if isinstance(line, Mutation)}
    kernels = sorted(ROOT.glob("cgraph/_kernels/*.pyx"))
    found = [
        (path.relative_to(ROOT).as_posix(), name)
        for path in kernels
        for name in functions(path.read_text(encoding="utf-8"))
    ]
    return [f"{file}: {name}" for file, name in found if (file, name) not in broken]


def main(words: list[str]) -> int:
    lines = mutations(PAGE.read_text(encoding="utf-8"))
    if MISSING in words:
        print("\n".join(missing(lines)))
        return 0
    rows = [n for n, line in enumerate(lines) if isinstance(line, Mutation)]
    rows = [n for n in rows if selected(lines[n], words)]
    for n in rows:
        lines[n].mutated((ROOT / lines[n].file).read_text(encoding="utf-8"))
    survivors = 0
    with tempfile.TemporaryDirectory() as name:
        for done, n in enumerate(rows, 1):
            start = time.perf_counter()
            built = pristine(Path(name), needs_all_builds(lines[n]))
            found = try_out(lines[n], built, Path(name))
            survivors += not found
            lines[n] = lines[n]._replace(caught=found or "**nothing**")
            print(f"{done}/{len(rows)} {lines[n].file} {lines[n]}", end=" ")
            print(f"{time.perf_counter() - start:.0f} s", flush=True)
            note(lines[n])
    print(f"{len(rows) - survivors} of {len(rows)} mutations were caught")
    return int(survivors > 0)


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
