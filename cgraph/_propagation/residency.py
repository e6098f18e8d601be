"""Residency: what a node and its passes ask of the Graph in whose arena the node's arrays lie."""

from __future__ import annotations

from collections.abc import Collection
from typing import Any, Protocol

from cgraph._kernels.runtime.loans import Account
from cgraph._kernels.runtime.sharing import Sharing

Node = Any  # a cgraph.node.Node; that module imports this one


class Residency(Protocol):
    """The state of the arrays of nodes whose data, gradients and parameters lie in the arena of a Graph.

    Attributes
    ----------
    stale : bool
        Whether the nodes have moved to the arena of a newer Graph.
    has_computed : bool
        Whether the Graph has computed data since the last forward pass over the nodes.
    freezes : object
        Another object after each assignment to `trainable` of a parameter. The Graph asks, before its next call, which
        parameters learn.
    """

    stale: bool
    has_computed: bool
    freezes: object

    @property
    def gradients_are_zero(self) -> bool:
        """Whether the gradients of the nodes count as 0, whatever the arrays hold."""

    def before_grad(self, node: Node) -> None:
        """Brings the gradient of a node up to date before it is read, or refuses to show it."""

    def before_node_pass(self, forward: bool) -> None:
        """Brings data, gradients and parameters of the nodes up to date before one of them computes in a pass."""

    def is_public(self, sharing: Sharing, accounts: Collection[Account]) -> bool:
        """Returns whether nodes outside the Graph have these parameters; `accounts` are the loans of their arrays."""

    def tie(
        self,
        owner: str,
        accounts: Collection[Account],
        sharing: Sharing,
        nodes: list[Node],
        changes: list[Any],
    ) -> None:
        """Gives parameters that nodes of the Graph alone have to other nodes, by changes of attributes.

        Raises
        ------
        RuntimeError
            The Graph is running.
        """

    def before_evaluate(self) -> None:
        """Brings parameters up to date before nodes compute their data outside of any pass."""
