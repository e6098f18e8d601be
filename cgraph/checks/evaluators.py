"""A graph evaluated apart from its passes: the ancestors of one node alone, and everything put back afterwards."""

from __future__ import annotations

from collections.abc import Callable, Collection, Iterator, Sequence
from typing import Any, Protocol, TypeVar

import numpy as np
import numpy.typing as npt

from cgraph._kernels.runtime.uninterrupted import Snapshot, preserving
from cgraph._validation import Array
from cgraph.graph import Graph
from cgraph.node import Node
from cgraph.parameter import Parameter, own_parameters

Result = TypeVar("Result")
SAMPLES = 5  # of a batch: a few go side by side, and one is left over


class Engine(Protocol):
    """How a loss and its gradients are computed.

    Attributes
    ----------
    order : sequence of Node
        What takes part, inputs before their consumers, the loss last.
    left_out : collection of Node
        Leaves whose gradient is not computed.
    where : str
        How a message begins that speaks of what is found here.
    """

    order: Sequence[Node]
    left_out: Collection[Node]
    where: str

    def forward(self) -> float:
        """Computes all nodes; the loss is returned."""
        ...

    def backward(self, targets: Sequence[Parameter]) -> list[Array]:
        """Computes all gradients anew; those of the targets are returned.

        They begin at 1 and not at 0, so that a node shows that overwrites where it should add, or the other way round.
        """
        ...


class NodeEngine:
    """By the methods of the nodes in `ancestors(loss)`."""

    where = ""

    def __init__(self, order: Sequence[Node]) -> None:
        self.order = order
        self.left_out: Collection[Node] = ()

    def forward(self) -> float:
        for node in self.order:
            node.calcData()
        return float(self.order[-1].data[0])

    def backward(self, targets: Sequence[Parameter]) -> list[Array]:
        for node in self.order:
            node.grad[...] = 0
            node.zero_grad()
        for target in targets:
            sum_of(target)[...] = 1
        self.order[-1].grad[...] += 1
        for node in reversed(self.order):
            node.calcPartialDerivative()
        return [sum_of(target).astype(np.float64) - 1 for target in targets]


class GraphEngine:
    """By a Graph. It overwrites the gradients of leaves, and adds to the sums of what learns."""

    where = ""

    def __init__(self, graph: Graph) -> None:
        self.graph = graph
        self.order: Sequence[Node] = graph.nodes
        where = graph._program.where
        self.left_out: Collection[Node] = {
            leaf for leaf in graph.leaves if not where[leaf][0].requires_grad[0]
        }

    def forward(self) -> float:
        self.graph.forward()
        return float(self.order[-1].data[0])

    def backward(self, targets: Sequence[Parameter]) -> list[Array]:
        for target in targets:
            sum_of(target)[...] = 1
        self.graph.backward()
        return [
            sum_of(target).astype(np.float64) - (target.grad is not target.node._grad)
            for target in targets
        ]


class BatchEngine:
    """By a Graph that computes the sum of the losses of several samples, all near the one that its leaves hold."""

    where = f"in a batch of {SAMPLES} samples, "

    def __init__(self, graph: Graph, rng: np.random.Generator) -> None:
        self.graph = graph
        self.order: Sequence[Node] = graph.nodes
        self.left_out: Collection[Node] = graph.leaves
        self.feed = {
            leaf: leaf.data * rng.uniform(0.9, 1.1, (SAMPLES, leaf.size)) for leaf in graph.leaves
        }

    def forward(self) -> float:
        return float(self.graph.predict(self.feed).sum(dtype=np.float64))

    def backward(self, targets: Sequence[Parameter]) -> list[Array]:
        for target in targets:
            sum_of(target)[...] = 1
        self.graph.accumulate(self.feed)
        return [sum_of(target).astype(np.float64) - 1 for target in targets]


def sum_of(target: Parameter) -> Array:
    """The gradient sum as the node has it now: a node may put another array in its place."""
    now = [each for each in own_parameters(target.node) if each.name == target.name]
    return now[0].grad if now else target.grad


def give_way(order: Sequence[Node]) -> None:
    """Before the nodes' own methods are called."""
    for graph in owners(order):
        graph._give_way()


def owners(order: Sequence[Node]) -> list[Graph]:
    """The Graphs in whose arenas the nodes' arrays lie."""
    return list({id(node._graph): node._graph for node in order if node._graph}.values())


def preserving_graph(order: Sequence[Node], function: Callable[[], Result]) -> Result:
    """Calls a function; whatever ends it, the attributes of the nodes and the content of their arrays are as before.

    The same for Graphs that own nodes.
    """

    def kept(snapshot: Snapshot) -> Result:
        graphs = owners(order)
        holders = [*graphs, *(graph._arena for graph in graphs), *order]
        # Attributes first: to a Graph, a look at arrays is their being handed out.
        for holder in holders:
            snapshot.add_attributes(holder)
        for graph in graphs:
            snapshot.add_field(graph._arena.memory, "grads_are_zero")
        for root in {node._component.root() for node in order}:
            snapshot.add_field(root, "forward")
        for holder in holders:
            for array in _arrays(holder):
                snapshot.add_array(array)
        return function()

    return preserving(kept)


def _arrays(holder: Any) -> Iterator[npt.NDArray[Any]]:
    """Every array that something holds and may write into; an own class may hide some more elsewhere."""
    declared = (
        getattr(holder, name) for pair in getattr(holder, "_parameters", ()) for name in pair
    )
    for value in (*vars(holder).values(), *declared):
        if isinstance(value, np.ndarray) and value.flags.writeable:
            yield value
