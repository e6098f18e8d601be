"""The memory of a Graph, and the arrays of its nodes that are views of it."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any

import numpy as np

from cgraph._kernels import Build
from cgraph._kernels.runtime import plan
from cgraph._kernels.runtime.step import CallStep, Step
from cgraph._kernels.runtime.uninterrupted import Snapshot
from cgraph._lowering.buffers import Place, Region
from cgraph._lowering.program import Block, Kind, Program
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
    fresh : bool
        Whether the gradient sums count as 0, whatever stands there.
    running : bool
        Whether a call is at work, which brings arrays that are lent meanwhile up to date at its end. It is set after
        `has_read` and cleared before it, so that a look at any other moment brings them up to date itself.
    has_read : bool
        Whether the call has read what the user has written, so that what it computes may take its place.
    """

    def __init__(self, program: Program, builder: Builder, data: Region) -> None:
        self.program = program
        self.learners_of = builder.learners
        self.kernels: Build = builder.kernels
        largest = max((u.nodes[0].size for u in program.units if len(u.nodes) > 1), default=0)
        self.transfer = data.take(largest)  # where the data of one channel can be packed
        self.data, self.grad = data.allocate(), data.allocate()
        self.values, self.sums = builder.values.allocate(), builder.values.allocate()
        self.scratch = builder.scratch.allocate()
        arrays = (self.data, self.grad, self.values, self.sums, self.scratch)
        self.memory = plan.Memory(*map(address, arrays))
        self.nbytes = sum(array.nbytes for array in arrays)
        self._values = builder.values
        self._sums = [self.sums]  # of each thread
        packed = [learner for learner in builder.learners if learner.places is not None]
        places = [np.empty(0, np.intp), *(x.places for x in packed if x.places is not None)]
        self.places = np.concatenate(places)
        self.own_values = np.zeros(self.places.size, builder.dtype)
        self.own_sums = np.zeros(self.places.size, builder.dtype)
        self.values_lent = self.sums_lent = self.running = self.has_read = False
        # All that arrays of the nodes are views of, and who owns that memory.
        self._own = (self.data, self.grad, self.values, self.sums, self.own_values, self.own_sums)
        self._owners = {id(x if x.base is None else x.base) for x in self._own}
        self.values_shown = False  # the nodes' own arrays are up to date until the next call

    @property
    def fresh(self) -> bool:
        """Whether the gradient sums count as 0, whatever they hold."""
        return self.memory.fresh

    @fresh.setter
    def fresh(self, value: bool) -> None:
        self.memory.fresh = value

    def memory_of(self, thread: int, data: Array, grad: Array, scratch: Array) -> plan.Memory:
        """More memory for the same parameters; each thread has gradient sums of its own."""
        while len(self._sums) <= thread:
            self._sums.append(self._values.allocate())
        arrays = data, grad, self.values, self._sums[thread], scratch
        return plan.Memory(*map(address, arrays))

    def memory_aside(self) -> tuple[plan.Memory, Array]:
        """The same memory, but for gradient sums that are to be dropped: who uses it keeps this array."""
        sums = self._values.allocate()
        memory = plan.Memory(*map(address, (self.data, self.grad, self.values, sums, self.scratch)))
        memory.fresh = True
        return memory, sums

    def add_sums(self, threads: int) -> None:
        """Adds up the sums of so many threads, always in the same order."""
        self.kernels.elementwise.add_up(self.sums, self._sums[1:threads])

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
        for unit in self.program.units:
            block = unit.block
            end = block.at + unit.nodes[0].size * block.pitch
            for at, node in enumerate(unit.nodes, block.at):
                view = slice(at, end, block.pitch)
                data, grad = self.data[view], self.grad[view]
                data[...] = node._data
                if node._graph is None or not node._graph._gradients_are_zero():
                    grad[...] = node._grad
                moves.append((node, data, grad, graph))
        start = 0
        for node, at, size, places in self.learners_of:
            values, sums = self.values, self.sums
            if places is not None:
                values, sums, at = self.own_values, self.own_sums, start
                start += size
            values, sums = values[at : at + size], sums[at : at + size]
            moved = node._moved(values, sums)
            changes.append((tuple(moved), [(node, *moved.values())]))
            if node._graph is not None and node._graph._arena.fresh:
                sums[...] = 0
        self.values[self.places] = self.own_values
        self.sums[self.places] = self.own_sums
        self.fresh = not self.sums.any()
        return changes

    def begin(self) -> None:
        """Begins a call: what the user may have written counts, also if gradient sums are 0 by that."""
        self.read_lent()
        if self.sums_lent:
            self.fresh = plan.is_zero(self.sums)

    def read_lent(self) -> None:
        """Reads what has been written into arrays that are lent."""
        self.values_shown = False
        if self.values_lent:
            self.values[self.places] = self.own_values
        if self.sums_lent:
            self.sums[self.places] = self.own_sums
        # Last: what an exception has kept from being read is left to the next call.
        self.has_read = self.running = True

    def finish(self) -> None:
        """Brings lent arrays up to date; but not where `read_lent` has not read what was written there."""
        # First: an array that is lent from now on is brought up to date then.
        self.running = self.values_shown = False
        if self.has_read:
            if self.values_lent:
                self.values.take(self.places, out=self.own_values)
            if self.sums_lent:
                self.settle_sums()
                self.sums.take(self.places, out=self.own_sums)
            self.has_read = False

    def refresh(self) -> None:
        """Brings up to date the nodes' arrays that were not lent, and so are not kept up to date."""
        if not self.values_lent:
            self.values.take(self.places, out=self.own_values)
        if not self.sums_lent:
            self.sums.take(self.places, out=self.own_sums)
            if self.fresh:
                self.own_sums[...] = 0

    def lend_values(self) -> None:
        """From now on, parameters may be read and written by the user at any time."""
        if not self.values_lent:
            self.show_values()
            self.values_lent = True

    def show_values(self) -> None:
        """Brings the nodes' own parameter arrays up to date for a look that does not last."""
        if not (self.values_lent or self.values_shown):
            self.values.take(self.places, out=self.own_values)
            self.values_shown = True

    def lend_sums(self) -> None:
        """From now on, gradient sums may be read and written; between calls, those that count as 0 are 0."""
        if not self.sums_lent:
            if not self.running:  # else `finish` does it
                self.settle_sums()
            self.sums.take(self.places, out=self.own_sums)
            self.sums_lent = True

    def put_back_sums(self, before: Snapshot) -> None:
        """Gradient sums are again what they were, also for an own node that was looking at them."""
        before.restore()
        self.sums.take(self.places, out=self.own_sums)

    def settle_sums(self) -> None:
        """Gradient sums that count as 0 become 0."""
        if self.fresh:
            self.sums[...] = 0
            self.fresh = False

    def end_step(self, blocks: Iterable[Block] | None = None) -> Step:
        """The last step, with which a backward pass begins: through all blocks, or through these."""
        if blocks is None:
            blocks = dict.fromkeys(unit.block for unit in self.program.units)
        cleared = [(b.at, b.nodes[0].size * b.pitch) for b in blocks if b.cleared]
        # A loss has no siblings: what is not above it is not in the graph.
        loss = self.program.where[self.program.outputs[0]][0].at
        rows = np.array(cleared, np.intp).reshape(-1, 2)
        return self.kernels.elementwise.EndStep(loss, rows)

    def learners(self) -> list[Step]:
        """The steps of an update."""
        own = (u.nodes[0] for u in reversed(self.program.units) if u.kind is Kind.PYTHON)
        descent = self.kernels.elementwise.DescentStep(self.values.size)
        return [descent, *map(CallStep, own)]

    def packing(self, block: Block, channel: int) -> Step:
        """A step that copies one channel of a group to `transfer`."""
        size = block.nodes[channel].size
        row = np.array([[block.at + channel, block.pitch, False, False, False, size]], np.intp)
        target = Place(self.transfer, 1, False, False, False)
        return self.kernels.concatenation.ConcatenationStep(row, target)


def address(array: Array) -> int:
    """Returns the address of the array's first element."""
    at: int = array.__array_interface__["data"][0]
    return at
