import numpy as np
from typing_extensions import disjoint_base

from cgraph._kernels.runtime.memory import Memory
from cgraph._kernels.runtime.plan import Steps
from cgraph._kernels.runtime.step import Step
from cgraph._kernels.runtime.structs import Structs

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
