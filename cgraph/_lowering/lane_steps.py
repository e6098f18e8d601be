"""Steps over lanes, made from the fused groups of a program: many samples lie side by side at every element."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from typing import Any

import numpy as np

from cgraph._kernels import Build, narrow_build
from cgraph._kernels.common.geometry import FilterGeometry
from cgraph._kernels.lanes.per_sample import CellStep
from cgraph._kernels.protocols import Operation
from cgraph._kernels.runtime.step import LearningStep, Operand, Step
from cgraph._lowering.buffers import Allocator, Use, operand_at
from cgraph._lowering.program import Buffer, FusedGroup
from cgraph._lowering.sample_steps import (
    connected,
    inner_operand,
    reduction_step,
    state_operands,
)
from cgraph._validation import DType

# Buffers that begin multiples of this apart share the same few sets of the nearest cache. Where a step that reads many
# of them at once would find them so, they are moved apart.
SET_BYTES = 4096
APART_BYTES = 1088

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
    _passing: dict[int, int] = field(default_factory=dict)

    def __post_init__(self) -> None:
        self.data = Allocator(self.dtype)
        self.scratch = Allocator(self.dtype)

    def step(
        self, group: FusedGroup, inputs: Sequence[Use], absorbed: FusedGroup | None = None
    ) -> Step:
        """Returns the step that computes a fused group, and with it the group that it absorbs, of the given inputs."""
        maker = group.op.absorbs[absorbed.op.node_class] if absorbed else group.op.lanes
        output = self.operand(Use(group.buffer, 0, False))
        return maker(self, group, [self.operand(x) for x in inputs], output)

    @property
    def lane_kernels(self) -> Build:
        """The kernels that compute one element of all lanes in whole vectors."""
        return self.kernels_for(1)

    def kernels_for(self, elements: int) -> Build:
        """Returns the kernels that compute so many elements of all lanes in whole vectors."""
        size = elements * self.lanes * self.dtype.itemsize
        return narrow_build(self.dtype) if size % self.kernels.padded_bytes else self.kernels

    def allocate(self, buffer: Buffer) -> None:
        """Allocates a buffer for all lanes."""
        count, itemsize = buffer.size * self.lanes, self.dtype.itemsize
        self.offsets[buffer] = self.data.allocate(count)
        if count * itemsize % SET_BYTES == 0:
            self.data.allocate(APART_BYTES // itemsize)

    def passing(self, count: int) -> int:
        """Returns the offset of scratch for steps that keep nothing there from one pass to the next."""
        if count not in self._passing:
            self._passing[count] = self.scratch.allocate(count)
        return self._passing[count]

    def place(self, buffer: Buffer, around: Buffer, start: int) -> None:
        """Places a buffer within another one, from an element of it on."""
        self.offsets[buffer] = self.offsets[around] + start * self.lanes

    def operand(self, use: Use) -> Operand:
        """Returns the operand of an input."""
        buffer = use.buffer
        offset = self.offsets[buffer] + use.channel * buffer.nodes[0].size * self.lanes
        return operand_at(use, offset, self.lanes)


Maker = Callable[[LaneBuilder, FusedGroup, list[Operand], Operand], Step]


def function(
    builder: LaneBuilder, group: FusedGroup, inputs: list[Operand], output: Operand
) -> Step:
    """Makes a step that takes a whole buffer as one vector."""
    node: Any = group.nodes[0]
    size = group.buffer.size
    inputs = [x.contiguous() for x in inputs]
    operation: Operation = getattr(builder.kernels_for(size).functions, node._operation)
    step = operation.of(*node._constants).step
    return step(size * builder.lanes, inputs, output.contiguous())


def reduction(
    builder: LaneBuilder, group: FusedGroup, inputs: list[Operand], output: Operand
) -> Step:
    return reduction_step(builder.lane_kernels, group, builder.lanes, inputs, output)


# For a pooling, the lanes are what the channels of a fused group are for one sample.


def max_pooling(
    builder: LaneBuilder,
    group: FusedGroup,
    inputs: list[Operand],
    output: Operand,
    rectified: bool = False,
) -> Step:
    node: Any = group.nodes[0]
    make, images = builder.lane_kernels.elementwise.MaxPoolingStep, len(group.nodes)
    padding = node._pad_value
    return make(node._geometry, padding, builder.lanes, inputs[0], output, images, rectified)


def rectified_max_pooling(
    builder: LaneBuilder, group: FusedGroup, inputs: list[Operand], output: Operand
) -> Step:
    """Makes a step that computes a max pooling with the ReLU that it reads, of the input of that ReLU."""
    return max_pooling(builder, group, inputs, output, rectified=True)


def average_pooling(
    builder: LaneBuilder, group: FusedGroup, inputs: list[Operand], output: Operand
) -> Step:
    node: Any = group.nodes[0]
    make, images = builder.lane_kernels.elementwise.AveragePoolingStep, len(group.nodes)
    counts = node._count_padding
    return make(node._geometry, counts, builder.lanes, inputs[0], output, images)


def concatenation(
    builder: LaneBuilder, group: FusedGroup, inputs: list[Operand], output: Operand
) -> Step:
    sizes = np.array([x.size * builder.lanes for x in group.inputs], np.intp)
    make = builder.kernels.elementwise.ConcatenationStep
    return make([x.contiguous() for x in inputs], sizes, output.contiguous())


def part(builder: LaneBuilder, group: FusedGroup, inputs: list[Operand], output: Operand) -> Step:
    """Makes the step of a Slice, which is one of whole rows of lanes, too."""
    node: Any = group.nodes[0]
    make, lanes = builder.kernels.elementwise.SliceStep, builder.lanes
    sizes = node.domsize * lanes, node._start * lanes, node.size * lanes
    return make(*sizes, inputs[0].contiguous(), output.contiguous())


def affine(builder: LaneBuilder, group: FusedGroup, inputs: list[Operand], output: Operand) -> Step:
    """Makes the step of a convolution whose channels are the elements of the input, on a domain of 1 × 1."""
    node: Any = group.nodes[0]
    m, n = node._weight.shape[0] - 1, node._weight.shape[1]
    channels = equally_spaced(inputs[0], m, builder.lanes)
    return layer(builder, group, ONE_ELEMENT, channels, output, n, (m * n, n, n), node._bias)


def cell(builder: LaneBuilder, group: FusedGroup, inputs: list[Operand], output: Operand) -> Step:
    """Makes a step of two products, as those of an Affine, and the gates of all lanes."""
    node: Any = group.nodes[0]
    lanes, m, n, gates = builder.lanes, node.backward[0].size, node._units, node._gate_elements
    a, b = (builder.data.allocate(gates * lanes) for _ in range(2))
    h, s = state_operands(group, inputs[1])
    first = builder.parameters_offset[group]
    ih, hh = (
        product(builder, equally_spaced(x, rows, lanes), offset, gates, begin)
        for x, rows, offset, begin in ((inputs[0], m, a, first), (h, n, b, first + (m + 1) * gates))
    )
    kernels, itemsize = builder.kernels_for(n).affine.MATRIX_KERNELS, builder.dtype.itemsize
    operands = s.contiguous(), output.contiguous()
    return CellStep(kernels, node._is_lstm, n * lanes, (ih, hh), *operands, a, b, itemsize)


def product(
    builder: LaneBuilder, inputs: list[Operand], offset: int, n: int, parameters_offset: int
) -> LearningStep:
    """Makes the step of a matrix with n columns whose output lies at an offset of its own."""
    kernels, m = builder.lane_kernels.lanes_layer, len(inputs)
    return kernels.LaneLayerStep(
        ONE_ELEMENT,
        builder.lanes,
        inputs,
        inner_operand(offset, builder.lanes),
        n,
        parameters_offset,
        builder.passing(kernels.lane_layer_scratch(ONE_ELEMENT, builder.lanes, n, None)),
        *(m * n, n, n),
        1.0,
        None,
    )


def dropout(
    builder: LaneBuilder, group: FusedGroup, inputs: list[Operand], output: Operand
) -> Step:
    node: Any = group.nodes[0]
    make, masks = builder.lane_kernels.functions.DropoutStep, node._sample_counter
    return make(masks, node.size, builder.lanes, inputs[0], output)


def layer_norm(
    builder: LaneBuilder, group: FusedGroup, inputs: list[Operand], output: Operand
) -> Step:
    node: Any = group.nodes[0]
    scratch = builder.scratch.allocate(2 * builder.lanes)
    make, offset = builder.lane_kernels.reduction.LayerNormStep, builder.parameters_offset[group]
    return make(node.size, builder.lanes, inputs[0], output, offset, scratch, node._eps)


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
    return [first.shifted(channel * distance) for channel in range(count)]


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
    kernels = builder.lane_kernels.lanes_layer
    connections = connected(group) if len(group.nodes) > 1 else None
    scratch = kernels.lane_layer_scratch(geometry, builder.lanes, c_out, connections)
    return kernels.LaneLayerStep(
        geometry,
        builder.lanes,
        inputs,
        output,
        c_out,
        builder.parameters_offset[group],
        builder.scratch.allocate(scratch),
        *strides,
        bias,
        connections,
    )
