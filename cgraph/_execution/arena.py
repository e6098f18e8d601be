"""The memory of a Graph: data, gradients, parameters, gradient sums and scratch, for each thread that computes."""

from __future__ import annotations

from typing import Any

import numpy as np

from cgraph._kernels import Build
from cgraph._kernels.runtime.loans import Mirror, Written, move_out
from cgraph._kernels.runtime.memory import Memory, address
from cgraph._lowering.buffers import Allocator
from cgraph._lowering.sample_steps import SampleBuilder
from cgraph._validation import Array


class Arena:
    """The memory of a Graph, of which arrays of its nodes are views.

    Attributes
    ----------
    data, grad : ndarray
        The data of the nodes, and their gradients at the same offsets.
    parameters, parameter_grads : ndarray
        The parameters, and their gradient sums at the same offsets.
    scratch : ndarray
        The scratch of steps for one sample.
    memory : Memory
        The addresses of these arrays, for compiled code.
    written : Written
        The memory to which calls write.
    """

    def __init__(self, kernels: Build, builder: SampleBuilder, data: Allocator) -> None:
        self.kernels = kernels
        self.data, self.grad = data.zeros(), data.zeros()
        self.parameters = builder.parameters.zeros()
        self.parameter_grads = builder.parameters.zeros()
        self.scratch = builder.scratch.zeros()
        self.memory = Memory(*map(address, self.arrays))
        self.nbytes = sum(array.nbytes for array in self.arrays)
        self._parameters_allocator = builder.parameters
        self._thread_grads = [self.parameter_grads]  # the gradient sums of each thread
        # All memories with these parameters, each with the number of its thread.
        self._memories = [(self.memory, 0)]
        self.written = Written(list(self.arrays[:4]), np.may_share_memory)

    @property
    def arrays(self) -> tuple[Array, ...]:
        """All arrays, in the order in which `Memory` takes their addresses."""
        return self.data, self.grad, self.parameters, self.parameter_grads, self.scratch

    def memory_of(self, thread: int, data: Array, grad: Array, scratch: Array) -> Memory:
        """Returns memory for one more thread: given arrays, the common parameters, gradient sums of its own."""
        while len(self._thread_grads) <= thread:
            self._thread_grads.append(self._parameters_allocator.zeros())
        arrays = data, grad, self.parameters, self._thread_grads[thread], scratch
        memory = Memory(*map(address, arrays))
        self._memories.append((memory, thread))
        return memory

    def memory_with_discarded_grads(self) -> tuple[Memory, Array]:
        """Returns the memory of the nodes with other gradient sums, which are discarded afterwards.

        The array of these sums comes with it, and must be kept alive while the memory is in use.
        """
        grads = self._parameters_allocator.zeros()
        arrays = self.data, self.grad, self.parameters, grads, self.scratch
        memory = Memory(*map(address, arrays))
        memory.grads_are_zero = True
        return memory, grads

    def move_parameters(
        self, values: list[Mirror], sums: list[Mirror], offsets: list[Any], changes: list[Any]
    ) -> None:
        """Takes other memory for the parameters and gradient sums; arrays that were views of them become mirrors.

        `values` and `sums` are the mirrors of all these arrays, `offsets` the places of their elements, and `changes`
        are made at the same time.
        """
        parameters, grads = self._parameters_allocator.zeros(), self._parameters_allocator.zeros()
        self.written.add(parameters)
        self.written.add(grads)
        parameters[...], grads[...] = self.parameters, self.parameter_grads
        thread_grads = [grads, *self._thread_grads[1:]]
        memories = [
            (memory, address(parameters), address(thread_grads[thread]))
            for memory, thread in self._memories
        ]
        regions = [parameters] * len(values) + [grads] * len(sums)
        names = "parameters", "parameter_grads", "_thread_grads"
        own = (names, [(self, parameters, grads, thread_grads)])
        move_out([*values, *sums], regions, offsets, memories, [own, *changes])

    def accumulate_grads(self, threads: int) -> None:
        """Adds up the gradient sums of the first `threads` threads, always in the same order."""
        self.kernels.elementwise.add_up(self.parameter_grads, self._thread_grads[1:threads])

    def clear_thread_grads(self) -> None:
        """Sets the gradient sums of all threads but the first to 0, before other parameters learn."""
        for grads in self._thread_grads[1:]:
            grads[...] = 0
