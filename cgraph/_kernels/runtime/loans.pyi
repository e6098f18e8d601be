from typing import Any, Self

import numpy as np
import numpy.typing as npt
from typing_extensions import disjoint_base

from cgraph._kernels.runtime.plan import Memory

_Array = npt.NDArray[np.floating[Any]]

@disjoint_base
class Account:
    mirror: Mirror | None
    @property
    def looks(self) -> int: ...
    @property
    def live(self) -> int: ...
    def touch(self) -> None: ...

@disjoint_base
class Loan:
    def __new__(cls, account: Account, array: _Array) -> Self: ...

@disjoint_base
class Side:
    period: int
    running: bool
    def __new__(cls, memory: Memory | None = None) -> Self: ...
    @property
    def looks(self) -> int: ...

@disjoint_base
class Mirror:
    account: Account
    in_place: bool
    frozen: bool
    def __init__(
        self,
        side: Side,
        account: Account,
        array: _Array,
        arena: _Array | None = None,
        offsets: npt.NDArray[np.intp] | None = None,
    ) -> None: ...
    @property
    def is_lent(self) -> bool: ...
    def refresh(self) -> None: ...

def lent(mirrors: list[Mirror]) -> list[Mirror]: ...
def read_arrays(mirrors: list[Mirror]) -> None: ...
def write_arrays(mirrors: list[Mirror]) -> None: ...
def are_zero(mirrors: list[Mirror]) -> bool: ...
def clear_around(mirrors: list[Mirror], region: _Array) -> None: ...
