from typing import Any

import numpy.typing as npt
from typing_extensions import disjoint_base

from cgraph._kernels.runtime.memory import Memory
from cgraph._kernels.runtime.plan import Steps
from cgraph._kernels.runtime.step import Step

@disjoint_base
class PerSampleStep(Step):
    def __init__(
        self,
        steps: Steps,
        memory: Memory,
        lanes: int,
        item: int,
        inputs: npt.NDArray[Any],
        outputs: npt.NDArray[Any],
    ) -> None: ...

class PerSampleEnd(PerSampleStep): ...
