"""The state of a Graph with carried leaves: where it lies, and how it is set, read and put back."""

from __future__ import annotations

from collections.abc import Iterable, Mapping

import numpy as np

from cgraph._kernels.runtime.request import Carry
from cgraph._kernels.runtime.uninterrupted import Snapshot, assign
from cgraph._lowering.program import Program
from cgraph._validation import Array
from cgraph.node import Node

States = Iterable[tuple[Node, Array]]
Kept = tuple[list[Array], list[Array]]


class Carrying:
    """The state of the carried leaves of a Graph.

    Without streams, that is the data of these leaves in the arena, which users may also read and write as `leaf.data`.
    With streams, it is an array with a row for each stream, and between calls the leaves show the row of the last one.

    Parameters
    ----------
    program : Program
        Its leaves have moved into the arena.
    streams : int
        The number of streams; 0 for none.

    Attributes
    ----------
    carry : Carry
        The state as requests have it.
    leaves : list of Node
    """

    def __init__(self, program: Program, streams: int) -> None:
        self.leaves = list(program.carried)
        self._shown: list[Array] = [leaf._data for leaf in self.leaves]
        rows = (streams,) if streams else ()
        self._initial = [np.array(np.broadcast_to(x, (*rows, x.size))) for x in self._shown]
        now = [x.copy() for x in self._initial] if streams else []
        self.carry = Carry(streams, now, [x.copy() for x in now])
        self._where = dict(zip(self.leaves, now or self._shown, strict=True))
        self._set_aside: Snapshot | None = None
        self._runs = False  # whether a call runs that may change the state

    def reset(self) -> None:
        """Gives the leaves what they held when the Graph was built."""
        assign(list(self._where.values()), self._initial)
        self.show()

    def set(self, states: States) -> None:
        """Sets the states of some leaves."""
        pairs = list(states)
        assign([self._where[leaf] for leaf, _ in pairs], [state for _, state in pairs])
        self.show()

    def kept(self) -> Kept:
        """Returns copies of what `reset` gives back, and of the states."""
        return [x.copy() for x in self._initial], [x.copy() for x in self._where.values()]

    def go_on(self, kept: Kept) -> None:
        """Takes over the states of another Graph, of which this one is a copy."""
        self._initial, now = kept
        assign(list(self._where.values()), now)
        self.show()

    def get(self) -> Mapping[Node, Array]:
        """Returns copies of the states."""
        return {leaf: state.copy() for leaf, state in self._where.items()}

    def show(self) -> None:
        """Lets the leaves show the state of the last stream."""
        if self.carry.streams:
            assign(self._shown, [states[-1] for states in self._where.values()])

    def begin(self, states: States) -> None:
        """Begins to run samples, with these states of some leaves."""
        self._runs = True
        self.set(states)

    def set_aside(self) -> None:
        """Keeps the states while a call uses the arrays of the leaves for other data, until its end."""
        snapshot = Snapshot()
        self.preserve(snapshot)
        self._set_aside = snapshot

    def complete(self) -> None:
        """Completes a call; does no harm if it is called again."""
        if self._set_aside is not None:
            self._set_aside.restore()
            self._set_aside = None
        if self._runs:
            self.show()
            self._runs = False

    def preserve(self, snapshot: Snapshot) -> None:
        """Adds the states to a snapshot."""
        for array in self._where.values():
            snapshot.add_array(array)
