"""The examples of the documentation and of all docstrings print the output that they show."""

import doctest
import importlib
import pkgutil
import re

import pages
import pytest
from pages import ROOT, Page, is_suite
from sybil.example import SybilFailure

import cgraph

pytest_plugins = ["pytester"]
pytestmark = pytest.mark.thread_unsafe(reason="redirects standard output")

MODULES = [
    module.name
    for module in pkgutil.walk_packages(cgraph.__path__, "cgraph.")
    if not module.name.endswith("__main__") and "._kernels." not in module.name
]


@pytest.mark.parametrize("name", MODULES)
def test_the_examples_of_docstrings_run(name):
    assert doctest.testmod(importlib.import_module(name)).failed == 0


# Rounding affects some digits of the trainings on these pages: their tolerances.
TOLERANCES = {"tutorial/nodes.md": 0.06, "tutorial/graph.md": 0.06, "fitting.md": 0.002}
# How many blocks of text show what commands print, or a bar of progress.
UNCHECKED = {"README.md": 2, "docs/learn/cookbook.md": 1}
LEARN = ROOT / "docs/learn"
# Blocks of the page on tables write files, and its commands read them: tests/kit/test_cli_tables.py runs all of it.
LEARNT = [path for path in sorted(LEARN.rglob("*.md")) if path.name != "tables.md"]
PAGES = ["README.md", *(path.relative_to(ROOT).as_posix() for path in LEARNT)]


@pytest.mark.parametrize("name", PAGES)
def test_the_examples_of_the_pages_print_what_they_say(name):
    page = Page(name, TOLERANCES.get(name.removeprefix("docs/learn/"), 0.0))
    assert any(page.code())
    page.run()
    assert page.unchecked == UNCHECKED.get(name, 0)


def test_a_page_that_says_something_else_fails_at_its_line(monkeypatch, tmp_path):
    monkeypatch.setattr(pages, "ROOT", tmp_path)
    shown = "```python\nprint(0.5)\n```\n"
    for text in ("", "\n```text\n0.51\n```\n", "\n```text\n0.5 and more\n```\n"):
        (tmp_path / "page.md").write_text(f"# Page\n\n{shown}{text}", encoding="utf-8")
        with pytest.raises(SybilFailure, match="line 3"):
            Page("page.md").run()


def test_the_suite_on_the_page_about_own_nodes_passes_as_often_as_it_says(pytester):
    page = Page("docs/learn/own_node.md")
    blocks = [code for _, code in page.code()]
    (suite,) = filter(is_suite, blocks)
    definitions = [code for code in blocks if re.search("^class ", code, re.MULTILINE)]
    module = [code for code in definitions if "gradcheck" not in code]
    pytester.makepyfile(mynodes="\n".join(module), test_scale=suite)
    outcomes = pytester.runpytest().parseoutcomes()
    assert f"```text\n{outcomes['passed']} passed\n```" in page.document.text


def test_the_version_is_stated_alike_in_both_places():
    pyproject = (ROOT / "pyproject.toml").read_text(encoding="utf-8")
    assert f'version = "{cgraph.__version__}"' in pyproject


def test_the_reference_lists_every_public_name():
    page = (ROOT / "docs/look_up/reference.md").read_text(encoding="utf-8")
    assert [name for name in cgraph.__all__ if not re.search(rf"\b{name}\b", page)] == []


@pytest.mark.parametrize("name", ["cgraph.data", "cgraph.init", "cgraph.layers", "cgraph.models"])
def test_the_reference_lists_every_public_module(name):
    page = (ROOT / "docs/look_up/reference.md").read_text(encoding="utf-8")
    public = importlib.import_module(name).__all__
    assert [each for each in public if f"{name}.{each}\n" not in page] == []


def prose(page):
    """The text of a page without its blocks of code."""
    return re.sub(r"```.*?```", "", page.read_text(encoding="utf-8"), flags=re.DOTALL)


def anchors(page):
    """The anchors of a page's headings, as GitHub and MyST make them."""
    titles = re.findall(r"^#+ (.*)$", prose(page), re.MULTILINE)
    return {re.sub(r"[^\w\- ]", "", title.lower()).replace(" ", "-") for title in titles}


def test_the_readme_shows_the_line_of_the_page_about_tables():
    readme, page = (
        (ROOT / name).read_text(encoding="utf-8") for name in ("README.md", "docs/learn/tables.md")
    )
    (line,) = re.findall(r"^held out: .*", readme, re.MULTILINE)
    assert line in page


def test_each_block_is_of_a_kind_that_the_tests_know():
    """Others, such as `py`, would be run by no test."""
    for page in PAGES:
        text = (ROOT / page).read_text(encoding="utf-8")
        opened = re.findall(r"^[ >]*```(.*)$", text, re.MULTILINE)[::2]
        assert set(opened) <= {"python", "text", "console", "sh"}, page


def test_links_between_the_pages_lead_somewhere():
    pages = [ROOT / "README.md", ROOT / "CONTRIBUTING.md", *sorted((ROOT / "docs").rglob("*.md"))]
    assert len(pages) > 10
    for page in pages:
        for target, anchor in re.findall(r"\]\(([^)#:]*)#?([^):]*)\)", prose(page)):
            linked = page.parent / target if target else page
            assert linked.exists(), f"{page.name}: {target}"
            assert not anchor or anchor in anchors(linked), f"{page.name}: {target}#{anchor}"


def test_no_page_has_a_gap_left_to_fill():
    for page in (*ROOT.glob("*.md"), *ROOT.glob("docs/**/*.md")):
        assert "@@" not in page.read_text(encoding="utf-8"), page.name


def test_the_networks_out_of_nodes_have_no_step_in_python(capsys):
    namespace = {}
    for section, code in Page("docs/learn/networks.md").code():
        if not section.startswith("All of them"):  # which trains them
            exec(code, namespace)
    losses = namespace["losses"]
    assert len(losses) == 5
    for name, loss in losses.items():
        cgraph.Graph(loss).summary()
        summary = capsys.readouterr().out
        assert "Python" not in summary, name
        assert {line.split()[-1] for line in summary.splitlines()[1:-2]} == {"lanes"}, name
