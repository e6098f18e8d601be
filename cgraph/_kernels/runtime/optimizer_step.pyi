from collections.abc import Sequence
from typing import Any

import numpy as np
import numpy.typing as npt
from typing_extensions import disjoint_base

from cgraph._kernels.runtime.step import Step
from cgraph._kernels.runtime.structs import Structs

_Array = npt.NDArray[np.floating[Any]]

LEARNING_EXTENT: np.dtype[np.void]
NONFINITE: tuple[str, ...]
RULES: tuple[str, ...]
SETTINGS: np.dtype[np.void]

@disjoint_base
class OptimizerKernels: ...

@disjoint_base
class OptimizerStep(Step):
    count: int
    def __init__(
        self,
        owner: str,
        rule: str,
        kernels: OptimizerKernels,
        extents: Structs,
        settings: Structs,
        states: Sequence[_Array | None],
        max_grad_norm: float,
        nonfinite: str,
        total: npt.NDArray[np.intp],
    ) -> None: ...
    def begin(self, rates: npt.NDArray[np.float64]) -> None: ...
