"""The program of a Graph: fused groups of nodes, and the buffers for their data. It holds data and runs nothing."""

from __future__ import annotations

from collections.abc import Collection, Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from enum import Enum
from functools import cached_property
from types import MappingProxyType
from typing import TYPE_CHECKING, NamedTuple

from cgraph import _kernels
from cgraph._subclassing.order import topological_order
from cgraph.node import Node

if TYPE_CHECKING:
    from cgraph._lowering.ops import Op


class Kind(Enum):
    """How the nodes of a class become steps."""

    LEAF = "leaf"  # no step: the data are fed, or written by the user
    CHANNEL = "channel"  # a function of single channels: one step for all channels of a fused group
    CONVOLUTION = "convolution"  # sibling convolutions that read the same channels: one step
    ALONE = "alone"  # each node becomes a step
    PYTHON = "python"  # any other class: the step calls the methods of the node


class Work(Enum):
    """The work of an operation's forward pass, by which the cost model estimates its time."""

    ELEMENTS = "elements"  # reading and writing the elements
    MOMENTS = "moments"  # the mean and the variance of the input elements besides
    FUNCTIONS = "functions"  # an exp, log or tanh of each input element besides
    MATRIX = "matrix"  # a product with a matrix
    CELL = "cell"  # products with the matrices of a recurrent cell, and a function of each element of its gates
    KERNELS = "kernels"  # products with the kernels of a convolution


@dataclass(eq=False, slots=True)
class Buffer:
    """Memory for the data of one node, or of the channels of a fused group side by side as [y][x][channel]."""

    nodes: Sequence[Node]
    pitch: int  # the distance from one element of a node to the next
    offset: int = 0  # of the first element, in the arena
    # Whether the gradients are zeroed before a backward pass, because no step writes all of them first: some step reads
    # single channels, a Python node adds to them, or seeds are added to those of some of several outputs.
    zeroed_first: bool = False
    # Used by `buffers.uses`: whether a step that writes the gradients has been found.
    has_writer: bool = False
    # Whether the gradients are computed: in a full backward pass; in one for the parameters only.
    requires_grad: tuple[bool, bool] = (True, True)

    @property
    def size(self) -> int:
        """The number of elements of all nodes of the buffer, without padding."""
        return len(self.nodes) * self.nodes[0].size


@dataclass(eq=False, slots=True)
class FusedGroup:
    """The nodes that one step computes, and the inputs of that step."""

    op: Op
    nodes: Sequence[Node]
    inputs: Sequence[Node]
    # The buffers that the step reads as a whole, if it does; `inputs` are then their nodes, buffer after buffer.
    input_buffers: Sequence[Buffer] = ()
    buffer: Buffer = field(init=False)  # for the data of `nodes`
    elements: int = field(init=False)  # the number of elements that the step writes
    # The elements that the step keeps for its backward pass, with their gradients, and their offset in the data.
    inner: int = field(init=False)
    inner_offset: int = field(init=False, default=0)
    # For sibling convolutions, the inputs of each; kept here, since a node may later be cut off from its inputs.
    inputs_by_node: Sequence[Sequence[Node]] = field(init=False)

    def __post_init__(self) -> None:
        self.inner = self.op.inner(self.nodes[0])
        self.elements = len(self.nodes) * self.nodes[0].size + self.inner
        siblings = self.kind is Kind.CONVOLUTION and len(self.nodes) > 1
        self.inputs_by_node = [tuple(node.backward) for node in self.nodes] if siblings else ()

    @property
    def kind(self) -> Kind:
        """How the nodes become a step."""
        return self.op.kind


Channel = tuple[Buffer, int]

NO_CARRY: Mapping[Node, Node] = MappingProxyType({})


class Part(NamedTuple):
    """A node whose elements are those of another node from `start` on."""

    node: Node
    whole: Node
    start: int


class AroundPython(NamedTuple):
    """The fused groups of a program, divided by where the nodes lie that are computed in Python.

    Attributes
    ----------
    before : list of FusedGroup
        The groups that depend on no Python node; all groups, where there is none.
    among : list of FusedGroup
        The Python nodes, and what lies between them.
    behind : list of FusedGroup
        The groups that depend on a Python node, and on which none depends.
    """

    before: list[FusedGroup]
    among: list[FusedGroup]
    behind: list[FusedGroup]


class Program:
    """The fused groups of a graph in the order of a forward pass; `fusion.fuse` makes one.

    Parameters
    ----------
    outputs : sequence of Node
        The nodes that are to be computed.
    order : list of Node, optional
        The outputs and their ancestors, where these have been found before.

    Attributes
    ----------
    outputs : sequence of Node
        The nodes that are to be computed.
    carried : dict of Node to Node
        The carried leaves, each with the node whose data it takes after each sample.
    order : list of Node
        The outputs, the nodes of carried leaves, and all their ancestors, in topological order.
    leaves : dict of Node
        The leaves, in topological order.
    groups : list of FusedGroup
        The groups of nodes that are computed together, in the order of a forward pass.
    channel_of : dict of Node to (Buffer, int)
        For each node its buffer, and the index of its channel there.
    shared : dict of FusedGroup to FusedGroup
        For each group whose nodes have the parameters of an earlier group, in the same order, that group.
    kernels : Build
        The kernels of the outputs' dtype, which also know how memory is laid out.
    """

    def __init__(
        self,
        outputs: Sequence[Node],
        order: list[Node] | None = None,
        carried: Mapping[Node, Node] = NO_CARRY,
    ) -> None:
        self.outputs, self.carried = outputs, carried
        self.kernels = _kernels.build(outputs[0].dtype)
        self.order = topological_order(self.ends) if order is None else order
        self.leaves: dict[Node, None] = {}
        self.groups: list[FusedGroup] = []
        self.channel_of: dict[Node, Channel] = {}
        self.shared: dict[FusedGroup, FusedGroup] = {}

    @property
    def ends(self) -> list[Node]:
        """The outputs, and the nodes of carried leaves: the nodes whose data others need than the steps."""
        return list(dict.fromkeys([*self.outputs, *self.carried.values()]))

    @cached_property
    def before_outputs(self) -> set[Node]:
        """The outputs and their ancestors."""
        return set(topological_order(self.outputs))

    @property
    def is_loss(self) -> bool:
        """Whether the only output is a node of one element."""
        return len(self.outputs) == 1 and self.outputs[0].size == 1

    def append(self, group: FusedGroup) -> None:
        """Adds a fused group, whose inputs must have been added before, and makes its buffer."""
        count, pitch = len(group.nodes), 1
        if count > 1:
            pitch = self.kernels.pitch(count, group.nodes[0].dtype.itemsize)
        group.buffer = Buffer(group.nodes, pitch)
        for channel, node in enumerate(group.nodes):
            self.channel_of[node] = (group.buffer, channel)
        self.groups.append(group)
        if not group.input_buffers:
            for node in group.inputs:
                buffer = self.channel_of[node][0]
                buffer.zeroed_first |= len(buffer.nodes) > 1 or group.kind is Kind.PYTHON

    def order_around_python(self) -> AroundPython:
        """Moves the groups that depend on Python nodes behind the others, and returns the three parts of `groups`.

        Groups of one part keep their order, so that Python nodes are computed in the same order as before.
        """
        depends: set[Buffer] = set()  # on a Python node
        for group in self.groups:
            if group.kind is Kind.PYTHON or not depends.isdisjoint(self.buffers_read_by(group)):
                depends.add(group.buffer)
        needed: set[Buffer] = set()  # by a Python node
        for group in reversed(self.groups):
            if group.kind is Kind.PYTHON or group.buffer in needed:
                needed |= self.buffers_read_by(group)
        parts = AroundPython([], [], [])
        for group in self.groups:
            if group.buffer not in depends:
                parts.before.append(group)
            elif group.kind is Kind.PYTHON or group.buffer in needed:
                parts.among.append(group)
            else:
                parts.behind.append(group)
        self.groups = [*parts.before, *parts.among, *parts.behind]
        return parts

    def groups_above(self, *buffers: Buffer) -> list[FusedGroup]:
        """Returns the fused groups on which the content of some buffers depends, in the order of a forward pass."""
        needed = {*buffers}
        found = []
        for group in reversed(self.groups):
            if group.buffer in needed:
                needed |= self.buffers_read_by(group)
                found.append(group)
        return found[::-1]

    def leaves_above(self, nodes: Iterable[Node]) -> list[Node]:
        """Returns the leaves on which the data of some nodes depend."""
        groups = self.groups_above(*(self.channel_of[node][0] for node in nodes))
        return [node for group in groups for node in group.nodes if node in self.leaves]

    def buffers_read_by(self, group: FusedGroup) -> set[Buffer]:
        """Returns the buffers that a fused group reads."""
        return {self.channel_of[x][0] for x in group.inputs}

    def buffers_around(self, groups: Collection[FusedGroup]) -> tuple[set[Buffer], set[Buffer]]:
        """Returns the buffers that some groups read and others compute, and those for which it is the other way round.

        The ends of the program count as read by others.
        """
        computed = {group.buffer for group in groups}
        read: set[Buffer] = set()
        read_by_others = {self.channel_of[node][0] for node in self.ends}
        for group in self.groups:
            (read if group.buffer in computed else read_by_others).update(
                self.buffers_read_by(group)
            )
        return read - computed, computed & read_by_others
