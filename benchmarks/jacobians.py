"""Jacobians of a network by its inputs beside torch.func and JAX.

python -m benchmarks.jacobians [--quick]

The Jacobians of contenders are compared, and then their times. Each takes the instructions that it finds;
`python -m benchmarks.performance --rows jacobians` holds all to those of one kind of machine.
"""

from benchmarks.measure import one_core  # noqa: F401  isort: skip
from benchmarks.pages.groups import command

if __name__ == "__main__":
    command("jacobians", __doc__)
