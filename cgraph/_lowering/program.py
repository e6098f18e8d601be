"""The program of a Graph: its nodes in fused groups, and the buffers that hold what these compute. Data alone."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from enum import Enum

from cgraph.node import Node
from cgraph.traversal import topological_order

# Channels of a group lie side by side, filled up to whole vectors of this many bytes.
VECTOR_BYTES = 32


class Kind(Enum):
    """How nodes of a class become steps."""

    LEAF = "leaf"  # no step: somebody writes its data
    CHANNEL = "channel"  # each channel by itself: one step over all channels of a group
    CONVOLUTION = "convolution"  # siblings that read the same channels are one step
    ALONE = "alone"  # a step for each node
    PYTHON = "python"  # any other class: its own methods are called


@dataclass(eq=False, slots=True)
class Buffer:
    """The data of one node; or of the channels of a group, side by side as [y][x][channel]."""

    nodes: Sequence[Node]
    pitch: int  # from one element of a node to its next
    offset: int = 0  # where the first element lies in the arena
    # Some step takes channels one by one, so that no step can be the first to write all gradients: they are cleared.
    cleared: bool = False
    written: bool = False  # while the gradients' writers are looked through: one has been found
    # Whether gradients are computed: in full passes, in those for parameters only
    requires_grad: tuple[bool, bool] = (True, True)

    @property
    def size(self) -> int:
        """The number of elements of all its nodes, without padding."""
        return len(self.nodes) * self.nodes[0].size


@dataclass(eq=False, slots=True)
class FusedGroup:
    """The nodes that one step computes, and what it reads."""

    kind: Kind
    nodes: Sequence[Node]
    inputs: Sequence[Node]  # node by node
    buffers: Sequence[
        Buffer
    ] = ()  # or whole blocks: then inputs are their nodes, block after block
    buffer: Buffer = field(init=False)  # where its own data lie
    elements: int = field(init=False)  # how many it writes
    # What each convolution of a group reads, also once its node has been cut off from its inputs.
    reads: Sequence[Sequence[Node]] = field(init=False)

    def __post_init__(self) -> None:
        self.elements = len(self.nodes) * self.nodes[0].size
        siblings = self.kind is Kind.CONVOLUTION and len(self.nodes) > 1
        self.reads = [tuple(node.backward) for node in self.nodes] if siblings else ()


Channel = tuple[Buffer, int]


class Program:
    """The fused groups of a graph in the order of a forward pass; `fusion.fuse` makes one.

    Attributes
    ----------
    outputs : sequence of Node
        The nodes that are to be computed.
    order : list of Node
        They and all their ancestors, in topological order.
    leaves : dict of Node
        The leaves in that order.
    groups : list of FusedGroup
        The groups of nodes that are computed together.
    where : dict of Node to (Buffer, int)
        For each node its buffer, and the number of its channel there.
    """

    def __init__(self, outputs: Sequence[Node]) -> None:
        self.outputs = outputs
        self.order = topological_order(outputs)
        self.leaves: dict[Node, None] = {}
        self.groups: list[FusedGroup] = []
        self.where: dict[Node, Channel] = {}

    def append(self, group: FusedGroup) -> None:
        """Adds a group, whose inputs must have been added before, and makes its buffer."""
        count, pitch = len(group.nodes), 1
        if count > 1:
            lanes = VECTOR_BYTES // group.nodes[0].dtype.itemsize
            pitch = -(-count // lanes) * lanes
        group.buffer = Buffer(group.nodes, pitch)
        for channel, node in enumerate(group.nodes):
            self.where[node] = (group.buffer, channel)
        self.groups.append(group)
        if not group.buffers:
            for node in group.inputs:
                buffer = self.where[node][0]
                buffer.cleared |= len(buffer.nodes) > 1 or group.kind is Kind.PYTHON

    def groups_above(self, buffer: Buffer) -> list[FusedGroup]:
        """The groups on which the content of a buffer depends, in order."""
        needed = {buffer}
        found = []
        for group in reversed(self.groups):
            if group.buffer in needed:
                needed |= self.buffers_above(group)
                found.append(group)
        return found[::-1]

    def buffers_above(self, group: FusedGroup) -> set[Buffer]:
        """The buffers that a group reads."""
        return {self.where[x][0] for x in group.inputs}
