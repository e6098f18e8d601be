"""The Node path against PyTorch eager, one thread, one process: the table of the pages about performance.

python -m benchmarks.node_path [--quick]     (compares where torch is installed)
"""

from benchmarks.measure import one_core  # noqa: F401  isort: skip
from benchmarks.pages.groups import command

if __name__ == "__main__":
    command("node_path", __doc__)
