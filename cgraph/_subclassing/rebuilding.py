"""The building anew of a node: by its class, from what `_config` returns, other inputs and copies of its parameters.

This module knows nodes by their attributes alone, so that Node may use it.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from functools import partial
from inspect import Parameter, signature
from typing import Any, ClassVar, NamedTuple, NoReturn

import numpy as np
from numpy.typing import NDArray

from cgraph._kernels.runtime.uninterrupted import complete
from cgraph._subclassing import Unfinished, declared_array
from cgraph._validation import Array, DType, describe

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


class Plan(NamedTuple):
    """What a node is built of, besides its inputs; the arrays are those of the node itself, to be read at once.

    Attributes
    ----------
    cls : type
        The class of the node.
    config : dict of str to object
        What `_config` returns.
    dtype : numpy.dtype
    shape : (int, int)
        The shape of the data.
    input_shapes : list of (int, int)
        The shapes of the inputs for which the data have this shape.
    values : dict of str to ndarray
        The parameters by their names in `_parameters`.
    frozen : frozenset of str
        The names of those that do not learn.
    samples : ndarray, optional
        The number of samples that a node with masks has counted.
    data : ndarray, optional
        The data of a leaf that was ever given any.
    """

    cls: Any
    config: dict[str, Any]
    dtype: DType
    shape: tuple[int, int]
    input_shapes: list[tuple[int, int]]
    values: dict[str, Array]
    frozen: frozenset[str]
    samples: NDArray[Any] | None
    data: Array | None

    def copied(self) -> Plan:
        """Returns the plan with copies of all arrays."""
        values = {name: np.array(value) for name, value in self.values.items()}
        samples, data = (None if x is None else x.copy() for x in (self.samples, self.data))
        return self._replace(values=values, samples=samples, data=data)


def plan_of(node: Any, values: dict[str, Array] | None = None) -> Plan:
    """Returns what a node can be built anew of; the values of its parameters may have been read before."""
    counter = node._sample_counter
    return Plan(
        cls=type(node),
        config=config_of(node),
        dtype=node._dtype,
        shape=(node._height, node._width),
        input_shapes=shapes(node.backward),
        values=parameter_values(node) if values is None else values,
        frozen=node._frozen,
        samples=counter.array if counter else None,
        data=node._data if not node.backward and node._is_given else None,
    )


def built(plan: Plan, inputs: Sequence[Any], has_values: bool = True) -> Any:
    """Returns a new node, built as a plan says; without values, it is to get the parameters of another node.

    Gradient sums begin at 0. After an error the inputs have no new consumer.

    Raises
    ------
    TypeError
        `_config` returns no arguments by name, or the constructor refuses them.
    ValueError
        The new node has other inputs, another shape or dtype, or parameters that are read-only or have other shapes
        or dtypes.
    """
    undo = partial(take_off, [(x, len(x.forward)) for x in dict.fromkeys(inputs)])
    if not has_values:
        plan = without_values(plan)
    try:
        new = constructed(plan, inputs)
        require_alike(plan, new, inputs)
        for name, value in own_values(plan).items():
            declared_array(new, name)[...] = value
        if new._frozen != plan.frozen:
            new._frozen = plan.frozen
        if plan.samples is not None:
            new._sample_counter.array[...] = plan.samples
        if plan.data is not None:
            new._data[...] = plan.data
            new._is_given = True
    except BaseException:
        complete(undo)
        raise
    return new


def without_values(plan: Plan) -> Plan:
    """Returns a plan with stand-ins for the parameters, which cost neither time nor memory.

    A class of the user's own, whose constructor may do more than to copy values, gets the values.
    """
    if not is_built_in(plan.cls):
        return plan
    values = {name: stand_in(value.shape, value.dtype) for name, value in plan.values.items()}
    return plan._replace(values=values)


def is_built_in(cls: type[Any]) -> bool:
    """Returns whether a class is one of this package; one that is made by `type` may have no module."""
    module = str(getattr(cls, "__module__", ""))
    return module.partition(".")[0] == __name__.partition(".")[0]


_ZERO = np.zeros(1)
_ZERO.flags.writeable = False


def stand_in(shape: tuple[int, ...], dtype: np.dtype[Any]) -> Array:
    """Returns a read-only array of zeros that all lie at one place, for a parameter that another array replaces."""
    return np.ndarray(shape, dtype.newbyteorder("="), _ZERO, strides=(0,) * len(shape))


def own_values(plan: Plan) -> dict[str, Array]:
    """Returns the values of a plan that are no stand-ins."""
    return {name: value for name, value in plan.values.items() if not is_stand_in(value)}


def is_stand_in(array: Array) -> bool:
    """Returns whether `stand_in` has made an array."""
    return array.base is _ZERO


def parameter_values(node: Any) -> dict[str, Array]:
    """Returns the arrays of the parameters of a node, by their names in `_parameters`, to be read at once."""
    declared = [name for name, _ in node._parameters]
    built_in = [name for name, _ in getattr(node, "_parts", ())]
    values = {name: node._peek(name) for name in built_in}
    return values | {name: declared_array(node, name) for name in declared if name not in values}


def constructed(plan: Plan, inputs: Sequence[Any]) -> Any:
    """Calls the constructor of a class with inputs, values of parameters, and what `_config` returned."""
    positional, named = checked_arguments(plan, inputs)
    try:
        return plan.cls(*positional, **named)
    except Exception as error:
        raise refusal(plan, error) from error


def checked_arguments(plan: Plan, inputs: Sequence[Any]) -> tuple[list[Any], dict[str, Any]]:
    """Returns the arguments of the constructor by position and by name; refuses them where `_config` lacks one.

    The inputs may be stand-ins, since only their number counts.
    """
    cls = plan.cls
    left_out: list[str] = []
    try:
        positional, named = arguments(plan, inputs)
        if depth(cls, "_config") > depth(cls, "__init__"):
            left_out = arguments_left_out(cls, positional, named)
    except Exception as error:
        raise refusal(plan, error) from error
    if left_out:
        raise TypeError(
            f"{cls.__name__}: cannot be built anew, since _config does not return the argument {left_out[0]!r}"
        )
    return positional, named


def refusal(plan: Plan, error: Exception) -> TypeError:
    """Returns the error for a constructor that has refused the arguments."""
    return TypeError(
        f"{plan.cls.__name__}: cannot be built anew, since the constructor refuses its inputs and what _config "
        f"returns: {error}"
    )


def arguments(plan: Plan, inputs: Sequence[Any]) -> tuple[list[Any], dict[str, Any]]:
    """Returns the arguments of the constructor of a class, by position and by name."""
    cls = plan.cls
    named = dict(plan.config)
    for name, argument in stated(cls, "_arguments").items():
        value = plan.values[name]
        named[argument] = float(value[0]) if name in cls._numbers else value
    argument = stated(cls, "_input_argument")
    if argument is None:
        return [*inputs], named
    return [], {**named, argument: [*inputs]}


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


def require_alike(plan: Plan, new: Any, inputs: Sequence[Any]) -> None:
    """Refuses a new node whose inputs are not those given, or that is not as the plan says."""
    if [*map(id, new.backward)] != [*map(id, inputs)]:
        refuse(plan, f"the given {len(inputs)} inputs", f"{len(new.backward)}, or others")
    if new._dtype is not plan.dtype:
        refuse(plan, f"dtype {plan.dtype}", str(new._dtype))
    if shapes(inputs) == plan.input_shapes and shapes([new]) != [plan.shape]:
        refuse(plan, "shape ({}, {})".format(*plan.shape), f"({new.height}, {new.width})")
    for name, value in own_values(plan).items():
        array = getattr(new, name, ())
        shape = np.shape(array)
        if shape != value.shape:
            refuse(plan, f"{name} of shape {value.shape}", str(shape))
        if isinstance(array, np.ndarray):  # others are refused when the values are copied
            if array.dtype != value.dtype:
                refuse(plan, f"{name} of dtype {value.dtype}", str(array.dtype))
            if not array.flags.writeable:
                refuse(plan, f"a writable {name}", "a read-only array")


def shapes(nodes: Sequence[Any]) -> list[tuple[int, int]]:
    return [(node._height, node._width) for node in nodes]


def refuse(plan: Plan, expected: str, came: str) -> NoReturn:
    raise ValueError(
        f"{plan.cls.__name__}: built anew, it must have {expected}, got {came}; _config must return all arguments of "
        "the constructor but inputs and values of parameters"
    )


def take_off(attached: list[tuple[Any, int]]) -> None:
    """Takes consumers off nodes, all but the first so many of each."""
    for node, count in attached:
        del node.forward[count:]
