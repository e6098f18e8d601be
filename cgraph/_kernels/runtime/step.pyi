from collections.abc import Callable, Sequence
from typing import Any, Self

import numpy as np
import numpy.typing as npt
from typing_extensions import disjoint_base

from cgraph._kernels.runtime.structs import Structs

EXTENT: np.dtype[np.void]
SEED: np.dtype[np.void]

@disjoint_base
class Operand:
    def __init__(
        self,
        *,
        offset: int,
        stride: int,
        accumulate: bool,
        requires_grad: bool,
        requires_grad_parameters_only: bool,
    ) -> None: ...
    @property
    def offset(self) -> int: ...
    @property
    def stride(self) -> int: ...
    @property
    def accumulate(self) -> bool: ...
    @property
    def requires_grad(self) -> bool: ...
    @property
    def requires_grad_parameters_only(self) -> bool: ...
    def contiguous(self) -> Operand: ...
    def shifted(self, distance: int) -> Operand: ...

@disjoint_base
class OperandList:
    def __new__(cls, operands: Sequence[Operand]) -> Self: ...
    @property
    def nbytes(self) -> int: ...

@disjoint_base
class SampleCounter:
    array: npt.NDArray[np.uint64]
    number: int
    base: int
    active: bool
    held: bool
    def __init__(
        self, array: npt.NDArray[np.uint64], seed: int, threshold: int, factor: float
    ) -> None: ...

@disjoint_base
class Step:
    table_bytes: int
    @property
    def learners(self) -> tuple[LearningStep, ...]: ...

@disjoint_base
class LearningStep(Step):
    weights_learn: bool
    biases_learn: bool
    accumulate: bool

@disjoint_base
class MatrixKernels: ...

@disjoint_base
class GivenSeedStep(Step):
    def __init__(self, cleared: Structs, seeds: Structs, item: int) -> None: ...

@disjoint_base
class CallStep(Step):
    def __init__(
        self, prepare: Callable[[int], tuple[Any, ...]], clear: Callable[[], None]
    ) -> None: ...

@disjoint_base
class PythonStep(Step):
    def __init__(self, node: Any) -> None: ...

@disjoint_base
class Port:
    nbytes: int

@disjoint_base
class RowPort(Port):
    def __init__(self, offset: int, nbytes: int) -> None: ...

@disjoint_base
class ChannelPort(Port):
    def __init__(self, offset: int, size: int, pitch: int, item: int) -> None: ...
