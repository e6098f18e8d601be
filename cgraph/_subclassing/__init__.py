"""The demands of Node on classes that are derived from it, and their error messages."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, NoReturn

import numpy as np

from cgraph._validation import Array, describe, is_iterable


def check_class(cls: type[Any], base: type[Any]) -> None:
    """Refuses a class that overrides a propagation of the base, or whose `_parameters` do not name distinct arrays."""
    for name in ("forwardPropagation", "backwardPropagation", "update"):
        if getattr(cls, name) is not getattr(base, name):
            raise TypeError(f"{cls.__name__}: {name} may not be overridden")
    expected = (
        f"{cls.__name__}: _parameters must be pairs of names, of an array that learns and of its "
        "gradient sum"
    )
    if not is_iterable(cls._parameters):
        raise TypeError(f"{expected}, got {describe(cls._parameters)}")
    for pair in cls._parameters:
        if not (isinstance(pair, tuple) and [type(name) for name in pair] == [str, str]):
            raise TypeError(f"{expected}, got {describe(pair)}")
    names = [name for pair in cls._parameters for name in pair]
    twice = [name for number, name in enumerate(names) if name in names[:number]]
    if twice:
        raise ValueError(f"{expected}, each array once, got {twice[0]!r} twice")


def check_identity(cls: Any) -> None:
    """Refuses a class whose nodes do not compare by identity, since cgraph keeps nodes in sets and dicts.

    The check is part of the construction of a node: ``@dataclass`` adds its methods to a class that is already made.
    """
    if cls.__eq__ is not object.__eq__ or cls.__hash__ is not object.__hash__:
        raise TypeError(
            f"{cls.__name__}: a node must be compared by identity, without __eq__ and __hash__ of its own; "
            "for a dataclass write @dataclass(eq=False)"
        )


def declared_array(node: Any, name: str) -> Array:
    """Returns an array that `_parameters` of a node names, to be written into; refuses what is no array."""
    array: Array = getattr(node, name)
    if not isinstance(array, np.ndarray):
        raise TypeError(
            f"{type(node).__name__}: {name} must be an array, since _parameters names it, got {describe(array)}"
        )
    return array


class SetByConstructor:
    """A class attribute that raises when it is read, and that the attribute set by Node's constructor hides."""

    def __set_name__(self, owner: type, name: str) -> None:
        self._name = name

    def __get__(self, node: Unfinished | None, owner: type) -> NoReturn:
        if node is None:
            missing = f"{owner.__name__} has no attribute {self._name!r}"
            raise AttributeError(missing, name=self._name, obj=owner)
        node._raise_unset(self._name)


class Unfinished:
    """A node whose constructor has not run yet: reading its attributes raises an error that says so.

    ``__getattr__`` could do this only at a cost: where a property of a user's class raises an AttributeError, Python
    calls ``__getattr__`` as well, and the error of the property would be lost. The attributes that methods of nodes
    read most are left out, since CPython finds those of an instance faster that its class has not: ``_data`` and
    ``_grad``, for which the properties raise the error, ``_kernels`` and ``backward``.
    """

    if not TYPE_CHECKING:
        _domsize, _height, _width, _dtype = (SetByConstructor() for _ in range(4))
        f_count, b_count, forward, _has_run = (SetByConstructor() for _ in range(4))
        _component = SetByConstructor()

    def _raise_unset(self, name: str) -> NoReturn:
        """Raises the error for an attribute that Node's constructor has not set yet."""
        missing = f"{type(self).__name__} has no attribute {name!r}"
        raise AttributeError(
            f"{missing}: its constructor must call super().__init__()", name=name, obj=self
        ) from None
