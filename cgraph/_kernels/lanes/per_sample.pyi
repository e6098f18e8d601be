import numpy as np
from typing_extensions import disjoint_base

from cgraph._kernels.runtime.plan import Steps
from cgraph._kernels.runtime.step import Step
from cgraph._kernels.runtime.structs import Structs

LAYOUT_COPY: np.dtype[np.void]

@disjoint_base
class PerSampleStep(Step):
    def __init__(
        self,
        steps: Steps,
        lanes: int,
        item: int,
        scratch_offset: int,
        stride: int,
        grad_offset: int,
        own_scratch_offset: int,
        inputs: Structs,
        outputs: Structs,
    ) -> None: ...
