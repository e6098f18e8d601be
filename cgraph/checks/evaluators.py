"""Evaluators of a loss and its gradients outside of passes, and a function that restores all nodes afterwards."""

from __future__ import annotations

from collections.abc import Callable, Collection, Iterator, Sequence
from typing import Any, Protocol, TypeVar

import numpy as np
import numpy.typing as npt

from cgraph._kernels.runtime.uninterrupted import Snapshot, preserving
from cgraph._propagation import passes
from cgraph._subclassing.sharing import holders
from cgraph._validation import Array
from cgraph.graph import Graph
from cgraph.node import Node
from cgraph.parameter import Parameter, own_parameters

Result = TypeVar("Result")
SAMPLES = 5  # in a batch: samples side by side in lanes, and one in a remainder


class Evaluator(Protocol):
    """A way to compute a loss and its gradients.

    Attributes
    ----------
    order : sequence of Node
        The ancestors of the loss, inputs before their consumers, the loss last.
    without_grad : collection of Node
        Leaves whose gradient is not computed.
    where : str
        The beginning of messages about faults that this evaluator finds.
    """

    order: Sequence[Node]
    without_grad: Collection[Node]
    where: str

    def forward(self) -> float:
        """Computes all nodes, and returns the loss."""
        ...

    def backward(self, targets: Sequence[Parameter]) -> list[Array]:
        """Computes all gradients anew, and returns those of the targets.

        The gradients of the targets begin at 1 and not at 0, so that a node that overwrites where it should add, or
        adds where it should overwrite, gives a wrong result.
        """
        ...


class NodeEvaluator:
    """An evaluator that calls the methods of the nodes in `ancestors(loss)`."""

    where = ""

    def __init__(self, order: Sequence[Node]) -> None:
        self.order = order
        self.without_grad: Collection[Node] = ()

    def forward(self) -> float:
        for node in self.order:
            node._call("calcData")
        return float(self.order[-1].data[0])

    def backward(self, targets: Sequence[Parameter]) -> list[Array]:
        for node in self.order:
            node.grad[...] = 0
            node.zero_grad()
        for target in targets:
            gradient_sum_of(target)[...] = 1
        self.order[-1].grad[...] += 1
        for node in reversed(self.order):
            node._call("calcPartialDerivative")
        return [gradient_sum_of(target).astype(np.float64) - 1 for target in targets]


class GraphEvaluator:
    """An evaluator that calls a Graph, which overwrites the gradients of leaves and adds to the gradient sums."""

    where = ""

    def __init__(self, graph: Graph) -> None:
        self.graph = graph
        self.order: Sequence[Node] = graph.nodes
        channel_of = graph._executable.program.channel_of
        self.without_grad: Collection[Node] = {
            leaf for leaf in graph.leaves if not channel_of[leaf][0].requires_grad[0]
        }

    def forward(self) -> float:
        self.graph.forward()
        # A node that is computed for the carry alone may come behind the loss.
        return float(self.graph._executable.program.outputs[0].data[0])

    def backward(self, targets: Sequence[Parameter]) -> list[Array]:
        for target in targets:
            gradient_sum_of(target)[...] = 1
        self.graph.backward()
        return [
            gradient_sum_of(target).astype(np.float64) - (target.grad is not target.node._grad)
            for target in targets
        ]


class BatchEvaluator:
    """An evaluator of the sum of the losses of a batch in a Graph, with samples near the one that its leaves hold."""

    where = f"in a batch of {SAMPLES} samples, "

    def __init__(self, graph: Graph, rng: np.random.Generator) -> None:
        self.graph = graph
        self.order: Sequence[Node] = graph.nodes
        self.without_grad: Collection[Node] = graph.leaves
        streams = graph._executable.streams
        shape = (SAMPLES, streams) if streams else (SAMPLES,)
        self.feed = {
            leaf: leaf.data * rng.uniform(0.9, 1.1, (*shape, leaf.size)) for leaf in graph.leaves
        }

    def forward(self) -> float:
        return float(self.graph.predict(self.feed).sum(dtype=np.float64))

    def backward(self, targets: Sequence[Parameter]) -> list[Array]:
        for target in targets:
            gradient_sum_of(target)[...] = 1
        self.graph.accumulate(self.feed)
        return [gradient_sum_of(target).astype(np.float64) - 1 for target in targets]


def gradient_sum_of(target: Parameter) -> Array:
    """Returns the current gradient sum of a target, for which a node may have set a new array."""
    current = [each for each in own_parameters(target.node) if each.name == target.name]
    return current[0].grad if current else target.grad


def prepare_for_node_pass(order: Sequence[Node]) -> None:
    """Brings the arrays of nodes that belong to Graphs up to date, before methods of the nodes are called."""
    for residency in passes.residencies(order):
        residency.before_node_pass(False)


def preserving_graph(evaluator: Evaluator, function: Callable[[], Result]) -> Result:
    """Calls a function, and restores nodes and Graphs afterwards, even after an exception.

    The attributes of the nodes get back their values, and their arrays their contents; a Graph preserves itself. All
    passes of the function are active, and are passes for the sample that the nodes hold.
    """

    def with_snapshot(snapshot: Snapshot) -> Result:
        order = evaluator.order
        if isinstance(evaluator, GraphEvaluator):
            evaluator.graph._executable.preserve(snapshot)
        else:
            for residency in passes.residencies(order):
                residency.preserve(snapshot)
        for node in holders(order):
            snapshot.add_attributes(node)
        for root in {node._component.root() for node in order}:
            snapshot.add_field(root, "forward")
        for node in order:
            for array in _arrays(node):
                snapshot.add_array(array)
        for counter in [node._sample_counter for node in order if node._sample_counter]:
            for name in ("active", "base", "number", "held"):
                snapshot.add_field(counter, name)
            counter.active, counter.base, counter.held = True, counter.number, True
        return function()

    return preserving(with_snapshot)


def _arrays(node: Node) -> Iterator[npt.NDArray[Any]]:
    """Yields the writable arrays that a node has as attributes, and those of its declared parameters.

    A user's own class may have further arrays elsewhere, which are not restored.
    """
    own = getattr(
        node, "_attributes", ()
    )  # arrays that the node has as attributes under other names
    declared = (getattr(node, x) for pair in node._parameters for x in pair if x not in own)
    for value in (*vars(node).values(), *declared):
        if isinstance(value, np.ndarray) and value.flags.writeable:
            yield value
