"""The examples of the documentation and of all docstrings print the output that they show."""

import contextlib
import doctest
import importlib
import io
import pkgutil
import re
from pathlib import Path

import pytest

import cgraph
from cgraph import _kernels

pytest_plugins = ["pytester"]
pytestmark = pytest.mark.thread_unsafe(reason="redirects standard output")

ROOT = Path(__file__).parents[2]
MODULES = [
    module.name
    for module in pkgutil.walk_packages(cgraph.__path__, "cgraph.")
    if not module.name.endswith("__main__") and "._kernels." not in module.name
]


@pytest.mark.parametrize("name", MODULES)
def test_the_examples_of_docstrings_run(name):
    assert doctest.testmod(importlib.import_module(name)).failed == 0


BLOCK = re.compile(r"```(python|text)\n(.*?)```", re.DOTALL)
DECIMAL = re.compile(r"\d+\.\d+")
TABLES = re.compile(r"[\d,]+(?= for all)")


def blocks(page):
    """Returns (code, output) for each python block of a page; the output is None where none follows."""
    found = BLOCK.findall((ROOT / page).read_text(encoding="utf-8"))
    for (kind, code), (following, text) in zip(found, [*found[1:], ("", "")], strict=True):
        if kind == "python":
            yield code, text if following == "text" else None


def without_numbers(text):
    """The text without decimals, and without the size of tables where other kernels than the pages' run."""
    if _kernels._selected != "avx2":
        text = TABLES.sub("#", text)
    return DECIMAL.sub("#", text)


# Rounding affects some digits of the training in the tutorial; this is their tolerance.
PAGES = {
    "README.md": 0.0,
    "docs/learn/tutorial.md": 0.06,
    "docs/learn/own_node.md": 0.0,
    "docs/learn/cookbook.md": 0.0,
}


@pytest.mark.parametrize("page", PAGES)
def test_the_examples_of_the_pages_print_what_they_say(page):
    namespace = {"__name__": "page"}
    shown = 0
    for code, text in blocks(page):
        if code.startswith("# test_"):
            continue
        printed = io.StringIO()
        with contextlib.redirect_stdout(printed):
            exec(compile(code, page, "exec"), namespace)
        actual, expected = printed.getvalue(), text or ""
        tolerance = PAGES[page] if "epoch" in expected else 0.0
        assert without_numbers(actual) == without_numbers(expected)
        numbers = [[float(n) for n in DECIMAL.findall(said)] for said in (actual, expected)]
        assert numbers[0] == pytest.approx(numbers[1], abs=tolerance, rel=0)
        shown += text is not None
    assert shown > 0


def test_the_suite_on_the_page_about_own_nodes_passes_as_often_as_it_says(pytester):
    page = list(blocks("docs/learn/own_node.md"))
    ((suite, result),) = [(code, text) for code, text in page if code.startswith("# test_")]
    definitions = [code for code, _ in page if re.search("^class ", code, re.MULTILINE)]
    module = [code for code in definitions if "gradcheck" not in code]
    pytester.makepyfile(mynodes="\n".join(module), test_scale=suite)
    outcomes = pytester.runpytest_subprocess().parseoutcomes()
    assert outcomes == {"passed": int(result.split()[0])}


def test_the_version_is_stated_alike_in_both_places():
    pyproject = (ROOT / "pyproject.toml").read_text(encoding="utf-8")
    assert f'version = "{cgraph.__version__}"' in pyproject


def test_the_reference_lists_every_public_name():
    page = (ROOT / "docs/look_up/reference.md").read_text(encoding="utf-8")
    assert [name for name in cgraph.__all__ if not re.search(rf"\b{name}\b", page)] == []


@pytest.mark.parametrize("name", ["cgraph.data", "cgraph.models", "cgraph.training"])
def test_the_reference_lists_every_public_module(name):
    page = (ROOT / "docs/look_up/reference.md").read_text(encoding="utf-8")
    public = importlib.import_module(name).__all__
    assert [each for each in public if f"{name}.{each}\n" not in page] == []


def test_links_between_the_pages_lead_somewhere():
    pages = [ROOT / "README.md", ROOT / "CONTRIBUTING.md", *sorted((ROOT / "docs").rglob("*.md"))]
    assert len(pages) > 10
    for page in pages:
        text = re.sub(r"```.*?```", "", page.read_text(encoding="utf-8"), flags=re.DOTALL)
        for target in re.findall(r"\]\(([^)#:]+)\)", text):
            assert (page.parent / target).exists(), f"{page.name}: {target}"


def test_no_page_has_a_gap_left_to_fill():
    for page in (*ROOT.glob("*.md"), *ROOT.glob("docs/**/*.md")):
        assert "@@" not in page.read_text(encoding="utf-8"), page.name


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
    if path.suffix in (".py", ".pyx", ".pxd", ".h") and "builds" not in path.parts
)
PATH = re.compile(r"[\w/]+(\.(py|pyx|pxd|h)|/)")


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
        for name in names - {"Exp", "CHANGELOG.md"}  # Exp is the example of a new operation
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
