"""From the units of a program to steps over lanes: many samples at a time, side by side at every element."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from typing import Any

import numpy as np

from cgraph._kernels import Build
from cgraph._kernels.common.geometry import Window
from cgraph._kernels.runtime.step import Step
from cgraph._lowering.buffers import Access, Place, Region
from cgraph._lowering.program import Block, Unit
from cgraph._lowering.sample_steps import connected, pooling_of
from cgraph._validation import DType
from cgraph.node import Node
from cgraph.nodes.affine import Affine
from cgraph.nodes.concatenation import Concatenation
from cgraph.nodes.convolution import Convolution2d
from cgraph.nodes.elementwise import Add, ReLU, Sigmoid, Sub, Tanh
from cgraph.nodes.pooling import AveragePooling2d, MaxPooling2d
from cgraph.nodes.reduction import CEE, MSE, Dots, Norm2, Softmax

ONE_ELEMENT = Window(1, 1, 1, 1, 1, 1, 1, 0, 0)


@dataclass
class LaneBuilder:
    """Makes steps over lanes. The channels of a group lie one behind the other: [channel][y][x][lane].

    Parameters
    ----------
    values_at : mapping of Unit to int
        Where the steps for one sample have their parameters, which these share.
    """

    kernels: Build
    dtype: DType
    lanes: int
    values_at: dict[Unit, int]
    data: Region = field(init=False)
    scratch: Region = field(init=False)
    at: dict[Block, int] = field(default_factory=dict)

    def __post_init__(self) -> None:
        self.data = Region(self.dtype)
        self.scratch = Region(self.dtype)

    def step(self, unit: Unit, inputs: Sequence[Access]) -> Step:
        """The step that computes a unit."""
        maker = MAKERS[type(unit.nodes[0])]
        return maker(self, unit, [self.place(x) for x in inputs], self.place_of(unit))

    def rectified(self, unit: Unit, access: Access) -> Step:
        """The step that computes a max pooling and the ReLU above it, of which this is the input."""
        return pooling(self, unit, [self.place(access)], self.place_of(unit), rectified=True)

    def place_of(self, unit: Unit) -> Place:
        """Returns the place of the data that a unit computes."""
        return self.place(Access(unit.block, 0, False))

    def take(self, block: Block) -> None:
        """Gives a block its place."""
        self.at[block] = self.data.take(block.size * self.lanes)

    def place(self, access: Access) -> Place:
        """An input's place."""
        block = access.block
        at = self.at[block] + access.channel * block.nodes[0].size * self.lanes
        return Place(at, self.lanes, access.add, *block.wanted)


Maker = Callable[[LaneBuilder, Unit, list[Place], Place], Step]


def elementwise(builder: LaneBuilder, unit: Unit, inputs: list[Place], output: Place) -> Step:
    """A block is one long vector."""
    name, size = type(unit.nodes[0]).__name__, unit.block.size * builder.lanes
    inputs = [x._replace(step=1) for x in inputs]
    make = builder.kernels.elementwise.ElementwiseStep
    return make(name, size, inputs, output._replace(step=1))


def reduction(builder: LaneBuilder, unit: Unit, inputs: list[Place], output: Place) -> Step:
    name, size = type(unit.nodes[0]).__name__, unit.inputs[0].size
    make = builder.kernels.lanes_reduction.LaneReductionStep
    return make(name, size, builder.lanes, inputs, output)


def pooling(
    builder: LaneBuilder,
    unit: Unit,
    inputs: list[Place],
    output: Place,
    rectified: bool = False,
) -> Step:
    """For pooling, lanes are what channels of a group are for one sample."""
    make = builder.kernels.pooling.PoolingStep
    images = len(unit.nodes)
    return make(*pooling_of(unit), builder.lanes, inputs[0], output, images, rectified)


def concatenation(builder: LaneBuilder, unit: Unit, inputs: list[Place], output: Place) -> Step:
    pairs = zip(inputs, unit.inputs, strict=True)
    rows = [(*at._replace(step=1), x.size * builder.lanes) for at, x in pairs]
    make = builder.kernels.concatenation.ConcatenationStep
    return make(np.array(rows, np.intp), output._replace(step=1))


def affine(builder: LaneBuilder, unit: Unit, inputs: list[Place], output: Place) -> Step:
    """A convolution of as many channels as the input has elements, each of one element."""
    node: Any = unit.nodes[0]
    m, n = node._weight.shape[0] - 1, node._weight.shape[1]
    rows = channels(inputs[0], m, builder.lanes)
    return layer(builder, unit, ONE_ELEMENT, rows, output, n, (m * n, n, n), node._bias)


def convolution(builder: LaneBuilder, unit: Unit, inputs: list[Place], output: Place) -> Step:
    window: Window = unit.nodes[0]._window  # type: ignore[attr-defined]
    count = len(unit.inputs)
    if unit.blocks:
        inputs = channels(inputs[0], count, unit.inputs[0].size * builder.lanes)
    pitch = unit.block.pitch
    steps = (
        (1, window.k_h * window.k_w, 1) if len(unit.nodes) == 1 else (count * pitch, pitch, pitch)
    )
    return layer(builder, unit, window, inputs, output, len(unit.nodes), steps, 1.0)


def channels(first: Place, count: int, distance: int) -> list[Place]:
    """Places at equal distances."""
    return [first._replace(at=first.at + channel * distance) for channel in range(count)]


def layer(
    builder: LaneBuilder,
    unit: Unit,
    window: Window,
    inputs: list[Place],
    output: Place,
    c_out: int,
    steps: tuple[int, int, int],
    bias: float,
) -> Step:
    """What learns; steps: from one tap, one channel and one row of its parameters to the next."""
    kernels = builder.kernels.lanes_layer
    links = connected(unit) if len(unit.nodes) > 1 else None
    scratch = kernels.lane_layer_scratch(window, builder.lanes, len(inputs), c_out, links)
    return kernels.LaneLayerStep(
        window,
        builder.lanes,
        np.array(inputs, np.intp),
        output,
        c_out,
        builder.values_at[unit],
        builder.scratch.take(scratch),
        *steps,
        bias,
        links,
    )


MAKERS: dict[type[Node], Maker] = {
    **dict.fromkeys((Add, Sub, ReLU, Sigmoid, Tanh), elementwise),
    **dict.fromkeys((Dots, MSE, CEE, Norm2, Softmax), reduction),
    **dict.fromkeys((MaxPooling2d, AveragePooling2d), pooling),
    Concatenation: concatenation,
    Affine: affine,
    Convolution2d: convolution,
}
