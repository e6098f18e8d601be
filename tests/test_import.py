"""What `import cgraph` brings with it: it is paid for by every program, also by those that need little of it."""

import subprocess
import sys

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


def test_importing_cgraph_imports_nothing_expensive():
    run = subprocess.run(
        [sys.executable, "-c", CODE], capture_output=True, text=True, check=True, timeout=60
    )
    imported = set(run.stdout.split())
    assert "cgraph.node" in imported
    assert not imported & EXPENSIVE
