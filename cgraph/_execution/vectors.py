"""Vectors: the parameters of a Graph that learn as one flat vector, and gradients in the same order."""

from __future__ import annotations

from collections.abc import Iterator
from functools import partial
from typing import NamedTuple

import numpy as np
import numpy.typing as npt

from cgraph._execution.executable import Executable
from cgraph._execution.extras import as_rows
from cgraph._execution.goals import LOSS
from cgraph._execution.optimizing import parameter_places
from cgraph._kernels.lanes.per_sample import ROW_PART, GradientRows
from cgraph._kernels.runtime import plan
from cgraph._kernels.runtime.request import Feeds, Request
from cgraph._kernels.runtime.structs import Structs, structs
from cgraph._kernels.runtime.uninterrupted import Snapshot, assign_parts
from cgraph._validation import Array, as_real
from cgraph.optimizers.state import Index
from cgraph.optimizers.updates import own_piece
from cgraph.parameter import Parameter, own_parameters


class Part(NamedTuple):
    """A parameter that learns: its elements in the vector, and in the arena; None for the array of an own node."""

    parameter: Parameter
    elements: slice
    index: Index | None


class Vectors:
    """The parameters of a Graph that learn, each in C order, as one vector.

    Its methods are parts of calls of the Graph that have begun; `begin` is the first.
    """

    def __init__(self, executable: Executable) -> None:
        self._executable = executable
        self._freezes: object = None  # the changes of `trainable` for which the parts were found
        self._parts: list[Part] = []
        self._row_parts: Structs | None = None

    def begin(self) -> None:
        """Finds the parts of the vector, at the beginning of a call."""
        executable = self._executable
        freezes = executable.residency.freezes
        # The array of an own node may have been exchanged for one of another shape.
        if freezes is self._freezes and not executable.python_nodes:
            return
        places = parameter_places(executable.slots)
        order = [p for node in executable.program.order for p in own_parameters(node)]
        parts, first = [], 0
        for p in dict.fromkeys(p for p in order if p.trainable):
            end = first + int(np.prod(p.shape))
            parts.append(Part(p, slice(first, end), places.get((p.node, p._value_name))))
            first = end
        self._parts, self._row_parts, self._freezes = parts, None, freezes

    @property
    def size(self) -> int:
        """The number of elements of the vector."""
        return self._parts[-1].elements.stop if self._parts else 0

    def values(self) -> Array:
        """Returns the parameters."""
        region = self._executable.arena.parameters
        return self._gathered([
            own_piece(p, "a flat vector").values if index is None else region[index]
            for p, _, index in self._parts
        ])  # fmt: skip

    def _gradient(self) -> Array:
        """Returns the gradient sums."""
        region = self._executable.arena.parameter_grads
        return self._gathered([
            own_piece(p, "a flat vector").grads if index is None else region[index]
            for p, _, index in self._parts
        ])  # fmt: skip

    def _gathered(self, arrays: list[Array]) -> Array:
        """Returns the elements of arrays, one for each part, as a new vector."""
        vector: Array = np.empty(self.size, self._executable.dtype)
        for (_, elements, _), array in zip(self._parts, arrays, strict=True):
            vector[elements] = array.reshape(-1)
        return vector

    def as_vector(self, owner: str, value: npt.ArrayLike) -> Array:
        """Returns an array-like as a vector in the nodes' dtype, or refuses it."""
        array = as_real(owner, "v", value)
        if array.shape != (self.size,):
            raise ValueError(
                f"{owner}: v must have shape ({self.size},), an element for each that learns, got {array.shape}"
            )
        return as_rows(self._executable, array)

    def assign(self, vector: Array) -> None:
        """Copies a vector into the parameters, all or none."""
        region = self._executable.arena.parameters
        arrays, indices, sources = [], [], []
        for p, elements, index in self._parts:
            own = None if index is not None else own_piece(p, "a flat vector").values
            arrays.append(region if own is None else own)
            indices.append(... if own is not None else index)
            sources.append(vector[elements] if own is None else vector[elements].reshape(own.shape))
        assign_parts(arrays, indices, sources)

    # Gradients, which leave the gradient sums as they are

    def value_and_grad(self, feeds: Feeds, vector: Array | None) -> tuple[float, Array]:
        """Returns the sum of the losses, and the gradient of that sum; the parameters are set to the vector before."""
        executable = self._executable
        losses: Array = np.empty(feeds.size, executable.dtype)
        request = Request(None, feeds, losses, True, True)
        schedule = executable.schedule_of(request) if feeds.size else None
        if vector is not None:
            self.assign(vector)
        if schedule is None:
            executable.last_feed = feeds.to_remember()
            return 0.0, np.zeros(self.size, executable.dtype)
        self._set_sums_aside()
        executable.begin_run(request, active=False)
        executable.batches.run(request, schedule, executable.update_steps, False, None)
        executable.end_run(request, schedule.one_by_one)
        executable.allow_backward("parameters_only")
        return float(losses.sum(dtype=np.float64)), self._gradient()

    def per_sample(self, feeds: Feeds) -> Array:
        """Returns the gradient of each sample's loss, in a row for each sample."""
        executable = self._executable
        rows: Array = np.empty((feeds.size, self.size), executable.dtype)
        if not feeds.size:
            executable.last_feed = feeds.to_remember()
            return rows
        request = Request(None, feeds, np.empty(feeds.size, executable.dtype), True, True)
        executable.schedule_of(request)  # refuses a leaf without data
        self._set_sums_aside()
        executable.begin_run(request, active=False)
        if executable.python_nodes:
            one_by_one = self._run_samples(request, rows)
        else:
            step = partial(self._binding, rows)
            one_by_one = executable.batches.share(request, step) == 1
        executable.end_run(request, one_by_one)
        executable.allow_backward("parameters_only")
        return rows

    def _binding(self, rows: Array, part: Request, thread: int) -> tuple[list[plan.Binding], bytes]:
        """Returns what runs some samples in a thread, one at a time, and writes the gradient of each to its row."""
        binding = self._executable.executors.samples.binding(LOSS, part.feeds.leaves, thread)
        if self._row_parts is None:
            self._row_parts = row_parts(self._parts)
        step = GradientRows(binding.steps, self._row_parts, rows, rows.itemsize)
        return [binding.around(step)], bytes(1)

    def _run_samples(self, request: Request, rows: Array) -> bool:
        """Runs samples with own nodes, whose gradient sums lie anywhere; returns whether they went one by one."""
        executable = self._executable
        for number, row in enumerate(rows):
            self._clear_sums()
            executable.batches.share(request.part(number, number + 1), executable.executors.bind)
            row[...] = self._gradient()
        return executable.executors.layout_of(request).min_samples > 1

    def _set_sums_aside(self) -> None:
        """Makes the gradient sums 0 until the end of the call, which restores them and the numbers of samples."""
        executable, snapshot = self._executable, Snapshot()
        memory = executable.memory
        memory.counted = 0  # since these samples count for nothing
        if not memory.grads_are_zero:
            snapshot.add_array(executable.arena.parameter_grads)
        for name in ("grads_are_zero", "samples", "counted"):
            snapshot.add_field(memory, name)
        executable.add_python_grads(snapshot)
        executable.set_aside = snapshot
        self._clear_sums()

    def _clear_sums(self) -> None:
        """Makes the gradient sums 0."""
        executable = self._executable
        executable.memory.grads_are_zero = True
        for node in executable.python_nodes:
            node.zero_grad()
        if executable.python_nodes:
            executable.residency.materialise_sums()


def row_parts(parts: list[Part]) -> Structs:
    """Returns where the elements of a vector lie side by side among the gradient sums of the arena."""
    found = list(_runs(parts))
    firsts, places, counts = zip(*found, strict=True) if found else ((), (), ())
    return structs(ROW_PART, len(found), first=firsts, place=places, count=counts)


def _runs(parts: list[Part]) -> Iterator[tuple[int, int, int]]:
    """Yields the offset in the arena, the place in the vector, and the number of elements that lie side by side."""
    for _, elements, index in parts:
        if isinstance(index, slice):
            yield index.start, elements.start, index.stop - index.start
        elif index is not None:
            begins = np.flatnonzero(np.diff(index, prepend=index[0] - 2) != 1)
            counts = np.diff(begins, append=len(index))
            yield from zip(
                index[begins].tolist(),
                (elements.start + begins).tolist(),
                counts.tolist(),
                strict=True,
            )
