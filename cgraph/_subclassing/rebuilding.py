"""The building anew of a node: by its class, from what `_config` returns, other inputs and copies of its parameters.

This module knows nodes by their attributes alone, so that Node may use it.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from functools import partial
from inspect import Parameter, signature
from typing import Any, ClassVar, NoReturn

import numpy as np

from cgraph._kernels.runtime.uninterrupted import complete
from cgraph._subclassing import Unfinished, declared_array
from cgraph._validation import Array, describe

NAMED = (Parameter.POSITIONAL_OR_KEYWORD, Parameter.KEYWORD_ONLY)


class Rebuildable:
    """What a class of nodes says about its constructor, so that a node can be built anew.

    A class with a constructor of its own says it anew, too: the attributes of a class that it is derived from describe
    the constructor of that.
    """

    # The argument that takes the value of a parameter, by the name of the parameter.
    _arguments: ClassVar[Mapping[str, str]] = {}
    # The parameters of one element that the constructor takes as a number.
    _numbers: ClassVar[frozenset[str]] = frozenset()
    # The argument that takes all inputs as a sequence; None where inputs are the first positional arguments.
    _input_argument: ClassVar[str | None] = None

    def _config(self) -> dict[str, Any]:
        """Returns the keyword arguments with which the class is built anew, without inputs and values of parameters.

        They are numbers, strings and bools. A class whose constructor takes more than inputs and parameters overrides
        this method.
        """
        node: Any = self
        cls = type(node)
        # Node alone defines `update`, which may not be overridden.
        if depth(cls, "__init__") < depth(cls, "update"):
            return {}
        sizes = {"domsize": node.domsize, "height": node.height, "width": node.width}
        return {**sizes, "dtype": node.dtype.name}


def anew(node: Any, inputs: Sequence[Any], values: dict[str, Array] | None = None) -> Any:
    """Returns a new node of the class of another one, with other inputs, and with copies of its parameters.

    `values` are those of the parameters by name, if they have been read before. Which parameters learn, and the number
    of samples that a node with masks has counted, are copied, too. Gradient sums begin at 0. After an error the inputs
    have no new consumer.

    Raises
    ------
    TypeError
        `_config` returns no arguments by name, or the constructor refuses them.
    ValueError
        The new node has other inputs, another shape or dtype, or parameters that are read-only or have other shapes
        or dtypes.
    """
    undo = partial(take_off, [(x, len(x.forward)) for x in dict.fromkeys(inputs)])
    try:
        values = parameter_values(node) if values is None else values
        new = constructed(node, inputs, values)
        require_alike(node, new, inputs, values)
        for name, value in values.items():
            declared_array(new, name)[...] = value
        if new._frozen != node._frozen:
            new._frozen = node._frozen
        if new._sample_counter:
            new._sample_counter.array[...] = node._sample_counter.array
    except BaseException:
        complete(undo)
        raise
    return new


def parameter_values(node: Any) -> dict[str, Array]:
    """Returns the arrays of the parameters of a node, by their names in `_parameters`, to be read at once."""
    declared = [name for name, _ in node._parameters]
    built_in = [name for name, _ in getattr(node, "_parts", ())]
    values = {name: node._peek(name) for name in built_in}
    return values | {name: declared_array(node, name) for name in declared if name not in values}


def constructed(node: Any, inputs: Sequence[Any], values: dict[str, Array]) -> Any:
    """Calls the constructor of a node's class with inputs, values of parameters, and what `_config` returns."""
    cls = type(node)
    named = config_of(node)
    for name, argument in stated(cls, "_arguments").items():
        value = values[name]
        named[argument] = float(value[0]) if name in cls._numbers else value
    argument = stated(cls, "_input_argument")
    if argument is None:
        positional = [*inputs]
    else:
        positional = []
        named[argument] = [*inputs]
    left_out: list[str] = []
    try:
        if depth(cls, "_config") > depth(cls, "__init__"):
            left_out = arguments_left_out(cls, positional, named)
        if not left_out:
            return cls(*positional, **named)
    except Exception as error:
        raise TypeError(
            f"{cls.__name__}: cannot be built anew, since the constructor refuses its inputs and what _config returns: "
            f"{error}"
        ) from error
    raise TypeError(
        f"{cls.__name__}: cannot be built anew, since _config does not return the argument {left_out[0]!r}"
    )


def config_of(node: Any) -> dict[str, Any]:
    """Returns what `_config` returns, or refuses it unless these are arguments by name, without inputs."""
    config = node._config()
    expected = (
        f"{type(node).__name__}: _config must return a dict of arguments by name, without nodes"
    )
    if not isinstance(config, dict):
        raise TypeError(f"{expected}, got {describe(config)}")
    for name, value in config.items():
        if not isinstance(name, str) or isinstance(value, Unfinished):
            raise TypeError(f"{expected}, got {describe(name)}: {describe(value)}")
    return dict(config)


def depth(cls: type, name: str) -> int:
    """Returns how many classes of the method resolution order come before the one that defines a name."""
    # No generator: an exception in it, at Ctrl-C say, would be lost.
    return [name in vars(base) for base in cls.__mro__].index(True)


def stated(cls: Any, name: str) -> Any:
    """Returns an attribute that describes the constructor of a class, or its default if that of another constructor."""
    described = depth(cls, name) <= depth(cls, "__init__")
    return getattr(cls if described else Rebuildable, name)


def arguments_left_out(cls: type, positional: list[Any], named: dict[str, Any]) -> list[str]:
    """Returns the optional arguments that a call leaves out, which might not have their default values in the original.

    Raises
    ------
    TypeError
        The call leaves out other arguments, or has more than the constructor takes.
    """
    form = signature(cls)
    given = form.bind(*positional, **named).arguments
    return [name for name, p in form.parameters.items() if p.kind in NAMED and name not in given]


def require_alike(node: Any, new: Any, inputs: Sequence[Any], values: dict[str, Array]) -> None:
    """Refuses a new node whose inputs are not those given, or that is not like the original."""
    if [*map(id, new.backward)] != [*map(id, inputs)]:
        refuse(node, f"the given {len(inputs)} inputs", f"{len(new.backward)}, or others")
    if new._dtype is not node._dtype:
        refuse(node, f"dtype {node._dtype}", str(new._dtype))
    if shapes(inputs) == shapes(node.backward) and shapes([new]) != shapes([node]):
        refuse(node, f"shape ({node.height}, {node.width})", f"({new.height}, {new.width})")
    for name, value in values.items():
        array = getattr(new, name, ())
        shape = np.shape(array)
        if shape != value.shape:
            refuse(node, f"{name} of shape {value.shape}", str(shape))
        if isinstance(array, np.ndarray):  # others are refused when the values are copied
            if array.dtype != value.dtype:
                refuse(node, f"{name} of dtype {value.dtype}", str(array.dtype))
            if not array.flags.writeable:
                refuse(node, f"a writable {name}", "a read-only array")


def shapes(nodes: Sequence[Any]) -> list[tuple[int, int]]:
    return [(node._height, node._width) for node in nodes]


def refuse(node: Any, expected: str, came: str) -> NoReturn:
    raise ValueError(
        f"{type(node).__name__}: built anew, it must have {expected}, got {came}; _config must return all arguments of "
        "the constructor but inputs and values of parameters"
    )


def take_off(attached: list[tuple[Any, int]]) -> None:
    """Takes consumers off nodes, all but the first so many of each."""
    for node, count in attached:
        del node.forward[count:]
