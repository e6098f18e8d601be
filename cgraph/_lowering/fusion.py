"""Fusion: which nodes become one fused group, and so one step of a Graph.

A level holds the nodes that are equally far from the leaves. Nodes of one level cannot depend on each other, so a fused
group is formed within one level: sibling convolutions, or nodes that read the channels of one group one-to-one.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Container, Hashable, Iterator, Mapping, Sequence

from cgraph._kernels.common.geometry import FilterGeometry
from cgraph._kernels.runtime.sharing import Sharing
from cgraph._lowering.ops import Op, op_of
from cgraph._lowering.program import NO_CARRY, Buffer, FusedGroup, Kind, Program
from cgraph._lowering.sharing import find_shared
from cgraph.node import Node

# A missing connection of a fused group is computed as a kernel of zeros. Where less than this share of the pairs of
# input and output is connected, the zeros cost more than fusion gains.
MIN_CONNECTED = 0.25


def fuse(outputs: Sequence[Node], carried: Mapping[Node, Node] = NO_CARRY) -> Program:
    """Returns the program that computes the outputs, and the nodes of carried leaves, in fused groups, level by level.

    Nodes with the same parameters must find them at the same places. Those that fusion would pack in different ways
    stay alone.

    Raises
    ------
    ValueError
        Nodes depend on themselves, or have other inputs than they were constructed with.
    """
    alone: set[Sharing] = set()
    while True:
        program = fuse_all_but(outputs, carried, alone)
        program.shared, apart = find_shared(program)
        if not apart:
            return program
        alone |= apart


def fuse_all_but(
    outputs: Sequence[Node], carried: Mapping[Node, Node], alone: Container[Sharing]
) -> Program:
    """Returns the program in which nodes with these shared parameters are groups of their own."""
    program = Program(outputs, carried=carried)
    op_by_node = {node: op_of(node) for node in program.order}
    for node, op in op_by_node.items():
        require_original_inputs(node, op)
    for level in levels(program.order):
        if len(level) == 1:
            (node,) = level
            program.append(FusedGroup(op_by_node[node], (node,), tuple(node.backward)))
            continue
        for group in groups_of_level(program, level, op_by_node, alone):
            program.append(group)
    # A dict keeps the order of the nodes, and tells fast whether it contains one.
    leaves = {group.nodes[0] for group in program.groups if group.kind is Kind.LEAF}
    program.leaves = dict.fromkeys(node for node in program.order if node in leaves)
    return program


def groups_of_level(
    program: Program,
    level: Sequence[Node],
    op_by_node: Mapping[Node, Op],
    alone: Container[Sharing],
) -> Iterator[FusedGroup]:
    """Yields the fused groups of the nodes of one level."""
    fusible: dict[tuple[Op, Hashable], list[Node]] = {}
    for node in level:
        op = op_by_node[node]
        if (op.kind is Kind.CONVOLUTION and node._sharing not in alone) or (
            op.kind is Kind.CHANNEL and program.channel_of[node.backward[0]][0].pitch > 1
        ):
            fusible.setdefault((op, fusion_key(program, op, node)), []).append(node)
        else:
            yield FusedGroup(op, (node,), tuple(node.backward))
    for (op, _), nodes in fusible.items():
        if op.kind is Kind.CHANNEL:
            yield from fuse_channelwise(program, op, nodes)
        elif len(nodes) > 1:
            yield from fuse_siblings(program, op, nodes)
        else:
            yield FusedGroup(op, nodes, tuple(nodes[0].backward))


def fusion_key(program: Program, op: Op, node: Node) -> Hashable:
    """Returns a key that is equal for the nodes of one operation that may become one step."""
    geometry = geometry_key(getattr(node, "_geometry", None))
    if op.kind is Kind.CONVOLUTION:
        buffer = common_buffer(program, node.backward)
        inputs = tuple(map(id, node.backward)) if buffer is None else id(buffer)
        return geometry, inputs
    buffers = tuple(id(program.channel_of[x][0]) for x in node.backward)
    names = ("_pad_value", "_count_padding", "_constants")
    return buffers, geometry, tuple(getattr(node, name, None) for name in names)


def common_buffer(program: Program, channels: Sequence[Node]) -> Buffer | None:
    """Returns the buffer of the fused group to which all channels belong, each of them once; otherwise None."""
    buffer = program.channel_of[channels[0]][0]
    indices = {index for b, index in map(program.channel_of.__getitem__, channels) if b is buffer}
    return buffer if len(buffer.nodes) > 1 and len(indices) == len(channels) else None


def fuse_siblings(program: Program, op: Op, nodes: Sequence[Node]) -> Iterator[FusedGroup]:
    """Yields one fused group for sibling convolutions that read a whole buffer.

    Where few of its channels are connected, or the inputs are single nodes, there is a group for each set of inputs.
    """
    buffer = common_buffer(program, nodes[0].backward)
    if buffer is not None:
        connections = sum(len(node.backward) for node in nodes)
        if connections >= MIN_CONNECTED * len(buffer.nodes) * len(nodes):
            yield FusedGroup(op, nodes, buffer.nodes, [buffer])
            return
    by_inputs: dict[tuple[Node, ...], list[Node]] = {}
    for node in nodes:
        by_inputs.setdefault(tuple(node.backward), []).append(node)
    for inputs, alike in by_inputs.items():
        yield FusedGroup(op, alike, inputs)


def fuse_channelwise(program: Program, op: Op, nodes: Sequence[Node]) -> Iterator[FusedGroup]:
    """Yields a fused group for each set of nodes that reads every channel of a buffer once, and one per other node."""
    buffers = [program.channel_of[x][0] for x in nodes[0].backward]
    count = len(buffers[0].nodes)
    equally_many = all(len(buffer.nodes) == count for buffer in buffers)
    sets: list[dict[int, Node]] = []  # by channel
    last_set: dict[int, int] = {}  # by channel, the index of the last set with a node on it
    single = []
    for node in nodes:
        channels = {program.channel_of[x][1] for x in node.backward}
        if not equally_many or len(channels) > 1:
            single.append(node)
            continue
        (channel,) = channels
        number = last_set[channel] = last_set.get(channel, -1) + 1
        if number == len(sets):
            sets.append({})
        sets[number][channel] = node
    for members in sets:
        if len(members) == count:
            ordered = [members[channel] for channel in range(count)]
            yield FusedGroup(op, ordered, [x for b in buffers for x in b.nodes], buffers)
        else:
            single += members.values()
    yield from (FusedGroup(op, (node,), tuple(node.backward)) for node in single)


def require_original_inputs(node: Node, op: Op) -> None:
    """Checks the inputs of a node, since compiled steps trust their sizes but the user may change the list `backward`.

    Raises
    ------
    ValueError
        The inputs differ in number or size from those that the node was constructed with.
    """
    if op.kind in (Kind.LEAF, Kind.PYTHON):
        return
    sizes = [x.size for x in node.backward]
    if op.inputs is None:
        fits = sum(sizes) == node.domsize
    else:
        count = op.inputs if isinstance(op.inputs, int) else op.inputs(node)
        fits = sizes == [node.domsize] * count
    if not fits:
        raise ValueError(
            f"Graph: inputs of {node!r} must be those that it was constructed with, got some of sizes {sizes}"
        )


def levels(order: Sequence[Node]) -> list[list[Node]]:
    """Returns the nodes by their distance from the leaves; the order must have inputs before their consumers."""
    depth: dict[Node, int] = {}
    result: list[list[Node]] = []
    for node in order:
        try:
            inputs = node.backward
            deepest = (
                depth[inputs[0]]
                if len(inputs) == 1
                else max(map(depth.__getitem__, inputs), default=-1)
            )
            level = depth[node] = 1 + deepest
        except KeyError:
            raise ValueError(
                f"Graph: nodes must not depend on themselves, got a circle through {node!r}"
            ) from None
        if level == len(result):
            result.append([])
        result[level].append(node)
    return result


def geometry_key(geometry: FilterGeometry | None) -> Hashable:
    """Returns a key that is equal for filters of one geometry."""
    f = geometry
    return f and (f.m_h, f.m_w, f.k_h, f.k_w, f.n_h, f.n_w, f.s, f.p, f.q)


def foldable_relus(
    program: Program, per_sample: Container[FusedGroup] = ()
) -> dict[FusedGroup, FusedGroup]:
    """Returns the poolings that can be computed in one step with the ReLU that they read, each with that ReLU.

    The pooling must be the only reader of the ReLU, and the ReLU the only reader of its input. Groups that take one
    sample at a time are left alone; a pooling and its ReLU are either both among them, or neither is.
    """
    pools = [group for group in program.groups if group.op.absorbs and group not in per_sample]
    if not pools:
        return {}
    by_buffer: dict[Buffer | None, FusedGroup] = {g.buffer: g for g in program.groups}
    readers = Counter(program.channel_of[node][0] for node in program.ends)
    for group in program.groups:
        readers.update(program.buffers_read_by(group))

    def exclusive_input(group: FusedGroup) -> Buffer | None:
        """Returns the buffer that a group with one input reads, if no other group reads it and it is no output."""
        (buffer,) = program.buffers_read_by(group)
        return buffer if readers[buffer] == 1 else None

    folded = {}
    for pool in pools:
        relu = by_buffer.get(exclusive_input(pool))
        if relu and relu.op.node_class in pool.op.absorbs and exclusive_input(relu):
            folded[pool] = relu
    return folded
