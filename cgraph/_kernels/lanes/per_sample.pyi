from typing import Any

import numpy as np
import numpy.typing as npt
from typing_extensions import disjoint_base

from cgraph._kernels.runtime.memory import Memory
from cgraph._kernels.runtime.plan import Steps
from cgraph._kernels.runtime.step import LearningStep, MatrixKernels, Operand, Step
from cgraph._kernels.runtime.structs import Structs

_Array = npt.NDArray[np.floating[Any]]

LAYOUT_COPY: np.dtype[np.void]

@disjoint_base
class PerSampleStep(Step):
    def __init__(
        self,
        steps: Steps,
        memory: Memory,
        lanes: int,
        item: int,
        inputs: Structs,
        outputs: Structs,
    ) -> None: ...

class PerSampleTail(PerSampleStep): ...

@disjoint_base
class GradientRows(Step):
    def __init__(
        self,
        steps: Steps,
        item: int,
        table: npt.NDArray[np.intp],
        lanes: int = 0,
        kernels: MatrixKernels | None = None,
        biases: npt.NDArray[np.float64] | None = None,
        packed: _Array | None = None,
    ) -> None: ...
    def write_to(self, rows: _Array) -> None: ...

@disjoint_base
class CellStep(Step):
    def __init__(
        self,
        kernels: MatrixKernels,
        is_lstm: bool,
        n: int,
        products: tuple[LearningStep, LearningStep],
        s: Operand,
        d: Operand,
        a: int,
        b: int,
        item: int,
    ) -> None: ...

def run_cell(
    kernels: MatrixKernels,
    is_lstm: bool,
    backward: bool,
    n: int,
    item: int,
    room: npt.NDArray[np.floating[Any]],
) -> None: ...
