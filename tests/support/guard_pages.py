"""Memory between inaccessible pages: kernels that read or write beside it end the process.

Where AddressSanitizer is at work, the same memory is a block of its heap, and it watches both ends at once.
"""

import ctypes
import mmap
import sys
import threading

import numpy as np
import pytest

from cgraph import _kernels
from cgraph._lowering.buffers import Allocator

PAGE = mmap.PAGESIZE
# Inaccessible bytes on both sides of an array, none of which takes memory: a wrong offset reaches far.
FAR = 1 << 26
HERE = sys.platform == "linux"
NORESERVE = 0x4000  # MAP_NORESERVE of Linux
LIBC = ctypes.CDLL(None) if HERE else None
SANITIZED = HERE and hasattr(LIBC, "__asan_poison_memory_region")
EDGES = ("begin", "end")


def pages(nbytes):
    """Returns the number of bytes rounded up to whole pages."""
    return -(-nbytes // PAGE) * PAGE


def close(block, at, nbytes):
    """Makes these bytes of a block inaccessible."""
    address = ctypes.c_void_p(block.__array_interface__["data"][0] + at)
    if SANITIZED:
        LIBC.__asan_poison_memory_region(address, ctypes.c_size_t(nbytes))
    elif LIBC.mprotect(address, ctypes.c_size_t(nbytes), 0):
        raise OSError("mprotect failed")


def guarded(count, dtype, edge):
    """An array of zeros that begins, or ends, at an inaccessible page; behind the other end lies one, too."""
    dtype = np.dtype(dtype)
    nbytes = count * dtype.itemsize
    if SANITIZED:
        array = np.zeros(count, dtype)
    else:
        room, flags = pages(nbytes), mmap.MAP_PRIVATE | mmap.MAP_ANONYMOUS | NORESERVE
        block = np.frombuffer(mmap.mmap(-1, room + 2 * FAR, flags=flags), np.uint8)
        close(block, 0, FAR)
        close(block, FAR + room, FAR)
        begin = FAR + (room - nbytes if edge == "end" else 0)
        array = block[begin : begin + nbytes].view(dtype)
    return array


class Guard:
    """An allocator of the memory that kernels work on, which puts each array between inaccessible pages.

    These arrays are the allocations of arenas and of lanes, and the scratch of the nodes' own passes.

    Parameters
    ----------
    edge : {"begin", "end"}
        The end of each array that lies at an inaccessible page, to the byte. Behind the other end are up to a page of
        accessible bytes.
    """

    def __init__(self, edge):
        self.edge = edge
        self.pieces = 0
        self._local = threading.local()

    def install(self, monkeypatch):
        """Replaces the library's allocations until the test ends."""
        monkeypatch.setattr(Allocator, "zeros", lambda allocator: self.allocate(allocator))
        monkeypatch.setattr(_kernels, "scratch", self.scratch)
        return self

    def array(self, count, dtype):
        self.pieces += 1
        return guarded(count, dtype, self.edge)

    def allocate(self, allocator):
        """Returns an array of exactly the size that an allocator has given away."""
        return self.array(allocator.size, allocator.dtype)

    def scratch(self, dtype, size):
        """Returns scratch of exactly this size for a pass of nodes."""
        buffers = self._local.__dict__.setdefault("buffers", {})
        key = np.dtype(dtype).char, size
        if key not in buffers:
            buffers[key] = self.array(size, dtype)
        return buffers[key]


needs_guard_pages = pytest.mark.skipif(not HERE, reason="needs mprotect of Linux")
