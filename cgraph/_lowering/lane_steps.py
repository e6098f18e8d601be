"""Steps over lanes, made from the fused groups of a program: many samples lie side by side at every element."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from typing import Any

import numpy as np

from cgraph._kernels import Build
from cgraph._kernels.common.geometry import FilterGeometry
from cgraph._kernels.runtime.step import Step
from cgraph._lowering.buffers import Allocator, Operand, Use
from cgraph._lowering.program import Buffer, FusedGroup
from cgraph._lowering.sample_steps import connected, pooling_of
from cgraph._validation import DType
from cgraph.node import Node
from cgraph.nodes.affine import Affine
from cgraph.nodes.concatenation import Concatenation
from cgraph.nodes.convolution import Convolution2d
from cgraph.nodes.elementwise import Add, ReLU, Sigmoid, Sub, Tanh
from cgraph.nodes.pooling import AveragePooling2d, MaxPooling2d
from cgraph.nodes.reduction import CEE, MSE, Dots, Norm2, Softmax

ONE_ELEMENT = FilterGeometry(1, 1, 1, 1, 1, 1, 1, 0, 0)


@dataclass
class LaneBuilder:
    """Makes steps over lanes, for which the channels of a fused group lie one behind the other: [channel][y][x][lane].

    Parameters
    ----------
    parameters_offset : dict of FusedGroup to int
        The offsets of the parameters, which these steps share with the steps for one sample.
    """

    kernels: Build
    dtype: DType
    lanes: int
    parameters_offset: dict[FusedGroup, int]
    data: Allocator = field(init=False)
    scratch: Allocator = field(init=False)
    offsets: dict[Buffer, int] = field(default_factory=dict)

    def __post_init__(self) -> None:
        self.data = Allocator(self.dtype)
        self.scratch = Allocator(self.dtype)

    def step(self, group: FusedGroup, inputs: Sequence[Use]) -> Step:
        """Returns the step that computes a fused group."""
        maker = MAKERS[type(group.nodes[0])]
        return maker(self, group, [self.operand(x) for x in inputs], self.output_operand(group))

    def rectified(self, group: FusedGroup, use: Use) -> Step:
        """Returns the step that computes a max pooling with the ReLU that it reads; `use` is the input of the ReLU."""
        return pooling(self, group, [self.operand(use)], self.output_operand(group), rectified=True)

    def output_operand(self, group: FusedGroup) -> Operand:
        """Returns the operand for the data that a fused group computes."""
        return self.operand(Use(group.buffer, 0, False))

    def allocate(self, buffer: Buffer) -> None:
        """Allocates a buffer for all lanes."""
        self.offsets[buffer] = self.data.allocate(buffer.size * self.lanes)

    def operand(self, use: Use) -> Operand:
        """Returns the operand of an input."""
        buffer = use.buffer
        offset = self.offsets[buffer] + use.channel * buffer.nodes[0].size * self.lanes
        return Operand(offset, self.lanes, use.accumulate, *buffer.requires_grad)


Maker = Callable[[LaneBuilder, FusedGroup, list[Operand], Operand], Step]


def elementwise(
    builder: LaneBuilder, group: FusedGroup, inputs: list[Operand], output: Operand
) -> Step:
    """Makes a step that takes a whole buffer as one vector."""
    name, size = type(group.nodes[0]).__name__, group.buffer.size * builder.lanes
    inputs = [x._replace(stride=1) for x in inputs]
    make = builder.kernels.elementwise.ElementwiseStep
    return make(name, size, inputs, output._replace(stride=1))


def reduction(
    builder: LaneBuilder, group: FusedGroup, inputs: list[Operand], output: Operand
) -> Step:
    name, size = type(group.nodes[0]).__name__, group.inputs[0].size
    make = builder.kernels.lanes_reduction.LaneReductionStep
    return make(name, size, builder.lanes, inputs, output)


def pooling(
    builder: LaneBuilder,
    group: FusedGroup,
    inputs: list[Operand],
    output: Operand,
    rectified: bool = False,
) -> Step:
    """Makes a step for which the lanes are what the channels of a fused group are for one sample."""
    make = builder.kernels.pooling.PoolingStep
    images = len(group.nodes)
    return make(*pooling_of(group), builder.lanes, inputs[0], output, images, rectified)


def concatenation(
    builder: LaneBuilder, group: FusedGroup, inputs: list[Operand], output: Operand
) -> Step:
    pairs = zip(inputs, group.inputs, strict=True)
    rows = [(*operand._replace(stride=1), x.size * builder.lanes) for operand, x in pairs]
    make = builder.kernels.concatenation.ConcatenationStep
    return make(np.array(rows, np.intp), output._replace(stride=1))


def affine(builder: LaneBuilder, group: FusedGroup, inputs: list[Operand], output: Operand) -> Step:
    """Makes the step of a convolution whose channels are the elements of the input, on a domain of 1 × 1."""
    node: Any = group.nodes[0]
    m, n = node._weight.shape[0] - 1, node._weight.shape[1]
    channels = equally_spaced(inputs[0], m, builder.lanes)
    return layer(builder, group, ONE_ELEMENT, channels, output, n, (m * n, n, n), node._bias)


def convolution(
    builder: LaneBuilder, group: FusedGroup, inputs: list[Operand], output: Operand
) -> Step:
    geometry: FilterGeometry = group.nodes[0]._geometry  # type: ignore[attr-defined]
    count = len(group.inputs)
    if group.input_buffers:
        inputs = equally_spaced(inputs[0], count, group.inputs[0].size * builder.lanes)
    pitch = group.buffer.pitch
    strides = (
        (1, geometry.k_h * geometry.k_w, 1)
        if len(group.nodes) == 1
        else (count * pitch, pitch, pitch)
    )
    return layer(builder, group, geometry, inputs, output, len(group.nodes), strides, 1.0)


def equally_spaced(first: Operand, count: int, distance: int) -> list[Operand]:
    """Returns operands at equal distances, in elements, for channels that lie one behind the other."""
    return [first._replace(offset=first.offset + channel * distance) for channel in range(count)]


def layer(
    builder: LaneBuilder,
    group: FusedGroup,
    geometry: FilterGeometry,
    inputs: list[Operand],
    output: Operand,
    c_out: int,
    strides: tuple[int, int, int],
    bias: float,
) -> Step:
    """Makes the step of a convolution or an affine node; `strides` of its parameters are by tap, input and output."""
    kernels = builder.kernels.lanes_layer
    connections = connected(group) if len(group.nodes) > 1 else None
    scratch = kernels.lane_layer_scratch(geometry, builder.lanes, len(inputs), c_out, connections)
    return kernels.LaneLayerStep(
        geometry,
        builder.lanes,
        np.array(inputs, np.intp),
        output,
        c_out,
        builder.parameters_offset[group],
        builder.scratch.allocate(scratch),
        *strides,
        bias,
        connections,
    )


MAKERS: dict[type[Node], Maker] = {
    **dict.fromkeys((Add, Sub, ReLU, Sigmoid, Tanh), elementwise),
    **dict.fromkeys((Dots, MSE, CEE, Norm2, Softmax), reduction),
    **dict.fromkeys((MaxPooling2d, AveragePooling2d), pooling),
    Concatenation: concatenation,
    Affine: affine,
    Convolution2d: convolution,
}
