"""The pages about the code name files, folders, classes and functions that are there."""

import re
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]
if not (ROOT / "cgraph").exists():
    pytest.skip("the tests run without the sources", allow_module_level=True)

# The pages that explain the code by its names and places.
EXPLAINING = [
    *(f"docs/understand/{name}.md" for name in ("architecture", "graph", "batches", "threads")),
    "docs/understand/adding_an_op.md",
    "docs/look_up/notation.md",
]
SOURCES = sorted(
    path
    for folder in ("cgraph", "tests", "tools")
    for path in (ROOT / folder).rglob("*.*")
    if path.suffix in (".py", ".pyx", ".pxi", ".pxd", ".h") and "builds" not in path.parts
)
PATH = re.compile(r"[\w/]+(\.(py|pyx|pxi|pxd|h)|/)")


def named(page):
    """What a page sets in backticks outside of its blocks of code."""
    text = re.sub(r"```.*?```", "", (ROOT / page).read_text(encoding="utf-8"), flags=re.DOTALL)
    return re.findall(r"`([^`\n]+)`", text)


@pytest.mark.parametrize("page", EXPLAINING)
def test_the_places_that_the_pages_name_exist(page):
    for name in filter(PATH.fullmatch, named(page)):
        found = (ROOT / name).exists() or (ROOT / "cgraph" / name).exists()
        assert found or any(path.name == name for path in [*SOURCES, ROOT / "setup.py"]), name


@pytest.mark.parametrize("page", EXPLAINING)
def test_the_names_in_the_pages_are_names_of_the_sources(page):
    words = {
        word for path in SOURCES for word in re.findall(r"\w+", path.read_text(encoding="utf-8"))
    }
    names = {name for name in named(page) if re.fullmatch(r"[A-Za-z_][\w.]*(\(\))?", name)}
    missing = {
        name
        for name in names
        - {"Exp", "Sum", "CHANGELOG.md"}  # Exp and Sum are examples of new operations
        if not PATH.fullmatch(name) and not words.issuperset(re.findall(r"\w+", name))
    }
    assert not missing


def test_what_is_where_according_to_the_page():
    page = (ROOT / "docs/understand/architecture.md").read_text(encoding="utf-8")
    rows = re.findall(r"^\| [^|]+ \| `([\w/]+\.pyx?)`, `(\w+)` \|$", page, re.MULTILINE)
    assert len(rows) > 12
    for path, name in rows:
        source = (ROOT / "cgraph" / path).read_text(encoding="utf-8")
        assert re.search(rf"\b(def|void|class) {name}\b", source), f"{path}: {name}"


def test_the_list_of_folders_is_what_is_there():
    page = (ROOT / "docs/understand/architecture.md").read_text(encoding="utf-8")
    (block,) = re.findall(r"```text\ncgraph/\n(.*?)```", page, re.DOTALL)
    listed, folder = set(), ""
    for indent, name in re.findall(r"^( +)(\S+)", block, re.MULTILINE):
        folder = "" if len(indent) == 2 else folder
        listed.add(folder + name)
        folder = name if len(indent) == 2 else folder
    shown = {name.split("/")[0] for name in listed if name.count("/") and not name.endswith("/")}
    there = set()
    for parent in ("", *shown):
        for path in (ROOT / "cgraph" / parent).iterdir():
            if path.name == "__pycache__":
                continue
            if path.suffix == ".py" or (path.is_dir() and any(path.glob("*.py*"))):
                there.add(str(path.relative_to(ROOT / "cgraph")) + "/" * path.is_dir())
    missing = {"__main__.py", "__pyinstaller/", "_kernels/builds/", "_kernels/missing.py"}
    inits = {name for name in there if name.endswith("/__init__.py")}
    assert there - missing - inits == listed - inits
