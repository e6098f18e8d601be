"""What `import cgraph` brings with it: it is paid for by every program, also by those that need little of it."""

import subprocess
import sys
import sysconfig

import pytest

pytestmark = pytest.mark.thread_unsafe(reason="starts processes")

CODE = """
import sys
import numpy
before = set(sys.modules)
import cgraph
print(*(set(sys.modules) - before))
"""
# numpy.random is half of NumPy's own import time; the others belong to the command and to the extras.
EXPENSIVE = {
    "numpy.random",
    "argparse",
    "matplotlib",
    "tqdm",
    "pytest",
    "cgraph.cli",
    "cgraph.train",
}


def printed(code):
    """What a process of its own prints."""
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
