from typing_extensions import disjoint_base

from cgraph._kernels.protocols import Array
from cgraph._kernels.step import Step

@disjoint_base
class Steps:
    count: int
    def __init__(self, steps: list[Step]) -> None: ...

@disjoint_base
class Memory:
    busy: bool
    def __init__(self, data: int, grad: int, values: int, sums: int, scratch: int) -> None: ...

def forward(steps: Steps, memory: Memory, valid: int = 1) -> None: ...
def backward(steps: Steps, memory: Memory, fresh: bool, valid: int = 1) -> None: ...
def learn(learners: Steps, memory: Memory, eta: float) -> None: ...
def run(
    steps: Steps,
    learners: Steps,
    memory: Memory,
    feeds: list[tuple[Array, int, int]],
    out: tuple[Array, int, int],
    samples: int,
    cost: int,
    *,
    backward: bool,
    lean: bool = False,
    fresh: bool = False,
    batch: int = 0,
    eta: float = 0.0,
) -> None: ...
