from typing import Any

import numpy as np
import numpy.typing as npt
from typing_extensions import disjoint_base

from cgraph._kernels.runtime.memory import Memory
from cgraph._kernels.runtime.plan import Steps
from cgraph._kernels.runtime.step import MatrixKernels, Step
from cgraph._kernels.runtime.structs import Structs

_Array = npt.NDArray[np.floating[Any]]

LAYOUT_COPY: np.dtype[np.void]
ROW_PART: np.dtype[np.void]
ROW_MATRIX: np.dtype[np.void]

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
    def write_to(self, rows: _Array) -> None: ...

@disjoint_base
class SampleGradientRows(GradientRows):
    def __init__(self, steps: Steps, item: int, parts: Structs) -> None: ...

@disjoint_base
class LaneGradientRows(GradientRows):
    def __init__(
        self,
        steps: Steps,
        item: int,
        matrices: Structs,
        kernels: MatrixKernels,
        lanes: int,
    ) -> None: ...
