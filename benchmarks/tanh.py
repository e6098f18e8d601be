"""Networks with Tanh, and Tanh, Sigmoid and Softmax alone, beside PyTorch, JAX and NumPy.

python -m benchmarks.tanh [--quick] [--check]

Contenders are compared by what they compute, and then by their time. With --check, times are left out. Each takes the
instructions that it finds; `python -m benchmarks.performance --rows tanh` holds all to those of one kind of machine.
"""

from benchmarks.measure import one_core  # noqa: F401  isort: skip
import sys

from benchmarks.measure.parity import checked
from benchmarks.pages import functions, tanh
from benchmarks.pages.groups import command


def check() -> None:
    """Says of each case how far the results of its contenders differ."""
    for case in functions.CASES:
        print(f"{case.title}: {checked(case.makers(functions.SHORT), case.dtype)}")
    for network in tanh.CASES:
        print(f"{network.title}: {checked(network.makers, network.dtype)}")


if __name__ == "__main__":
    if "--check" in sys.argv:
        check()
    else:
        command("tanh", __doc__)
