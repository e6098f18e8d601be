"""Networks with Tanh, and Tanh, Sigmoid and Softmax alone, beside PyTorch, JAX and NumPy.

python -m benchmarks.tanh [--quick] [--check] [--native]

Contenders are compared by what they compute, and then by their time. All are held to AVX2, by a process with their
switches in its environment, so that the figures are those of any machine; --native lets each take what it finds.
With --check, times are left out.
"""

from benchmarks.measure import one_core  # noqa: F401  isort: skip
import argparse
import subprocess
import sys
from pathlib import Path

from benchmarks.measure.instructions import held_to_avx2
from benchmarks.measure.parity import checked
from benchmarks.measure.peers import versions
from benchmarks.measure.tables import ASKS, table
from benchmarks.measure.timing import QUICK, Effort, load, machine
from benchmarks.pages import functions, tanh

THOROUGH = Effort(40, 0.01)


def check() -> None:
    """Says of each case how far the results of its contenders differ."""
    for case in functions.CASES:
        print(f"{case.title}: {checked(case.makers(functions.SHORT), case.dtype)}")
    for network in tanh.CASES:
        print(f"{network.title}: {checked(network.makers, network.dtype)}")


def report(effort: Effort) -> None:
    """Prints all tables, and the asks with what was measured."""
    start = load()
    sections = [functions.one_function(effort), *tanh.networks(effort)]
    for section in sections:
        print(section.markdown(), end="\n\n")
    print(table(ASKS, [ask for section in sections for ask in section.asks]))
    libraries = ", ".join(f"{name} {version}" for name, version in versions().items() if version)
    print(f"\n{machine()}; {libraries}. Load average: {start} at the start, {load()} at the end.")


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--quick", action="store_true", help="few and short rounds")
    parser.add_argument("--check", action="store_true", help="compare results, not times")
    parser.add_argument("--native", action="store_true", help="all instructions of this machine")
    options = parser.parse_args()
    if options.native:
        check() if options.check else report(QUICK if options.quick else THOROUGH)
        return
    command = [sys.executable, "-m", "benchmarks.tanh", "--native", *sys.argv[1:]]
    root = Path(__file__).parents[1]
    raise SystemExit(subprocess.run(command, cwd=root, env=held_to_avx2()).returncode)


if __name__ == "__main__":
    main()
