from collections.abc import Callable
from typing import Any, ParamSpec, TypeVar

import numpy as np
import numpy.typing as npt
from typing_extensions import disjoint_base

from cgraph._kernels.runtime.step import Port, Step
from cgraph._kernels.runtime.uninterrupted import Snapshot

_Array = npt.NDArray[np.floating[Any]]

_P = ParamSpec("_P")
_T = TypeVar("_T")

@disjoint_base
class Steps:
    count: int
    def __init__(self, steps: list[Step]) -> None: ...

@disjoint_base
class Memory:
    fresh: bool
    @property
    def learning(self) -> bool: ...
    @property
    def busy(self) -> bool: ...
    def __init__(self, data: int, grad: int, values: int, sums: int, scratch: int) -> None: ...

def renew() -> None: ...
def exclusively(
    memory: Memory,
    owner: str,
    finish: Callable[[], None],
    function: Callable[_P, _T],
    *arguments: _P.args,
    **named: _P.kwargs,
) -> _T: ...
def forward(steps: Steps, memory: Memory, valid: int = 1) -> None: ...
def backward(steps: Steps, memory: Memory, valid: int = 1) -> None: ...
def learn(learners: Steps, memory: Memory, eta: float, fresh: bool) -> None: ...
def is_zero(array: _Array) -> bool: ...
def feed(memory: Memory, inlets: list[Port], arrays: list[_Array], number: int) -> None: ...

@disjoint_base
class Route:
    steps: Steps
    memory: Memory
    def __init__(
        self,
        steps: Steps,
        memory: Memory,
        lanes: int,
        inlets: list[Port],
        outlet: Port,
        kept: list[tuple[Port, int]],
        origin: Memory,
    ) -> None: ...

@disjoint_base
class Run: ...

def prepare(
    main: Route,
    rest: Route,
    least: int,
    learners: Steps,
    arrays: list[_Array],
    out: _Array,
    samples: int,
    patience: int,
    backward: bool,
    lean: bool,
    fresh: bool,
    batch: int,
    eta: float,
    overwrite: bool = True,
    snapshot: Snapshot | None = None,
) -> Run: ...
def run(prepared: Run) -> None: ...
