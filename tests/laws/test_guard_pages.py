"""The inaccessible pages around the memory of kernels: the accesses that they catch, and their addresses.

The laws of Graphs run between them, in half of the tests before all memory and in the other half behind it; with
`pytest -m full`, all of them in both positions.
"""

import os
import signal
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
from graph_networks import nodes_of, residual
from guard_pages import BETWEEN, EDGES, SANITIZED, Guard, needs_guard_pages
from lane_arena import lanes_of
from per_sample_stretch import stretch

import cgraph as CG

ROOT = Path(__file__).parents[2]
TESTS = ROOT / "tests"
SUPPORT = TESTS / "support"
LAWS = [
    path.relative_to(TESTS).as_posix()
    for path in sorted(TESTS.glob("*/test_*.py"))
    if path != Path(__file__) and 'usefixtures("guard_pages"' in path.read_text("utf-8")
]
pytestmark = [
    needs_guard_pages,
    pytest.mark.thread_unsafe(reason="starts processes, replaces what allocates memory"),
]
every_edge = pytest.mark.parametrize("edge", EDGES)

# A kernel that reads its scratch up to one end, and `astray` elements beyond it.
ASTRAY = """
import sys
import numpy as np, pytest
import cgraph as CG
sys.path.append({support!r})
from guard_pages import Guard

edge, astray = sys.argv[1], int(sys.argv[2])
Guard(edge).install(pytest.MonkeyPatch())
x = CG.Leaf2(4, 4)
node = CG.Convolution2d([x], np.ones((1, 2, 2)), 0.0)
graph = CG.Graph(CG.Norm2(node))
tile = 8 * node._kernels.elementwise.VECTOR_BYTES // 8  # elements that a tile reads from a tap on
node._taps[:] = -astray if edge == "begin" else graph._executable.arena.scratch.size - tile + astray
graph.forward()
print("survived")
"""


def run_astray(edge, astray):
    return subprocess.run(
        [sys.executable, "-c", ASTRAY.format(support=str(SUPPORT)), edge, str(astray)],
        cwd=ROOT, env=os.environ | {"CGRAPH_SIMD": "baseline"}, capture_output=True, text=True,
    )  # fmt: skip


@every_edge
def test_one_element_beside_a_region_ends_the_process(edge):
    """An access to an element outside an allocation ends the process, and one inside does not."""
    within, beside = run_astray(edge, 0), run_astray(edge, 1)
    assert (within.returncode, within.stdout.strip()) == (0, "survived"), within.stderr
    died = beside.returncode == -signal.SIGSEGV or "ERROR: AddressSanitizer" in beside.stderr
    assert died, beside


class Noted(Guard):
    """A guard that keeps a list of the arrays that it has returned."""

    def __init__(self, edge):
        super().__init__(edge)
        self.arrays = []

    def array(self, count, dtype, holes=()):
        made = super().array(count, dtype, holes)
        self.arrays.append((made, holes))
        return made


def closed():
    """Returns the inaccessible ranges of addresses of this process."""
    lines = Path("/proc/self/maps").read_text(encoding="utf-8").splitlines()
    fields = [line.split()[:2] for line in lines]
    return [
        tuple(int(end, 16) for end in where.split("-"))
        for where, mode in fields
        if mode.startswith("---")
    ]


@pytest.mark.skipif(SANITIZED, reason="the sanitizer's heap has no pages of this kind")
@every_edge
def test_all_memory_of_a_graph_lies_between_inaccessible_pages(edge, monkeypatch):
    """Inaccessible pages surround the arena, the lanes, and the memory of single samples among them."""
    guard = Noted(edge).install(monkeypatch)
    stretch(monkeypatch, guard, 3, 5)
    nodes = nodes_of(residual, "float64")
    graph = CG.Graph(nodes[-1], layout="lanes", threads=1)
    graph.accumulate({x: np.zeros((8, x.size)) for x in graph.leaves})
    arena, ranges = graph._executable.arena, closed()
    parts = arena.data, arena.grad, arena.parameters, arena.parameter_grads, arena.scratch
    given = [array for array, _ in guard.arrays]
    assert all(any(part is array for array in given) for part in parts)
    assert len(given) == len(parts) + 3  # data, gradients and scratch over lanes
    assert sum(len(holes) for _, holes in guard.arrays) == 1 + 3 * lanes_of("float64")
    for array, holes in guard.arrays:
        begin = array.__array_interface__["data"][0]
        edges = [begin + at for at in holes] + [begin + at + BETWEEN - 1 for at in holes]
        edges.append(begin - 1 if edge == "begin" or holes else begin + array.nbytes)
        for address in edges:
            assert any(first <= address < last for first, last in ranges)


def test_the_laws_of_graphs_run_between_inaccessible_pages():
    of_graphs = ("ops", "random", "networks", "batches", "nonfinite")
    assert {f"laws/test_graph_{name}.py" for name in of_graphs} <= set(LAWS)
    assert "graph/test_rectified.py" in LAWS


@pytest.mark.full
@every_edge
@pytest.mark.parametrize("law", LAWS)
def test_a_law_holds_at_either_end_of_all_memory(law, edge):
    """Each law runs in a process of its own, which an access outside would end."""
    found = subprocess.run(
        [sys.executable, "-m", "pytest", "-q", "-p", "no:cacheprovider", f"tests/{law}"],
        cwd=ROOT, env=os.environ | {"CGRAPH_GUARD_PAGES": edge}, capture_output=True, text=True,
    )  # fmt: skip
    assert found.returncode == 0, found.stdout[-2000:] + found.stderr[-2000:]
