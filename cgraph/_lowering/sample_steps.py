"""From the units of a program to compiled steps: a function for each kind of step, and a table by class."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from operator import is_
from typing import Any, NamedTuple

import numpy as np

from cgraph._kernels import Build
from cgraph._kernels.common.geometry import Window
from cgraph._kernels.protocols import Connected, Offsets
from cgraph._kernels.runtime.step import CallStep, Step
from cgraph._lowering.buffers import Access, Place, Region, output_place, place
from cgraph._lowering.program import Kind, Unit
from cgraph._validation import DType
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
    values_at: dict[Unit, int] = field(default_factory=dict)

    def __post_init__(self) -> None:
        self.values = Region(self.dtype)
        self.scratch = Region(self.dtype)

    def step(self, unit: Unit, inputs: Sequence[Access]) -> Step:
        """The step that computes a unit."""
        if unit.kind is Kind.PYTHON:
            return CallStep(unit.nodes[0])
        maker = MAKERS[type(unit.nodes[0])]
        return maker(self, unit, [place(x) for x in inputs], output_place(unit.block))

    def take_values(self, unit: Unit, count: int) -> int:
        """A place for the parameters of a unit."""
        at = self.values_at[unit] = self.values.take(count)
        return at

    def take_packed(self, unit: Unit, count: int) -> int:
        """The same for parameters that keep the order that they have in their node."""
        at = self.take_values(unit, count)
        self.learners.append(Learner(unit.nodes[0], at, count))
        return at


Maker = Callable[[Builder, Unit, list[Place], Place], Step]


def elementwise(builder: Builder, unit: Unit, inputs: list[Place], output: Place) -> Step:
    """A block is one long vector: its padding is computed with the rest."""
    size = unit.nodes[0].size
    if len(unit.nodes) > 1:
        size *= output.step
        inputs = [x._replace(step=1) for x in inputs]
        output = output._replace(step=1)
    name = type(unit.nodes[0]).__name__
    return builder.kernels.elementwise.ElementwiseStep(name, size, inputs, output)


def reduction(builder: Builder, unit: Unit, inputs: list[Place], output: Place) -> Step:
    name, size = type(unit.nodes[0]).__name__, unit.inputs[0].size
    make = builder.kernels.reduction.ReductionStep
    return make(name, size, inputs, output)


def pooling(builder: Builder, unit: Unit, inputs: list[Place], output: Place) -> Step:
    channels = 1 if len(unit.nodes) == 1 else output.step
    make = builder.kernels.pooling.PoolingStep
    return make(*pooling_of(unit), channels, inputs[0], output)


def pooling_of(unit: Unit) -> tuple[Window, bool, float]:
    """Its window, whether it is the average, and what padding counts as."""
    node: Any = unit.nodes[0]
    average = isinstance(node, AveragePooling2d)
    return node._window, average, 0.0 if average else node._pad_value


def concatenation(builder: Builder, unit: Unit, inputs: list[Place], output: Place) -> Step:
    rows = [(*at, x.size) for at, x in zip(inputs, unit.inputs, strict=True)]
    make = builder.kernels.concatenation.ConcatenationStep
    return make(np.array(rows, np.intp), output)


def affine(builder: Builder, unit: Unit, inputs: list[Place], output: Place) -> Step:
    node: Any = unit.nodes[0]
    m, n = node._weight.shape[0] - 1, node._weight.shape[1]
    at = builder.take_packed(unit, node._weight.size)
    make = builder.kernels.affine.AffineStep
    return make(inputs[0], output, m, n, at, node._bias)


def convolution(builder: Builder, unit: Unit, inputs: list[Place], output: Place) -> Step:
    if len(unit.nodes) > 1:
        return convolution_group(builder, unit, inputs, output)
    node: Any = unit.nodes[0]
    kernels = builder.kernels.convolution
    scratch = builder.scratch.take(kernels.convolution2d_scratch(node._window, len(inputs)))
    at = builder.take_packed(unit, node._values.size)
    rows = np.array(inputs, np.intp)
    return kernels.ConvolutionStep(node._window, rows, output, node._taps, at, scratch)


def convolution_group(builder: Builder, unit: Unit, inputs: list[Place], output: Place) -> Step:
    """Sibling convolutions; a missing connection between an input and an output is a kernel of zeros."""
    nodes: Any = unit.nodes
    window, pitch, count = nodes[0]._window, output.step, len(unit.inputs)
    if unit.blocks:
        inputs = [inputs[0]._replace(at=inputs[0].at + channel) for channel in range(count)]
    taps = window.k_h * window.k_w
    at = builder.take_values(unit, (taps * count + 1) * pitch)
    known = None
    for channel, (node, read) in enumerate(zip(nodes, connections(unit), strict=True)):
        if read is not known:
            known = read
            rows = (np.arange(taps) * count + read[:, None]).ravel()
            elements = np.append(rows, taps * count) * pitch + at
        builder.learners.append(Learner(node, at, elements.size, elements + channel))
    kernels = builder.kernels.channels_convolution_group
    scratch = builder.scratch.take(
        kernels.convolution_group_scratch(window, count, len(nodes), pitch)
    )
    return kernels.ConvolutionGroupStep(
        window, np.array(inputs, np.intp), output, len(nodes), at, scratch, connected(unit)
    )


def connections(unit: Unit) -> list[Offsets]:
    """Of each convolution of a group: the numbers of the unit's inputs that it reads, in its own order."""
    index = {x: channel for channel, x in enumerate(unit.inputs)}
    every = np.arange(len(unit.inputs))

    def is_all(read: Sequence[Node]) -> bool:
        """In the unit's order. One node may stand for several channels, which are then those of all siblings."""
        whole = len(read) == len(every)
        return whole and (not unit.blocks or all(map(is_, read, unit.inputs)))

    return [every if is_all(read) else np.array([index[x] for x in read]) for read in unit.reads]


def connected(unit: Unit) -> Connected | None:
    """Which pairs of an input and an output of a group belong together; None, if all do."""
    links = connections(unit)
    if all(read is links[0] for read in links) and len(links[0]) == len(unit.inputs):
        return None
    table = np.zeros((len(unit.inputs), len(unit.nodes)), np.uint8)
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
