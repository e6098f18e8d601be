"""The cost model: an estimate in nanoseconds of the pass of a fused group, in either layout of the samples.

A pass is a forward pass or, in training, a third of all that a sample in a batch takes: forward, backward and update.
"""

from __future__ import annotations

from collections.abc import Collection
from typing import Any

from cgraph import _kernels
from cgraph._lowering.program import FusedGroup, Kind, Program, Work

# Measured on a core with 32-byte vectors that does 57 multiply-adds in a nanosecond, in nanoseconds for an element of
# four bytes; an element of eight bytes takes twice as long.
MULTIPLY_ADD = 0.0195
# Factors on the multiply-adds of a convolution for one sample: with a single vector of channels; without siblings.
ONE_VECTOR_SLOWDOWN, SINGLE_SLOWDOWN = 1.28, 2.0
# Reading one weight of a matrix for one sample: in forward passes and in training, where its gradient is added to a sum
# and an update follows; from memory, where the matrix exceeds CACHE_BYTES.
WEIGHT, TRAINED_WEIGHT, UNCACHED_WEIGHT = 0.055, 0.1, 0.1
UPDATED_WEIGHT = 0.1  # reading and writing a weight, and reading its gradient
CACHE_BYTES = 1 << 22
# Over lanes: the gradient of a weight of a matrix, once for a block; the factor on products in the smallest block.
BLOCK_WEIGHT, NARROW_SLOWDOWN = 0.1, 1.5
# Writing an element and reading it again: of one sample; over lanes; over lanes where all data exceed CACHE_BYTES.
ELEMENT, LANE_ELEMENT, UNCACHED_LANE_ELEMENT = 0.06, 0.12, 0.35
FUNCTION = 0.6  # one exp, log, sigmoid or tanh, as an element of a vector
# The start of a step: for one sample, in forward passes and in training; over lanes.
STEP, TRAINED_STEP, LANE_STEP = 20.0, 40.0, 90.0
PYTHON_CALL = 2000.0  # a method of a Python node that makes two or three calls of NumPy
COPIED_ELEMENT = 1.2  # copying an element of one sample from its lane or back, in either dtype


def multiply_adds(group: FusedGroup) -> int:
    """Returns the number of multiply-adds of a fused group's forward pass, for one sample."""
    nodes: Any = group.nodes
    if group.op.work is Work.KERNELS:
        return sum(node.size * node._kernel.size for node in nodes)
    if group.op.work is Work.MATRIX:
        return int(nodes[0]._weight.size)
    return 0


def sample_cost(group: FusedGroup, macs: int, training: bool = False) -> float:
    """Estimates the nanoseconds of a fused group's pass, one sample at a time, from its multiply-adds."""
    itemsize = group.nodes[0].dtype.itemsize
    scale, step = itemsize / 4, TRAINED_STEP if training else STEP
    if group.kind is Kind.LEAF:
        return 0.0
    if group.op.work is Work.MATRIX:
        weight = TRAINED_WEIGHT if training else WEIGHT
        if macs * itemsize > CACHE_BYTES:
            weight = UNCACHED_WEIGHT
        return step + macs * scale * weight
    if group.op.work is Work.KERNELS:
        moved = group.elements * scale * ELEMENT
        return step + macs * scale * MULTIPLY_ADD * slowdown(group) + moved
    if group.kind is Kind.PYTHON:
        return PYTHON_CALL + group.elements * scale * ELEMENT
    return step + group.elements * scale * ELEMENT + functions(group)


def slowdown(group: FusedGroup) -> float:
    """Returns the factor by which a multiply-add of these convolutions is slower for one sample than over lanes."""
    count, pitch, dtype = len(group.nodes), group.buffer.pitch, group.nodes[0].dtype
    if count == 1:
        return SINGLE_SLOWDOWN
    one_vector = pitch * dtype.itemsize <= _kernels.build(dtype).padded_bytes
    return pitch / count * (ONE_VECTOR_SLOWDOWN if one_vector else 1)


def block_cost(
    group: FusedGroup, macs: int, lanes: int, uncached: bool, training: bool = False
) -> float:
    """Estimates the nanoseconds of a block of samples in a fused group's pass over lanes.

    `macs` are the group's multiply-adds; `uncached` says that the data of all nodes exceed the caches.
    """
    itemsize = group.nodes[0].dtype.itemsize
    scale = itemsize / 4
    if group.kind is Kind.LEAF:
        return 0.0
    narrow = lanes * itemsize <= _kernels.build(group.nodes[0].dtype).padded_bytes
    product = macs * scale * MULTIPLY_ADD * (NARROW_SLOWDOWN if narrow else 1)
    gradients = training and group.op.work is Work.MATRIX
    weights = macs * scale * BLOCK_WEIGHT if gradients else 0.0
    element = UNCACHED_LANE_ELEMENT if uncached else LANE_ELEMENT
    moved = group.elements * scale * element + functions(group)
    return LANE_STEP + weights + lanes * (product + moved)


def update_cost(weights: int, itemsize: int) -> float:
    """Estimates the nanoseconds of an update of matrices with so many weights that is a pass of its own."""
    return STEP + weights * itemsize / 4 * UPDATED_WEIGHT


def copy_cost(program: Program, groups: Collection[FusedGroup]) -> float:
    """Estimates the nanoseconds in which the data around groups for one sample are copied from lanes and back."""
    inputs, outputs = program.buffers_around(groups)
    return COPIED_ELEMENT * sum(buffer.size for buffer in (*inputs, *outputs))


def functions(group: FusedGroup) -> float:
    """Estimates the nanoseconds of a fused group's values of exp, log, sigmoid and tanh, for one sample."""
    if group.op.work is not Work.FUNCTIONS:
        return 0.0
    scale = group.nodes[0].dtype.itemsize / 4
    return FUNCTION * scale * len(group.nodes) * group.inputs[0].size
