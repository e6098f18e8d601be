"""Checks of all arguments that users pass: arrays, sizes, numbers and dtypes, with their error messages.

Every message names the owner (a class or method), the argument, the expected value and the value that came.
"""

import operator
from array import array as c_array
from collections.abc import Callable, Collection, Iterable
from contextlib import suppress
from typing import Any, TypeGuard

import numpy as np
import numpy.typing as npt

Array = npt.NDArray[np.floating[Any]]
DType = np.dtype[np.floating[Any]]

DTYPES = (np.dtype(np.float64), np.dtype(np.float32))
MAX_SIZE = 2**31 - 1
REAL_KINDS = "fiub"
ORDINARY_RATE = 1e30  # a smaller learning rate is finite in both dtypes
LARGEST = {dtype.itemsize: float(np.finfo(dtype).max) for dtype in DTYPES}


def describe(value: object) -> str:
    """Describes a value for an error message in a few words: by its repr if that is short, else by its type."""
    # repr fails for objects whose constructor has raised, and for integers of thousands of digits.
    with suppress(Exception):
        text = repr(value)
        if len(text) <= 40 and "\n" not in text:
            return text
    return f"an object of type {type(value).__name__}"


def is_iterable(value: object) -> TypeGuard[Iterable[Any]]:
    """Returns whether a value can be iterated over; a 0-d array has ``__iter__``, but raises when it is called."""
    with suppress(TypeError):
        iter(value)  # type: ignore[call-overload]
        return True
    return False


def as_dtype(owner: str, dtype: npt.DTypeLike | None) -> DType:
    """Returns float64 for None, else the given float64 or float32; equal dtypes are always one object."""
    if dtype is None:
        return DTYPES[0]
    with suppress(Exception):  # NumPy parses text, and asks objects for their attributes and repr
        requested = np.dtype(dtype)
        for known in DTYPES:
            if requested == known:
                return known
    raise TypeError(f"{owner}: dtype must be float64 or float32, got {describe(dtype)}")


def require_dtype(owner: str, dtype: DType, nodes: Iterable[Any]) -> None:
    """Refuses inputs of another dtype."""
    for node in nodes:
        if node._dtype is not dtype:
            raise TypeError(f"{owner}: inputs must all have dtype {dtype}, got {node!r}")


def as_integer(owner: str, argument: str, value: object) -> int:
    """Returns an integer; refuses other values, among them bool and float."""
    if isinstance(value, (bool, np.bool_)):
        raise TypeError(f"{owner}: {argument} must be an integer, got {value}")
    try:
        return operator.index(value)  # type: ignore[arg-type]
    except TypeError:
        raise TypeError(f"{owner}: {argument} must be an integer, got {describe(value)}") from None


def as_flag(owner: str, argument: str, value: object) -> bool:
    """Returns True or False, or refuses the value."""
    if not isinstance(value, (bool, np.bool_)):
        raise TypeError(f"{owner}: {argument} must be True or False, got {describe(value)}")
    return bool(value)


def as_size(owner: str, argument: str, value: object, minimum: int = 1) -> int:
    """Returns an integer from `minimum` to MAX_SIZE, or refuses the value."""
    size = as_integer(owner, argument, value)
    if not minimum <= size <= MAX_SIZE:
        raise ValueError(
            f"{owner}: {argument} must be from {minimum} to {MAX_SIZE}, got {describe(size)}"
        )
    return size


def as_index(owner: str, value: object, count: int) -> int:
    """Returns an index from 0 to `count` - 1, or refuses the value."""
    index = as_integer(owner, "index", value)
    if not 0 <= index < count:
        raise IndexError(f"{owner}: index must be in [0, {count}), got {describe(index)}")
    return index


def as_real(owner: str, argument: str, value: object) -> npt.NDArray[Any]:
    """Returns an array of real numbers in the dtype and layout of the value; an array is not copied."""
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
    """Returns one real number, which may be NaN or infinite, or refuses the value."""
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


def as_number_of(owner: str, argument: str, value: object, dtype: DType) -> float:
    """Returns one real number, rounded to a dtype, in which it may become infinite or 0, or refuses the value."""
    # NumPy's cast would warn. An errstate would stay if Ctrl-C came at its end.
    rounded: float = c_array(dtype.char, [as_number(owner, argument, value)])[0]
    return rounded


def overflows(numbers: npt.NDArray[Any], dtype: DType) -> npt.NDArray[np.bool_]:
    """Which numbers become infinite in a narrower dtype: those half a unit or more beyond its largest number."""
    limits = np.finfo(dtype)
    half_unit = np.ldexp(numbers.dtype.type(1), limits.maxexp - limits.nmant - 2)
    beyond: npt.NDArray[np.bool_] = np.abs(numbers) - limits.max >= half_unit
    return beyond


def as_finite(owner: str, argument: str, value: object, dtype: DType) -> float:
    """Returns a number, rounded to `dtype`, or refuses one that is not finite there."""
    number = as_number_of(owner, argument, value, dtype)
    if not np.isfinite(number):
        raise ValueError(f"{owner}: {argument} must be finite in {dtype}, got {describe(value)}")
    return number


def as_rate(owner: str, value: object, dtype: DType) -> float:
    """Returns a learning rate eta of either sign, or refuses a value that is not finite in `dtype`."""
    eta = as_number(owner, "eta", value)
    if -ORDINARY_RATE < eta < ORDINARY_RATE:
        return eta
    if not abs(eta) <= LARGEST[dtype.itemsize]:
        where = f" in {dtype}" if np.isfinite(eta) else ""
        raise ValueError(f"{owner}: eta must be finite{where}, got {eta}")
    return eta


def copy_into(owner: str, argument: str, value: object, destination: npt.NDArray[Any]) -> None:
    """Copies an array-like into an array of the same shape, cast to the dtype of that array."""
    array = as_real(owner, argument, value)
    if array.shape != destination.shape:
        raise ValueError(
            f"{owner}: {argument} must have shape {destination.shape}, got {array.shape}"
        )
    # The cast comes first: it may raise on overflow, and the destination must not be half-written then.
    destination[...] = array.astype(destination.dtype, copy=False)


def as_metrics(
    owner: str, metrics: Any, known: Collection[str], is_taken: Callable[[str], bool]
) -> dict[str, Callable[[Array, Array], Any] | None]:
    """Returns metrics by their names, or refuses the argument.

    Parameters
    ----------
    metrics : str, function, or iterable of them
    known : collection of str
        The names that may be given.
    is_taken : callable
        Whether a name is that of something else.

    Returns
    -------
    dict of str to callable or None
        The functions that were given, by their ``__name__``; None for a metric that is given by its name.
    """
    given = [metrics] if isinstance(metrics, str) or callable(metrics) else metrics
    named: dict[str, Callable[[Array, Array], Any] | None] = {}
    for each in given if is_iterable(given) else [given]:
        if not (callable(each) or (isinstance(each, str) and each in known)):
            raise (ValueError if isinstance(each, str) else TypeError)(
                f"{owner}: metrics must be of {', '.join(known)}, or functions of (output, target), "
                f"got {describe(each)}"
            )
        name = getattr(each, "__name__", type(each).__name__) if callable(each) else each
        if name in named or is_taken(name):
            raise ValueError(f"{owner}: metrics must have names of their own, got {name}")
        named[name] = each if callable(each) else None
    return named


def as_generator(owner: str, value: object) -> "np.random.Generator":
    """Returns a generator as it is, one of a seed, or one of the system's entropy for None; refuses other values."""
    if value is None:
        return np.random.default_rng()
    if isinstance(value, np.random.Generator):
        return value
    expected = f"{owner}: rng must be a numpy.random.Generator, a seed or None"
    try:
        seed = as_integer(owner, "rng", value)
    except TypeError:
        raise TypeError(f"{expected}, got {describe(value)}") from None
    if seed < 0:
        raise ValueError(f"{expected}; a seed is at least 0, got {describe(value)}")
    return np.random.default_rng(seed)
