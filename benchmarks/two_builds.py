"""Two builds of cgraph against each other, alternating: what the stable ABI costs, or another compiler.

python benchmarks/two_builds.py PYTHON1 PYTHON2     (the Pythons of two environments, each with its own cgraph)

One process for each Python; they take turns, one work at a time, while the other one waits.
"""

import subprocess
import sys
import time
from collections.abc import Callable
from statistics import median

ROUNDS = 60


def works() -> dict[str, Callable[[], object]]:
    """What is timed, with the number of kernel calls where that is all the work."""
    import numpy as np
    from lenet import LENET
    from training import node_path

    import cgraph as CG

    x, y = CG.Leaf1(4), CG.Leaf1(4)
    add, affine = CG.Add(x, y), CG.Affine(x, np.ones((5, 4)))
    return {
        "Add.calcData, 4 elements": add.calcData,
        "Add.calcPartialDerivative, 4 elements": add.calcPartialDerivative,
        "Affine.calcData, 4 to 4": affine.calcData,
        "Affine.calcPartialDerivative, 4 to 4": affine.calcPartialDerivative,
        "LeNet-5, a training step, float32": node_path(LENET, "float32").call,
    }


def worker() -> None:
    """Answers each line with a name by the microseconds of one call."""
    table = works()
    print("\n".join(table), flush=True)
    print(flush=True)
    for line in sys.stdin:
        work = table[line.strip()]
        repeat = 10 if "step" in line else 2000
        start = time.perf_counter()
        for _ in range(repeat):
            work()
        print((time.perf_counter() - start) / repeat * 1e6, flush=True)


class Contender:
    """A Python that answers as `worker` does."""

    def __init__(self, python: str) -> None:
        self.process = subprocess.Popen(
            [python, __file__], stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True, bufsize=1
        )
        self.works = list(iter(self.read, ""))

    def read(self) -> str:
        assert self.process.stdout is not None
        return self.process.stdout.readline().strip()

    def time(self, work: str) -> float:
        assert self.process.stdin is not None
        print(work, file=self.process.stdin, flush=True)
        return float(self.read())


def main(pythons: list[str]) -> None:
    contenders = [Contender(python) for python in pythons]
    times: dict[str, list[list[float]]] = {work: [[], []] for work in contenders[0].works}
    for _ in range(ROUNDS):
        for work, columns in times.items():
            for contender, column in zip(contenders, columns, strict=True):
                column.append(contender.time(work))
    print("| µs | first | second | second / first |")
    print("| --- | --- | --- | --- |")
    for work, (first, second) in times.items():
        ratio = median(b / a for a, b in zip(first, second, strict=True))
        print(f"| {work} | {median(first):.3g} | {median(second):.3g} | {ratio:.3f} |")


if __name__ == "__main__":
    if len(sys.argv) > 1:
        main(sys.argv[1:])
    else:
        worker()
