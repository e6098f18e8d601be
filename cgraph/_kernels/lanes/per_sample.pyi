from typing_extensions import disjoint_base

from cgraph._kernels.runtime.plan import Steps
from cgraph._kernels.runtime.step import Step

_LayoutCopy = tuple[int, int, int, int, int]

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
        inputs: list[_LayoutCopy],
        outputs: list[_LayoutCopy],
    ) -> None: ...
