"""The contract of a node's methods, watched by gradcheck while they work.

``calcData`` writes its own data alone, and the same each time. ``calcPartialDerivative`` adds to its inputs' gradients
and to its own sums, whatever stands there, the same each time, and writes nothing else.
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from cgraph._validation import Array
from cgraph.checks.report import GradientError
from cgraph.node import Node

ROUNDING = (
    1000.0  # units in the last place by which what a method adds may differ from pass to pass
)

# What an array is called in a message, and the array.
Named = tuple[str, Array]


def check_contract(order: Sequence[Node]) -> None:
    """Runs all nodes three times forward and backward; data, gradients and sums are anything afterwards.

    Raises
    ------
    GradientError
        A node breaks the contract: the first one that does, and what it did.
    """
    watch = _Watch(order)
    for begin_at_zero in (True, True, False):
        watch.forward()
        watch.backward(begin_at_zero)


class _Watch:
    """What the nodes, inputs before their consumers, have computed in the first pass."""

    def __init__(self, order: Sequence[Node]) -> None:
        self.order = order
        self.data: dict[Node, Array] = {}
        self.grads: dict[Node, Array] = {}
        self.shares: dict[
            tuple[Node, str], tuple[Array, float]
        ] = {}  # and how large what they were added to is

    def forward(self) -> None:
        """All data, which must be those of the first pass."""
        for node in self.order:
            self.work(node, "calcData", [*inputs_of(node), *values_of(node)])
            known = self.data.setdefault(node, node.data.copy())
            if not agree(known, node.data, largest(known)):
                raise self.error(
                    node,
                    "two forward passes at the same point differ: calcData draws at random, or depends on what it has "
                    "computed before",
                )

    def backward(self, begin_at_zero: bool) -> None:
        """All gradients; each node must add what it has added in the first pass.

        Where gradients and sums begin at 0, a node that overwrites them does what one does that adds; so they begin
        elsewhere, too.
        """
        for node in self.order:
            node.grad = (
                np.zeros(node.size) if begin_at_zero else np.full(node.size, self.start(node))
            )
            for _, total in sums_of(node):
                total[...] = 0 if begin_at_zero else 1
        for node in reversed(self.order):
            if node is self.order[-1]:
                node.grad = [1.0]
            # Exactly that of the first pass, lest rounding grows from node to node.
            node.grad = self.grads.setdefault(node, node.grad.copy())
            before = [array.copy() for _, array in targets_of(node)]
            own = [("its own data", node.data), ("its own gradient", node.grad)]
            self.work(node, "calcPartialDerivative", [*own, *inputs_of(node), *values_of(node)])
            # Anew: a node may put another array in the place of its sum.
            for (name, array), was in zip(targets_of(node), before, strict=True):
                self.compare(node, name, array, was, begin_at_zero)

    def start(self, node: Node) -> float:
        """A number that is not small beside a node's gradient."""
        return max(1.0, largest(self.grads[node]))

    def compare(self, node: Node, name: str, array: Array, was: Array, begin_at_zero: bool) -> None:
        """Refuses what a node has added to an array if it is not what it has added in the first pass."""
        share, scale = array - was, max(1.0, largest(array), largest(was))
        known, known_scale = self.shares.setdefault((node, name), (share, scale))
        if agree(known, share, max(scale, known_scale)):
            return
        if begin_at_zero:
            text = f"two backward passes at the same point differ in what calcPartialDerivative adds to {name}"
        else:
            text = f"calcPartialDerivative must add to {name}, whatever stands there, and does not"
        raise self.error(node, text)

    def work(self, node: Node, method: str, others: Sequence[Named]) -> None:
        """Calls a method of a node, which must leave other arrays as they are."""
        before = [array.copy() for _, array in others]
        getattr(node, method)()
        for (name, array), was in zip(others, before, strict=True):
            if not np.array_equal(array, was, equal_nan=True):
                raise self.error(node, f"{method} writes into {name}")

    def error(self, node: Node, text: str) -> GradientError:
        number = self.order.index(node)
        return GradientError(f"gradcheck: {node!r}, number {number} of the ancestors: {text}", node)


def agree(first: Array, second: Array, scale: float) -> bool:
    """Whether two arrays differ by rounding alone, of numbers as large as `scale`."""
    allowed = ROUNDING * float(np.finfo(second.dtype).eps) * scale
    return np.allclose(first, second, rtol=0, atol=allowed, equal_nan=True)


def inputs_of(node: Node) -> list[Named]:
    """The data of a node's inputs."""
    return [(f"the data of backward[{i}]", x.data) for i, x in enumerate(node.backward)]


def targets_of(node: Node) -> list[Named]:
    """The arrays that a node adds to."""
    return [*gradients_of(node), *sums_of(node)]


def gradients_of(node: Node) -> list[Named]:
    """The gradients of a node's inputs, each once."""
    first = {x: i for i, x in reversed(list(enumerate(node.backward)))}
    return [(f"the gradient of backward[{i}]", x.grad) for x, i in first.items()]


def values_of(node: Node) -> list[Named]:
    """What learns in a node."""
    return [(name.removeprefix("_"), getattr(node, name)) for name, _ in node._parameters]


def sums_of(node: Node) -> list[Named]:
    """The gradient sums of a node."""
    return [(name.removeprefix("_"), getattr(node, name)) for _, name in node._parameters]


def largest(array: Array) -> float:
    """The largest absolute value of an array's finite elements."""
    return float(np.max(np.abs(array), initial=0, where=np.isfinite(array)))
