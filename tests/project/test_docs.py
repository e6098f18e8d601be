"""The examples of the documentation and of all docstrings print the output that they show."""

import contextlib
import doctest
import importlib
import importlib.util
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
# The memory of blocks of samples, and what decides their sizes.
LAYOUTS = re.compile(r"[\d,]+(?= for all| bytes| samples| without)")


def blocks(page):
    """Returns (code, output) for each python block of a page; the output is None where none follows."""
    found = BLOCK.findall((ROOT / page).read_text(encoding="utf-8"))
    for (kind, code), (following, text) in zip(found, [*found[1:], ("", "")], strict=True):
        if kind == "python":
            yield code, text if following == "text" else None


def without_numbers(text):
    """The text without decimals, and without the numbers that depend on the build where another one runs."""
    if _kernels._selected != "avx2":
        text = LAYOUTS.sub("#", text)
    return DECIMAL.sub("#", text)


# Rounding affects some digits of the training in the tutorial; this is their tolerance.
PAGES = {
    "README.md": 0.0,
    "docs/learn/tutorial.md": 0.06,
    "docs/learn/own_node.md": 0.0,
    "docs/learn/cookbook.md": 0.0,
    "docs/learn/programs.md": 0.0,
    "docs/learn/networks.md": 0.0,
    "docs/learn/layers.md": 0.0,
    "docs/learn/training.md": 0.0,
    "docs/learn/fitting.md": 0.002,
    "docs/learn/second_order.md": 0.0,
    "docs/learn/streams.md": 0.0,
}
HAS_SCIPY = importlib.util.find_spec("scipy") is not None


@pytest.mark.parametrize("page", PAGES)
def test_the_examples_of_the_pages_print_what_they_say(page):
    namespace = {"__name__": "page"}
    shown = 0
    for code, text in blocks(page):
        if code.startswith("# test_") or ("scipy" in code and not HAS_SCIPY):
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


@pytest.mark.parametrize("name", ["cgraph.data", "cgraph.init", "cgraph.layers", "cgraph.models"])
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


def test_the_networks_out_of_nodes_have_no_step_in_python(capsys):
    namespace = {}
    for code, _ in blocks("docs/learn/networks.md"):
        exec(compile(code, "networks", "exec"), namespace)
    capsys.readouterr()
    assert len(namespace["losses"]) == 5
    for name, loss in namespace["losses"].items():
        cgraph.Graph(loss).summary()
        summary = capsys.readouterr().out
        assert "Python" not in summary, name
        assert {line.split()[-1] for line in summary.splitlines()[1:-2]} == {"lanes"}, name
