"""The time of a function of elements, or of LayerNorm, beside PyTorch: between chains of 8 and of 24 of it, in float32.

python -m benchmarks.elements [--quick] [--check]

Then stretches of functions that a Graph runs as one step, and the same functions as steps of their own.

With --check, results are compared and times are left out. Each contender takes the instructions that it finds.
"""

from benchmarks.measure import one_core  # noqa: F401  isort: skip
import sys
from itertools import product

from benchmarks.contenders.elements import BY_HAND, EAGER, Chain
from benchmarks.contenders.layer_norm import NormChain
from benchmarks.contenders.stretches import JOINED, SINGLE, STRETCHES, Stretch
from benchmarks.measure.parity import checked
from benchmarks.measure.peers import built, versions
from benchmarks.measure.tables import number, table
from benchmarks.measure.timing import Effort, alternate, asked_effort, load, machine
from benchmarks.networks.elements import FUNCTIONS

THOROUGH = Effort(20, 0.004)
SHORT, LONG = 8, 24
SIZES = list(product((1, 64), (64, 256, 1024), (False, True)))
CASES: list[Chain | NormChain] = [
    *(
        Chain(function, samples, size, backward, SHORT)
        for function in FUNCTIONS
        for samples, size, backward in SIZES
        if backward or not function.random
    ),
    *(NormChain(*size, SHORT) for size in SIZES),
]
STRETCH_CASES = [
    Stretch(name, *sizes, backward)
    for name, sizes, backward in product(
        STRETCHES, ((1, 64), (64, 64), (64, 256), (64, 1024)), (False, True)
    )
]


def check() -> None:
    """Says of each case how far the results of its contenders differ, but of random ones."""
    for chain in CASES:
        if isinstance(chain, NormChain) or not chain.function.random:
            print(f"{title(chain)}: {checked(chain.makers, 'float32')}")
    for stretch in STRETCH_CASES:
        print(f"{stretch_title(stretch)}: {checked(stretch.makers, 'float32')}")


def title(chain: Chain | NormChain) -> str:
    passes = "forward and backward" if chain.backward else "forward"
    return f"{chain.name}, {chain.samples} × {chain.size}, {passes}"


def stretch_title(stretch: Stretch) -> str:
    passes = "forward and backward" if stretch.backward else "forward"
    return f"{stretch.name}, {stretch.batch} × {stretch.size}, {passes}"


def link_times(chain: Chain | NormChain, effort: Effort) -> dict[str, float]:
    """Returns the nanoseconds of each contender for a link."""
    makers = {
        (name, links): make
        for links in (SHORT, LONG)
        for name, make in chain._replace(links=links).makers.items()
    }
    times = alternate(built(makers), effort)
    scale = 1000 * chain.elements / (LONG - SHORT)
    return {
        name: scale * (times[name, LONG].median - short.median)
        for (name, links), short in times.items()
        if links == SHORT
    }


def report(effort: Effort) -> None:
    start = load()
    print(f"Nanoseconds of a link, between chains of {SHORT} and of {LONG}.\n")
    peers, rows = (EAGER, BY_HAND), []
    for chain in CASES:
        times = link_times(chain, effort)
        ours = times["Graph"]
        cells = [number(times[peer]) if peer in times else "" for peer in peers]
        best = min((times[peer] for peer in peers if peer in times), default=None)
        rows.append([title(chain), number(ours), *cells, number(best / ours) if best else ""])
    print(table(["", "Graph", *peers, "Graph is faster by"], rows))
    print("\nNanoseconds of a sample in stretches.\n")
    rows = []
    for stretch in STRETCH_CASES:
        found = alternate(built(stretch.makers), effort)
        apart, joined = (1000 * stretch.size * found[name].fastest for name in (SINGLE, JOINED))
        rows.append([stretch_title(stretch), number(apart), number(joined), number(apart / joined)])
    print(table(["", SINGLE, JOINED, "gain"], rows))
    libraries = ", ".join(f"{name} {version}" for name, version in versions().items() if version)
    print(f"\n{machine()}; {libraries}. Load average: {start} at the start, {load()} at the end.")


if __name__ == "__main__":
    if "--check" in sys.argv:
        check()
    else:
        report(asked_effort(__doc__, THOROUGH))
