"""Steps for one sample, made from the fused groups of a program: a function for each family of operations."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from operator import is_
from typing import Any, NamedTuple

import numpy as np

from cgraph._kernels import NARROW_BYTES, Build, narrow_build
from cgraph._kernels.lanes.per_sample import CellStep
from cgraph._kernels.protocols import Connected, Offsets, Operation, Reduction
from cgraph._kernels.runtime.step import Operand, PythonStep, Step
from cgraph._lowering.buffers import Allocator, Use, operand, output_operand
from cgraph._lowering.program import FusedGroup
from cgraph._validation import DType
from cgraph.node import Node


class ParameterSlot(NamedTuple):
    """The place of a node's parameters in the arena.

    There are `size` of them from `offset` on, in the order of the node; or, where a fused group packs the parameters of
    several nodes, each one has an offset of its own in `element_offsets`.
    """

    node: Any
    offset: int
    size: int
    element_offsets: Offsets | None = None


@dataclass
class SampleBuilder:
    """Makes steps for one sample, and allocates their parameters and their scratch.

    Parameters
    ----------
    shared : mapping of FusedGroup to FusedGroup
        For groups with the parameters of another one, that group, as in `Program`.
    """

    kernels: Build
    dtype: DType
    shared: Mapping[FusedGroup, FusedGroup]
    parameters: Allocator = field(init=False)
    scratch: Allocator = field(init=False)
    slots: list[ParameterSlot] = field(default_factory=list)
    parameters_offset: dict[FusedGroup, int] = field(default_factory=dict)

    def __post_init__(self) -> None:
        self.parameters = Allocator(self.dtype)
        self.scratch = Allocator(self.dtype)

    def step(self, group: FusedGroup, inputs: Sequence[Use]) -> Step:
        """Returns the step that computes a fused group."""
        operands = [operand(x) for x in inputs]
        return group.op.sample(self, group, operands, output_operand(group.buffer))

    def kernels_for(self, row: int) -> Build:
        """Returns the kernels for rows of so many elements: those with narrow vectors, if one of these takes a row."""
        narrow_row = NARROW_BYTES // self.dtype.itemsize
        narrow = 1 < row <= narrow_row < self.kernels.padded_bytes // self.dtype.itemsize
        return narrow_build(self.dtype) if narrow else self.kernels

    def allocate_parameters(self, group: FusedGroup, count: int) -> tuple[int, bool]:
        """Allocates the parameters of a fused group, unless it is done.

        Returns their offset, and whether no other group has them so far.
        """
        owner = self.shared.get(group, group)
        is_new = owner not in self.parameters_offset
        if is_new:
            self.parameters_offset[owner] = self.parameters.allocate(count)
        offset = self.parameters_offset[group] = self.parameters_offset[owner]
        return offset, is_new

    def allocate_in_order(self, group: FusedGroup, count: int) -> int:
        """Allocates the parameters of a single node in the order that they have there, and returns their offset."""
        offset, is_new = self.allocate_parameters(group, count)
        if is_new:
            self.slots.append(ParameterSlot(group.nodes[0], offset, count))
        return offset


Maker = Callable[[SampleBuilder, FusedGroup, list[Operand], Operand], Step]


def python(
    builder: SampleBuilder, group: FusedGroup, inputs: list[Operand], output: Operand
) -> Step:
    """Makes a step that calls the methods of the node."""
    return PythonStep(group.nodes[0])


def function(
    builder: SampleBuilder, group: FusedGroup, inputs: list[Operand], output: Operand
) -> Step:
    """Makes a step that takes a whole buffer as one vector, and computes its padding with the rest."""
    node: Any = group.nodes[0]
    operation: Operation = getattr(builder.kernels.functions, node._operation)
    return operation.of(*node._constants).step(*as_one_vector(group, inputs, output))


def as_one_vector(
    group: FusedGroup, inputs: list[Operand], output: Operand
) -> tuple[int, list[Operand], Operand]:
    """Returns the number of elements of a group, and its operands; of several nodes, these are the whole buffers."""
    size = group.nodes[0].size
    if len(group.nodes) == 1:
        return size, inputs, output
    return size * output.stride, [x.contiguous() for x in inputs], output.contiguous()


def reduction(
    builder: SampleBuilder, group: FusedGroup, inputs: list[Operand], output: Operand
) -> Step:
    return reduction_step(builder.kernels, group, 1, inputs, output)


def reduction_step(
    kernels: Build, group: FusedGroup, lanes: int, inputs: list[Operand], output: Operand
) -> Step:
    """Makes a step that takes the elements of the input or, of an operation on one number, those of the output."""
    node: Any = group.nodes[0]
    operation: Reduction = getattr(kernels.reduction, node._operation)
    m = max(group.inputs[0].size, node.size)
    return operation.of(*node._constants).step(m, lanes, inputs, output)


def max_pooling(
    builder: SampleBuilder, group: FusedGroup, inputs: list[Operand], output: Operand
) -> Step:
    node: Any = group.nodes[0]
    make = builder.kernels_for(group.buffer.pitch).elementwise.MaxPoolingStep
    return make(node._geometry, node._pad_value, group.buffer.pitch, inputs[0], output)


def average_pooling(
    builder: SampleBuilder, group: FusedGroup, inputs: list[Operand], output: Operand
) -> Step:
    node: Any = group.nodes[0]
    make = builder.kernels_for(group.buffer.pitch).elementwise.AveragePoolingStep
    return make(node._geometry, node._count_padding, group.buffer.pitch, inputs[0], output)


def concatenation(
    builder: SampleBuilder, group: FusedGroup, inputs: list[Operand], output: Operand
) -> Step:
    sizes = np.array([x.size for x in group.inputs], np.intp)
    return builder.kernels.elementwise.ConcatenationStep(inputs, sizes, output)


def part(builder: SampleBuilder, group: FusedGroup, inputs: list[Operand], output: Operand) -> Step:
    node: Any = group.nodes[0]
    make = builder.kernels.elementwise.SliceStep
    return make(node.domsize, node._start, node.size, inputs[0], output)


def affine(
    builder: SampleBuilder, group: FusedGroup, inputs: list[Operand], output: Operand
) -> Step:
    node: Any = group.nodes[0]
    m, n = node._weight.shape[0] - 1, node._weight.shape[1]
    offset = builder.allocate_in_order(group, node._weight.size)
    make = builder.kernels_for(n).affine.AffineStep
    return make(inputs[0], output, m, n, offset, node._bias)


def cell(builder: SampleBuilder, group: FusedGroup, inputs: list[Operand], output: Operand) -> Step:
    """Makes a step of two products and the gates.

    The parameters are packed as two matrices, transposed, with their biases as the last row.
    """
    node: Any = group.nodes[0]
    m, n, gates = node.backward[0].size, node._units, node._gate_elements
    count = node._parameter_vector.size
    offset, is_new = builder.allocate_parameters(group, count)
    if is_new:
        ih, hh = (
            np.arange((rows + 1) * gates).reshape(rows + 1, gates) + begin
            for rows, begin in ((m, offset), (n, offset + (m + 1) * gates))
        )
        elements = np.concatenate([ih[:-1].T.ravel(), hh[:-1].T.ravel(), ih[-1], hh[-1]])
        builder.slots.append(ParameterSlot(node, offset, count, elements))
    a, b = group.inner_offset, group.inner_offset + gates
    kernels, (h, s) = builder.kernels_for(gates).affine, state_operands(group, inputs[1])
    ih = kernels.AffineStep(inputs[0], inner_operand(a, 1), m, gates, offset, 1.0)
    hh = kernels.AffineStep(h, inner_operand(b, 1), n, gates, offset + (m + 1) * gates, 1.0)
    gate_kernels, itemsize = builder.kernels_for(n).affine.MATRIX_KERNELS, builder.dtype.itemsize
    return CellStep(gate_kernels, node._is_lstm, n, (ih, hh), s, output, a, b, itemsize)


def state_operands(group: FusedGroup, state: Operand) -> tuple[Operand, Operand]:
    """Returns the operand that a cell multiplies, h, and the one that it reads directly, which is h or c.

    Where both are h, the product is the second to write its gradient, and adds.
    """
    node: Any = group.nodes[0]
    if node._is_lstm:
        return state, state.shifted(node._units * state.stride)
    return adding(state), state


def adding(x: Operand) -> Operand:
    """Returns the operand of an input for a step that adds to its gradient."""
    return Operand(
        offset=x.offset,
        stride=x.stride,
        accumulate=True,
        requires_grad=x.requires_grad,
        requires_grad_parameters_only=x.requires_grad_parameters_only,
    )


def inner_operand(offset: int, stride: int) -> Operand:
    """Returns the operand of what a step keeps beside its output, with its gradient."""
    return Operand(
        offset=offset,
        stride=stride,
        accumulate=False,
        requires_grad=True,
        requires_grad_parameters_only=True,
    )


def dropout(
    builder: SampleBuilder, group: FusedGroup, inputs: list[Operand], output: Operand
) -> Step:
    node: Any = group.nodes[0]
    make, masks = builder.kernels.functions.DropoutStep, node._sample_counter
    return make(masks, node.size, 1, inputs[0], output)


def layer_norm(
    builder: SampleBuilder, group: FusedGroup, inputs: list[Operand], output: Operand
) -> Step:
    node: Any = group.nodes[0]
    offset = builder.allocate_in_order(group, node._parameter_vector.size)
    scratch = builder.scratch.allocate(2 * builder.kernels.padded_bytes // builder.dtype.itemsize)
    make = builder.kernels.reduction.LayerNormStep
    return make(node.size, 1, inputs[0], output, offset, scratch, node._eps)


def convolution(
    builder: SampleBuilder, group: FusedGroup, inputs: list[Operand], output: Operand
) -> Step:
    if len(group.nodes) > 1:
        return convolution_group(builder, group, inputs, output)
    node: Any = group.nodes[0]
    kernels = builder.kernels.convolution
    scratch = builder.scratch.allocate(kernels.convolution2d_scratch(node._geometry, len(inputs)))
    offset = builder.allocate_in_order(group, node._parameter_vector.size)
    return kernels.ConvolutionStep(node._geometry, inputs, output, node._taps, offset, scratch)


def convolution_group(
    builder: SampleBuilder, group: FusedGroup, inputs: list[Operand], output: Operand
) -> Step:
    """Makes one step for sibling convolutions; a missing connection of input and output gets a kernel of zeros.

    The parameters are packed as [tap][input][output], with the outputs padded to `pitch`, and the biases behind them.
    """
    nodes: Any = group.nodes
    geometry, pitch, count = nodes[0]._geometry, output.stride, len(group.inputs)
    if group.input_buffers:
        inputs = [inputs[0].shifted(channel) for channel in range(count)]
    taps = geometry.k_h * geometry.k_w
    offset, is_new = builder.allocate_parameters(group, (taps * count + 1) * pitch)
    previous = None
    placed = zip(nodes, input_indices(group), strict=True) if is_new else ()
    for channel, (node, indices) in enumerate(placed):
        if indices is not previous:
            previous = indices
            rows = (np.arange(taps) * count + indices[:, None]).ravel()
            elements = np.append(rows, taps * count) * pitch + offset
        builder.slots.append(ParameterSlot(node, offset, elements.size, elements + channel))
    kernels = builder.kernels_for(group.buffer.pitch).channels_convolution_group
    scratch = builder.scratch.allocate(
        kernels.convolution_group_scratch(geometry, count, len(nodes))
    )
    return kernels.ConvolutionGroupStep(
        geometry, inputs, output, len(nodes), offset, scratch, connected(group)
    )


def input_indices(group: FusedGroup) -> list[Offsets]:
    """Returns, for each of the sibling convolutions, the indices of its inputs among those of the group.

    Siblings that read all inputs in the order of the group share one array.
    """
    index = {x: channel for channel, x in enumerate(group.inputs)}
    all_indices = np.arange(len(group.inputs))

    def reads_all(inputs: Sequence[Node]) -> bool:
        """Returns whether these are all inputs in the order of the group.

        Without a whole buffer all siblings have the same inputs, one of which may stand for several channels.
        """
        complete = len(inputs) == len(all_indices)
        return complete and (not group.input_buffers or all(map(is_, inputs, group.inputs)))

    return [
        all_indices if reads_all(inputs) else np.array([index[x] for x in inputs])
        for inputs in group.inputs_by_node
    ]


def connected(group: FusedGroup) -> Connected | None:
    """Returns a table of the pairs of input and output of a fused group that are connected; None, if all are."""
    by_node = input_indices(group)
    if all(indices is by_node[0] for indices in by_node) and len(by_node[0]) == len(group.inputs):
        return None
    table = np.zeros((len(group.inputs), len(group.nodes)), np.uint8)
    for channel, indices in enumerate(by_node):
        table[indices, channel] = 1
    return None if table.all() else table
