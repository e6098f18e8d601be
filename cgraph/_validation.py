"""The one gate for what users hand in: arrays, sizes, numbers, dtypes; and the sentences that refuse it.

Every message reads: who refuses, which argument, what was expected, what came.
"""

import operator
from collections.abc import Iterable
from contextlib import suppress
from typing import Any, TypeGuard

import numpy as np
import numpy.typing as npt

Array = npt.NDArray[np.floating[Any]]
DType = np.dtype[np.floating[Any]]

DTYPES = (np.dtype(np.float64), np.dtype(np.float32))
MAX_SIZE = 2**31 - 1
REAL_KINDS = "fiub"
LARGEST = {dtype.itemsize: float(np.finfo(dtype).max) for dtype in DTYPES}


def describe(value: object) -> str:
    """What came, for an error message: short, whatever it is."""
    # repr fails for half-made objects and for integers of thousands of digits.
    with suppress(Exception):
        text = repr(value)
        if len(text) <= 40 and "\n" not in text:
            return text
    return f"an object of type {type(value).__name__}"


def is_iterable(value: object) -> TypeGuard[Iterable[Any]]:
    """Whether it can be walked over; an array without dimensions only looks as if it could."""
    with suppress(TypeError):
        iter(value)  # type: ignore[call-overload]
        return True
    return False


def as_dtype(owner: str, dtype: npt.DTypeLike | None) -> DType:
    """float64 for None, else float64 or float32 as given: always the same object for the same dtype."""
    if dtype is None:
        return DTYPES[0]
    with suppress(Exception):  # NumPy parses text, and asks objects for their attributes and repr
        wanted = np.dtype(dtype)
        for known in DTYPES:
            if wanted == known:
                return known
    raise TypeError(f"{owner}: dtype must be float64 or float32, got {describe(dtype)}")


def as_integer(owner: str, argument: str, value: object) -> int:
    """An integer; bool and float are none."""
    if isinstance(value, (bool, np.bool_)):
        raise TypeError(f"{owner}: {argument} must be an integer, got {value}")
    try:
        return operator.index(value)  # type: ignore[arg-type]
    except TypeError:
        raise TypeError(f"{owner}: {argument} must be an integer, got {describe(value)}") from None


def as_size(owner: str, argument: str, value: object, minimum: int = 1) -> int:
    """An integer from `minimum` up to MAX_SIZE."""
    size = as_integer(owner, argument, value)
    if not minimum <= size <= MAX_SIZE:
        raise ValueError(
            f"{owner}: {argument} must be from {minimum} to {MAX_SIZE}, got {describe(size)}"
        )
    return size


def as_index(owner: str, value: object, count: int) -> int:
    """The number of one of `count` things."""
    index = as_integer(owner, "index", value)
    if not 0 <= index < count:
        raise IndexError(f"{owner}: index must be in [0, {count}), got {describe(index)}")
    return index


def as_real(owner: str, argument: str, value: object) -> npt.NDArray[Any]:
    """An array of real numbers in whatever real dtype and layout it came; not copied."""
    try:
        array = np.asarray(value)
    except ValueError:
        raise ValueError(
            f"{owner}: {argument} must be a rectangular array, got a ragged sequence"
        ) from None
    if array.dtype.kind not in REAL_KINDS:
        came = describe(value) if array.ndim == 0 else f"an array of dtype {array.dtype}"
        raise TypeError(f"{owner}: {argument} must hold real numbers, got {came}")
    return array


def as_number(owner: str, argument: str, value: object) -> float:
    """One real number; NaN and inf are numbers."""
    if type(value) is float:
        return value
    try:
        array = np.asarray(value)
    except ValueError:
        raise ValueError(
            f"{owner}: {argument} must be a single number, got a ragged sequence"
        ) from None
    if array.ndim != 0:
        raise ValueError(
            f"{owner}: {argument} must be a single number, got an array of shape {array.shape}"
        )
    if array.dtype.kind not in REAL_KINDS:
        raise TypeError(f"{owner}: {argument} must be a real number, got {describe(value)}")
    return float(array)


def as_rate(owner: str, value: object, dtype: DType) -> float:
    """A learning rate eta of either sign, finite in `dtype`."""
    eta = as_number(owner, "eta", value)
    if not abs(eta) <= LARGEST[dtype.itemsize]:
        where = f" in {dtype}" if np.isfinite(eta) else ""
        raise ValueError(f"{owner}: eta must be finite{where}, got {eta}")
    return eta


def copy_into(owner: str, argument: str, value: object, target: npt.NDArray[Any]) -> None:
    """Copies an array-like of exactly the target's shape into it, cast to its dtype."""
    array = as_real(owner, argument, value)
    if array.shape != target.shape:
        raise ValueError(f"{owner}: {argument} must have shape {target.shape}, got {array.shape}")
    # Cast first: where overflow is made an exception, the target must not be half-written.
    target[...] = array.astype(target.dtype, copy=False)
