"""Arenas in which samples lie side by side, and passes of one step over them."""

import numpy as np

from cgraph import _kernels
from cgraph._kernels.runtime import plan
from cgraph._kernels.runtime.memory import Memory
from cgraph._kernels.runtime.step import EXTENT, Operand
from cgraph._kernels.runtime.structs import structs
from cgraph._lowering.lane_steps import LaneBuilder


def lanes_of(dtype):
    """Returns the number of lanes in a line."""
    return kernels(dtype).line_bytes // np.dtype(dtype).itemsize


def blocks_of(dtype):
    """Returns the numbers of lanes of all blocks: half a line, one, two and four lines."""
    return [lanes_of(dtype) * halves // 2 for halves in (1, 2, 4, 8)]


def vector_of(dtype):
    """Returns the number of lanes of a vector of the build."""
    return kernels(dtype).elementwise.VECTOR_BYTES // np.dtype(dtype).itemsize


def widest_far_block(dtype):
    """Returns the number of lanes of the widest block of a graph whose data exceed a near cache."""
    return max(lanes_of(dtype), 2 * vector_of(dtype))


def padded(count, dtype):
    """Returns the pitch of `count` channels: their number, filled up to whole vectors."""
    vector = kernels(dtype).padded_bytes // np.dtype(dtype).itemsize
    return -(-count // vector) * vector


def aligned(values):
    """Returns a copy that begins at a line."""
    size, line = values.nbytes, kernels(values.dtype).line_bytes
    memory = np.zeros(size + line, np.uint8)
    start = -memory.__array_interface__["data"][0] % line
    copy = memory[start : start + size].view(values.dtype)
    copy[:] = values
    return copy


class Arena:
    """The memory of data and gradients for steps without parameters."""

    def __init__(self, data, grad):
        self.data, self.grad = aligned(data), aligned(grad)
        addresses = [x.__array_interface__["data"][0] for x in (self.data, self.grad)]
        self.memory = Memory(*addresses, *addresses, addresses[0])

    def run(self, step, valid=1):
        """Runs a step forward and backward; returns data and gradients."""
        steps = plan.Steps([step])
        plan.forward(steps, self.memory, valid)
        plan.backward(steps, self.memory, valid)
        return self.data, self.grad


def operand(offset, stride, accumulate=False, requires_grad=True, parameters_only=True):
    """Returns an operand whose gradient is overwritten, and always computed, unless other flags are given."""
    return Operand(
        offset=offset,
        stride=stride,
        accumulate=accumulate,
        requires_grad=requires_grad,
        requires_grad_parameters_only=parameters_only,
    )


def extents(*pairs):
    """Returns the Extents with these first elements and numbers of elements."""
    firsts, counts = np.array(pairs, np.intp).reshape(-1, 2).T
    return structs(EXTENT, len(pairs), first=firsts, count=counts)


def kernels(dtype, lanes=None):
    """Returns the kernels of the build; those that a block of so many lanes has, if these are given."""
    dtype = np.dtype(dtype)
    build = _kernels.build(dtype)
    return build if lanes is None else LaneBuilder(build, dtype, lanes, {}).lane_kernels


def poisoned(rows, valid):
    """Returns rows of lanes whose invalid lanes hold NaN, inf and other special numbers."""
    rows = rows.copy()
    anything = [np.nan, np.inf, -np.inf, 0, np.finfo(rows.dtype).max, np.finfo(rows.dtype).tiny]
    rows[:, valid:] = np.resize(anything, rows[:, valid:].shape)
    return rows
