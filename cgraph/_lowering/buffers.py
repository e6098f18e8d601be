"""The memory plan: offsets of buffers and operands, which gradients are computed, which step writes one first."""

from __future__ import annotations

from typing import NamedTuple

import numpy as np

from cgraph import _kernels
from cgraph._kernels.runtime.step import Operand
from cgraph._lowering.program import Buffer, FusedGroup, Kind, Program
from cgraph._validation import Array, DType
from cgraph.node import Node


class Allocator:
    """Assigns offsets in one region of the arena, whose size grows with each allocation; all counts are in elements."""

    def __init__(self, dtype: DType) -> None:
        self.dtype = dtype
        self.size = 0
        self.line = _kernels.build(dtype).line_bytes // dtype.itemsize

    def allocate(self, count: int, alignment: int = 0) -> int:
        """Returns the offset of `count` elements that no other allocation overlaps.

        `alignment` is in bytes; without it, the elements begin at a line.
        """
        multiple = alignment // self.dtype.itemsize or self.line
        offset = -(-self.size // multiple) * multiple
        self.size = offset + count
        return offset

    def padded(self) -> int:
        """Returns the size of the region in whole cache lines, behind which another region may follow."""
        return -(-self.size // self.line) * self.line

    def zeros(self) -> Array:
        """Returns an array of zeros for the region, which begins at a cache line.

        No kernel may touch memory before or behind the array: where a tile reads or writes beyond its rows, the array
        has room for that. tests/support/guard_pages.py replaces this method, so that an access outside ends the
        process.
        """
        memory = np.zeros(self.size + self.line, self.dtype)
        address = memory.__array_interface__["data"][0] // self.dtype.itemsize
        start = -address % self.line
        return memory[start : start + self.size]


def place_buffers(program: Program, dtype: DType) -> Allocator:
    """Gives every buffer of a program, and what steps keep beside it, an offset, and returns the region of data."""
    allocator = Allocator(dtype)
    for group in program.groups:
        buffer = group.buffer
        count = group.nodes[0].size * buffer.pitch
        # Steps compute whole vectors, so no other buffer begins within the last one.
        vector = program.kernels.padded_bytes // dtype.itemsize
        alignment = (
            program.kernels.padded_bytes if len(buffer.nodes) == 1 else program.kernels.line_bytes
        )
        buffer.offset = allocator.allocate(-(-count // vector) * vector, alignment)
        if group.inner:
            group.inner_offset = allocator.allocate(-(-group.inner // vector) * vector)
    return allocator


def mark_requires_grad(
    program: Program, full: frozenset[Node], parameters_only: frozenset[Node]
) -> None:
    """Marks the buffers whose gradient is computed: those that depend on a parameter, or on a leaf with a gradient.

    `full` and `parameters_only` are the leaves whose gradient the two sorts of backward pass compute.
    """
    # The methods of a Python node may read and write the gradients of its inputs, so these are always computed.
    python_inputs = {
        x for group in program.groups if group.kind is Kind.PYTHON for x in group.inputs
    }
    channel_of = program.channel_of
    for group in program.groups:
        nodes, buffer = group.nodes, group.buffer
        if group.kind is Kind.PYTHON or nodes[0]._parameters or not python_inputs.isdisjoint(nodes):
            continue
        in_full = in_parameters_only = False
        for x in group.inputs:
            of_input = channel_of[x][0].requires_grad
            in_full, in_parameters_only = in_full or of_input[0], in_parameters_only or of_input[1]
        buffer.requires_grad = (
            in_full or not full.isdisjoint(nodes),
            in_parameters_only or not parameters_only.isdisjoint(nodes),
        )


def place_seeds(program: Program, data: Allocator) -> dict[Node, Buffer]:
    """Returns, for each output, a buffer to which the gradient with which a backward pass begins may be fed.

    The gradients of outputs begin at 0, to which seeds are added, but not that of a loss alone, which no step reads.
    """
    if not program.is_loss:
        for node in program.outputs:
            program.channel_of[node][0].zeroed_first = True
    return {node: Buffer([node], 1, data.allocate(node.size)) for node in program.outputs}


class Use(NamedTuple):
    """An input of a fused group: a channel of a buffer, and whether an earlier step has written its gradient."""

    buffer: Buffer
    channel: int
    accumulate: bool


def uses(program: Program) -> dict[FusedGroup, list[Use]]:
    """Returns the inputs of each fused group: whole buffers, or single nodes.

    The groups are visited in the order of a backward pass, so the first one that writes a gradient does not accumulate.
    """
    return {group: _uses(program, group) for group in reversed(program.groups)}


def _uses(program: Program, group: FusedGroup) -> list[Use]:
    channels = [(buffer, 0) for buffer in group.input_buffers]
    result = []
    for buffer, channel in channels or [program.channel_of[x] for x in group.inputs]:
        result.append(Use(buffer, channel, buffer.zeroed_first or buffer.has_writer))
        buffer.has_writer = True
    return result


def operand(use: Use) -> Operand:
    """Returns the operand of an input, for a step that computes one sample at a time."""
    return operand_at(use, use.buffer.offset + use.channel, use.buffer.pitch)


def operand_at(use: Use, offset: int, stride: int) -> Operand:
    """Returns the operand of an input with a given place in the arena."""
    full, parameters_only = use.buffer.requires_grad
    return Operand(
        offset=offset,
        stride=stride,
        accumulate=use.accumulate,
        requires_grad=full,
        requires_grad_parameters_only=parameters_only,
    )


def output_operand(buffer: Buffer) -> Operand:
    """Returns the operand for the data that a fused group computes, one sample at a time."""
    return operand(Use(buffer, 0, False))
