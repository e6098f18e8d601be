"""copy_parameters and polyak_update: the parameters of one graph become those of another one, or come nearer to them.

Design: between two Graphs that hold their parameters at the same places of their arenas, one loop goes over the arenas.
Otherwise all new values are computed first, and then copied without a signal in between.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable
from functools import partial
from typing import Any, NamedTuple
from weakref import ref

import numpy as np

from cgraph import _kernels
from cgraph._execution.executable import STALE, Executable
from cgraph._execution.optimizing import parameter_places
from cgraph._execution.residency import Effect
from cgraph._kernels.runtime.memory import Memory, exclusively
from cgraph._kernels.runtime.sharing import Learners, learning
from cgraph._kernels.runtime.uninterrupted import assign
from cgraph._propagation import passes
from cgraph._subclassing import declared_array
from cgraph._subclassing.order import topological_order
from cgraph._subclassing.sharing import assign_at_once, at_once
from cgraph._validation import Array, as_dtype, as_number, describe
from cgraph.graph import Graph
from cgraph.node import Node
from cgraph.parameter import Parameter, parameters_of


def copy_parameters(source: Node | Graph, target: Node | Graph) -> None:
    """Copies the values of all parameters of a graph into those of another one, in the order of `parameters`.

    Parameters
    ----------
    source, target : Node or Graph
        A Node stands for itself and its ancestors. Both have equally many parameters, of the same shapes and dtypes.

    Raises
    ------
    TypeError
        An argument is neither a Node nor a Graph; dtypes differ.
    ValueError
        The numbers of parameters, or their shapes, differ; a parameter of `target` is read-only.
    RuntimeError
        A Graph is running, or the nodes of a Graph that is given belong to a newer one.

    Notes
    -----
    All parameters are copied or, after an error or a signal, none. Those of `target` that do not learn
    (``trainable=False``) are copied, too. Gradient sums, and the state of optimisers, stay as they are. Parameters that
    both have stay as they are.

    Examples
    --------
    >>> import cgraph as CG
    >>> y = CG.Affine(CG.Leaf1(1), [[1.0], [2.0]])
    >>> z = CG.Affine(CG.Leaf1(1), [[0.0], [0.0]])
    >>> CG.copy_parameters(y, z)
    >>> z.weight.ravel()
    array([1., 2.])
    """
    approach("copy_parameters", source, target, 1.0)


def polyak_update(source: Node | Graph, target: Node | Graph, tau: float) -> None:
    """Moves the parameters of a graph towards those of another one: w = w + tau (v − w), for v of `source`.

    With ``tau=1`` they become those of `source`, bit by bit, and with ``tau=0`` they do not change. So does an average
    of the last networks, such as a target network, follow one that learns.

    Parameters
    ----------
    source, target : Node or Graph
        As for `copy_parameters`.
    tau : float
        The weight of `source`, in [0, 1].

    Raises
    ------
    TypeError
        As for `copy_parameters`; `tau` is not a number; parameters are not floating-point numbers.
    ValueError
        As for `copy_parameters`; `tau` is not in [0, 1].
    RuntimeError
        As for `copy_parameters`.

    Notes
    -----
    As for `copy_parameters`: those that do not learn are moved, too. It is quickest between two Graphs. Where a
    parameter of `source` is not finite, that of `target` becomes infinite or NaN.

    Examples
    --------
    >>> import cgraph as CG
    >>> y = CG.Affine(CG.Leaf1(1), [[1.0], [2.0]])
    >>> z = CG.Affine(CG.Leaf1(1), [[0.0], [0.0]])
    >>> CG.polyak_update(y, z, 0.25)
    >>> z.weight.ravel()
    array([0.25, 0.5 ])
    """
    weight = as_number("polyak_update", "tau", tau)
    if not 0 <= weight <= 1:
        raise ValueError(f"polyak_update: tau must be in [0, 1], got {describe(tau)}")
    approach("polyak_update", source, target, weight)


def approach(owner: str, source: object, target: object, tau: float) -> None:
    """Moves the parameters of a target by the weight tau towards those of a source."""
    if isinstance(source, Graph) and isinstance(target, Graph):
        executables = source._executable, target._executable
        if have_equal_places(*executables):
            move_in_arenas(owner, *executables, tau)
            return
    theirs, ours = side(owner, "source", source), side(owner, "target", target)
    move: Callable[[], None] = partial(move_arrays, owner, theirs.parameters, ours.parameters, tau)
    shared = [p.node._sharing for p in ours.parameters if p.node._sharing]
    if shared:
        refusal = f"{owner}, target: another call is learning parameters that it shares"
        move = partial(learning, Learners(list(dict.fromkeys(shared))), refusal, move)
    for memory, holder in {**ours.memories, **theirs.memories}.items():
        move = partial(exclusively, memory, holder, nothing, move, (), {})
    move()


# Two Graphs that hold parameters at the same places of their arenas


class Pairing(NamedTuple):
    """Whether two Graphs hold their parameters at the same places, which does not change while both live."""

    source: ref[Executable]
    is_equal: bool


def have_equal_places(source: Executable, target: Executable) -> bool:
    """Returns whether the arenas of two Graphs hold parameters that belong to each other, at equal places.

    The target keeps the answer for its last source.
    """
    found: Pairing | None = target.pairing
    if found is None or found.source() is not source:
        is_equal = source.dtype is target.dtype and places(source) == places(target)
        ours, theirs = (parameters_of(each.program.order) for each in (source, target))
        apart = source is not target and set(ours).isdisjoint(theirs)
        found = target.pairing = Pairing(ref(source), is_equal and apart)
    return found.is_equal


def places(executable: Executable) -> list[object]:
    """Returns the size of an arena's parameters, and where each parameter lies, in their order.

    A parameter that is not in the arena stands for itself, so that no other place equals its own; so does a node with
    more parameters in the arena than it declares.
    """
    known = parameter_places(executable.slots)
    found: list[object] = [executable.arena.parameters.size]
    nodes = [slot.node for slot in executable.slots]
    found += [node for node in nodes if not {*node._parts}.issubset(node._parameters)]
    for parameter in parameters_of(executable.program.order):
        index = known.get(parameter)
        where = index.tolist() if isinstance(index, np.ndarray) else index
        found.append(parameter if where is None else (where, parameter.shape))
    return found


OWNERS = {
    name: (f"{name}, source", f"{name}, target") for name in ("copy_parameters", "polyak_update")
}


def move_in_arenas(owner: str, source: Executable, target: Executable, tau: float) -> None:
    """Moves all parameters in the arena of a target towards those in the arena of a source."""
    first, second = OWNERS[owner]
    read = first, source, "data", move_regions, (source, target, tau)
    in_call(second, target, "parameters", in_call, read)


def in_call(
    owner: str, executable: Executable, effect: Effect, function: Any, arguments: tuple[Any, ...]
) -> None:
    """Calls a function as a call of a Graph: it reads what users have written, and brings what is lent up to date."""
    call = owner, executable, effect, function, arguments
    exclusively(executable.memory, owner, executable.complete, begin_and_call, call, {})


def begin_and_call(
    owner: str, executable: Executable, effect: Effect, function: Any, arguments: tuple[Any, ...]
) -> None:
    executable.begin(owner, effect)
    function(*arguments)


def move_regions(source: Executable, target: Executable, tau: float) -> None:
    values, moved = source.arena.parameters, target.arena.parameters
    if tau == 1:
        assign([moved], [values])
    elif tau > 0:
        target.arena.kernels.elementwise.polyak(values, moved, tau)


# Nodes, and other Graphs


class Side(NamedTuple):
    """The parameters of a source or a target, and the memories of their Graphs, each with its name in errors."""

    parameters: list[Parameter]
    memories: dict[Memory, str]


def side(owner: str, argument: str, given: object) -> Side:
    """Returns what a Node or a Graph stands for; refuses other arguments, and a Graph whose nodes have left it."""
    name = f"{owner}, {argument}"
    if isinstance(given, Graph):
        if given._executable.residency.stale:
            raise RuntimeError(f"{name}: {STALE}")
        order: Iterable[Node] = given.nodes
    elif isinstance(given, Node):
        order = topological_order([given])
    else:
        raise TypeError(f"{owner}: {argument} must be a Node or a Graph, got {describe(given)}")
    return Side(parameters_of(order), {each.memory: name for each in passes.residencies(order)})


def move_arrays(owner: str, source: list[Parameter], target: list[Parameter], tau: float) -> None:
    """Moves parameters towards others, all at once; those that are on both sides stay."""
    if len(source) != len(target):
        raise ValueError(
            f"{owner}: source and target must have equally many parameters, got {len(source)} and {len(target)}"
        )
    values = at_once([(p.node, array_of(p)) for p in source])
    pairs = [(value, array_of(q)) for value, q in zip(values, target, strict=True)]
    for number, (value, moved) in enumerate(pairs):
        require_fit(owner, number, value, moved)
    apart = [number for number, p in enumerate(source) if p is not target[number]]
    if tau > 0:
        results = [approached(owner, *pairs[number], tau) for number in apart]
        assign_at_once([target[number].value for number in apart], results)


def array_of(parameter: Parameter) -> Array:
    """Returns the array of a parameter, to be read at once; refuses what an own node declares and is no array."""
    array: object = parameter._peek()
    if isinstance(array, np.ndarray):
        return array
    return declared_array(parameter.node, parameter._value_name)


def require_fit(owner: str, number: int, value: Array, moved: Array) -> None:
    """Refuses two parameters that do not belong to each other, and one that cannot be changed."""
    which = f"{owner}: parameter {number} of source and target must have one"
    if value.shape != moved.shape:
        raise ValueError(f"{which} shape, got {value.shape} and {moved.shape}")
    if value.dtype != moved.dtype:
        raise TypeError(f"{which} dtype, got {value.dtype} and {moved.dtype}")
    if not moved.flags.writeable:
        raise ValueError(
            f"{owner}: parameter {number} of target must be writable, got a read-only array"
        )


def approached(owner: str, value: Array, moved: Array, tau: float) -> Array:
    """Returns the array that a parameter becomes."""
    if tau == 1:
        return value.copy()
    kernels = _kernels.build(as_dtype(owner, value.dtype))
    result = np.array(moved, order="C")
    kernels.elementwise.polyak(np.ascontiguousarray(value), result, tau)
    return result


def nothing() -> None:
    """Completes a call that has changed no arena."""
