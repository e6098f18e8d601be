from typing import Any, Self

import numpy as np
import numpy.typing as npt
from typing_extensions import disjoint_base

from cgraph._kernels.runtime.memory import Memory
from cgraph._kernels.runtime.plan import Steps
from cgraph._kernels.runtime.step import Step
from cgraph._kernels.runtime.structs import Structs

LAYOUT_COPY: np.dtype[np.void]
ROW_PART: np.dtype[np.void]

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
    def __new__(
        cls, steps: Steps, parts: Structs, rows: npt.NDArray[np.floating[Any]], item: int
    ) -> Self: ...
