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
    grads_are_zero: bool
    @property
    def updating(self) -> bool: ...
    @property
    def busy(self) -> bool: ...
    def __init__(
        self, data: int, grad: int, parameters: int, parameter_grads: int, scratch: int
    ) -> None: ...

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
def apply_update(update_steps: Steps, memory: Memory, eta: float, grads_are_zero: bool) -> None: ...
def is_zero(array: _Array) -> bool: ...
def feed(memory: Memory, feed_ports: list[Port], arrays: list[_Array], number: int) -> None: ...

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
        fetch_port: Port,
        kept: list[tuple[Port, int]],
        origin: Memory,
    ) -> None: ...

@disjoint_base
class Run: ...

@disjoint_base
class Request:
    node: Any
    leaves: list[Any]
    arrays: list[_Array]
    out: _Array
    size: int
    backward: bool
    parameters_only: bool
    batch: int
    eta: float
    def __init__(
        self,
        node: Any,
        leaves: list[Any],
        arrays: list[_Array],
        out: _Array,
        size: int,
        backward: bool = False,
        parameters_only: bool = False,
        batch: int = 0,
        eta: float = 0.0,
    ) -> None: ...
    def part(self, first: int, last: int) -> Request: ...
    def without_leaf_grads(self) -> Request: ...

def prepare(
    request: Request,
    main: Binding,
    rest: Binding,
    min_samples: int,
    update_steps: Steps,
    patience: int,
    grads_are_zero: bool,
    overwrite: bool = True,
    snapshot: Snapshot | None = None,
) -> Run: ...
def run(prepared: Run) -> None: ...
