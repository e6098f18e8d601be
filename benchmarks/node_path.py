"""The Node path against PyTorch eager, one thread, one process: prints the table of the README.

python benchmarks/node_path.py     (needs torch)
"""

import torch
from chain import NODES, cgraph_chain, torch_chain
from lenet import cgraph_step, torch_step
from timing import alternate, machine


def main() -> None:
    torch.set_num_threads(1)
    rows = {
        f"LeNet-5, a training step, {dtype}": alternate(
            {"cgraph": cgraph_step(dtype), "PyTorch": torch_step(dtype)}, rounds=40, repeat=20
        )
        for dtype in ("float32", "float64")
    }
    chain = alternate({"cgraph": cgraph_chain, "PyTorch": torch_chain}, rounds=60, repeat=3)
    rows["chain, a node built and run"] = {name: time / NODES for name, time in chain.items()}
    print("| µs | cgraph | PyTorch eager | ratio |")
    print("| --- | --- | --- | --- |")
    for work, times in rows.items():
        ours, theirs = times["cgraph"], times["PyTorch"]
        digits = 0 if ours > 100 else 2
        print(f"| {work} | {ours:.{digits}f} | {theirs:.{digits}f} | {theirs / ours:.2f} |")
    print(f"\n{machine()}, PyTorch {torch.__version__}")


if __name__ == "__main__":
    main()
