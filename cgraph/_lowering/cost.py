"""The cost model: nanoseconds, about, of a fused group's forward pass in either layout of the samples."""

from __future__ import annotations

from typing import Any

from cgraph._lowering.program import VECTOR_BYTES, FusedGroup, Kind
from cgraph.nodes.affine import Affine
from cgraph.nodes.elementwise import Sigmoid, Tanh
from cgraph.nodes.reduction import CEE, Softmax

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


def multiply_adds(group: FusedGroup) -> int:
    """Multiplications and additions of a forward pass, two of which are one."""
    nodes: Any = group.nodes
    if group.kind is Kind.CONVOLUTION:
        return sum(node.size * node._kernel.size for node in nodes)
    if isinstance(nodes[0], Affine):
        return int(nodes[0]._weight.size)
    return 0


def sample_cost(group: FusedGroup, work: int) -> float:
    """Nanoseconds, about, of a unit's forward pass, one sample at a time; work: its multiply-adds."""
    nodes: Any = group.nodes
    scale: float = nodes[0].dtype.itemsize / 4
    if group.kind is Kind.LEAF:
        return 0.0
    if isinstance(nodes[0], Affine):
        far = work * nodes[0].dtype.itemsize > FAR_BYTES
        return STEP + work * scale * (FAR_WEIGHT if far else WEIGHT)
    if group.kind is Kind.CONVOLUTION:
        moved = group.elements * scale * ELEMENT
        return STEP + work * scale * MULTIPLY_ADD * slowness(group) + moved
    return STEP + group.elements * scale * ELEMENT + library_calls(group)


def slowness(group: FusedGroup) -> float:
    """How much slower a multiply-add of convolutions is for one sample."""
    count, pitch = len(group.nodes), group.buffer.pitch
    if count == 1:
        return ALONE
    narrow = pitch * group.nodes[0].dtype.itemsize <= VECTOR_BYTES
    return pitch / count * (NARROW if narrow else 1)


def lane_cost(group: FusedGroup, work: int, lanes: int, far: bool) -> float:
    """Nanoseconds, about, of a unit's forward pass over lanes; far: whether all data are out of near caches."""
    scale = group.nodes[0].dtype.itemsize / 4
    if group.kind is Kind.LEAF:
        return 0.0
    element = FAR_LANE_ELEMENT if far else LANE_ELEMENT
    moved = group.elements * scale * element + library_calls(group)
    return STEP / lanes + work * scale * MULTIPLY_ADD + moved


def library_calls(group: FusedGroup) -> float:
    """Nanoseconds, about, of a unit's calls of exp, log and tanh."""
    calls = isinstance(group.nodes[0], (Sigmoid, Tanh, Softmax, CEE))
    return LIBRARY_CALL * len(group.nodes) * group.inputs[0].size if calls else 0.0
