"""Wide layers: convolutions of 16 to 512 channels and affine layers of 64 to 4,096 elements, as shares of the peak.

python -m benchmarks.wide [--quick]

The peak is that of the instructions of the build in use, which CGRAPH_SIMD chooses. What is below 60 % although it has
arithmetic enough, by the bytes that it has to move, is in bold letters.
"""

from benchmarks.measure import one_core  # noqa: F401  isort: skip
from benchmarks.pages.groups import command

if __name__ == "__main__":
    command("wide", __doc__)
