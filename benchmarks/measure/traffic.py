"""The least time of memory: a loop that only moves the weights of an affine layer, float32."""

import ctypes

import numpy as np

from benchmarks.measure.compiled import library
from benchmarks.measure.timing import Work

TRAFFIC = "memory traffic alone"  # the name of its row in tables
UNIT = 128  # elements, a multiple of those in a turn of the loop in traffic.c


def traffic_loop(count: int, in_place: bool = False, turns: int = 1) -> Work:
    """Reads `count` weights twice and writes as many elements: the gradient, or the weights themselves."""
    loop = library("traffic").traffic
    pointer = ctypes.POINTER(ctypes.c_float)
    loop.argtypes = [ctypes.c_ssize_t, ctypes.c_ssize_t, pointer, pointer, ctypes.c_float]
    loop.restype = ctypes.c_float
    size = -(-count // UNIT) * UNIT
    weights = np.ones(size, np.float32)
    target = weights if in_place else np.empty_like(weights)
    addresses = [array.ctypes.data_as(pointer) for array in (weights, target)]
    return Work(lambda: (loop(turns, size, *addresses, 1.0), weights, target), turns)
