"""What `import cgraph` takes beyond `import numpy`: medians of alternating fresh processes.

python benchmarks/import_time.py
"""

import subprocess
import sys
from pathlib import Path
from statistics import median

from timing import machine

ROUNDS = 31
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
    pairs = [(milliseconds("numpy"), milliseconds("numpy, cgraph")) for _ in range(ROUNDS)]
    print(f"numpy: {median(numpy for numpy, _ in pairs):.1f} ms")
    print(f"cgraph beyond that: {median(both - numpy for numpy, both in pairs):.1f} ms")
    print(machine())


if __name__ == "__main__":
    main()
