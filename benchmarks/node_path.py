"""The Node path against PyTorch eager, one thread, one process: prints the table of docs/understand/performance.md.

python benchmarks/node_path.py     (needs torch)
"""

import one_core  # isort: skip
import chain
from lenet import LENET
from timing import Effort, alternate, machine
from training import node_path, torch_step

EFFORT = Effort(40, 0.02)


def main() -> None:
    rows = {
        f"LeNet-5, a training step, {dtype}": {
            "cgraph": node_path(LENET, dtype),
            "PyTorch": torch_step(LENET, dtype),
        }
        for dtype in ("float32", "float64")
    }
    rows["chain, a node built and run"] = {
        "cgraph": chain.node_path(),
        "PyTorch": chain.torch_eager(),
    }
    print("| µs | cgraph | PyTorch eager | ratio |")
    print("| --- | --- | --- | --- |")
    for name, contenders in rows.items():
        ours, theirs = (times.median for times in alternate(contenders, EFFORT).values())
        digits = 0 if ours > 100 else 2
        print(f"| {name} | {ours:.{digits}f} | {theirs:.{digits}f} | {theirs / ours:.2f} |")
    print(f"\n{machine()}, PyTorch {one_core.torch_module().__version__}")


if __name__ == "__main__":
    main()
