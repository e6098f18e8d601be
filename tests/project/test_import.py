"""The modules that `import cgraph` imports, and its messages where a module is missing."""

import ast
import re
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
    "dataclasses",
    "json",
    "zipfile",
    "argparse",
    "matplotlib",
    "tqdm",
    "pytest",
}
# The packages that `import cgraph` imports. Other names are imported when they are first used.
AT_ONCE = {"_kernels", "_propagation", "_subclassing", "nodes"}


def printed(code, lines=False):
    """Runs code in a process of its own, and returns the words, or the lines, of its output."""
    run = subprocess.run(
        [sys.executable, "-c", code], capture_output=True, text=True, check=True, timeout=300
    )
    return run.stdout.splitlines() if lines else run.stdout.split()


def test_importing_cgraph_imports_nothing_expensive():
    imported = set(printed(CODE))
    assert "cgraph.node" in imported
    assert not imported & EXPENSIVE
    packages = {name.split(".")[1] for name in imported if re.match(r"cgraph\.\w+\.", name)}
    assert packages == AT_ONCE


def test_type_checkers_see_the_names_that_are_imported_later_where_they_are():
    tree = ast.parse(Path(cgraph.__file__).read_text(encoding="utf-8"))
    (block,) = [node for node in tree.body if isinstance(node, ast.If) and not node.orelse][:1]
    assert ast.unparse(block.test) == "TYPE_CHECKING"
    seen = {alias.name: line.module for line in block.body for alias in line.names}
    modules = {name: module.rpartition(".")[0] for name, module in cgraph._MODULES.items()}
    assert seen == modules | cgraph._MODULE_OF


def test_all_public_names_are_there_before_they_are_imported():
    code = "import cgraph; print(*dir(cgraph)); from cgraph import *; print(*dir())"
    before, after = (set(line.split()) for line in printed(code, lines=True))
    assert {*cgraph.__all__, *cgraph._MODULES} <= before
    assert set(cgraph.__all__) <= after


@pytest.mark.parametrize("name", [*cgraph._MODULES, *cgraph._MODULE_OF])
def test_a_name_that_is_imported_later_is_that_of_its_module(name):
    value = getattr(cgraph, name)
    if name in cgraph._MODULES:
        assert value is sys.modules[cgraph._MODULES[name]]
    else:
        assert value is getattr(sys.modules[cgraph._MODULE_OF[name]], name)
    assert vars(cgraph)[name] is value


def test_a_misspelt_name_is_refused_with_a_suggestion():
    with pytest.raises(AttributeError, match=r"^module 'cgraph' has no attribute 'Grap'$") as error:
        cgraph.Grap  # noqa: B018 - the look itself is refused
    assert (error.value.name, error.value.obj) == ("Grap", cgraph)


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
    CG.Graph(CG.Leaf1(1))
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


def test_the_hook_names_every_compiled_module_and_what_is_imported_later():
    (folder,) = get_hook_dirs()
    hook = runpy.run_path(f"{folder}/hook-cgraph.py")
    assert {*cgraph._MODULES.values(), *cgraph._MODULE_OF.values()} <= {*hook["hiddenimports"]}
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
