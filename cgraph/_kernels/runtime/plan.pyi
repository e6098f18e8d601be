from collections.abc import Callable
from typing import Any

import numpy as np
import numpy.typing as npt
from typing_extensions import disjoint_base

from cgraph._kernels.runtime.memory import Memory
from cgraph._kernels.runtime.request import Carry, Request, Row
from cgraph._kernels.runtime.step import Port, Step
from cgraph._kernels.runtime.structs import Structs
from cgraph._kernels.runtime.uninterrupted import Snapshot

_Array = npt.NDArray[np.floating[Any]]

@disjoint_base
class Steps:
    count: int
    def __init__(self, steps: list[Step]) -> None: ...

def forward(steps: Steps, memory: Memory, valid: int = 1) -> None: ...
def backward(steps: Steps, memory: Memory, valid: int = 1) -> None: ...
def apply_update(
    update_steps: Steps,
    memory: Memory,
    eta: float,
    grads_are_zero: bool,
    counted: int = 0,
    carry: Carry | None = None,
) -> None: ...
def feed(memory: Memory, feed_ports: list[Port], arrays: list[_Array], number: int) -> None: ...

CARRY_COPY: np.dtype[np.void]

@disjoint_base
class CarryStep(Step):
    def __init__(self, copies: Structs, item: int) -> None: ...

@disjoint_base
class Binding:
    steps: Steps
    memory: Memory
    def __init__(
        self,
        steps: Steps,
        memory: Memory,
        lanes: int,
        feed_ports: list[Port],
        fetch_ports: list[Port],
        kept: list[tuple[Port, int]],
        origin: Memory,
        carry: CarryStep | None = None,
        state_ports: list[Port] | None = None,
    ) -> None: ...
    def around(self, step: Step) -> Binding: ...

@disjoint_base
class BroadcastPort(Port):
    def __init__(self, port: Port, valid: int) -> None: ...

@disjoint_base
class JacobianPort(Port):
    def __init__(
        self,
        steps: Steps,
        clear: Step,
        leaf: Port,
        *,
        first: int,
        pitch: int,
        size: int,
        lanes: int,
        seeds: int,
        aside: int,
        item: int,
    ) -> None: ...

@disjoint_base
class Run: ...

@disjoint_base
class Schedule:
    bindings: list[Binding]
    one_by_one: bool
    is_uninterrupted: bool
    patience: int
    span: int
    def __init__(
        self,
        request: Request,
        bindings: list[Binding],
        choice: bytes,
        patience: int,
        one_by_one: bool = False,
        is_uninterrupted: bool = False,
        span: int = 1,
    ) -> None: ...

def find(schedules: list[Schedule], request: Request) -> Schedule | None: ...
def prepare(
    request: Request,
    schedule: Schedule,
    update_steps: Steps,
    grads_are_zero: bool,
    overwrite: bool = True,
    fuse: bool = True,
    snapshot: Snapshot | None = None,
    left: int = 0,
    width: int = 0,
) -> Run: ...
def run(prepared: Run) -> int: ...
def run_again(ended: Run, grads_are_zero: bool) -> int: ...

@disjoint_base
class QuickCall:
    def __init__(
        self,
        careful: Any,
        executable: Any,
        rows: list[Row],
        remembered: tuple[Any, ...],
        learns: bool,
        gradients: str,
        node: Any,
        optimizer: Any,
    ) -> None: ...
    def __call__(
        self,
        owner: str,
        values: tuple[object, ...],
        result: Row,
        count: Callable[[], object] | None = None,
    ) -> Any: ...
