"""Stretches: functions of equally many elements that follow each other in a program, which run as one step.

Element i of such a function depends on elements i of its inputs alone, so a step may compute all functions of a stretch
on a tile of elements before it goes on to the next tile, which stays in the nearest cache on its way.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from heapq import heappop, heappush
from itertools import groupby

from cgraph._kernels import Build
from cgraph._kernels.runtime.step import Step
from cgraph._lowering.buffers import Allocator
from cgraph._lowering.program import Buffer, FusedGroup, Kind, Program
from cgraph._validation import DType
from cgraph.node import Node

TILE_BYTES = 2048
MAX_PLACES = 8


def stretches(groups: Iterable[FusedGroup]) -> Iterator[list[FusedGroup]]:
    """Yields the groups in parts that become one step: a stretch, or one group alone. Leaves are left out."""
    computed = (group for group in groups if group.kind is not Kind.LEAF)
    for _, part in groupby(computed, stretch_key):
        yield list(part)


def stretch_key(group: FusedGroup) -> object:
    """Returns a key that is equal for functions of equally many elements, and for no other two groups."""
    return (len(group.nodes), group.nodes[0].size) if group.op.is_function else group


def order_stretches(program: Program) -> None:
    """Moves functions of equally many elements behind each other, as far as their inputs allow.

    Otherwise the groups keep their order.
    """
    groups = program.groups
    readers: dict[Buffer, list[int]] = defaultdict(list)
    missing: list[
        int
    ] = []  # for each group, how many of the buffers that it reads are not computed yet
    for index, group in enumerate(groups):
        inputs = program.buffers_read_by(group)
        missing.append(len(inputs))
        for buffer in inputs:
            readers[buffer].append(index)
    # The groups that can be computed next, in their order: all of them, and those of one key.
    ready = [index for index, count in enumerate(missing) if count == 0]
    ready_by_key: dict[object, list[int]] = defaultdict(list)
    ordered: dict[FusedGroup, None] = {}
    key: object = None
    while len(ordered) < len(groups):
        group = groups[heappop(ready_by_key[key] or ready)]
        if group in ordered:
            continue
        ordered[group] = None
        key = stretch_key(group)
        for index in readers[group.buffer]:
            missing[index] -= 1
            if missing[index] == 0:
                heappush(ready, index)
                heappush(ready_by_key[stretch_key(groups[index])], index)
    program.groups = [*ordered]


class Tiles:
    """The places in memory over lanes in which stretches keep what only they read, a tile at a time.

    All stretches share them. What finds no place stays in its buffer.

    Parameters
    ----------
    data : Allocator
        The region of the data, and of their gradients.
    """

    def __init__(self, data: Allocator) -> None:
        self._size = tile_size(data.dtype)
        self._offsets = [data.allocate(self._size) for _ in range(MAX_PLACES)]

    def assign(
        self, program: Program, part: Sequence[FusedGroup], shared: set[Buffer]
    ) -> dict[Buffer, int]:
        """Returns the offsets of the places of the buffers that a stretch does not share.

        A buffer has its place from the function that computes it to the last one that reads it. In between, a backward
        pass writes and reads its gradient.
        """
        reads = [program.buffers_read_by(group) for group in part]
        last_reader = {buffer: index for index, read in enumerate(reads) for buffer in read}
        result: dict[Buffer, int] = {}
        free = [*self._offsets]
        for index, group in enumerate(part):
            if free and group.buffer not in shared:
                result[group.buffer] = free.pop()
            free += [result[b] for b in reads[index] if b in result and last_reader[b] == index]
        return result


def tile_size(dtype: DType) -> int:
    """Returns the number of elements of a tile."""
    return TILE_BYTES // dtype.itemsize


def join(
    program: Program,
    groups: Iterable[FusedGroup],
    steps: Mapping[FusedGroup, Step],
    kernels_for: Callable[[int], Build],
    tiles: Tiles | None = None,
    keeps_data: bool = True,
    asked: Iterable[Node] = (),
) -> list[Step]:
    """Returns the steps that compute some groups, those of a stretch joined to one.

    `kernels_for` gives the kernels with which steps of so many elements were made. With `tiles`, the gradients that
    only one stretch reads are kept there and, unless `keeps_data`, the data, too, but not those of the nodes `asked`.
    """
    # A group without a step is a view of other elements, at which a stretch ends.
    parts = [[group for group in part if group in steps] for part in stretches(groups)]
    parts = [part for part in parts if part]
    shared = shared_buffers(program, parts) if tiles else set()
    shared |= {program.channel_of[node][0] for node in asked}
    result = []
    for part in parts:
        joined = [steps[group] for group in part]
        if len(part) > 1:
            found = tiles.assign(program, part, shared) if tiles else {}
            places = [[found.get(b, -1) for b in operand_buffers(program, group)] for group in part]
            functions = kernels_for(part[0].buffer.size).functions
            size = tile_size(part[0].nodes[0].dtype)
            joined = [functions.stretch(joined, size, places, keeps_data)]
        result += joined
    return result


def shared_buffers(program: Program, parts: Iterable[Sequence[FusedGroup]]) -> set[Buffer]:
    """Returns the buffers that others read than the part that computes them, or that are cleared before a pass."""
    part_of = {group.buffer: number for number, part in enumerate(parts) for group in part}
    shared = {program.channel_of[node][0] for node in program.ends}
    for group in program.groups:
        number = part_of.get(group.buffer)
        for buffer in program.buffers_read_by(group):
            if buffer.zeroed_first or number is None or number != part_of.get(buffer):
                shared.add(buffer)
    return shared


def operand_buffers(program: Program, group: FusedGroup) -> list[Buffer]:
    """Returns the buffers of a function's operands: of its first input, its last one, and its output."""
    inputs = group.input_buffers or [program.channel_of[x][0] for x in group.inputs]
    return [inputs[0], inputs[-1], group.buffer]
