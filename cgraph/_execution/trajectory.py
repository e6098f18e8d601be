"""The states of a Graph with carried leaves at each sample of a call, so that the samples become independent.

Gradients stop at the carry. So once the state before each sample is known, calls that update nothing in between may
take the samples side by side, with these states as if they had been fed.
"""

from __future__ import annotations

import numpy as np

from cgraph._execution.executable import Executable
from cgraph._kernels.runtime.request import Extras, Feeds, Request
from cgraph._validation import Array
from cgraph.node import Node


def with_states(executable: Executable, feeds: Feeds, node: Node | None = None) -> Feeds:
    """Returns feeds with the states of all carried leaves before each sample; the state goes on to behind the last.

    node: what the call derives with these feeds; None stands for the loss. A leaf on which it depends, and that has no
    data, is refused before the state changes.

    Feeds of a Graph without carried leaves, or of no samples, are returned as they are.
    """
    carrying = executable.carrying
    if carrying is None or not feeds.size:
        return feeds
    leaves = carrying.leaves
    states: list[Array] = [np.empty((feeds.size, leaf.size), executable.dtype) for leaf in leaves]
    executable.batches.require_data(
        Request(node, feeds, states[0], backward=node is None, carry=carrying.carry)
    )
    others = Extras(None, [], leaves[1:], states[1:], "")
    request = Request(leaves[0], feeds, states[0], extras=others, carry=carrying.carry)
    executable.compute(request, executable.schedule_of(request), executable.batches)
    carrying.set_aside()
    arrays = [*feeds.arrays, *states]
    given = [*feeds.given, *states]
    return Feeds([*feeds.leaves, *leaves], arrays, feeds.size, given, None, feeds.streams)
