"""Moving averages of parameters, as of target networks, beside a loop in C and PyTorch.

python -m benchmarks.averages [--quick]

The parameters of contenders are compared after a few updates, and then their times.
"""

from benchmarks.measure import one_core  # noqa: F401  isort: skip
from benchmarks.pages.groups import command

if __name__ == "__main__":
    command("averages", __doc__)
