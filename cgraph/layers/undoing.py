"""Layers that fail while they are built leave nothing behind at their inputs."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from contextlib import contextmanager

from cgraph.node import Node


@contextmanager
def undone_on_error(inputs: Iterable[Node]) -> Iterator[None]:
    """Detaches the consumers that inputs have got within the block if it ends with an exception.

    A consumer that leads nowhere would keep the backward pass of its inputs waiting.
    """
    before = {node: len(node.forward) for node in inputs}
    try:
        yield
    except BaseException:
        for node, count in before.items():
            _detach_all(node.forward[count:])
        raise


def _detach_all(consumers: list[Node]) -> None:
    """Detaches nodes, the last one first, behind all nodes that depend on them."""
    for consumer in reversed(dict.fromkeys(consumers)):
        _detach_all(consumer.forward)
        consumer.detach()
