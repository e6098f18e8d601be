"""The cost model: an estimate in nanoseconds of the forward pass of a fused group, in either layout of the samples."""

from __future__ import annotations

from typing import Any

from cgraph._lowering.program import VECTOR_BYTES, FusedGroup, Kind, Work

# Measured on a core with 32-byte vectors that does 57 multiply-adds in a nanosecond, in nanoseconds for an element of
# four bytes; an element of eight bytes takes twice as long.
MULTIPLY_ADD = 0.0195
# Factors on the multiply-adds of a convolution for one sample: with a single vector of channels; without siblings.
ONE_VECTOR_SLOWDOWN, SINGLE_SLOWDOWN = 1.28, 2.0
# Reading one weight of a matrix for one sample: from the caches; from memory, where the matrix exceeds CACHE_BYTES.
WEIGHT, UNCACHED_WEIGHT = 0.04, 0.1
CACHE_BYTES = 1 << 22
# Writing an element and reading it again: of one sample; over lanes; over lanes where all data exceed CACHE_BYTES.
ELEMENT, LANE_ELEMENT, UNCACHED_LANE_ELEMENT = 0.06, 0.12, 0.35
FUNCTION = 0.6  # one exp, log, sigmoid or tanh, as an element of a vector
STEP = 12.0  # the start of a step


def multiply_adds(group: FusedGroup) -> int:
    """Returns the number of multiply-adds of a fused group's forward pass, for one sample."""
    nodes: Any = group.nodes
    if group.op.work is Work.KERNELS:
        return sum(node.size * node._kernel.size for node in nodes)
    if group.op.work is Work.MATRIX:
        return int(nodes[0]._weight.size)
    return 0


def sample_cost(group: FusedGroup, macs: int) -> float:
    """Estimates the nanoseconds of a fused group's forward pass, one sample at a time, from its multiply-adds."""
    itemsize = group.nodes[0].dtype.itemsize
    scale = itemsize / 4
    if group.kind is Kind.LEAF:
        return 0.0
    if group.op.work is Work.MATRIX:
        uncached = macs * itemsize > CACHE_BYTES
        return STEP + macs * scale * (UNCACHED_WEIGHT if uncached else WEIGHT)
    if group.op.work is Work.KERNELS:
        moved = group.elements * scale * ELEMENT
        return STEP + macs * scale * MULTIPLY_ADD * slowdown(group) + moved
    return STEP + group.elements * scale * ELEMENT + functions(group)


def slowdown(group: FusedGroup) -> float:
    """Returns the factor by which a multiply-add of these convolutions is slower for one sample than over lanes."""
    count, pitch = len(group.nodes), group.buffer.pitch
    if count == 1:
        return SINGLE_SLOWDOWN
    one_vector = pitch * group.nodes[0].dtype.itemsize <= VECTOR_BYTES
    return pitch / count * (ONE_VECTOR_SLOWDOWN if one_vector else 1)


def lane_cost(group: FusedGroup, macs: int, lanes: int, uncached: bool) -> float:
    """Estimates the nanoseconds of a sample in a fused group's forward pass over lanes.

    `macs` are the group's multiply-adds; `uncached` says that the data of all nodes exceed the caches.
    """
    scale = group.nodes[0].dtype.itemsize / 4
    if group.kind is Kind.LEAF:
        return 0.0
    element = UNCACHED_LANE_ELEMENT if uncached else LANE_ELEMENT
    moved = group.elements * scale * element + functions(group)
    return STEP / lanes + macs * scale * MULTIPLY_ADD + moved


def functions(group: FusedGroup) -> float:
    """Estimates the nanoseconds of a fused group's values of exp, log, sigmoid and tanh, for one sample."""
    if group.op.work is not Work.FUNCTIONS:
        return 0.0
    scale = group.nodes[0].dtype.itemsize / 4
    return FUNCTION * scale * len(group.nodes) * group.inputs[0].size
