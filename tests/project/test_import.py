"""The modules that `import cgraph` imports, and its messages where a module is missing."""

import runpy
import shutil
import subprocess
import sys
import sysconfig
import tomllib
from importlib import import_module
from pathlib import Path

import pytest

import cgraph
from cgraph import _kernels
from cgraph.__pyinstaller import get_hook_dirs

pytestmark = pytest.mark.thread_unsafe(reason="starts processes")

PACKAGE = Path(cgraph.__file__).parent
CODE = """
import sys
import numpy
before = set(sys.modules)
import cgraph
print(*(set(sys.modules) - before))
"""
# Every program would pay for it. numpy.random is half of NumPy's own import time; the others belong to the command and
# to the extras.
EXPENSIVE = {
    "numpy.random",
    "argparse",
    "matplotlib",
    "tqdm",
    "pytest",
    "cgraph.cli",
}


def printed(code):
    """Runs code in a process of its own, and returns its output."""
    run = subprocess.run(
        [sys.executable, "-c", code], capture_output=True, text=True, check=True, timeout=60
    )
    return run.stdout.split()


def test_importing_cgraph_imports_nothing_expensive():
    imported = set(printed(CODE))
    assert "cgraph.node" in imported
    assert not imported & EXPENSIVE


@pytest.mark.skipif(
    not sysconfig.get_config_var("Py_GIL_DISABLED"), reason="only a free-threaded CPython"
)
def test_importing_cgraph_does_not_switch_the_gil_on():
    code = "import sys, cgraph; print(sys._is_gil_enabled())"
    assert printed(code) == ["False"]


# Missing modules

REFUSED = """
import sys

class Without:
    def find_spec(self, name, path=None, target=None):
        if name in MISSING:
            raise ModuleNotFoundError(f"No module named {name!r}", name=name)

sys.meta_path.insert(0, Without())
try:
    import cgraph as CG
    CG.Leaf1(1)
except ImportError as error:
    print(type(error).__name__, error.name, "not compiled" in str(error), error)
"""


@pytest.mark.parametrize(
    "name",
    [
        *(
            "cgraph._kernels.builds._cyutility",
            "cgraph._kernels.cpu",
            "cgraph._kernels.runtime.plan",
        ),
        *("cgraph._kernels.protocols", "cgraph._kernels.builds.affine_float64_baseline", "numpy"),
    ],
)
def test_an_import_that_fails_names_the_module(name):
    absent = [name, name.replace("baseline", "avx2")]
    _, _, uncompiled, *words = printed(f"MISSING = {absent}\n{REFUSED}")
    assert uncompiled == "False"
    assert name.rpartition(".")[2] in " ".join(words)


# Modules that Python code names, so that any tool finds them: step, but not affine_float64_avx2.
NAMED = [path for path in PACKAGE.glob("_kernels/**/*.*") if path.suffix in (".so", ".pyd")]
NAMED = [path for path in NAMED if "_float" not in path.name]


@pytest.mark.parametrize(
    ("compiled", "frozen", "missing", "words"),
    [
        ([], False, "common.geometry", "cgraph is not compiled here, module "),
        (
            [],
            True,
            "common.geometry",
            " is missing: install cgraph anew; a frozen application must bring all",
        ),
        (NAMED, False, "builds.affine_float64_baseline", " is missing: install cgraph anew"),
    ],
    ids=["checkout", "frozen", "damaged"],
)
def test_not_compiled_is_what_has_no_compiled_module(tmp_path, compiled, frozen, missing, words):
    ignored = shutil.ignore_patterns("*.so", "*.pyd", "__pycache__")
    shutil.copytree(PACKAGE, tmp_path / "cgraph", ignore=ignored)
    for path in compiled:
        shutil.copy(path, tmp_path / "cgraph" / path.parent.relative_to(PACKAGE))
    code = f"MISSING = []; import sys; sys.path.insert(0, {str(tmp_path)!r})"
    if frozen:
        code += "; sys.frozen = True"
    kind, name, _, *text = printed(f"{code}\n{REFUSED}")
    assert (kind, name) == ("ImportError", f"cgraph._kernels.{missing}")
    assert words in " ".join(text)
    assert name in " ".join(text)


# PyInstaller

PYPROJECT = Path(__file__).parents[2] / "pyproject.toml"


def test_the_hook_names_every_compiled_module():
    (folder,) = get_hook_dirs()
    hook = runpy.run_path(f"{folder}/hook-cgraph.py")
    names = {name.rpartition(".")[2] for name in hook["hiddenimports"]}
    chosen = {
        f"{family}_{dtype}_{simd}"
        for family in _kernels.Build._fields
        for dtype in ("float32", "float64")
        for simd in _kernels.available()
    }
    assert {"_cyutility", "cpu", "plan", *chosen} <= names


def test_pyinstaller_finds_the_hook():
    points = tomllib.loads(PYPROJECT.read_text(encoding="utf-8"))["project"]["entry-points"]
    module, _, function = points["pyinstaller40"]["hook-dirs"].partition(":")
    assert getattr(import_module(module), function) is get_hook_dirs
