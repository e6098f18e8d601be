"""From the units of a program to compiled steps: a function for each kind of step, and a table by class."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from operator import is_
from typing import Any, NamedTuple

import numpy as np

from cgraph._kernels import Build
from cgraph._kernels.common.geometry import FilterGeometry
from cgraph._kernels.protocols import Connected, Offsets
from cgraph._kernels.runtime.step import PythonStep, Step
from cgraph._lowering.buffers import Allocator, Operand, Use, operand, output_operand
from cgraph._lowering.program import FusedGroup, Kind
from cgraph._validation import DType
from cgraph.node import Node
from cgraph.nodes.affine import Affine
from cgraph.nodes.concatenation import Concatenation
from cgraph.nodes.convolution import Convolution2d
from cgraph.nodes.elementwise import Add, ReLU, Sigmoid, Sub, Tanh
from cgraph.nodes.pooling import AveragePooling2d, MaxPooling2d
from cgraph.nodes.reduction import CEE, MSE, Dots, Norm2, Softmax


class ParameterSlot(NamedTuple):
    """A node's parameters: `size` of them in the arena from offset `at` on; or, one by one, at `places`."""

    node: Any
    offset: int
    size: int
    places: Offsets | None = None


@dataclass
class Builder:
    """Makes steps; gives their parameters and their scratch places."""

    kernels: Build
    dtype: DType
    parameters: Allocator = field(init=False)
    scratch: Allocator = field(init=False)
    slots: list[ParameterSlot] = field(default_factory=list)
    parameters_offset: dict[FusedGroup, int] = field(default_factory=dict)

    def __post_init__(self) -> None:
        self.parameters = Allocator(self.dtype)
        self.scratch = Allocator(self.dtype)

    def step(self, group: FusedGroup, inputs: Sequence[Use]) -> Step:
        """The step that computes a unit."""
        if group.kind is Kind.PYTHON:
            return PythonStep(group.nodes[0])
        maker = MAKERS[type(group.nodes[0])]
        return maker(self, group, [operand(x) for x in inputs], output_operand(group.buffer))

    def allocate_parameters(self, group: FusedGroup, count: int) -> int:
        """A place for the parameters of a unit."""
        at = self.parameters_offset[group] = self.parameters.allocate(count)
        return at

    def allocate_in_order(self, group: FusedGroup, count: int) -> int:
        """The same for parameters that keep the order that they have in their node."""
        at = self.allocate_parameters(group, count)
        self.slots.append(ParameterSlot(group.nodes[0], at, count))
        return at


Maker = Callable[[Builder, FusedGroup, list[Operand], Operand], Step]


def elementwise(
    builder: Builder, group: FusedGroup, inputs: list[Operand], output: Operand
) -> Step:
    """A block is one long vector: its padding is computed with the rest."""
    size = group.nodes[0].size
    if len(group.nodes) > 1:
        size *= output.stride
        inputs = [x._replace(stride=1) for x in inputs]
        output = output._replace(stride=1)
    name = type(group.nodes[0]).__name__
    return builder.kernels.elementwise.ElementwiseStep(name, size, inputs, output)


def reduction(builder: Builder, group: FusedGroup, inputs: list[Operand], output: Operand) -> Step:
    name, size = type(group.nodes[0]).__name__, group.inputs[0].size
    make = builder.kernels.reduction.ReductionStep
    return make(name, size, inputs, output)


def pooling(builder: Builder, group: FusedGroup, inputs: list[Operand], output: Operand) -> Step:
    channels = 1 if len(group.nodes) == 1 else output.stride
    make = builder.kernels.pooling.PoolingStep
    return make(*pooling_of(group), channels, inputs[0], output)


def pooling_of(group: FusedGroup) -> tuple[FilterGeometry, bool, float]:
    """Its window, whether it is the average, and what padding counts as."""
    node: Any = group.nodes[0]
    average = isinstance(node, AveragePooling2d)
    return node._geometry, average, 0.0 if average else node._pad_value


def concatenation(
    builder: Builder, group: FusedGroup, inputs: list[Operand], output: Operand
) -> Step:
    rows = [(*at, x.size) for at, x in zip(inputs, group.inputs, strict=True)]
    make = builder.kernels.concatenation.ConcatenationStep
    return make(np.array(rows, np.intp), output)


def affine(builder: Builder, group: FusedGroup, inputs: list[Operand], output: Operand) -> Step:
    node: Any = group.nodes[0]
    m, n = node._weight.shape[0] - 1, node._weight.shape[1]
    at = builder.allocate_in_order(group, node._weight.size)
    make = builder.kernels.affine.AffineStep
    return make(inputs[0], output, m, n, at, node._bias)


def convolution(
    builder: Builder, group: FusedGroup, inputs: list[Operand], output: Operand
) -> Step:
    if len(group.nodes) > 1:
        return convolution_group(builder, group, inputs, output)
    node: Any = group.nodes[0]
    kernels = builder.kernels.convolution
    scratch = builder.scratch.allocate(kernels.convolution2d_scratch(node._geometry, len(inputs)))
    at = builder.allocate_in_order(group, node._values.size)
    rows = np.array(inputs, np.intp)
    return kernels.ConvolutionStep(node._geometry, rows, output, node._taps, at, scratch)


def convolution_group(
    builder: Builder, group: FusedGroup, inputs: list[Operand], output: Operand
) -> Step:
    """Sibling convolutions; a missing connection between an input and an output is a kernel of zeros."""
    nodes: Any = group.nodes
    geometry, pitch, count = nodes[0]._geometry, output.stride, len(group.inputs)
    if group.buffers:
        inputs = [inputs[0]._replace(offset=inputs[0].offset + channel) for channel in range(count)]
    taps = geometry.k_h * geometry.k_w
    at = builder.allocate_parameters(group, (taps * count + 1) * pitch)
    known = None
    for channel, (node, read) in enumerate(zip(nodes, connections(group), strict=True)):
        if read is not known:
            known = read
            rows = (np.arange(taps) * count + read[:, None]).ravel()
            elements = np.append(rows, taps * count) * pitch + at
        builder.slots.append(ParameterSlot(node, at, elements.size, elements + channel))
    kernels = builder.kernels.channels_convolution_group
    scratch = builder.scratch.allocate(
        kernels.convolution_group_scratch(geometry, count, len(nodes), pitch)
    )
    return kernels.ConvolutionGroupStep(
        geometry, np.array(inputs, np.intp), output, len(nodes), at, scratch, connected(group)
    )


def connections(group: FusedGroup) -> list[Offsets]:
    """Of each convolution of a group: the numbers of the unit's inputs that it reads, in its own order."""
    index = {x: channel for channel, x in enumerate(group.inputs)}
    every = np.arange(len(group.inputs))

    def is_all(read: Sequence[Node]) -> bool:
        """In the unit's order. One node may stand for several channels, which are then those of all siblings."""
        whole = len(read) == len(every)
        return whole and (not group.buffers or all(map(is_, read, group.inputs)))

    return [every if is_all(read) else np.array([index[x] for x in read]) for read in group.reads]


def connected(group: FusedGroup) -> Connected | None:
    """Which pairs of an input and an output of a group belong together; None, if all do."""
    links = connections(group)
    if all(read is links[0] for read in links) and len(links[0]) == len(group.inputs):
        return None
    table = np.zeros((len(group.inputs), len(group.nodes)), np.uint8)
    for channel, read in enumerate(links):
        table[read, channel] = 1
    return None if table.all() else table


MAKERS: dict[type[Node], Maker] = {
    **dict.fromkeys((Add, Sub, ReLU, Sigmoid, Tanh), elementwise),
    **dict.fromkeys((Dots, MSE, CEE, Norm2, Softmax), reduction),
    **dict.fromkeys((MaxPooling2d, AveragePooling2d), pooling),
    Concatenation: concatenation,
    Affine: affine,
    Convolution2d: convolution,
}
