"""The cost model: an estimate in nanoseconds of the pass of a fused group, in either layout of the samples.

A pass is a forward pass or, in training, a third of all that a sample in a batch takes: forward, backward and update.
"""

from __future__ import annotations

from collections.abc import Collection, Iterable
from typing import Any, NamedTuple

from cgraph import _kernels
from cgraph._lowering.program import FusedGroup, Kind, Program, Work

# Measured on a core that does eight multiply-adds of a vector in a nanosecond, whether these have 32 or 64 bytes. What
# is counted by vectors takes as long with both; what is counted by elements is for four bytes, twice as much for eight.

# A vector's multiply-add.
MULTIPLY_ADD = 0.14
# Factors on it. For one sample: a convolution with a single vector of channels, and one without siblings. Over lanes: a
# matrix in a block of one vector, of which each weight that is read serves one multiply-add.
ONE_VECTOR_SLOWDOWN, SINGLE_SLOWDOWN, NARROW_SLOWDOWN = 1.6, 2.0, 1.7
# A pass of a layer whose inputs are leaves, in training: there is no gradient of the input, a third of the arithmetic.
WITHOUT_INPUT_GRADIENT = 2 / 3
# Reading one weight of a matrix for one sample: in forward passes and in training, where its gradient is added to a
# sum; from memory, where the matrix exceeds CACHE_BYTES. Beginning a row of weights.
WEIGHT, TRAINED_WEIGHT, UNCACHED_WEIGHT, ROW = 0.023, 0.028, 0.065, 0.7
UPDATED_WEIGHT = 0.012  # reading and writing a weight, and reading its gradient
CACHE_BYTES = 1 << 22
BLOCK_WEIGHT = 0.009  # over lanes: the gradient of a weight of a matrix, once for a block
# Writing an element and reading it again: of one sample; over lanes; over lanes where all data exceed CACHE_BYTES.
ELEMENT, LANE_ELEMENT, UNCACHED_LANE_ELEMENT = 0.09, 0.075, 0.22
# The same, where a mean and a variance are taken of the elements first; from memory, this takes no longer.
NORMALISED, LANE_NORMALISED = 0.29, 0.2
# Transposing a leaf into lanes, forward and backward once: its start in a call with one block, and each element.
LANE_PORT, LANE_INPUT = 60.0, 0.19
FUNCTION = 0.8  # a vector of exp, log, sigmoid or tanh
STEP, LANE_STEP = 8.5, 17.0  # the start of a step: for one sample; over lanes
PYTHON_CALL = 2000.0  # a method of a Python node that makes two or three calls of NumPy
COPIED_ELEMENT = 1.2  # copying an element of one sample from its lane or back, in either dtype

MATRICES = frozenset(
    {Work.MATRIX, Work.CELL}
)  # of which each weight serves one multiply-add of a sample


def multiply_adds(group: FusedGroup) -> int:
    """Returns the number of multiply-adds of a fused group's forward pass, for one sample."""
    nodes: Any = group.nodes
    if group.op.work is Work.KERNELS:
        return sum(node.size * node._kernel.size for node in nodes)
    if group.op.work in MATRICES:
        return int(nodes[0]._parameter_vector.size)
    return 0


def sample_cost(group: FusedGroup, macs: int, training: bool = False) -> float:
    """Estimates the nanoseconds of a fused group's pass, one sample at a time, from its multiply-adds."""
    itemsize = group.nodes[0].dtype.itemsize
    scale = itemsize / 4
    share = gradient_share(group) if training else 1.0
    if group.kind is Kind.LEAF:
        return 0.0
    if group.op.work in MATRICES:
        weight = TRAINED_WEIGHT if training else WEIGHT
        if macs * itemsize > CACHE_BYTES:
            weight = UNCACHED_WEIGHT
        product = share * macs * scale * weight + sum(x.size for x in group.inputs) * ROW
        return STEP + product + functions(group) / vector_size(group)
    moved = group.elements * scale * (NORMALISED if group.op.work is Work.MOMENTS else ELEMENT)
    if group.op.work is Work.KERNELS:
        vectors = macs * slowdown(group) / vector_size(group)
        return STEP + share * vectors * MULTIPLY_ADD + moved
    if group.kind is Kind.PYTHON:
        return PYTHON_CALL + moved
    return STEP + moved + functions(group) / vector_size(group)


def vector_size(group: FusedGroup) -> int:
    """Returns the number of elements of a vector of the kernels in use, or of 32 bytes, if that is more."""
    dtype = group.nodes[0].dtype
    return _kernels.build(dtype).padded_bytes // dtype.itemsize


def gradient_share(group: FusedGroup) -> float:
    """Returns the share of a layer's arithmetic in training that is left where no gradient of its input is computed."""
    is_first = not any(x.backward for x in group.inputs)
    return WITHOUT_INPUT_GRADIENT if is_first else 1.0


def slowdown(group: FusedGroup) -> float:
    """Returns the factor by which a multiply-add of these convolutions is slower for one sample than over lanes."""
    count, pitch, vector = len(group.nodes), group.buffer.pitch, vector_size(group)
    if count == 1:
        return SINGLE_SLOWDOWN
    # Rows that are narrower than a vector are computed by narrow vectors, which take as long.
    return max(pitch, vector) / count * (ONE_VECTOR_SLOWDOWN if pitch <= vector else 1)


class BlockCost(NamedTuple):
    """The estimated nanoseconds of a block of samples in a pass over lanes.

    Attributes
    ----------
    once : float
        What takes as long however many samples there are.
    column, sample : float
        Each column in which there is a sample, and each sample.
    width : int
        The lanes of a column.
    """

    once: float
    column: float = 0.0
    sample: float = 0.0
    width: int = 1

    def time(self, samples: int) -> float:
        """Returns the time of a block with so many samples."""
        return self.once - samples // -self.width * self.column + samples * self.sample


def total_cost(costs: Iterable[BlockCost]) -> BlockCost:
    """Returns the cost of several steps with blocks of one size."""
    once, column, sample, width = zip(*costs, strict=True)
    return BlockCost(sum(once), sum(column), sum(sample), width[0])


def block_cost(
    group: FusedGroup, macs: int, lanes: int, uncached: bool, training: bool = False
) -> BlockCost:
    """Estimates the cost of a block of samples in a fused group's pass over lanes.

    `macs` are the group's multiply-adds; `uncached` says that the data of all nodes exceed the caches. Elements are
    moved for all lanes, the gradients of a matrix are computed for each sample, and all other products for columns of
    two vectors, or of the only one.
    """
    scale = group.nodes[0].dtype.itemsize / 4
    vectors = max(lanes / vector_size(group), 1)
    width = lanes if vectors == 1 else 2 * vector_size(group)
    if group.kind is Kind.LEAF:
        fed = LANE_PORT + lanes * group.elements * scale * LANE_INPUT
        return BlockCost(fed / 3 if training else fed, width=width)
    is_matrix = group.op.work in MATRICES
    element = LANE_NORMALISED if group.op.work is Work.MOMENTS else LANE_ELEMENT
    moved = group.elements * scale * (UNCACHED_LANE_ELEMENT if uncached else element)
    once = LANE_STEP + vectors * functions(group) + lanes * moved
    product = vectors * macs * MULTIPLY_ADD / lanes
    if is_matrix and vectors == 1:
        product *= NARROW_SLOWDOWN
    if not training:
        return BlockCost(once, width * product, width=width)
    share = gradient_share(group)
    if not is_matrix:
        return BlockCost(once, width * product * share, width=width)
    once += macs * scale * BLOCK_WEIGHT
    return BlockCost(once, width * product * (share - 1 / 3), product / 3, width)


def update_cost(weights: int, itemsize: int) -> float:
    """Estimates the nanoseconds of an update of matrices with so many weights that is a pass of its own."""
    return STEP + weights * itemsize / 4 * UPDATED_WEIGHT


def copy_cost(program: Program, groups: Collection[FusedGroup]) -> float:
    """Estimates the nanoseconds in which the data around groups for one sample are copied from lanes and back."""
    inputs, outputs = program.buffers_around(groups)
    return COPIED_ELEMENT * sum(buffer.size for buffer in (*inputs, *outputs))


def functions(group: FusedGroup) -> float:
    """Estimates the nanoseconds of a fused group's values of exp, log, sigmoid and tanh, each a vector of its own."""
    if group.op.work is Work.CELL:
        return FUNCTION * group.inner / 2
    if group.op.work is not Work.FUNCTIONS:
        return 0.0
    return FUNCTION * len(group.nodes) * group.inputs[0].size
