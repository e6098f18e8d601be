"""Optimisers in files: their class, their settings and their state."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from cgraph._subclassing.rebuilding import arguments_left_out
from cgraph._validation import describe
from cgraph.io.fields import decoded, encoded, place, taken
from cgraph.io.opening import OF_OPTIMIZER
from cgraph.io.records import Classes, built_in, class_of, class_record
from cgraph.io.state import Arrays, MisfitError
from cgraph.node import Node

# A file may name any optimiser; `built_in` knows those that have been imported.
from cgraph.optimizers import adam, rmsprop, sgd  # noqa: F401
from cgraph.optimizers.optimizer import Optimizer
from cgraph.optimizers.schedules import Planned, planned
from cgraph.parameter import Parameter, parameters_of

_SCHEDULE = "schedule"


def optimizer_record(
    function: str, optimizer: Optimizer, order: Sequence[Node], own: dict[str, type[Any]]
) -> tuple[dict[str, Any], Arrays]:
    """Returns the record of an optimiser of nodes in their order, and the arrays of its state by name.

    Raises
    ------
    TypeError
        A setting cannot be written, such as a schedule of the user's own.
    ValueError
        The optimiser has updated parameters, or has groups, of other nodes.
    """
    owner = f"{function}, {type(optimizer).__name__}"
    keys: dict[Any, dict[str, int]] = {node: {"node": n} for n, node in enumerate(order)}
    keys |= {p: {"parameter": n} for n, p in enumerate(parameters_of(order))}
    updated = optimizer._states.parameters or []
    for key in (*updated, *optimizer._groups):
        if key not in keys:
            raise ValueError(
                f"{owner}: optimizer must be one of the nodes that are saved, got {key!r}"
            )
    config = optimizer._config()
    try:
        left_out = arguments_left_out(type(optimizer), [], {**config, "groups": None})
    except TypeError as error:
        raise TypeError(f"{owner}: the constructor refuses what _config returns: {error}") from None
    if left_out:
        raise TypeError(f"{owner}: _config does not return the argument {left_out[0]!r}")
    record: dict[str, Any] = class_record(function, type(optimizer), own)
    record["config"] = {name: _setting(owner, name, value) for name, value in config.items()}
    record["groups"] = [
        {**keys[key], "config": {name: _setting(owner, name, x) for name, x in settings.items()}}
        for key, settings in optimizer._groups.items()
    ]
    record["parameters"] = [keys[p]["parameter"] for p in updated]
    state = optimizer.state_dict()
    record["state"] = list(state)
    return record, {f"{OF_OPTIMIZER}{name}": array for name, array in state.items()}


def built_optimizer(
    record: dict[str, Any], nodes: Sequence[Node], arrays: Arrays, classes: Classes
) -> Optimizer:
    """Returns the optimiser of a record; the arrays of its state are taken out of those given."""
    cls = class_of(record, "optimizer", Optimizer, built_in(Optimizer), classes)
    owner, items = f"optimizer, {cls.__name__}", parameters_of(nodes)
    config = _settings(owner, record)
    groups: dict[Parameter | Node, dict[str, Any]] = {}
    for group in taken(record, owner, "groups", list):
        is_node = isinstance(group, dict) and "node" in group
        of: Sequence[Any] = nodes if is_node else items
        name = "node" if is_node else "parameter"
        key = of[place(owner, name, taken(group, owner, name, int), len(of))]
        groups[key] = _settings(owner, group)
    updated = [
        items[place(owner, "parameters", number, len(items))]
        for number in taken(record, owner, "parameters", list)
    ]
    state = {}
    for name in taken(record, owner, "state", list):
        if not isinstance(name, str) or f"{OF_OPTIMIZER}{name}" not in arrays:
            raise MisfitError(f"{owner}: expected an array {describe(name)} of state, got none")
        state[name] = arrays.pop(f"{OF_OPTIMIZER}{name}")
    try:
        optimizer: Optimizer = cls(**config, groups=groups)
        optimizer.load_state_dict(state, updated or None)
    # Any exception: constructors of the user's own classes get arguments that a file says.
    except Exception as error:
        raise MisfitError(f"{owner}: {error}") from error
    return optimizer


def _setting(owner: str, name: str, value: Any) -> Any:
    """Returns a setting as JSON: a schedule of `CG.schedules` with its arguments, any other value as it is."""
    if isinstance(value, Planned):
        arguments = value.arguments.items()
        return {
            _SCHEDULE: value.name,
            "arguments": {key: _setting(owner, key, each) for key, each in arguments},
        }
    if callable(value):
        raise TypeError(
            f"{owner}: {name} must be a number or one of CG.schedules to be saved, got {describe(value)}"
        )
    return encoded(owner, name, value)


def _settings(owner: str, record: Any) -> dict[str, Any]:
    """Returns the settings that an entry `config` of a record has."""
    config = taken(record, owner, "config", dict)
    return {name: _decoded_setting(owner, value) for name, value in config.items()}


def _decoded_setting(owner: str, value: Any) -> Any:
    if not (isinstance(value, Mapping) and _SCHEDULE in value):
        return decoded(value)
    arguments = taken(value, owner, "arguments", dict)
    made = {name: _decoded_setting(owner, each) for name, each in arguments.items()}
    try:
        return planned(taken(value, owner, _SCHEDULE, str), made)
    except (TypeError, ValueError, OverflowError) as error:
        raise MisfitError(f"{owner}: {error}") from error
