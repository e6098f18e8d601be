"""Where everything that a Graph computes lies, and who writes a gradient first."""

from __future__ import annotations

from typing import NamedTuple

import numpy as np

from cgraph._lowering.program import VECTOR_BYTES, Buffer, FusedGroup, Kind, Program
from cgraph._validation import Array, DType
from cgraph.node import Node

LINE_BYTES = 64  # a cache line


class Operand(NamedTuple):
    """What a compiled step knows of one input or of its output; offsets and distances in elements."""

    offset: int
    stride: int
    accumulate: bool
    requires_grad: bool
    requires_grad_parameters_only: bool


class Allocator:
    """A part of the arena that grows while places in it are given away; its size and offsets are in elements."""

    def __init__(self, dtype: DType) -> None:
        self.dtype = dtype
        self.size = 0

    def allocate(self, count: int, alignment: int = LINE_BYTES) -> int:
        """The offset of `count` elements that nobody else has."""
        unit = alignment // self.dtype.itemsize
        at = -(-self.size // unit) * unit
        self.size = at + count
        return at

    def padded(self) -> int:
        """Its size in whole cache lines, where another allocator follows."""
        line = LINE_BYTES // self.dtype.itemsize
        return -(-self.size // line) * line

    def zeros(self) -> Array:
        """Zeros, beginning at a cache line. No kernel may touch what lies before or behind them.

        A tile that reads or writes beyond its rows does so within the region, where scratch and buffers have room.
        tests/support/guard_pages.py replaces this method, so that an access outside ends the process.
        """
        memory = np.zeros(self.size + LINE_BYTES // self.dtype.itemsize, self.dtype)
        address = memory.__array_interface__["data"][0]
        start = -address % LINE_BYTES // self.dtype.itemsize
        return memory[start : start + self.size]


def place_buffers(program: Program, dtype: DType) -> Allocator:
    """Gives every block its offset."""
    allocator = Allocator(dtype)
    for group in program.groups:
        buffer = group.buffer
        count = group.nodes[0].size * buffer.pitch
        # Steps work on whole vectors: nothing else lies in the last one.
        vector = VECTOR_BYTES // dtype.itemsize
        alignment = VECTOR_BYTES if len(buffer.nodes) == 1 else LINE_BYTES
        buffer.offset = allocator.allocate(-(-count // vector) * vector, alignment)
    return allocator


def mark_requires_grad(
    program: Program, full: frozenset[Node], parameters_only: frozenset[Node]
) -> None:
    """A gradient is wanted where it leads to something that learns, or to a leaf whose gradient is wanted."""
    # A node's own method may do anything with its inputs' gradients.
    touched = {x for group in program.groups if group.kind is Kind.PYTHON for x in group.inputs}
    where = program.where
    for group in program.groups:
        nodes, buffer = group.nodes, group.buffer
        if group.kind is Kind.PYTHON or nodes[0]._parameters or not touched.isdisjoint(nodes):
            continue
        in_full = in_parameters_only = False
        for x in group.inputs:
            above = where[x][0].requires_grad
            in_full, in_parameters_only = in_full or above[0], in_parameters_only or above[1]
        buffer.requires_grad = (
            in_full or not full.isdisjoint(nodes),
            in_parameters_only or not parameters_only.isdisjoint(nodes),
        )


class Use(NamedTuple):
    """What a unit reads: a node's place in its block, and whether its gradient has been written before."""

    buffer: Buffer
    channel: int
    accumulate: bool


def uses(program: Program) -> dict[FusedGroup, list[Use]]:
    """For each unit, its inputs: blocks, or node by node; the flags come from the order of a backward pass."""
    return {group: _uses(program, group) for group in reversed(program.groups)}


def _uses(program: Program, group: FusedGroup) -> list[Use]:
    channels = [(b, 0) for b in group.buffers] or [program.where[x] for x in group.inputs]
    found = []
    for buffer, channel in channels:
        found.append(Use(buffer, channel, buffer.cleared or buffer.written))
        buffer.written = True
    return found


def operand(use: Use) -> Operand:
    """An input's place, one sample at a time."""
    buffer = use.buffer
    return Operand(buffer.offset + use.channel, buffer.pitch, use.accumulate, *buffer.requires_grad)


def output_operand(buffer: Buffer) -> Operand:
    """The place of what a unit computes."""
    return operand(Use(buffer, 0, False))
