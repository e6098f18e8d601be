"""What the JSON text of a file says, entry by entry: the checks of kinds, and the arguments of constructors.

A text from an untrusted source may hold anything, so each entry is taken out with the kind that it must have.
"""

from __future__ import annotations

from collections.abc import Mapping
from math import isfinite
from typing import Any

import numpy as np

from cgraph._validation import describe
from cgraph.io.state import MisfitError

_FLOAT = "float"  # the key of a number for which JSON has no text
_KINDS = {
    dict: "an object",
    list: "a list",
    str: "a text",
    int: "an integer",
    bool: "true or false",
}


def taken(record: Any, owner: str, key: str, kind: type, default: Any = None) -> Any:
    """Returns an entry of a record, or the default, or refuses another kind; without a default there must be one."""
    value = record.get(key, default) if isinstance(record, dict) else None
    if type(value) is not kind:
        raise MisfitError(f"{owner}: {key} must be {_KINDS[kind]}, got {describe(value)}")
    return value


def each_of(owner: str, key: str, values: list[Any], kind: type) -> list[Any]:
    """Returns a list if all its elements are of one kind, or refuses it."""
    for value in values:
        if type(value) is not kind:
            raise MisfitError(
                f"{owner}: {key} must hold {_KINDS[kind]} each, got {describe(value)}"
            )
    return values


def place(owner: str, key: str, value: Any, count: int) -> int:
    """Returns an index of one of so many things, or refuses it."""
    if type(value) is not int or not 0 <= value < count:
        raise MisfitError(f"{owner}: {key} must be in [0, {count}), got {describe(value)}")
    return value


def encoded(owner: str, name: str, value: object) -> Any:
    """Returns an argument of a constructor as JSON; refuses what is no number, text, bool, None or list of these."""
    if isinstance(value, np.generic):
        value = value.item()
    if isinstance(value, list | tuple):
        return [encoded(owner, name, each) for each in value]
    if isinstance(value, float) and not isfinite(value):
        return {_FLOAT: repr(value)}
    if value is None or isinstance(value, bool | int | float | str):
        return value
    raise TypeError(
        f"{owner}: {name} must be a number, a text, a bool, None or a list of these to be saved, got {describe(value)}"
    )


def decoded(value: Any) -> Any:
    """Returns an argument that `encoded` has made JSON of."""
    if isinstance(value, list):
        return [decoded(each) for each in value]
    if isinstance(value, Mapping) and value.keys() == {_FLOAT}:
        text = value[_FLOAT]
        if text not in ("inf", "-inf", "nan"):
            raise MisfitError(f"{_FLOAT} must be inf, -inf or nan, got {describe(text)}")
        return float(text)
    return value
