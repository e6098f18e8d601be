"""The gradient of a sum of losses, and those of single samples, as vectors, beside torch.func and JAX.

python -m benchmarks.gradients [--quick]

The gradients of contenders are compared, and then their times. Each takes the instructions that it finds.
"""

from benchmarks.measure import one_core  # noqa: F401  isort: skip
from itertools import product

from benchmarks.contenders.gradients import GRAPH, JIT, JIT_FLAT, TORCH, contenders
from benchmarks.measure.parity import checked
from benchmarks.measure.peers import built, versions
from benchmarks.measure.tables import number, table
from benchmarks.measure.timing import Effort, alternate, asked_effort, load, machine
from benchmarks.networks.functions import TANH
from benchmarks.networks.losses import SQUARED_ERROR
from benchmarks.networks.mlp import Layers
from benchmarks.networks.tanh import POLICY, name
from cgraph import _kernels

FIT = Layers((1, 20, 1), TANH, SQUARED_ERROR)
CASES = list(product((POLICY, FIT), ("float32", "float64"), (False, True)))
BATCH = 256
PEERS = (TORCH, JIT, JIT_FLAT)
CALLS = ("value_and_grad", "per_sample_gradients")


def report(effort: Effort) -> None:
    """Prints the medians, and how many times as long the fastest peer takes."""
    start, rows, notes = load(), [], []
    for layers, dtype, single in CASES:
        makers = contenders(layers, dtype, BATCH, single)
        notes.append(checked(makers, dtype))
        times = {name: found.median for name, found in alternate(built(makers), effort).items()}
        cells = [number(times[peer]) if peer in times else "" for peer in PEERS]
        best = min((times[peer] for peer in PEERS if peer in times), default=None)
        title = f"`{CALLS[single]}`, {name(layers)}, {dtype}"
        ratio = number(best / times[GRAPH]) if best else ""
        rows.append([title, number(times[GRAPH]), *cells, ratio])
    print(f"Microseconds of a call with {BATCH} samples, medians.\n")
    print(table(["", GRAPH, *PEERS, "Graph is faster by"], rows))
    print("\n" + "\n".join(dict.fromkeys(notes)))
    libraries = ", ".join(f"{name} {version}" for name, version in versions().items() if version)
    print(f"\n{machine()}, kernels of {_kernels._selected}; {libraries}.", end=" ")
    print(f"Load average: {start} at the start, {load()} at the end.")


if __name__ == "__main__":
    report(asked_effort(__doc__, Effort(40, 0.01)))
