from collections.abc import Callable
from typing import Any, TypeVar

import numpy.typing as npt
from typing_extensions import disjoint_base

_Method = TypeVar("_Method", bound=Callable[..., Any])

@disjoint_base
class Memory:
    grads_are_zero: bool
    samples: int
    counted: int
    @property
    def updating(self) -> bool: ...
    @property
    def busy(self) -> bool: ...
    def __init__(
        self, data: int, grad: int, parameters: int, parameter_grads: int, scratch: int
    ) -> None: ...
    def accumulated(self, count: int) -> None: ...
    def move_parameters(self, parameters: int, parameter_grads: int) -> None: ...

def address(array: npt.NDArray[Any]) -> int: ...
def renew() -> None: ...
def exclusive(method: _Method) -> _Method: ...
def exclusively(
    memory: Memory,
    owner: str,
    finish: Callable[[], Any],
    function: Callable[..., Any],
    arguments: tuple[Any, ...],
    named: dict[str, Any],
) -> Any: ...
