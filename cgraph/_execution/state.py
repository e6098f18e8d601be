"""CarriedState: the methods of a Graph that read and set what its carried leaves hold."""

from __future__ import annotations

from collections.abc import Mapping

import numpy.typing as npt

from cgraph._execution.carrying import Carrying
from cgraph._execution.executable import Executable
from cgraph._execution.feeds import FeedSpecs, as_state
from cgraph._kernels.runtime.memory import exclusive
from cgraph._validation import Array, describe
from cgraph.node import Node


class CarriedState:
    """The state of a Graph with carried leaves, which goes on from sample to sample and from call to call."""

    _executable: Executable
    _feed_specs: FeedSpecs

    @exclusive
    def reset(self) -> None:
        """Gives the carried leaves what they held when the Graph was built; with streams, all streams.

        Raises
        ------
        RuntimeError
            The Graph has no carried leaves; the nodes belong to a newer Graph.

        Examples
        --------
        >>> import cgraph as CG
        >>> x, sum_before = CG.Leaf1(1), CG.Leaf1(1)
        >>> total = x + sum_before
        >>> graph = CG.Graph(total, carry={sum_before: total})
        >>> graph.predict({x: [1, 2, 3]}).ravel()
        array([1., 3., 6.])
        >>> graph.predict({x: [1]}).ravel()
        array([7.])
        >>> graph.reset()
        >>> graph.predict({x: [1]}).ravel()
        array([1.])
        """
        self._begun("Graph.reset").reset()

    @exclusive
    def get_state(self) -> dict[Node, Array]:
        """Returns copies of what the carried leaves hold: the state before the next sample.

        Returns
        -------
        dict of Node to ndarray, shape (size,)
            The state of each carried leaf; with streams, shape (S, size).

        Raises
        ------
        RuntimeError
            The Graph has no carried leaves; the nodes belong to a newer Graph.
        """
        return dict(self._begun("Graph.get_state", reads=True).get())

    @exclusive
    def set_state(self, state: Mapping[Node, npt.ArrayLike]) -> None:
        """Sets what carried leaves hold, of all leaves that are given or, on an error, of none.

        A feed that holds carried leaves does so, too, before its first sample.

        Parameters
        ----------
        state : mapping of Node to array_like
            The state of carried leaves, shape (size,) or (height, width); with streams, (S, size) or (S, height,
            width). Of leaves of one element also () and (S,). Other carried leaves keep theirs.

        Raises
        ------
        TypeError, ValueError
            `state` is not as above.
        RuntimeError
            The Graph has no carried leaves; the nodes belong to a newer Graph.
        """
        carrying, specs = self._begun("Graph.set_state"), self._feed_specs
        if not isinstance(state, Mapping):
            raise TypeError(
                f"Graph.set_state: state must map leaves to arrays, got {describe(state)}"
            )
        for leaf in state:
            if leaf not in carrying.leaves:
                raise ValueError(
                    f"Graph.set_state: state must map carried leaves, got {describe(leaf)}"
                )
        items = state.items()
        carrying.set([(x, as_state("Graph.set_state", x, v, specs, "state")) for x, v in items])

    def _begun(self, owner: str, reads: bool = False) -> Carrying:
        """Begins a call of this class, which may change the leaves unless it only `reads`."""
        executable = self._executable
        executable.begin(owner)
        if executable.carrying is None:
            raise RuntimeError(f"{owner}: needs a Graph with carry, which this one has not")
        if not reads:
            executable.residency.backward_may_follow = False
        return executable.carrying
