"""How the samples of a batch lie: one at a time, or many side by side; the rule, and what it estimates."""

from __future__ import annotations

import sys
from typing import Any, Literal, NamedTuple

from cgraph._lane_steps import rectifiers
from cgraph._steps import multiply_adds
from cgraph.lowering import VECTOR_BYTES, Kind, Program, Unit
from cgraph.nodes.affine import Affine
from cgraph.nodes.elementwise import Sigmoid, Tanh
from cgraph.nodes.reduction import CEE, Softmax

LayoutName = Literal["auto", "lanes", "samples"]

LINE_BYTES = 64  # a cache line of samples: steps take as many as there are, in whole lines
WIDE = 4  # lines side by side where matrices outweigh all else: so often is a weight used that has been fetched
OUTWEIGHED = 24  # elements by weights, so that wide blocks of them still fit into the cache

# Nanoseconds, about, on a core with 32-byte vectors that does 57 multiply-adds a nanosecond in float32; of elements of
# four bytes, twice as many for eight.
MULTIPLY_ADD = 0.0195
# How much slower it is for one sample in groups of one vector of channels, and in a convolution without siblings.
NARROW, ALONE = 1.28, 2.0
# An element of a matrix that is read for one sample; of one that is larger than FAR_BYTES, and so out of the caches.
WEIGHT, FAR_WEIGHT = 0.04, 0.1
FAR_BYTES = 1 << 22
# An element that is written, read again, and so on: of one sample; over lanes; where all nodes' data are FAR_BYTES.
ELEMENT, LANE_ELEMENT, FAR_LANE_ELEMENT = 0.06, 0.12, 0.35
LIBRARY_CALL = 6.0  # exp, log and tanh, whatever the size of the element
STEP = 12.0  # to begin a step

NEVER = sys.maxsize  # samples


class Choice(NamedTuple):
    """What a Graph does with batches.

    Attributes
    ----------
    lanes : int
        How many samples lie side by side.
    line : int
        How many of them fill a cache line.
    least : int
        Fewer samples than these go one at a time.
    cost : float
        Nanoseconds, about, of a sample forward.
    """

    lanes: int
    line: int
    least: int
    cost: float


def choose(program: Program, layout: LayoutName, calls_python: bool) -> Choice:
    """The rule, unless a layout is asked for; a node's own methods know one sample alone."""
    units = program.units
    works = list(map(multiply_adds, units))
    alone = sum(map(sample_cost, units, works))
    by_sample = Choice(1, 1, NEVER, alone)
    if calls_python or layout == "samples":
        return by_sample
    line = LINE_BYTES // program.outputs[0].dtype.itemsize
    written = sum(unit.elements for unit in units)
    far = 2 * LINE_BYTES * written > FAR_BYTES  # data and gradients
    folded = set(rectifiers(program, units).values())
    together = sum(
        0.0 if unit in folded else lane_cost(unit, work, line, far)
        for unit, work in zip(units, works, strict=True)
    )
    # Whether matrices have many more elements than all nodes.
    matrices = sum(w for u, w in zip(units, works, strict=True) if isinstance(u.nodes[0], Affine))
    wide = line * (WIDE if matrices >= OUTWEIGHED * written else 1)
    if layout == "lanes":
        return Choice(wide, line, 1, together)
    if together >= alone:
        return by_sample
    # A line takes the same time however many samples there are in it.
    return Choice(wide, line, int(line * together / alone) + 1, together)


def sample_cost(unit: Unit, work: int) -> float:
    """Nanoseconds, about, of a unit's forward pass, one sample at a time; work: its multiply-adds."""
    nodes: Any = unit.nodes
    scale: float = nodes[0].dtype.itemsize / 4
    if unit.kind is Kind.LEAF:
        return 0.0
    if isinstance(nodes[0], Affine):
        far = work * nodes[0].dtype.itemsize > FAR_BYTES
        return STEP + work * scale * (FAR_WEIGHT if far else WEIGHT)
    if unit.kind is Kind.CONVOLUTION:
        moved = unit.elements * scale * ELEMENT
        return STEP + work * scale * MULTIPLY_ADD * slowness(unit) + moved
    return STEP + unit.elements * scale * ELEMENT + library_calls(unit)


def slowness(unit: Unit) -> float:
    """How much slower a multiply-add of convolutions is for one sample."""
    count, pitch = len(unit.nodes), unit.block.pitch
    if count == 1:
        return ALONE
    narrow = pitch * unit.nodes[0].dtype.itemsize <= VECTOR_BYTES
    return pitch / count * (NARROW if narrow else 1)


def lane_cost(unit: Unit, work: int, lanes: int, far: bool) -> float:
    """Nanoseconds, about, of a unit's forward pass over lanes; far: whether all data are out of near caches."""
    scale = unit.nodes[0].dtype.itemsize / 4
    if unit.kind is Kind.LEAF:
        return 0.0
    element = FAR_LANE_ELEMENT if far else LANE_ELEMENT
    moved = unit.elements * scale * element + library_calls(unit)
    return STEP / lanes + work * scale * MULTIPLY_ADD + moved


def library_calls(unit: Unit) -> float:
    """Nanoseconds, about, of a unit's calls of exp, log and tanh."""
    calls = isinstance(unit.nodes[0], (Sigmoid, Tanh, Softmax, CEE))
    return LIBRARY_CALL * len(unit.nodes) * unit.inputs[0].size if calls else 0.0
