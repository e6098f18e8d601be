"""The time of `import cgraph` beyond that of `import numpy`: medians of alternating new processes.

python -m benchmarks.import_time [--quick]
"""

import os
import subprocess
import sys
from pathlib import Path
from statistics import median
from tempfile import TemporaryDirectory

from benchmarks.measure.timing import Effort, asked_effort, machine

THOROUGH = Effort(31, seconds=0.0)  # an import is a chunk
NUMPY, CGRAPH, GRAPH = "import numpy", "import numpy, cgraph", "import numpy, cgraph; cgraph.Graph"
CODE = "import time; start = time.perf_counter(); {}; print(time.perf_counter() - start)"


def milliseconds(imports: str, cache: str) -> float:
    """Time of imports in a process of its own, in a folder where no checkout is found.

    Modules are compiled once, into a folder of their own, whether or not they lie compiled beside their sources.
    """
    environment = os.environ | {"PYTHONPYCACHEPREFIX": cache, "PYTHONDONTWRITEBYTECODE": ""}
    run = subprocess.run(
        [sys.executable, "-c", CODE.format(imports)],
        check=True,
        stdout=subprocess.PIPE,
        cwd=Path(sys.executable).parent,
        env=environment,
    )
    return float(run.stdout) * 1e3


def main() -> None:
    rounds = asked_effort(__doc__, THOROUGH).rounds
    with TemporaryDirectory() as cache:
        milliseconds(GRAPH, cache)
        times = [
            tuple(milliseconds(imports, cache) for imports in (NUMPY, CGRAPH, GRAPH))
            for _ in range(rounds)
        ]
    print(f"numpy: {median(numpy for numpy, _, _ in times):.1f} ms")
    print(f"cgraph beyond that: {median(both - numpy for numpy, both, _ in times):.1f} ms")
    print(f"with Graph beyond that: {median(graph - numpy for numpy, _, graph in times):.1f} ms")
    print(machine())


if __name__ == "__main__":
    main()
