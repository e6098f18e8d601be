"""The memory of a Graph, and the arrays of its nodes that are views of it."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any

import numpy as np

from cgraph._kernels import Build
from cgraph._kernels.runtime import plan
from cgraph._kernels.runtime.step import PythonStep, Step
from cgraph._kernels.runtime.uninterrupted import Snapshot
from cgraph._lowering.buffers import Allocator, Operand
from cgraph._lowering.program import Buffer, Kind, Program
from cgraph._lowering.sample_steps import SampleBuilder
from cgraph._validation import Array

# Attributes to be set: their names, and rows of an object with its new values of these attributes.
Changes = list[tuple[tuple[str, ...], list[tuple[object, ...]]]]


class Arena:
    """The memory of a Graph: data, gradients, parameters, gradient sums and scratch.

    Parameters that a fused group packs have a second copy in arrays of the nodes. The arena's copy counts, until an
    array of a node is exposed, that is, handed out to the user. From then on the arena reads that array at the
    beginning of each call and writes it at the end.

    Attributes
    ----------
    memory : plan.Memory
        The addresses of the arrays, for compiled code.
    grads_are_zero : bool
        Whether the gradient sums count as 0, whatever their memory holds.
    running : bool
        Whether a call is running, at whose end exposed arrays are brought up to date. The flag is set after `has_read`
        and unset before it, so an array that is exposed at any other moment is brought up to date at once.
    has_read : bool
        Whether the running call has read the exposed arrays, so that its results may overwrite them.
    """

    def __init__(self, program: Program, builder: SampleBuilder, data: Allocator) -> None:
        self.program = program
        self.parameter_slots = builder.slots
        self.kernels: Build = builder.kernels
        largest = max((g.nodes[0].size for g in program.groups if len(g.nodes) > 1), default=0)
        # To this place the step of `packing_step` copies one channel of a fused group, contiguously.
        self.packed_channel_offset = data.allocate(largest)
        self.data, self.grad = data.zeros(), data.zeros()
        self.parameters, self.parameter_grads = (
            builder.parameters.zeros(),
            builder.parameters.zeros(),
        )
        self.scratch = builder.scratch.zeros()
        arrays = (self.data, self.grad, self.parameters, self.parameter_grads, self.scratch)
        self.memory = plan.Memory(*map(address, arrays))
        self.nbytes = sum(array.nbytes for array in arrays)
        self._parameters_allocator = builder.parameters
        self._thread_grads = [self.parameter_grads]  # the gradient sums of each thread
        packed = [s.element_offsets for s in builder.slots if s.element_offsets is not None]
        self.packed_offsets = np.concatenate([np.empty(0, np.intp), *packed])
        self.node_parameters = np.zeros(self.packed_offsets.size, builder.dtype)
        self.node_grads = np.zeros(self.packed_offsets.size, builder.dtype)
        self.parameters_exposed = self.grads_exposed = self.running = self.has_read = False
        # The arrays of the nodes are views of these; the ids are those of the objects that own the memory.
        self._node_arrays = (
            self.data,
            self.grad,
            self.parameters,
            self.parameter_grads,
            self.node_parameters,
            self.node_grads,
        )
        self._owner_ids = {id(x if x.base is None else x.base) for x in self._node_arrays}
        # Whether the nodes' copies of packed parameters are up to date, until the next call.
        self.parameters_refreshed = False

    @property
    def grads_are_zero(self) -> bool:
        """Whether the gradient sums count as 0, whatever their memory holds."""
        return self.memory.grads_are_zero

    @grads_are_zero.setter
    def grads_are_zero(self, value: bool) -> None:
        self.memory.grads_are_zero = value

    def memory_of(self, thread: int, data: Array, grad: Array, scratch: Array) -> plan.Memory:
        """Returns memory for one more thread: given arrays, the common parameters, gradient sums of its own."""
        while len(self._thread_grads) <= thread:
            self._thread_grads.append(self._parameters_allocator.zeros())
        arrays = data, grad, self.parameters, self._thread_grads[thread], scratch
        return plan.Memory(*map(address, arrays))

    def memory_with_discarded_grads(self) -> tuple[plan.Memory, Array]:
        """Returns the memory of the nodes with other gradient sums, which are discarded afterwards.

        The array of these sums comes with it, and must be kept alive while the memory is in use.
        """
        grads = self._parameters_allocator.zeros()
        memory = plan.Memory(
            *map(address, (self.data, self.grad, self.parameters, grads, self.scratch))
        )
        memory.grads_are_zero = True
        return memory, grads

    def accumulate_grads(self, threads: int) -> None:
        """Adds up the gradient sums of the first `threads` threads, always in the same order."""
        self.kernels.elementwise.add_up(self.parameter_grads, self._thread_grads[1:threads])

    def holds(self, array: Array) -> bool:
        """Returns whether an array may share memory with an array of a node."""
        base = array.base
        if base is None:  # the array owns its memory, so it is no view of another one
            return False
        if type(base) is np.ndarray and base.base is None:  # `base` owns the memory
            return id(base) in self._owner_ids
        return any(np.may_share_memory(array, x) for x in self._node_arrays)

    def adopt_nodes(self, graph: Any) -> Changes:
        """Copies the content of all nodes' arrays into the arena.

        Returns the changes that make the arrays of the nodes views of the arena, and older Graphs of these nodes stale.
        Until the changes are made, the nodes and these Graphs are as before.

        Raises
        ------
        RuntimeError
            A node belongs to a Graph that is running.
        """
        owners = {id(n._graph): n._graph for n in self.program.order if n._graph is not None}
        for older in owners.values():
            older._require_idle()
        for older in owners.values():
            older._arena.refresh()
        views: list[tuple[object, ...]] = []
        changes: Changes = [
            (("_stale",), [(older._strong_reference(), True) for older in owners.values()]),
            (("_data", "_grad", "_graph"), views),
        ]
        for group in self.program.groups:
            buffer = group.buffer
            end = buffer.offset + group.nodes[0].size * buffer.pitch
            for offset, node in enumerate(group.nodes, buffer.offset):
                elements = slice(offset, end, buffer.pitch)
                data, grad = self.data[elements], self.grad[elements]
                data[...] = node._data
                if node._graph is None or not node._graph._gradients_are_zero():
                    grad[...] = node._grad
                views.append((node, data, grad, graph))
        packed = 0  # the number of packed parameters so far
        for node, offset, size, element_offsets in self.parameter_slots:
            parameters, grads = self.parameters, self.parameter_grads
            if element_offsets is not None:
                parameters, grads, offset = self.node_parameters, self.node_grads, packed
                packed += size
            parameters, grads = parameters[offset : offset + size], grads[offset : offset + size]
            moved = node._moved(parameters, grads)
            changes.append((tuple(moved), [(node, *moved.values())]))
            if node._graph is not None and node._graph._arena.grads_are_zero:
                grads[...] = 0
        self.parameters[self.packed_offsets] = self.node_parameters
        self.parameter_grads[self.packed_offsets] = self.node_grads
        self.grads_are_zero = not self.parameter_grads.any()
        return changes

    def begin(self) -> None:
        """Begins a call: reads exposed arrays, and finds out whether the gradient sums in them are 0."""
        self.read_exposed()
        if self.grads_exposed:
            self.grads_are_zero = plan.is_zero(self.parameter_grads)

    def read_exposed(self) -> None:
        """Reads the exposed arrays, into which the user may have written."""
        self.parameters_refreshed = False
        if self.parameters_exposed:
            self.parameters[self.packed_offsets] = self.node_parameters
        if self.grads_exposed:
            self.parameter_grads[self.packed_offsets] = self.node_grads
        # Last, so that after an exception the next call reads the arrays again.
        self.has_read = self.running = True

    def finish(self) -> None:
        """Brings exposed arrays up to date, unless `read_exposed` has not come to its end before."""
        # First, so that an array that is exposed from now on is brought up to date at once.
        self.running = self.parameters_refreshed = False
        if self.has_read:
            if self.parameters_exposed:
                self.parameters.take(self.packed_offsets, out=self.node_parameters)
            if self.grads_exposed:
                self.materialise_grads()
                self.parameter_grads.take(self.packed_offsets, out=self.node_grads)
            self.has_read = False

    def refresh(self) -> None:
        """Brings up to date the nodes' arrays that are not exposed, since calls do not write to those."""
        if not self.parameters_exposed:
            self.parameters.take(self.packed_offsets, out=self.node_parameters)
        if not self.grads_exposed:
            self.parameter_grads.take(self.packed_offsets, out=self.node_grads)
            if self.grads_are_zero:
                self.node_grads[...] = 0

    def expose_parameters(self) -> None:
        """Lets the user read and write the parameter arrays of the nodes at any time from now on."""
        if not self.parameters_exposed:
            self.refresh_parameters()
            self.parameters_exposed = True

    def refresh_parameters(self) -> None:
        """Brings the nodes' parameter arrays up to date for one reading, without exposing them."""
        if not (self.parameters_exposed or self.parameters_refreshed):
            self.parameters.take(self.packed_offsets, out=self.node_parameters)
            self.parameters_refreshed = True

    def expose_grads(self) -> None:
        """Lets the user read and write gradient sums from now on; between calls no sum just counts as 0."""
        if not self.grads_exposed:
            if not self.running:  # otherwise `finish` materialises them
                self.materialise_grads()
            self.parameter_grads.take(self.packed_offsets, out=self.node_grads)
            self.grads_exposed = True

    def restore_grads(self, snapshot: Snapshot) -> None:
        """Puts the gradient sums of a snapshot back, also into the nodes' arrays, which a Python node may read."""
        snapshot.restore()
        self.parameter_grads.take(self.packed_offsets, out=self.node_grads)

    def materialise_grads(self) -> None:
        """Sets gradient sums that count as 0 to 0."""
        if self.grads_are_zero:
            self.parameter_grads[...] = 0
            self.grads_are_zero = False

    def seed_step(self, buffers: Iterable[Buffer] | None = None) -> Step:
        """Returns the step with which a backward pass begins, through all buffers or through the given ones."""
        if buffers is None:
            buffers = dict.fromkeys(group.buffer for group in self.program.groups)
        zeroed_first = [(b.offset, b.nodes[0].size * b.pitch) for b in buffers if b.zeroed_first]
        # A loss is the only channel of its buffer, since a sibling of it would not be an ancestor.
        loss = self.program.channel_of[self.program.outputs[0]][0].offset
        rows = np.array(zeroed_first, np.intp).reshape(-1, 2)
        return self.kernels.elementwise.SeedStep(loss, rows)

    def update_steps(self) -> list[Step]:
        """Returns the steps of an update: gradient descent on all of the arena, then the nodes computed in Python."""
        groups = reversed(self.program.groups)
        python_nodes = (group.nodes[0] for group in groups if group.kind is Kind.PYTHON)
        sgd = self.kernels.elementwise.SGDStep(np.array([[0, self.parameters.size]], np.intp))
        return [sgd, *map(PythonStep, python_nodes)]

    def packing_step(self, buffer: Buffer, channel: int) -> Step:
        """Returns a step that copies one channel of a fused group to `packed_channel_offset`."""
        size = buffer.nodes[channel].size
        row = np.array(
            [[buffer.offset + channel, buffer.pitch, False, False, False, size]], np.intp
        )
        packed = Operand(self.packed_channel_offset, 1, False, False, False)
        return self.kernels.concatenation.ConcatenationStep(row, packed)


def address(array: Array) -> int:
    """Returns the address of the array's first element."""
    result: int = array.__array_interface__["data"][0]
    return result
