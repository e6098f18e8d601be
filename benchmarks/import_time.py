"""The time of `import cgraph` beyond that of `import numpy`: medians of alternating new processes.

python -m benchmarks.import_time [--quick]
"""

import subprocess
import sys
from pathlib import Path
from statistics import median

from benchmarks.measure.timing import Effort, asked_effort, machine

THOROUGH = Effort(31, seconds=0.0)  # an import is a chunk
CODE = "import time; start = time.perf_counter(); import {}; print(time.perf_counter() - start)"


def milliseconds(modules: str) -> float:
    """Time of the import in a process of its own, in a folder where no checkout is found."""
    run = subprocess.run(
        [sys.executable, "-c", CODE.format(modules)],
        check=True,
        stdout=subprocess.PIPE,
        cwd=Path(sys.executable).parent,
    )
    return float(run.stdout) * 1e3


def main() -> None:
    rounds = asked_effort(__doc__, THOROUGH).rounds
    pairs = [(milliseconds("numpy"), milliseconds("numpy, cgraph")) for _ in range(rounds)]
    print(f"numpy: {median(numpy for numpy, _ in pairs):.1f} ms")
    print(f"cgraph beyond that: {median(both - numpy for numpy, both in pairs):.1f} ms")
    print(machine())


if __name__ == "__main__":
    main()
