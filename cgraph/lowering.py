"""Lowering: which nodes become which step of a Graph, and in which order.

A level holds the nodes that are equally far from the leaves. Nodes of one level cannot depend on each other, so every
group is formed within one: sibling convolutions, and what sits one-to-one on the channels of a group.
"""

from __future__ import annotations

from collections.abc import Hashable, Iterator, Sequence
from dataclasses import dataclass, field
from enum import Enum

from cgraph._kernels.window import Window
from cgraph.node import Node
from cgraph.nodes.affine import Affine
from cgraph.nodes.concatenation import Concatenation
from cgraph.nodes.convolution import Convolution2d
from cgraph.nodes.elementwise import Add, ReLU, Sigmoid, Sub, Tanh
from cgraph.nodes.leaf import Leaf1, Leaf2
from cgraph.nodes.pooling import AveragePooling2d, MaxPooling2d
from cgraph.nodes.reduction import CEE, MSE, Dots, Norm2, Softmax
from cgraph.walk import ancestors_of

# Channels of a group lie side by side, filled up to whole vectors of this many bytes.
VECTOR_BYTES = 32
# A missing connection is multiplied like any other: not worth it where less than this part of them is there.
FEWEST = 0.25


class Kind(Enum):
    """How nodes of a class become steps."""

    LEAF = "leaf"  # no step: somebody writes its data
    CHANNEL = "channel"  # each channel by itself: one step over all channels of a group
    CONVOLUTION = "convolution"  # siblings that read the same channels are one step
    ALONE = "alone"  # a step for each node
    PYTHON = "python"  # any other class: its own methods are called


# By exact class: a subclass may override a method.
KINDS: dict[type[Node], Kind] = {
    **dict.fromkeys((Leaf1, Leaf2), Kind.LEAF),
    **dict.fromkeys((Add, Sub, ReLU, Sigmoid, Tanh, MaxPooling2d, AveragePooling2d), Kind.CHANNEL),
    Convolution2d: Kind.CONVOLUTION,
    **dict.fromkeys((Affine, Concatenation, Dots, MSE, CEE, Norm2, Softmax), Kind.ALONE),
}


# How many inputs a class has, where its steps rely on it; "any number" is 0.
ARITIES: dict[type[Node], int] = {
    **dict.fromkeys((Add, Sub, Dots, MSE, CEE), 2),
    **dict.fromkeys((ReLU, Sigmoid, Tanh, Softmax, Norm2, Affine), 1),
    **dict.fromkeys((MaxPooling2d, AveragePooling2d), 1),
    **dict.fromkeys((Concatenation, Convolution2d), 0),
}

# What a class may override.
WORK = ("calcData", "calcPartialDerivative", "updateParameters")


@dataclass(eq=False, slots=True)
class Block:
    """The data of one node; or of the channels of a group, side by side as [y][x][channel]."""

    nodes: Sequence[Node]
    pitch: int  # from one element of a node to its next
    at: int = 0  # where the first element lies in the arena
    # Some step takes channels one by one, so that no step can be the first to write all gradients: they are cleared.
    cleared: bool = False
    written: bool = False  # while the gradients' writers are looked through: one has been found
    # Whether gradients are computed: in full passes, in lean ones
    wanted: tuple[bool, bool] = (True, True)


@dataclass(eq=False, slots=True)
class Unit:
    """The nodes that one step computes, and what it reads."""

    kind: Kind
    nodes: Sequence[Node]
    inputs: Sequence[Node]  # node by node
    blocks: Sequence[Block] = ()  # or whole blocks: then inputs are their nodes, block after block
    block: Block = field(init=False)  # where its own data lie
    elements: int = field(init=False)  # how many it writes
    # What each convolution of a group reads, also once its node has been cut off from its inputs.
    reads: Sequence[Sequence[Node]] = field(init=False)

    def __post_init__(self) -> None:
        self.elements = len(self.nodes) * self.nodes[0].size
        group = self.kind is Kind.CONVOLUTION and len(self.nodes) > 1
        self.reads = [tuple(node.backward) for node in self.nodes] if group else ()


Channel = tuple[Block, int]


class Program:
    """The units of a graph in the order of a forward pass."""

    def __init__(self, outputs: Sequence[Node]) -> None:
        self.outputs = outputs
        self.order = ancestors_of(outputs)
        self.where: dict[Node, Channel] = {}
        self.units: list[Unit] = []
        for node in self.order:
            require_fit(node)
        for level in levels(self.order):
            if len(level) == 1:
                self._append(Unit(kind_of(level[0]), (level[0],), tuple(level[0].backward)))
                continue
            for unit in self._units(level):
                self._append(unit)
        # In order; a dict, since it is asked whether it contains a node.
        leaves = {unit.nodes[0] for unit in self.units if unit.kind is Kind.LEAF}
        self.leaves = dict.fromkeys(node for node in self.order if node in leaves)

    def units_above(self, block: Block) -> list[Unit]:
        """The units that a block is computed by, in order."""
        needed = {block}
        found = []
        for unit in reversed(self.units):
            if unit.block in needed:
                needed |= {self.where[x][0] for x in unit.inputs}
                found.append(unit)
        return found[::-1]

    def _append(self, unit: Unit) -> None:
        count, pitch = len(unit.nodes), 1
        if count > 1:
            lanes = VECTOR_BYTES // unit.nodes[0].dtype.itemsize
            pitch = -(-count // lanes) * lanes
        unit.block = Block(unit.nodes, pitch)
        for channel, node in enumerate(unit.nodes):
            self.where[node] = (unit.block, channel)
        self.units.append(unit)
        if not unit.blocks:
            for node in unit.inputs:
                block = self.where[node][0]
                block.cleared |= len(block.nodes) > 1 or unit.kind is Kind.PYTHON

    def _units(self, level: Sequence[Node]) -> Iterator[Unit]:
        families: dict[tuple[Kind, Hashable], list[Node]] = {}
        for node in level:
            kind = kind_of(node)
            if kind is Kind.CONVOLUTION or (
                kind is Kind.CHANNEL and self.where[node.backward[0]][0].pitch > 1
            ):
                families.setdefault(self._family(kind, node), []).append(node)
            else:
                yield Unit(kind, (node,), tuple(node.backward))
        for (kind, _), nodes in families.items():
            if kind is Kind.CHANNEL:
                yield from self._over_channels(nodes)
            elif len(nodes) > 1:
                yield from self._siblings(nodes)
            else:
                yield Unit(kind, nodes, tuple(nodes[0].backward))

    def _family(self, kind: Kind, node: Node) -> tuple[Kind, Hashable]:
        """The same for nodes that may become one step."""
        window = geometry(getattr(node, "_window", None))
        if kind is Kind.CONVOLUTION:
            block = self._common_block(node.backward)
            source = tuple(map(id, node.backward)) if block is None else id(block)
            return kind, (window, source)
        blocks = tuple(id(self.where[x][0]) for x in node.backward)
        return kind, (type(node), blocks, window, getattr(node, "_pad_value", None))

    def _common_block(self, channels: Sequence[Node]) -> Block | None:
        """The group that all channels belong to, each of them once."""
        block = self.where[channels[0]][0]
        indices = {index for b, index in map(self.where.__getitem__, channels) if b is block}
        return block if len(block.nodes) > 1 and len(indices) == len(channels) else None

    def _siblings(self, nodes: Sequence[Node]) -> Iterator[Unit]:
        """One unit that reads a whole group; where that has few connections, one for each set of inputs."""
        block = self._common_block(nodes[0].backward)
        if block is not None:
            connections = sum(len(node.backward) for node in nodes)
            if connections >= FEWEST * len(block.nodes) * len(nodes):
                yield Unit(Kind.CONVOLUTION, nodes, block.nodes, [block])
                return
        same: dict[tuple[Node, ...], list[Node]] = {}
        for node in nodes:
            same.setdefault(tuple(node.backward), []).append(node)
        yield from (Unit(Kind.CONVOLUTION, group, inputs) for inputs, group in same.items())

    def _over_channels(self, nodes: Sequence[Node]) -> Iterator[Unit]:
        """A unit for each set of nodes that reads every channel of a group once; one for each other node."""
        blocks = [self.where[x][0] for x in nodes[0].backward]
        count = len(blocks[0].nodes)
        grouped = all(len(block.nodes) == count for block in blocks)
        sets: list[dict[int, Node]] = []
        found: dict[int, int] = {}  # in how many sets but one each channel is
        alone = []
        for node in nodes:
            channels = {self.where[x][1] for x in node.backward}
            if not grouped or len(channels) > 1:
                alone.append(node)
                continue
            (channel,) = channels
            number = found[channel] = found.get(channel, -1) + 1
            if number == len(sets):
                sets.append({})
            sets[number][channel] = node
        for members in sets:
            if len(members) == count:
                ordered = [members[channel] for channel in range(count)]
                yield Unit(Kind.CHANNEL, ordered, [x for b in blocks for x in b.nodes], blocks)
            else:
                alone += members.values()
        yield from (Unit(Kind.CHANNEL, (node,), tuple(node.backward)) for node in alone)


def kind_of(node: Node) -> Kind:
    """How a node becomes a step; a class of the user's without inputs and without work is a leaf, too."""
    kind = KINDS.get(type(node), Kind.PYTHON)
    if kind in (Kind.LEAF, Kind.PYTHON):
        idle = all(getattr(type(node), name) is getattr(Node, name) for name in WORK)
        learns = bool(node._parameters)
        return Kind.LEAF if idle and not learns and not node.backward else Kind.PYTHON
    return kind


def require_fit(node: Node) -> None:
    """Compiled steps trust the sizes of a node's inputs; but its list of them is open to everybody.

    Raises
    ------
    ValueError
        They are not those that the node was constructed with.
    """
    count = ARITIES.get(type(node))
    if count is None:
        return
    sizes = [x.size for x in node.backward]
    if isinstance(node, Concatenation):
        fits = sum(sizes) == node.domsize
    else:
        channels = node._kernel.shape[0] if isinstance(node, Convolution2d) else count
        fits = sizes == [node.domsize] * channels
    if not fits:
        raise ValueError(
            f"Graph: inputs of {node!r} must be those that it was constructed with, got some of sizes {sizes}"
        )


def levels(order: Sequence[Node]) -> list[list[Node]]:
    """The nodes by their distance from the leaves, in which inputs come before their consumers."""
    depth: dict[Node, int] = {}
    result: list[list[Node]] = []
    for node in order:
        try:
            above = node.backward
            nearest = (
                depth[above[0]]
                if len(above) == 1
                else max(map(depth.__getitem__, above), default=-1)
            )
            level = depth[node] = 1 + nearest
        except KeyError:
            raise ValueError(
                f"Graph: nodes must not depend on themselves, got a circle through {node!r}"
            ) from None
        if level == len(result):
            result.append([])
        result[level].append(node)
    return result


def geometry(window: Window | None) -> Hashable:
    """The same for windows that move alike."""
    w = window
    return w and (w.m_h, w.m_w, w.k_h, w.k_w, w.n_h, w.n_w, w.s, w.p, w.q)
