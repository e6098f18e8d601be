"""The contract of a node's methods, which gradcheck tests in three passes.

``calcData`` writes the data of its node and no other array. ``calcPartialDerivative`` adds to the gradients of the
inputs and to the gradient sums of the node, whatever these arrays hold, and writes no other array. At one point every
call of a method computes equal numbers, up to rounding.
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from cgraph._validation import Array
from cgraph.checks.report import GradientError
from cgraph.node import Node

# The units in the last place by which results of a method may differ from pass to pass.
ROUNDING = 1000.0

# The name of an array in messages, and the array.
NamedArray = tuple[str, Array]


def check_contract(order: Sequence[Node]) -> None:
    """Runs all nodes three times forward and backward. Data, gradients and gradient sums are undefined afterwards.

    Raises
    ------
    GradientError
        A node breaks the contract; the message names the first such node, and its fault.
    """
    checker = _ContractChecker(order)
    for begin_at_zero in (True, True, False):
        checker.forward()
        checker.backward(begin_at_zero)


class _ContractChecker:
    """Runs nodes in passes, and compares each pass with the results of the first, which it keeps.

    `order` has inputs before their consumers. `added` keeps, for each node and array, the numbers that the node has
    added in the first pass, and the largest absolute value of the array at that time.
    """

    def __init__(self, order: Sequence[Node]) -> None:
        self.order = order
        self.data: dict[Node, Array] = {}
        self.grads: dict[Node, Array] = {}
        self.added: dict[tuple[Node, str], tuple[Array, float]] = {}

    def forward(self) -> None:
        """Computes all data, which must be equal to those of the first pass."""
        for node in self.order:
            self.run(node, "calcData", [*inputs_of(node), *parameters_of(node)])
            first = self.data.setdefault(node, node.data.copy())
            if not agree(first, node.data, largest(first)):
                raise self.error(
                    node,
                    "two forward passes at the same point differ: calcData draws at random, or depends on what it has "
                    "computed before",
                )

    def backward(self, begin_at_zero: bool) -> None:
        """Computes all gradients; each node must add the numbers that it has added in the first pass.

        Where gradients and gradient sums begin at 0, a node that overwrites them cannot be told from a node that adds.
        So one pass begins at other numbers.
        """
        for node in self.order:
            node.grad = (
                np.zeros(node.size) if begin_at_zero else np.full(node.size, self.start(node))
            )
            for _, grad_sum in gradient_sums_of(node):
                grad_sum[...] = 0 if begin_at_zero else 1
        for node in reversed(self.order):
            if node is self.order[-1]:
                node.grad = [1.0]
            # The gradient is set to exactly that of the first pass, lest rounding errors grow from node to node.
            node.grad = self.grads.setdefault(node, node.grad.copy())
            before = [array.copy() for _, array in outputs_of(node)]
            own = [("its own data", node.data), ("its own gradient", node.grad)]
            constant = [*own, *inputs_of(node), *parameters_of(node)]
            self.run(node, "calcPartialDerivative", constant)
            # The arrays are read again, since a node may set a new array as its gradient sum.
            for (name, array), was in zip(outputs_of(node), before, strict=True):
                self.compare(node, name, array, was, begin_at_zero)

    def start(self, node: Node) -> float:
        """Returns a number that is not small beside the gradient of a node."""
        return max(1.0, largest(self.grads[node]))

    def compare(self, node: Node, name: str, array: Array, was: Array, begin_at_zero: bool) -> None:
        """Raises an error if a node has added other numbers to an array than in the first pass."""
        added, scale = array - was, max(1.0, largest(array), largest(was))
        first, first_scale = self.added.setdefault((node, name), (added, scale))
        if agree(first, added, max(scale, first_scale)):
            return
        if begin_at_zero:
            text = f"two backward passes at the same point differ in what calcPartialDerivative adds to {name}"
        else:
            text = f"calcPartialDerivative must add to {name}, whatever stands there, and does not"
        raise self.error(node, text)

    def run(self, node: Node, method: str, constant: Sequence[NamedArray]) -> None:
        """Calls a method of a node, and raises an error if it writes into arrays that must stay constant."""
        before = [array.copy() for _, array in constant]
        getattr(node, method)()
        for (name, array), was in zip(constant, before, strict=True):
            if not np.array_equal(array, was, equal_nan=True):
                raise self.error(node, f"{method} writes into {name}")

    def error(self, node: Node, text: str) -> GradientError:
        """Returns an error that names a node and its fault."""
        number = self.order.index(node)
        return GradientError(f"gradcheck: {node!r}, number {number} of the ancestors: {text}", node)


def agree(first: Array, second: Array, scale: float) -> bool:
    """Returns whether two arrays differ by rounding errors of numbers as large as `scale` at most."""
    allowed = ROUNDING * float(np.finfo(second.dtype).eps) * scale
    return np.allclose(first, second, rtol=0, atol=allowed, equal_nan=True)


def inputs_of(node: Node) -> list[NamedArray]:
    """Returns the data of a node's inputs."""
    return [(f"the data of backward[{i}]", x.data) for i, x in enumerate(node.backward)]


def outputs_of(node: Node) -> list[NamedArray]:
    """Returns the arrays to which ``calcPartialDerivative`` of a node adds."""
    return [*gradients_of(node), *gradient_sums_of(node)]


def gradients_of(node: Node) -> list[NamedArray]:
    """Returns the gradients of a node's inputs, each input once."""
    first = {x: i for i, x in reversed(list(enumerate(node.backward)))}
    return [(f"the gradient of backward[{i}]", x.grad) for x, i in first.items()]


def parameters_of(node: Node) -> list[NamedArray]:
    """Returns the parameters of a node."""
    return [(name.removeprefix("_"), getattr(node, name)) for name, _ in node._parameters]


def gradient_sums_of(node: Node) -> list[NamedArray]:
    """Returns the gradient sums of a node."""
    return [(name.removeprefix("_"), getattr(node, name)) for _, name in node._parameters]


def largest(array: Array) -> float:
    """Returns the largest absolute value of the finite elements of an array."""
    return float(np.max(np.abs(array), initial=0, where=np.isfinite(array)))
