"""Goals: what the steps of an executor compute, whatever the samples."""

from __future__ import annotations

from typing import NamedTuple

from cgraph._kernels.runtime.request import Request
from cgraph.node import Node


class Goal(NamedTuple):
    """What steps compute.

    Attributes
    ----------
    node : Node or None
        The node whose data come first; None for the only output, after which a backward pass follows.
    seeds : tuple of Node or None
        The outputs from whose gradients a backward pass begins; None for the loss.
    others : tuple of Node
        The nodes whose data are wanted, too.
    carries : bool
        Whether the data of carried nodes are wanted, too, which their leaves take after each sample.
    """

    node: Node | None
    seeds: tuple[Node, ...] | None = None
    others: tuple[Node, ...] = ()
    carries: bool = False


LOSS = Goal(None)


def goal_of(request: Request) -> Goal:
    """Returns the goal of a request."""
    extras, carries = request.extras, request.carry is not None
    if extras is None:
        return Goal(request.node, carries=carries)
    seeds = None if extras.seeds is None else tuple(extras.seeds)
    return Goal(request.node, seeds, tuple(extras.nodes), carries)
