from typing import Any

import numpy as np
import numpy.typing as npt
from typing_extensions import disjoint_base

from cgraph._kernels.runtime.loans import Written

_Array = npt.NDArray[np.floating[Any]]

@disjoint_base
class FeedSpec:
    dtype: np.dtype[np.floating[Any]]
    shapes: tuple[tuple[int, ...], ...]
    streams: int
    carried: bool
    def __init__(
        self,
        dtype: np.dtype[np.floating[Any]],
        size: int,
        height: int,
        width: int,
        streams: int = 0,
        carried: bool = False,
    ) -> None: ...

@disjoint_base
class Feeds:
    leaves: list[Any]
    arrays: list[_Array]
    given: list[Any]
    states: list[tuple[Any, _Array]] | None
    size: int
    streams: int
    def __init__(
        self,
        leaves: list[Any],
        arrays: list[_Array],
        size: int,
        given: list[Any] | None = None,
        states: list[tuple[Any, _Array]] | None = None,
        streams: int = 0,
    ) -> None: ...
    def to_remember(self) -> tuple[list[Any], list[Any], int]: ...

def plain_feeds(feed: object, specs: dict[Any, FeedSpec], written: Written) -> Feeds | None: ...
def is_plain_out(
    out: object,
    feeds: Feeds,
    size: int,
    dtype: np.dtype[np.floating[Any]],
    written: Written,
) -> bool: ...

@disjoint_base
class Extras:
    seeds: list[Any] | None
    seed_arrays: list[_Array]
    nodes: list[Any]
    arrays: list[_Array]
    check_loss: str
    def __init__(
        self,
        seeds: list[Any] | None,
        seed_arrays: list[_Array],
        nodes: list[Any],
        arrays: list[_Array],
        check_loss: str,
    ) -> None: ...
    def part(self, first: int, last: int, size: int) -> Extras: ...

@disjoint_base
class Carry:
    streams: int
    now: list[_Array]
    next: list[_Array]
    def __init__(
        self, streams: int = 0, now: list[_Array] | None = None, next: list[_Array] | None = None
    ) -> None: ...
    def commit(self) -> int: ...

@disjoint_base
class Request:
    node: Any
    feeds: Feeds
    out: _Array
    size: int
    backward: bool
    parameters_only: bool
    batch: int
    eta: float
    first: int
    extras: Extras | None
    carry: Carry | None
    def __init__(
        self,
        node: Any,
        feeds: Feeds,
        out: _Array,
        backward: bool = False,
        parameters_only: bool = False,
        batch: int = 0,
        eta: float = 0.0,
        first: int = 0,
        extras: Extras | None = None,
        carry: Carry | None = None,
    ) -> None: ...
    def part(self, first: int, last: int) -> Request: ...

@disjoint_base
class Row:
    array: _Array
    def __init__(self, array: _Array, spec: FeedSpec) -> None: ...
    def value(self) -> _Array | float: ...

def put(rows: list[Row], values: tuple[object, ...], array_class: type) -> bool: ...
