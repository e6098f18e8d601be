"""Arenas in which samples lie side by side, and passes of one step over them."""

import numpy as np

from cgraph import _kernels
from cgraph._kernels.runtime import plan
from cgraph._kernels.runtime.memory import Memory

LINE_BYTES = 64


def lanes_of(dtype):
    """Returns the smallest number of lanes: the elements in a cache line."""
    return LINE_BYTES // np.dtype(dtype).itemsize


def aligned(values):
    """Returns a copy that begins at a cache line."""
    size = values.nbytes
    memory = np.zeros(size + LINE_BYTES, np.uint8)
    start = -memory.__array_interface__["data"][0] % LINE_BYTES
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


def kernels(dtype):
    return _kernels.build(np.dtype(dtype))


def poisoned(rows, valid):
    """Returns rows of lanes whose invalid lanes hold NaN, inf and other special numbers."""
    rows = rows.copy()
    anything = [np.nan, np.inf, -np.inf, 0, np.finfo(rows.dtype).max, np.finfo(rows.dtype).tiny]
    rows[:, valid:] = np.resize(anything, rows[:, valid:].shape)
    return rows
