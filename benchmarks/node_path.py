"""The Node path against PyTorch eager, one thread, one process: prints the table of docs/understand/performance.md.

python -m benchmarks.node_path [--quick]     (compares where torch is installed)
"""

from benchmarks.measure import one_core  # noqa: F401  isort: skip
from functools import partial

from benchmarks.contenders import chain, training
from benchmarks.measure.peers import built, versions
from benchmarks.measure.timing import Effort, alternate, asked_effort, machine
from benchmarks.networks.lenet import LENET

THOROUGH = Effort(40, 0.02)
ROWS = {
    **{
        f"LeNet-5, a training step, {dtype}": {
            "cgraph": partial(training.node_path, LENET, dtype),
            "PyTorch": partial(training.torch_step, LENET, dtype),
        }
        for dtype in ("float32", "float64")
    },
    "chain, a node built and run": {"cgraph": chain.node_path, "PyTorch": chain.torch_eager},
}


def main() -> None:
    effort = asked_effort(__doc__, THOROUGH)
    print("| µs | cgraph | PyTorch eager | ratio |")
    print("| --- | --- | --- | --- |")
    for name, makers in ROWS.items():
        ours, *theirs = (times.median for times in alternate(built(makers), effort).values())
        digits = 0 if ours > 100 else 2
        cells = [f"{theirs[0]:.{digits}f}", f"{theirs[0] / ours:.2f}"] if theirs else ["", ""]
        print(f"| {name} | {ours:.{digits}f} | {' | '.join(cells)} |")
    print(f"\n{machine()}, PyTorch {versions()['torch'] or 'not installed'}")


if __name__ == "__main__":
    main()
