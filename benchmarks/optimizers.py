"""Training steps with Adam beside plain descent, a loop in C, PyTorch and JAX with optax.

python -m benchmarks.optimizers [--quick]

The losses of contenders are compared after a few steps, and then their times. Each takes the instructions that it
finds; `python -m benchmarks.performance --rows optimizers` holds all to those of one kind of machine.
"""

from benchmarks.measure import one_core  # noqa: F401  isort: skip
from benchmarks.pages.groups import command

if __name__ == "__main__":
    command("optimizers", __doc__)
