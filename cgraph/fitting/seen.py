"""The output of a network and its target, which metrics compare."""

from __future__ import annotations

from collections.abc import Collection, Iterable
from typing import NamedTuple

from cgraph._validation import describe
from cgraph.node import Node
from cgraph.traversal import ancestors


class Seen(NamedTuple):
    """The node whose data metrics see, and the leaf that is fed its targets."""

    output: Node
    target: Node


def as_seen(loss: Node, output: object, nodes: Collection[Node], fed: Collection[Node]) -> Seen:
    """Returns what metrics see: as it is given, or as the loss shows it.

    Parameters
    ----------
    loss : Node
        The end of the graph.
    output : Node, (Node, Node) or None
        The output; the output and its target; or None if both are inputs of the loss.
    nodes : collection of Node
        The nodes of the graph.
    fed : collection of Node
        The leaves that are fed.
    """
    if output is None:
        found = _inputs_of_loss(loss, fed)
    elif isinstance(output, tuple) and len(output) == 2:
        found = _checked(output[0], nodes), _checked(output[1], fed, "a leaf that is fed")
    else:
        node = _checked(output, nodes)
        below = ancestors(node)
        targets = [leaf for leaf in fed if not _is_among(leaf, below)]
        if len(targets) != 1:
            raise ValueError(
                f"fit: output must be a pair (output, target) where {len(targets)} leaves that are fed "
                f"are not below the output, got {describe(node)}"
            )
        found = node, targets[0]
    seen = Seen(*found)
    if seen.output.size != seen.target.size:
        raise ValueError(
            f"fit: output and target must have the same size, got {seen.output!r} and {seen.target!r}"
        )
    return seen


def _inputs_of_loss(loss: Node, fed: Collection[Node]) -> tuple[Node, Node]:
    """Returns output and target where one input of the loss alone is a leaf that is fed; other inputs refuse."""
    targets = [node for node in loss.backward if _is_among(node, fed)]
    outputs = [node for node in loss.backward if not _is_among(node, fed)]
    if len(targets) != 1 or not outputs:
        raise ValueError(
            f"fit: output must be given for metrics, since {loss!r} is no loss of an output and a leaf that is fed"
        )
    return outputs[0], targets[0]


def _checked(node: object, known: Collection[Node], kind: str = "a node of the graph") -> Node:
    if not isinstance(node, Node) or not _is_among(node, known):
        raise ValueError(f"fit: output must be {kind}, got {describe(node)}")
    return node


def _is_among(node: Node, nodes: Iterable[Node]) -> bool:
    """Whether a node is one of some nodes; classes of the user's own may define another equality."""
    return any(node is each for each in nodes)
