"""The parameters of nodes and Graphs as named arrays, and the copying of other arrays into them: all that fit, or none.

A name says which parameter of the graph it is, counted in the order of `parameters`, of which class the node is, and
how the parameter is called there: `00003.Affine.weight`. Files and state dicts have the same names and the same rules.

The numbers of samples of nodes with masks stand beside them, as `samples.00000.Dropout`. They are loaded where both
sides have them, so that arrays without them, and graphs without masks, fit as well.
"""

from __future__ import annotations

from collections.abc import Callable, Collection, Iterable, Mapping
from typing import Any, NamedTuple, Protocol

import numpy as np
from numpy.typing import NDArray

from cgraph._subclassing.sharing import assign_at_once, at_once
from cgraph._validation import describe, overflows
from cgraph.node import Node
from cgraph.parameter import Parameter, parameters
from cgraph.traversal import ancestors

SAMPLES = "samples."  # the beginning of the names of numbers of samples
_NUMBERS = "biufc"  # kinds of dtypes that are saved without pickle

Arrays = dict[str, NDArray[Any]]


class MisfitError(ValueError):
    """Arrays do not fit the parameters of a graph, or make none; the message does not say where they come from."""


class LoadReport(NamedTuple):
    """The names of the arrays that were not loaded. After a strict load there are none.

    Attributes
    ----------
    missing : tuple of str
        Parameters of the graph for which there was no array; they keep their values.
    mismatched : tuple of str
        Parameters of the graph for which there was an array of another shape; they keep their values.
    unexpected : tuple of str
        Arrays without a parameter of that name in the graph.
    """

    missing: tuple[str, ...]
    mismatched: tuple[str, ...]
    unexpected: tuple[str, ...]


class HasParameters(Protocol):
    """A Graph, or another object that lists parameters."""

    @property
    def parameters(self) -> list[Parameter]: ...


class Source(Protocol):
    """An array whose shape and dtype are known before it is read."""

    @property
    def shape(self) -> tuple[int, ...]: ...
    @property
    def dtype(self) -> np.dtype[Any]: ...
    def read(self) -> NDArray[Any]:
        """Returns the content as an array of its own."""
        ...


def parameters_of(owner: str, node: object) -> list[Parameter]:
    """Returns the parameters of a Node and its ancestors, or of a Graph; refuses other arguments."""
    if isinstance(node, Node):
        return parameters(node)
    listed = getattr(node, "parameters", None)
    if not isinstance(listed, list) or not all(isinstance(item, Parameter) for item in listed):
        raise TypeError(f"{owner}: node must be a Node or a Graph, got {describe(node)}")
    return listed


def arrays_to_read(owner: str, node: object) -> Arrays:
    """Returns the arrays of a Node and its ancestors, or of a Graph, by name, to be read at once."""
    items = named(parameters_of(owner, node))
    arrays = at_once([(item.node, _array(owner, item, item._peek())) for _, item in items])
    return dict(zip([name for name, _ in items], arrays, strict=True)) | counts(node)


def arrays_to_write(owner: str, node: object) -> Arrays:
    """Returns the arrays by name, to be written to at once; refuses read-only ones."""
    items = parameters_of(owner, node)
    arrays = {name: _array(owner, item, item.value) for name, item in named(items)} | counts(node)
    for name, array in arrays.items():
        if not array.flags.writeable:
            raise ValueError(f"{owner}: {name} must be writable, got a read-only array")
    return arrays


def counts(node: object) -> Arrays:
    """Returns the numbers of samples of a Node and its ancestors, or of a Graph, by name."""
    nodes = ancestors(node) if isinstance(node, Node) else getattr(node, "nodes", ())
    found = [(name, each._sample_counter) for name, each in counting(nodes)]
    return {name: counter.array for name, counter in found if counter}


def counting(nodes: Iterable[Node]) -> list[tuple[str, Node]]:
    """Returns the nodes that count samples with the names of their numbers, in their order."""
    found = [each for each in nodes if each._sample_counter]
    return [
        (f"{SAMPLES}{index:05d}.{type(each).__name__}", each) for index, each in enumerate(found)
    ]


def named(items: Iterable[Parameter]) -> list[tuple[str, Parameter]]:
    """Returns parameters with their names, in their order."""
    return [
        (f"{index:05d}.{type(item.node).__name__}.{item.name}", item)
        for index, item in enumerate(items)
    ]


def _array(owner: str, item: Parameter, value: object) -> NDArray[Any]:
    """Returns the value of a parameter if it is an array of numbers, or refuses it."""
    if not isinstance(value, np.ndarray) or value.dtype.kind not in _NUMBERS:
        raise TypeError(
            f"{owner}: {item.name} of {type(item.node).__name__} must be an array of "
            f"numbers, got {describe(value)}"
        )
    return value


def state_dict(owner: str, node: object) -> Arrays:
    """Returns copies of the arrays of a Graph by name, in the order of its parameters.

    Raises
    ------
    TypeError
        A parameter is no array of numbers.
    """
    return {name: array.copy() for name, array in arrays_to_read(owner, node).items()}


def load_state_dict(
    owner: str,
    node: object,
    state: Mapping[str, NDArray[Any]],
    *,
    cast: bool = False,
    strict: bool = True,
) -> LoadReport:
    """Copies arrays into the parameters of the same names, by the rules of `load_parameters`.

    Raises
    ------
    TypeError
        `state` is no mapping of names to arrays of numbers; a parameter is no array of numbers.
    ValueError
        The arrays do not fit the parameters; a parameter is read-only.
    """
    if not isinstance(state, Mapping):
        raise TypeError(
            f"{owner}: state must be a mapping of names to arrays, got {describe(state)}"
        )
    for name in state:
        if not isinstance(name, str):
            raise TypeError(f"{owner}: state must have str as keys, got {describe(name)}")
    targets = arrays_to_write(owner, node)
    try:
        return replace(
            targets, list(state), lambda name: _Held(owner, name, state[name]), cast, strict
        )
    except MisfitError as error:
        raise ValueError(f"{owner}: {error}") from None


class _Held:
    """An array of a state dict as a Source."""

    def __init__(self, owner: str, name: str, value: object) -> None:
        if not isinstance(value, np.ndarray) or value.dtype.kind not in _NUMBERS:
            raise TypeError(
                f"{owner}: {name} of state must be an array of numbers, got {describe(value)}"
            )
        self._array = value
        self.shape: tuple[int, ...] = value.shape
        self.dtype: np.dtype[Any] = value.dtype

    def read(self) -> NDArray[Any]:
        # A copy, since the array may be one of the parameters themselves.
        return self._array.copy()


def replace(
    targets: Arrays,
    names: Collection[str],
    source: Callable[[str], Source],
    cast: bool,
    strict: bool,
) -> LoadReport:
    """Copies arrays into the targets of the same names: all that are to be loaded or, on an error, none.

    Parameters
    ----------
    targets : dict of str to numpy.ndarray
        The arrays of a graph.
    names : collection of str
        The names of the arrays to load.
    source : callable
        Returns the Source of a name. No Source is read before the shapes and dtypes of all have been compared.
    cast, strict : bool
        As for `load_parameters`.

    Raises
    ------
    MisfitError
        The arrays do not fit.
    """
    known = frozenset(names)
    targets = {k: v for k, v in targets.items() if k in known or not k.startswith(SAMPLES)}
    names = [k for k in names if k in targets or not k.startswith(SAMPLES)]
    if strict:
        _require_names(targets, frozenset(names))
    sources = {name: source(name) for name in targets if name in known}
    report = LoadReport(
        missing=tuple(name for name in targets if name not in sources),
        mismatched=tuple(
            name for name in sources if not strict and sources[name].shape != targets[name].shape
        ),
        unexpected=tuple(name for name in names if name not in targets),
    )
    for name in report.mismatched:
        del sources[name]
    if not sources and (targets or names):
        raise MisfitError(
            f"expected at least one array that fits this graph, got none of {len(names)}"
        )
    for name, each in sources.items():
        _require_fit(name, each, targets[name], cast)
    contents = [_converted(name, each.read(), targets[name]) for name, each in sources.items()]
    assign_at_once([targets[name] for name in sources], contents)
    return report


def _require_names(targets: Arrays, names: frozenset[str]) -> None:
    """Refuses names that are not those of all targets."""
    if len(names) != len(targets):
        raise MisfitError(
            f"expected {len(targets)} parameter arrays for this graph, got {len(names)}"
        )
    for name in targets:
        if name not in names:
            raise MisfitError(f"expected a parameter {name}, got none")


def _require_fit(name: str, source: Source, target: NDArray[Any], cast: bool) -> None:
    """Refuses an array of another shape, or of a dtype that is not that of the target and not to be converted."""
    given, expected = source.dtype.newbyteorder("="), target.dtype.newbyteorder("=")
    are_floats = given.kind == expected.kind == "f"
    if source.shape == target.shape and (given == expected or (cast and are_floats)):
        return
    hint = "; cast=True converts it" if source.shape == target.shape and are_floats else ""
    raise MisfitError(
        f"{name} must have shape {target.shape} and dtype {target.dtype}, "
        f"got {source.shape} and {source.dtype}{hint}"
    )


def _converted(name: str, content: NDArray[Any], target: NDArray[Any]) -> NDArray[Any]:
    """Returns the content in the dtype and byte order of the target; refuses numbers that are too large for it."""
    if target.dtype.itemsize < content.dtype.itemsize:
        # Compared before the conversion, which then never warns. An errstate would stay if Ctrl-C came at its end.
        lost = np.isfinite(content) & overflows(content, target.dtype)
        if lost.any():
            raise MisfitError(
                f"{name} must hold numbers that are finite in {target.dtype}, got {content[lost][0]}"
            )
    return content.astype(target.dtype, copy=False)
