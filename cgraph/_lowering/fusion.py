"""Fusion: which nodes become one group, and so one step of a Graph.

A level holds the nodes that are equally far from the leaves. Nodes of one level cannot depend on each other, so every
group is formed within one: sibling convolutions, and what sits one-to-one on the channels of a group.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Hashable, Iterator, Sequence

from cgraph._kernels.common.geometry import FilterGeometry
from cgraph._lowering.program import Buffer, FusedGroup, Kind, Program
from cgraph.node import Node
from cgraph.nodes.affine import Affine
from cgraph.nodes.concatenation import Concatenation
from cgraph.nodes.convolution import Convolution2d
from cgraph.nodes.elementwise import Add, ReLU, Sigmoid, Sub, Tanh
from cgraph.nodes.leaf import Leaf1, Leaf2
from cgraph.nodes.pooling import AveragePooling2d, MaxPooling2d
from cgraph.nodes.reduction import CEE, MSE, Dots, Norm2, Softmax

# A missing connection is multiplied like any other: not worth it where less than this part of them is there.
FEWEST = 0.25


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


def fuse(outputs: Sequence[Node]) -> Program:
    """The program that computes the outputs: their ancestors, level by level, in groups.

    Raises
    ------
    ValueError
        Nodes depend on themselves, or have other inputs than they were constructed with.
    """
    program = Program(outputs)
    for node in program.order:
        require_fit(node)
    for level in levels(program.order):
        if len(level) == 1:
            program.append(FusedGroup(kind_of(level[0]), (level[0],), tuple(level[0].backward)))
            continue
        for group in groups_of(program, level):
            program.append(group)
    # In order; a dict, since it is asked whether it contains a node.
    leaves = {group.nodes[0] for group in program.groups if group.kind is Kind.LEAF}
    program.leaves = dict.fromkeys(node for node in program.order if node in leaves)
    return program


def groups_of(program: Program, level: Sequence[Node]) -> Iterator[FusedGroup]:
    families: dict[tuple[Kind, Hashable], list[Node]] = {}
    for node in level:
        kind = kind_of(node)
        if kind is Kind.CONVOLUTION or (
            kind is Kind.CHANNEL and program.where[node.backward[0]][0].pitch > 1
        ):
            families.setdefault(family(program, kind, node), []).append(node)
        else:
            yield FusedGroup(kind, (node,), tuple(node.backward))
    for (kind, _), nodes in families.items():
        if kind is Kind.CHANNEL:
            yield from over_channels(program, nodes)
        elif len(nodes) > 1:
            yield from siblings(program, nodes)
        else:
            yield FusedGroup(kind, nodes, tuple(nodes[0].backward))


def family(program: Program, kind: Kind, node: Node) -> tuple[Kind, Hashable]:
    """The same for nodes that may become one step."""
    geometry = geometry_key(getattr(node, "_geometry", None))
    if kind is Kind.CONVOLUTION:
        buffer = common_buffer(program, node.backward)
        source = tuple(map(id, node.backward)) if buffer is None else id(buffer)
        return kind, (geometry, source)
    buffers = tuple(id(program.where[x][0]) for x in node.backward)
    return kind, (type(node), buffers, geometry, getattr(node, "_pad_value", None))


def common_buffer(program: Program, channels: Sequence[Node]) -> Buffer | None:
    """The group that all channels belong to, each of them once."""
    buffer = program.where[channels[0]][0]
    indices = {index for b, index in map(program.where.__getitem__, channels) if b is buffer}
    return buffer if len(buffer.nodes) > 1 and len(indices) == len(channels) else None


def siblings(program: Program, nodes: Sequence[Node]) -> Iterator[FusedGroup]:
    """One unit that reads a whole group; where that has few connections, one for each set of inputs."""
    buffer = common_buffer(program, nodes[0].backward)
    if buffer is not None:
        connections = sum(len(node.backward) for node in nodes)
        if connections >= FEWEST * len(buffer.nodes) * len(nodes):
            yield FusedGroup(Kind.CONVOLUTION, nodes, buffer.nodes, [buffer])
            return
    same: dict[tuple[Node, ...], list[Node]] = {}
    for node in nodes:
        same.setdefault(tuple(node.backward), []).append(node)
    yield from (FusedGroup(Kind.CONVOLUTION, group, inputs) for inputs, group in same.items())


def over_channels(program: Program, nodes: Sequence[Node]) -> Iterator[FusedGroup]:
    """A unit for each set of nodes that reads every channel of a group once; one for each other node."""
    buffers = [program.where[x][0] for x in nodes[0].backward]
    count = len(buffers[0].nodes)
    grouped = all(len(buffer.nodes) == count for buffer in buffers)
    sets: list[dict[int, Node]] = []
    found: dict[int, int] = {}  # in how many sets but one each channel is
    alone = []
    for node in nodes:
        channels = {program.where[x][1] for x in node.backward}
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
            yield FusedGroup(Kind.CHANNEL, ordered, [x for b in buffers for x in b.nodes], buffers)
        else:
            alone += members.values()
    yield from (FusedGroup(Kind.CHANNEL, (node,), tuple(node.backward)) for node in alone)


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


def geometry_key(geometry: FilterGeometry | None) -> Hashable:
    """The same for windows that move alike."""
    w = geometry
    return w and (w.m_h, w.m_w, w.k_h, w.k_w, w.n_h, w.n_w, w.s, w.p, w.q)


def rectifiers(program: Program, groups: Sequence[FusedGroup]) -> dict[FusedGroup, FusedGroup]:
    """Max poolings that can be computed with the ReLU above them, since nobody else reads it, or what it reads."""
    pools = [group for group in groups if type(group.nodes[0]) is MaxPooling2d]
    if not pools:
        return {}
    made: dict[Buffer | None, FusedGroup] = {group.buffer: group for group in groups}
    readers = Counter(program.where[node][0] for node in program.outputs)
    for group in program.groups:
        readers.update(program.buffers_above(group))

    def own_buffer(group: FusedGroup) -> Buffer | None:
        """What a unit with one input reads, if nobody else does: then it reads all channels."""
        (buffer,) = program.buffers_above(group)
        return buffer if readers[buffer] == 1 else None

    found = {}
    for pool in pools:
        relu = made.get(own_buffer(pool))
        if relu and type(relu.nodes[0]) is ReLU and own_buffer(relu):
            found[pool] = relu
    return found
