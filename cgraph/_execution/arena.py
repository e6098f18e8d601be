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
from cgraph._lowering.sample_steps import Builder
from cgraph._validation import Array

# Attributes to be set: their names; and rows of an object and its values of these.
Changes = list[tuple[tuple[str, ...], list[tuple[object, ...]]]]


class Arena:
    """Data and gradients, values and gradient sums, scratch; and which of them hold what counts.

    Parameters that steps keep in an order of their own are copied: the arena's copy counts, until an array is lent to
    the user. From then on the two are compared at both ends of each call.

    Attributes
    ----------
    memory : plan.Memory
        The addresses.
    grads_are_zero : bool
        Whether the gradient sums count as 0, whatever stands there.
    running : bool
        Whether a call is at work, which brings arrays that are lent meanwhile up to date at its end. It is set after
        `has_read` and cleared before it, so that a look at any other moment brings them up to date itself.
    has_read : bool
        Whether the call has read what the user has written, so that what it computes may take its place.
    """

    def __init__(self, program: Program, builder: Builder, data: Allocator) -> None:
        self.program = program
        self.parameter_slots = builder.slots
        self.kernels: Build = builder.kernels
        largest = max((u.nodes[0].size for u in program.groups if len(u.nodes) > 1), default=0)
        self.transfer = data.allocate(largest)  # where the data of one channel can be packed
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
        self._thread_grads = [self.parameter_grads]  # of each thread
        packed = [slot for slot in builder.slots if slot.places is not None]
        places = [np.empty(0, np.intp), *(x.places for x in packed if x.places is not None)]
        self.places = np.concatenate(places)
        self.node_parameters = np.zeros(self.places.size, builder.dtype)
        self.node_grads = np.zeros(self.places.size, builder.dtype)
        self.parameters_exposed = self.grads_exposed = self.running = self.has_read = False
        # All that arrays of the nodes are views of, and who owns that memory.
        self._own = (
            self.data,
            self.grad,
            self.parameters,
            self.parameter_grads,
            self.node_parameters,
            self.node_grads,
        )
        self._owners = {id(x if x.base is None else x.base) for x in self._own}
        self.parameters_refreshed = (
            False  # the nodes' own arrays are up to date until the next call
        )

    @property
    def grads_are_zero(self) -> bool:
        """Whether the gradient sums count as 0, whatever they hold."""
        return self.memory.grads_are_zero

    @grads_are_zero.setter
    def grads_are_zero(self, value: bool) -> None:
        self.memory.grads_are_zero = value

    def memory_of(self, thread: int, data: Array, grad: Array, scratch: Array) -> plan.Memory:
        """More memory for the same parameters; each thread has gradient sums of its own."""
        while len(self._thread_grads) <= thread:
            self._thread_grads.append(self._parameters_allocator.zeros())
        arrays = data, grad, self.parameters, self._thread_grads[thread], scratch
        return plan.Memory(*map(address, arrays))

    def memory_aside(self) -> tuple[plan.Memory, Array]:
        """The same memory, but for gradient sums that are to be dropped: who uses it keeps this array."""
        sums = self._parameters_allocator.zeros()
        memory = plan.Memory(
            *map(address, (self.data, self.grad, self.parameters, sums, self.scratch))
        )
        memory.grads_are_zero = True
        return memory, sums

    def accumulate_grads(self, threads: int) -> None:
        """Adds up the sums of so many threads, always in the same order."""
        self.kernels.elementwise.add_up(self.parameter_grads, self._thread_grads[1:threads])

    def holds(self, array: Array) -> bool:
        """Whether an array may share memory with an array of a node."""
        base = array.base
        if base is None:  # an array that owns its memory is no view of another one
            return False
        if type(base) is np.ndarray and base.base is None:  # it owns the memory
            return id(base) in self._owners
        return any(np.may_share_memory(array, own) for own in self._own)

    def move_in(self, graph: Any) -> Changes:
        """Copies here what all nodes' arrays hold.

        Returns the changes by which the nodes come to belong to the graph, and older Graphs of theirs become stale.
        Until they are made, these Graphs and the nodes are as they were.

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
        moves: list[tuple[object, ...]] = []
        changes: Changes = [
            (("_stale",), [(older._itself(), True) for older in owners.values()]),
            (("_data", "_grad", "_graph"), moves),
        ]
        for group in self.program.groups:
            buffer = group.buffer
            end = buffer.offset + group.nodes[0].size * buffer.pitch
            for at, node in enumerate(group.nodes, buffer.offset):
                view = slice(at, end, buffer.pitch)
                data, grad = self.data[view], self.grad[view]
                data[...] = node._data
                if node._graph is None or not node._graph._gradients_are_zero():
                    grad[...] = node._grad
                moves.append((node, data, grad, graph))
        start = 0
        for node, at, size, places in self.parameter_slots:
            values, sums = self.parameters, self.parameter_grads
            if places is not None:
                values, sums, at = self.node_parameters, self.node_grads, start
                start += size
            values, sums = values[at : at + size], sums[at : at + size]
            moved = node._moved(values, sums)
            changes.append((tuple(moved), [(node, *moved.values())]))
            if node._graph is not None and node._graph._arena.grads_are_zero:
                sums[...] = 0
        self.parameters[self.places] = self.node_parameters
        self.parameter_grads[self.places] = self.node_grads
        self.grads_are_zero = not self.parameter_grads.any()
        return changes

    def begin(self) -> None:
        """Begins a call: what the user may have written counts, also if gradient sums are 0 by that."""
        self.read_exposed()
        if self.grads_exposed:
            self.grads_are_zero = plan.is_zero(self.parameter_grads)

    def read_exposed(self) -> None:
        """Reads what has been written into arrays that are lent."""
        self.parameters_refreshed = False
        if self.parameters_exposed:
            self.parameters[self.places] = self.node_parameters
        if self.grads_exposed:
            self.parameter_grads[self.places] = self.node_grads
        # Last: what an exception has kept from being read is left to the next call.
        self.has_read = self.running = True

    def finish(self) -> None:
        """Brings lent arrays up to date; but not where `read_lent` has not read what was written there."""
        # First: an array that is lent from now on is brought up to date then.
        self.running = self.parameters_refreshed = False
        if self.has_read:
            if self.parameters_exposed:
                self.parameters.take(self.places, out=self.node_parameters)
            if self.grads_exposed:
                self.materialise_grads()
                self.parameter_grads.take(self.places, out=self.node_grads)
            self.has_read = False

    def refresh(self) -> None:
        """Brings up to date the nodes' arrays that were not lent, and so are not kept up to date."""
        if not self.parameters_exposed:
            self.parameters.take(self.places, out=self.node_parameters)
        if not self.grads_exposed:
            self.parameter_grads.take(self.places, out=self.node_grads)
            if self.grads_are_zero:
                self.node_grads[...] = 0

    def expose_parameters(self) -> None:
        """From now on, parameters may be read and written by the user at any time."""
        if not self.parameters_exposed:
            self.refresh_parameters()
            self.parameters_exposed = True

    def refresh_parameters(self) -> None:
        """Brings the nodes' own parameter arrays up to date for a look that does not last."""
        if not (self.parameters_exposed or self.parameters_refreshed):
            self.parameters.take(self.places, out=self.node_parameters)
            self.parameters_refreshed = True

    def expose_grads(self) -> None:
        """From now on, gradient sums may be read and written; between calls, those that count as 0 are 0."""
        if not self.grads_exposed:
            if not self.running:  # else `finish` does it
                self.materialise_grads()
            self.parameter_grads.take(self.places, out=self.node_grads)
            self.grads_exposed = True

    def restore_grads(self, before: Snapshot) -> None:
        """Gradient sums are again what they were, also for an own node that was looking at them."""
        before.restore()
        self.parameter_grads.take(self.places, out=self.node_grads)

    def materialise_grads(self) -> None:
        """Gradient sums that count as 0 become 0."""
        if self.grads_are_zero:
            self.parameter_grads[...] = 0
            self.grads_are_zero = False

    def seed_step(self, buffers: Iterable[Buffer] | None = None) -> Step:
        """The last step, with which a backward pass begins: through all blocks, or through these."""
        if buffers is None:
            buffers = dict.fromkeys(group.buffer for group in self.program.groups)
        cleared = [(b.offset, b.nodes[0].size * b.pitch) for b in buffers if b.cleared]
        # A loss has no siblings: what is not above it is not in the graph.
        loss = self.program.where[self.program.outputs[0]][0].offset
        rows = np.array(cleared, np.intp).reshape(-1, 2)
        return self.kernels.elementwise.SeedStep(loss, rows)

    def update_steps(self) -> list[Step]:
        """The steps of an update."""
        own = (u.nodes[0] for u in reversed(self.program.groups) if u.kind is Kind.PYTHON)
        descent = self.kernels.elementwise.SGDStep(self.parameters.size)
        return [descent, *map(PythonStep, own)]

    def packing(self, buffer: Buffer, channel: int) -> Step:
        """A step that copies one channel of a group to `transfer`."""
        size = buffer.nodes[channel].size
        row = np.array(
            [[buffer.offset + channel, buffer.pitch, False, False, False, size]], np.intp
        )
        target = Operand(self.transfer, 1, False, False, False)
        return self.kernels.concatenation.ConcatenationStep(row, target)


def address(array: Array) -> int:
    """Returns the address of the array's first element."""
    at: int = array.__array_interface__["data"][0]
    return at
