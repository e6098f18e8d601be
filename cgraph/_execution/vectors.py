"""Vectors: the parameters of a Graph that learn as one flat vector, and the sum of the gradients in the same order."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, NamedTuple

import numpy as np
import numpy.typing as npt

from cgraph._execution.executable import Executable
from cgraph._execution.optimizing import parameter_places
from cgraph._execution.residency import add_python_sums
from cgraph._kernels.runtime.request import Feeds, Request
from cgraph._kernels.runtime.uninterrupted import Snapshot, assign_parts
from cgraph._validation import Array, as_real
from cgraph.optimizers.state import Index
from cgraph.optimizers.updates import own_piece
from cgraph.parameter import Parameter, parameters_of

USE = "a flat vector"  # of the arrays of own nodes, for messages


class Part(NamedTuple):
    """A parameter that learns: its elements in the vector, and in the arena; None for the array of an own node."""

    parameter: Parameter
    elements: slice
    place: Index | None


class Vectors:
    """The parameters of a Graph that learn, each in C order, as one vector.

    Its methods are parts of calls of the Graph that have begun; `begin` is the first.

    Attributes
    ----------
    parts : list of Part
        The parameters, in the order of the vector; another list after each change of `trainable`.
    """

    def __init__(self, executable: Executable) -> None:
        self._executable = executable
        self._freezes: object = None  # the changes of `trainable` for which the parts were found
        self.parts: list[Part] = []

    def begin(self) -> None:
        """Finds the parts of the vector."""
        executable = self._executable
        freezes = executable.residency.freezes
        # The array of an own node may have been exchanged for one of another shape.
        if freezes is self._freezes and not executable.python_nodes:
            return
        places = parameter_places(executable.slots)
        parts, first = [], 0
        for p in [p for p in parameters_of(executable.program.order) if p.trainable]:
            end = first + int(np.prod(p.shape))
            parts.append(Part(p, slice(first, end), places.get(p)))
            first = end
        self.parts, self._freezes = parts, freezes

    @property
    def size(self) -> int:
        """The number of elements of the vector."""
        return self.parts[-1].elements.stop if self.parts else 0

    def values(self) -> Array:
        """Returns the parameters."""
        region = self._executable.arena.parameters
        arrays = [
            region[index] if index is not None else own_piece(p, USE).values
            for p, _, index in self.parts
        ]
        return self._joined(arrays)

    def gradient(self) -> Array:
        """Returns the gradient sums."""
        region = self._executable.arena.parameter_grads
        arrays = [
            region[index] if index is not None else own_piece(p, USE).grads
            for p, _, index in self.parts
        ]
        return self._joined(arrays)

    def _joined(self, arrays: Sequence[Array]) -> Array:
        """Returns the elements of arrays, one for each part, as a new vector."""
        vector: Array = np.empty(self.size, self._executable.dtype)
        for part, array in zip(self.parts, arrays, strict=True):
            vector[part.elements] = array.reshape(-1)
        return vector

    def as_vector(self, owner: str, value: npt.ArrayLike) -> Array:
        """Returns an array-like as a new vector in the nodes' dtype, or refuses it."""
        array = as_real(owner, "v", value)
        if array.shape != (self.size,):
            raise ValueError(
                f"{owner}: v must have shape (P,) = ({self.size},), with all parameters that learn, got {array.shape}"
            )
        return array.astype(self._executable.dtype)

    def assign(self, vector: Array) -> None:
        """Copies a vector into the parameters, all or none."""
        region = self._executable.arena.parameters
        arrays: list[Array] = []
        indices: list[Any] = []
        sources = []
        for p, elements, index in self.parts:
            source = vector[elements]
            if index is None:
                own = own_piece(p, USE).values
                arrays.append(own)
                indices.append(...)
                sources.append(source.reshape(own.shape))
            else:
                arrays.append(region)
                indices.append(index)
                sources.append(source)
        assign_parts(arrays, indices, sources)

    def value_and_grad(self, feeds: Feeds, vector: Array | None) -> tuple[float, Array]:
        """Returns the sum of the losses and its gradient, for parameters that are set to the vector, if there is one.

        The gradient sums are as they were when the call ends.
        """
        executable = self._executable
        losses: Array = np.empty(feeds.size, executable.dtype)
        request = Request(None, feeds, losses, True, True, carry=executable.carry)
        # A leaf without data is refused before the parameters change.
        schedule = executable.schedule_of(request) if feeds.size else None
        if vector is not None:
            self.assign(vector)
        if schedule is None:
            executable.skip(feeds)
            return 0.0, np.zeros(self.size, executable.dtype)
        set_sums_aside(executable)
        executable.begin_run(request, active=False)
        executable.batches.run(request, schedule, executable.update_steps, False, None)
        executable.end_run(request, schedule.one_by_one)
        executable.allow_backward("parameters_only")
        return float(losses.sum(dtype=np.float64)), self.gradient()


def set_sums_aside(executable: Executable) -> None:
    """Makes the gradient sums 0 until the end of the call, which restores them and the numbers of samples."""
    memory, snapshot = executable.memory, Snapshot()
    memory.counted = 0  # since the samples of this call count for nothing
    if not memory.grads_are_zero:
        snapshot.add_array(executable.arena.parameter_grads)
    for name in ("grads_are_zero", "samples", "counted"):
        snapshot.add_field(memory, name)
    add_python_sums(executable.python_nodes, snapshot)
    executable.set_aside = snapshot
    clear_sums(executable)


def clear_sums(executable: Executable) -> None:
    """Makes the gradient sums 0."""
    executable.memory.grads_are_zero = True
    for node in executable.python_nodes:
        node.zero_grad()
    if executable.python_nodes:
        executable.residency.materialise_sums()
