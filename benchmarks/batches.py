"""The time of a sample in training against the size of the batch, from 1 to 64, for networks of all sizes here.

python -m benchmarks.batches [--quick]

float32, one core. All sizes of a network take turns, and times are means of the fastest third of the chunks, so that
other work on the machine bends no curve. benchmarks.performance draws the curves.
"""

from benchmarks.measure import one_core  # noqa: F401  isort: skip
from benchmarks.pages.groups import command

if __name__ == "__main__":
    command("small_batches", __doc__)
