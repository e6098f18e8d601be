"""The functions and steps of each family of kernels, alike in the builds for all dtypes and instruction sets."""

from collections.abc import Sequence
from typing import Any, Protocol, Self

import numpy as np
import numpy.typing as npt

from cgraph._kernels.common.geometry import FilterGeometry
from cgraph._kernels.runtime.optimizer_step import OptimizerKernels
from cgraph._kernels.runtime.step import (
    LearningStep,
    MatrixKernels,
    Operand,
    Port,
    SampleCounter,
    Step,
)
from cgraph._kernels.runtime.structs import Structs

Array = npt.NDArray[np.floating[Any]]
Counts = npt.NDArray[np.uintc]
Offsets = npt.NDArray[np.intp]
Connected = npt.NDArray[np.uint8]


class Affine(Protocol):
    # The gradient of one of the samples that lie side by side.
    MATRIX_KERNELS: MatrixKernels

    def affine_forward(self, x: Array, w: Array, b: float, packed: Array, d: Array) -> None: ...
    def affine_backward_input(self, w: Array, g: Array, packed: Array, dx: Array) -> None: ...
    def affine_backward_weight(
        self, x: Array, b: float, g: Array, packed: Array, dw: Array
    ) -> None: ...
    def AffineStep(
        self, x: Operand, d: Operand, m: int, n: int, parameters_offset: int, bias: float
    ) -> LearningStep: ...


class Convolution(Protocol):
    def convolution2d_scratch(self, geometry: FilterGeometry, channels: int) -> int: ...
    def convolution2d_forward(
        self,
        xs: list[Array],
        w: Array,
        taps: Offsets,
        geometry: FilterGeometry,
        scratch: Array,
        d: Array,
    ) -> None: ...
    def convolution2d_backward_input(
        self, w: Array, g: Array, geometry: FilterGeometry, scratch: Array, dxs: list[Array]
    ) -> None: ...
    def convolution2d_backward_kernel(
        self,
        xs: list[Array],
        g: Array,
        taps: Offsets,
        geometry: FilterGeometry,
        scratch: Array,
        dw: Array,
    ) -> None: ...
    def ConvolutionStep(
        self,
        geometry: FilterGeometry,
        inputs: Sequence[Operand],
        d: Operand,
        taps: Offsets,
        parameters_offset: int,
        scratch_offset: int,
    ) -> LearningStep: ...


class Elementwise(Protocol):
    # The widths of the build, in bytes: of a vector; to which rows of channels are padded; of a line of samples.
    VECTOR_BYTES: int
    PADDED_BYTES: int
    LINE_BYTES: int

    # The rules of optimisers.
    OPTIMIZER_KERNELS: OptimizerKernels

    def apply(self, name: str, x: Array, d: Array) -> None: ...
    def descend(self, w: Array, dw: Array, eta: float) -> None: ...
    def polyak(self, v: Array, w: Array, tau: float) -> None: ...
    def add_up(self, s: Array, others: list[Array]) -> None: ...
    def SGDStep(self, runs: Structs) -> Step: ...
    def SeedStep(self, loss: int, cleared: Structs, lanes: int = 1) -> Step: ...

    # The kernels of Concatenation and Slice.
    def concatenation_forward(self, xs: list[Array], d: Array) -> None: ...
    def concatenation_backward(self, g: Array, dxs: list[Array]) -> None: ...
    def ConcatenationStep(self, inputs: Sequence[Operand], sizes: Offsets, d: Operand) -> Step: ...
    def slice_forward(self, x: Array, start: int, d: Array) -> None: ...
    def slice_backward(self, start: int, g: Array, dx: Array) -> None: ...
    def SliceStep(self, m: int, start: int, n: int, x: Operand, d: Operand) -> Step: ...
    def LanePort(self, offset: int, size: int, lanes: int) -> Port: ...
    def max_pooling_forward(
        self, x: Array, geometry: FilterGeometry, pad_value: float, d: Array, counts: Counts
    ) -> None: ...
    def max_pooling_backward(
        self, x: Array, d: Array, counts: Counts, geometry: FilterGeometry, g: Array, dx: Array
    ) -> None: ...
    def average_pooling_forward(
        self, x: Array, geometry: FilterGeometry, count_padding: bool, d: Array
    ) -> None: ...
    def average_pooling_backward(
        self, g: Array, geometry: FilterGeometry, count_padding: bool, dx: Array
    ) -> None: ...
    def MaxPoolingStep(
        self,
        geometry: FilterGeometry,
        pad_value: float,
        channels: int,
        x: Operand,
        d: Operand,
        images: int = 1,
        rectified: bool = False,
    ) -> Step: ...
    def AveragePoolingStep(
        self,
        geometry: FilterGeometry,
        count_padding: bool,
        channels: int,
        x: Operand,
        d: Operand,
        images: int = 1,
    ) -> Step: ...


class Operation(Protocol):
    """A function of elements of equal index: what the Node path calls, and what makes the steps of a Graph.

    `forward` takes the inputs and the output; `backward` inputs, output and its gradient, then the inputs' gradients.
    """

    def of(self, a: float = 0, b: float = 0) -> Self: ...
    def forward(self, *arrays: Array) -> None: ...
    def backward(self, *arrays: Array) -> None: ...
    def step(self, n: int, inputs: Sequence[Operand], d: Operand) -> Step: ...


class Functions(Protocol):
    def dropout(self, masks: SampleCounter, x: Array, d: Array, accumulate: bool) -> None: ...
    def DropoutStep(
        self, masks: SampleCounter, n: int, lanes: int, x: Operand, d: Operand
    ) -> Step: ...
    def stretch(
        self, steps: list[Step], tile: int, places: list[list[int]], keeps_data: bool
    ) -> Step: ...

    # An operation is an attribute, so that a new one needs no line here.
    def __getattr__(self, name: str) -> Operation: ...


class ChannelsConvolutionGroup(Protocol):
    def convolution_group_scratch(self, geometry: FilterGeometry, c_in: int, c_out: int) -> int: ...
    def ConvolutionGroupStep(
        self,
        geometry: FilterGeometry,
        inputs: Sequence[Operand],
        d: Operand,
        c_out: int,
        parameters_offset: int,
        scratch_offset: int,
        connected: Connected | None,
    ) -> LearningStep: ...


class LanesLayer(Protocol):
    def lane_layer_scratch(
        self,
        geometry: FilterGeometry,
        lanes: int,
        c_out: int,
        connected: Connected | None,
    ) -> int: ...
    def LaneLayerStep(
        self,
        geometry: FilterGeometry,
        lanes: int,
        inputs: Sequence[Operand],
        d: Operand,
        c_out: int,
        parameters_offset: int,
        scratch_offset: int,
        tap_stride: int,
        channel_stride: int,
        pitch: int,
        bias: float,
        connected: Connected | None,
    ) -> LearningStep: ...


class Reduction(Protocol):
    """A reduction: what the Node path calls, and what makes the steps of a Graph."""

    def of(self, constant: float = 0) -> Self: ...
    def forward(self, inputs: list[Array], d: Array) -> None: ...
    def backward(self, inputs: list[Array], d: Array, g: Array, grads: list[Array]) -> None: ...
    def step(self, m: int, lanes: int, inputs: Sequence[Operand], d: Operand) -> Step: ...


class Reductions(Protocol):
    def layer_norm_forward(self, x: Array, w: Array, eps: float, d: Array) -> None: ...
    def layer_norm_backward_input(
        self, x: Array, w: Array, eps: float, g: Array, dx: Array
    ) -> None: ...
    def layer_norm_backward_parameters(self, x: Array, eps: float, g: Array, dw: Array) -> None: ...
    def LayerNormStep(
        self,
        m: int,
        lanes: int,
        x: Operand,
        d: Operand,
        parameters_offset: int,
        scratch_offset: int,
        eps: float,
    ) -> LearningStep: ...

    # An operation is an attribute, so that a new one needs no line here.
    def __getattr__(self, name: str) -> Reduction: ...
