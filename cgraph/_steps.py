"""From the units of a program to compiled steps: a function for each kind of step, and a table by class."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any, NamedTuple

import numpy as np

from cgraph._array import DType
from cgraph._kernels import Build
from cgraph._kernels.protocols import Offsets
from cgraph._kernels.step import CallStep, Step
from cgraph._places import Operands, Region
from cgraph.lowering import Kind, Unit
from cgraph.node import Node
from cgraph.nodes.affine import Affine
from cgraph.nodes.concatenation import Concatenation
from cgraph.nodes.convolution import Convolution2d
from cgraph.nodes.elementwise import Add, ReLU, Sigmoid, Sub, Tanh
from cgraph.nodes.pooling import AveragePooling2d, MaxPooling2d
from cgraph.nodes.reduction import CEE, MSE, Dots, Norm2, Softmax


class Learner(NamedTuple):
    """A node's parameters: `size` of them in the arena from offset `at` on; or, one by one, at `places`."""

    node: Any
    at: int
    size: int
    places: Offsets | None = None


@dataclass
class Builder:
    """Makes steps; gives their parameters and their scratch places."""

    kernels: Build
    dtype: DType
    values: Region = field(init=False)
    scratch: Region = field(init=False)
    learners: list[Learner] = field(default_factory=list)

    def __post_init__(self) -> None:
        self.values = Region(self.dtype)
        self.scratch = Region(self.dtype)

    def step(self, unit: Unit, operands: Operands) -> Step:
        """The step that computes a unit."""
        if unit.kind is Kind.PYTHON:
            return CallStep(unit.nodes[0])
        return MAKERS[type(unit.nodes[0])](self, unit, operands)

    def packed(self, node: Node, count: int) -> int:
        """A place for parameters that keep their order."""
        at = self.values.take(count)
        self.learners.append(Learner(node, at, count))
        return at


Maker = Callable[[Builder, Unit, Operands], Step]


def elementwise(builder: Builder, unit: Unit, operands: Operands) -> Step:
    """A block is one long vector: its padding is computed with the rest."""
    inputs, output = operands
    size = unit.nodes[0].size
    if len(unit.nodes) > 1:
        size *= output.step
        inputs = [place._replace(step=1) for place in inputs]
        output = output._replace(step=1)
    name = type(unit.nodes[0]).__name__
    return builder.kernels.elementwise.ElementwiseStep(name, size, list(inputs), output)


def reduction(builder: Builder, unit: Unit, operands: Operands) -> Step:
    name, size = type(unit.nodes[0]).__name__, unit.inputs[0].size
    make = builder.kernels.reduction.ReductionStep
    return make(name, size, list(operands.inputs), operands.output)


def pooling(builder: Builder, unit: Unit, operands: Operands) -> Step:
    node: Any = unit.nodes[0]
    average = isinstance(node, AveragePooling2d)
    pad_value = 0.0 if average else node._pad_value
    channels = 1 if len(unit.nodes) == 1 else operands.output.step
    make = builder.kernels.pooling.PoolingStep
    return make(node._window, average, pad_value, channels, operands.inputs[0], operands.output)


def concatenation(builder: Builder, unit: Unit, operands: Operands) -> Step:
    rows = [(*place, x.size) for place, x in zip(operands.inputs, unit.inputs, strict=True)]
    make = builder.kernels.concatenation.ConcatenationStep
    return make(np.array(rows, np.intp), operands.output)


def affine(builder: Builder, unit: Unit, operands: Operands) -> Step:
    node: Any = unit.nodes[0]
    m, n = node._weight.shape[0] - 1, node._weight.shape[1]
    at = builder.packed(node, node._weight.size)
    make = builder.kernels.affine.AffineStep
    return make(operands.inputs[0], operands.output, m, n, at, node._bias)


def convolution(builder: Builder, unit: Unit, operands: Operands) -> Step:
    if len(unit.nodes) > 1:
        return convolution_group(builder, unit, operands)
    node: Any = unit.nodes[0]
    kernels = builder.kernels.convolution
    scratch = builder.scratch.take(
        kernels.convolution2d_scratch(node._window, len(operands.inputs))
    )
    at = builder.packed(node, node._values.size)
    rows = np.array(operands.inputs, np.intp)
    return kernels.ConvolutionStep(node._window, rows, operands.output, node._taps, at, scratch)


def convolution_group(builder: Builder, unit: Unit, operands: Operands) -> Step:
    """Sibling convolutions; a missing connection between an input and an output is a kernel of zeros."""
    nodes: Any = unit.nodes
    window, pitch, count = nodes[0]._window, operands.output.step, len(unit.inputs)
    places = operands.inputs
    if unit.blocks:
        first = places[0]
        places = [first._replace(at=first.at + channel) for channel in range(count)]
    taps = window.k_h * window.k_w
    at = builder.values.take((taps * count + 1) * pitch)
    connected = np.zeros((count, len(nodes)), np.uint8)
    index = {x: channel for channel, x in enumerate(unit.inputs)}
    for output, node in enumerate(nodes):
        # One node may stand for several channels, which are then those of all siblings.
        channels = (
            np.arange(count)
            if len(node.backward) == count and not unit.blocks
            else np.array([index[x] for x in node.backward])
        )
        connected[channels, output] = 1
        rows = np.arange(taps) * count + channels[:, None]
        elements = np.append(rows.ravel(), taps * count) * pitch + output
        builder.learners.append(Learner(node, at, elements.size, at + elements))
    kernels = builder.kernels.group
    scratch = builder.scratch.take(
        kernels.convolution_group_scratch(window, count, len(nodes), pitch)
    )
    return kernels.ConvolutionGroupStep(
        window,
        np.array(places, np.intp),
        operands.output,
        len(nodes),
        at,
        scratch,
        None if connected.all() else connected,
    )


MAKERS: dict[type[Node], Maker] = {
    **dict.fromkeys((Add, Sub, ReLU, Sigmoid, Tanh), elementwise),
    **dict.fromkeys((Dots, MSE, CEE, Norm2, Softmax), reduction),
    **dict.fromkeys((MaxPooling2d, AveragePooling2d), pooling),
    Concatenation: concatenation,
    Affine: affine,
    Convolution2d: convolution,
}


def multiply_adds(unit: Unit) -> int:
    """Multiplications and additions of a forward pass, two of which are one."""
    nodes: Any = unit.nodes
    if unit.kind is Kind.CONVOLUTION:
        return sum(node.size * node._kernel.size for node in nodes)
    if isinstance(nodes[0], Affine):
        return int(nodes[0]._weight.size)
    return 0
