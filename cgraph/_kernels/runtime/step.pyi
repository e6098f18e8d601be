from collections.abc import Callable, Sequence
from typing import Any, Self, TypeVar

import numpy as np
import numpy.typing as npt
from typing_extensions import disjoint_base

_Result = TypeVar("_Result")

EXTENT: np.dtype[np.void]

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
    held: bool
    state: tuple[int | bool, ...]
    def __init__(self, samples: npt.NDArray[np.uint64]) -> None: ...
    def take(self) -> int: ...
    def hold(self) -> None: ...

def begin_samples(counters: list[SampleCounter], active: bool, is_fed: bool) -> None: ...
def end_samples(counters: list[SampleCounter], counted: int, last: int) -> None: ...
def show_sample(counters: list[SampleCounter], number: int) -> None: ...
def without_samples(counters: list[SampleCounter], function: Callable[[], _Result]) -> _Result: ...
@disjoint_base
class Step:
    table_bytes: int

@disjoint_base
class LearningStep(Step):
    weights_learn: bool
    biases_learn: bool
    accumulate: bool

@disjoint_base
class PythonStep(Step):
    def __init__(self, node: Any) -> None: ...

@disjoint_base
class Port:
    nbytes: int

@disjoint_base
class RowPort(Port):
    def __init__(self, offset: int, nbytes: int) -> None: ...
