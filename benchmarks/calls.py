"""The time of a call of a Graph with one sample, and how much of a training step its steps take.

python -m benchmarks.calls [--quick]

The rest is what a call costs whatever it computes: its checks, its results, the buffers of what it is fed. Times are
the least of many short chunks, since the work is the same each time and everything else on the machine adds to it.
"""

from benchmarks.measure import one_core  # noqa: F401  isort: skip
from benchmarks.pages.groups import command

if __name__ == "__main__":
    command("calls", __doc__)
