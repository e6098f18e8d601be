"""The pytest plugin, as the suite of a user sees it."""

import subprocess
import sys
import tomllib
from pathlib import Path

import pytest

pytest_plugins = ["pytester"]
pytestmark = pytest.mark.thread_unsafe(reason="starts processes")

SUITE = """
import cgraph as CG

class Wrong(CG.ReLU):
    def calcPartialDerivative(self):
        self.backward[0].grad += 3 * self.grad

def build(kind):
    x = CG.Leaf1(2)
    x.getInput([1.0, 2.0])
    return CG.Norm2(kind(x))

def test_right(gradcheck):
    gradcheck(build(CG.ReLU))

def test_right_as_a_graph(gradcheck):
    gradcheck(CG.Graph(build(CG.ReLU)))

def test_wrong(gradcheck):
    gradcheck(build(Wrong))
"""


@pytest.mark.parametrize(
    ("options", "place"),
    [([], "at (0,)"), (["--gradcheck-mode", "projection"], "along a random direction")],
)
def test_a_suite_of_ones_own_finds_the_wrong_node(pytester, options, place):
    pytester.makepyfile(SUITE)
    result = pytester.runpytest_subprocess(*options)
    result.assert_outcomes(passed=2, failed=1)
    result.stdout.fnmatch_lines([f"*GradientError: *Leaf1*data {place}*"])


def test_the_step_comes_from_the_command_line(pytester):
    pytester.makepyfile("def test_step(gradcheck): assert gradcheck.keywords['eps'] == 0.25")
    pytester.runpytest_subprocess("--gradcheck-eps", "0.25").assert_outcomes(passed=1)


def test_the_plugin_imports_cgraph_only_when_it_is_used():
    code = "import sys, cgraph_pytest; print('cgraph' in sys.modules)"
    result = subprocess.run(
        [sys.executable, "-c", code], capture_output=True, text=True, check=True
    )
    assert result.stdout == "False\n"


# Registered by the entry point in pyproject.toml, whatever the installed metadata contain.
INSTALLED = """
import sys
from importlib import metadata

others = [d for d in metadata.distributions() if d.name.replace("_", "-") != "cgraph-autodiff"]
ours = metadata.Distribution.at({folder!r})
metadata.distributions = lambda **_: iter([*others, ours])

import pytest
sys.exit(pytest.main({options!r}))
"""


@pytest.mark.parametrize("options", [[], ["-p", "cgraph_pytest"]], ids=["installed", "named"])
def test_the_plugin_may_be_named_beside_its_entry_point(tmp_path, options):
    pyproject = tomllib.loads((Path(__file__).parents[2] / "pyproject.toml").read_text("utf-8"))
    points = pyproject["project"]["entry-points"]["pytest11"]
    folder = tmp_path / "cgraph_autodiff-0.dist-info"
    folder.mkdir()
    (folder / "METADATA").write_text("Metadata-Version: 2.1\nName: cgraph-autodiff\nVersion: 0\n")
    lines = [f"{name} = {module}" for name, module in points.items()]
    (folder / "entry_points.txt").write_text("\n".join(["[pytest11]", *lines]))
    (tmp_path / "test_it.py").write_text("def test_it(gradcheck): assert gradcheck")
    code = INSTALLED.format(folder=str(folder), options=[*options, "-q", "test_it.py"])
    done = subprocess.run(
        [sys.executable, "-c", code], cwd=tmp_path, capture_output=True, text=True, timeout=300
    )
    assert done.returncode == 0, done.stderr
    assert "1 passed" in done.stdout
