"""Where everything that a Graph computes lies, and who writes a gradient first."""

from __future__ import annotations

from typing import NamedTuple

import numpy as np

from cgraph._lowering.program import VECTOR_BYTES, Block, Kind, Program, Unit
from cgraph._validation import Array, DType
from cgraph.node import Node

LINE_BYTES = 64  # a cache line


class Place(NamedTuple):
    """What a compiled step knows of one input or of its output; offsets and distances in elements."""

    at: int
    step: int
    add: bool
    wanted: bool
    wanted_lean: bool


class Region:
    """A part of the arena that grows while places in it are given away; its size and offsets are in elements."""

    def __init__(self, dtype: DType) -> None:
        self.dtype = dtype
        self.size = 0

    def take(self, count: int, alignment: int = LINE_BYTES) -> int:
        """The offset of `count` elements that nobody else has."""
        unit = alignment // self.dtype.itemsize
        at = -(-self.size // unit) * unit
        self.size = at + count
        return at

    def padded(self) -> int:
        """Its size in whole cache lines, where another region follows."""
        line = LINE_BYTES // self.dtype.itemsize
        return -(-self.size // line) * line

    def allocate(self) -> Array:
        """Zeros, beginning at a cache line. No kernel may touch what lies before or behind them.

        A tile that reads or writes beyond its rows does so within the region: the scratch and the places of blocks have
        room for it. tests/support/guard_pages.py replaces this method, so that an access outside ends the process.
        """
        memory = np.zeros(self.size + LINE_BYTES // self.dtype.itemsize, self.dtype)
        address = memory.__array_interface__["data"][0]
        start = -address % LINE_BYTES // self.dtype.itemsize
        return memory[start : start + self.size]


def place_blocks(program: Program, dtype: DType) -> Region:
    """Gives every block its offset."""
    region = Region(dtype)
    for unit in program.units:
        block = unit.block
        count = unit.nodes[0].size * block.pitch
        # Steps work on whole vectors: nothing else lies in the last one.
        vector = VECTOR_BYTES // dtype.itemsize
        alignment = VECTOR_BYTES if len(block.nodes) == 1 else LINE_BYTES
        block.at = region.take(-(-count // vector) * vector, alignment)
    return region


def mark_wanted(program: Program, full: frozenset[Node], lean: frozenset[Node]) -> None:
    """A gradient is wanted where it leads to something that learns, or to a leaf whose gradient is wanted."""
    # A node's own method may do anything with its inputs' gradients.
    touched = {x for unit in program.units if unit.kind is Kind.PYTHON for x in unit.inputs}
    where = program.where
    for unit in program.units:
        nodes, block = unit.nodes, unit.block
        if unit.kind is Kind.PYTHON or nodes[0]._parameters or not touched.isdisjoint(nodes):
            continue
        in_full = in_lean = False
        for x in unit.inputs:
            above = where[x][0].wanted
            in_full, in_lean = in_full or above[0], in_lean or above[1]
        block.wanted = (
            in_full or not full.isdisjoint(nodes),
            in_lean or not lean.isdisjoint(nodes),
        )


class Access(NamedTuple):
    """What a unit reads: a node's place in its block, and whether its gradient has been written before."""

    block: Block
    channel: int
    add: bool


def accesses(program: Program) -> dict[Unit, list[Access]]:
    """For each unit, its inputs: blocks, or node by node; the flags come from the order of a backward pass."""
    return {unit: _accesses(program, unit) for unit in reversed(program.units)}


def _accesses(program: Program, unit: Unit) -> list[Access]:
    channels = [(b, 0) for b in unit.blocks] or [program.where[x] for x in unit.inputs]
    found = []
    for block, channel in channels:
        found.append(Access(block, channel, block.cleared or block.written))
        block.written = True
    return found


def place(access: Access) -> Place:
    """An input's place, one sample at a time."""
    block = access.block
    return Place(block.at + access.channel, block.pitch, access.add, *block.wanted)


def output_place(block: Block) -> Place:
    """The place of what a unit computes."""
    return place(Access(block, 0, False))
