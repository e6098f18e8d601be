"""What an optimiser does to the parameters of a Graph: the steps of its updates, and where the state lies."""

from __future__ import annotations

from collections.abc import Sequence
from functools import partial
from typing import Any, NamedTuple

from cgraph._execution.arena import Arena
from cgraph._kernels.runtime import plan
from cgraph._kernels.runtime.step import CallStep
from cgraph._lowering.program import Program
from cgraph._lowering.sample_steps import ParameterSlot
from cgraph._validation import DType, as_rate, describe
from cgraph.optimizers.optimizer import Optimizer
from cgraph.optimizers.state import Index
from cgraph.optimizers.updates import FlatUpdate, Piece, Update, learning_parameters, own_piece
from cgraph.parameter import Parameter, own_parameters


class Optimizing(NamedTuple):
    """The update of the parameters of a Graph by an optimiser, and the steps that make it."""

    update: Update
    steps: plan.Steps


def as_rule(owner: str, eta: object, optimizer: object, dtype: DType) -> float | Optimizer:
    """Returns a learning rate or an optimiser, given as either argument, or refuses them."""
    if type(eta) is not float or optimizer is not None:
        if (eta is None) is (optimizer is None):
            came = "neither" if eta is None else "both"
            raise TypeError(f"{owner}: needs either eta or optimizer, got {came}")
        rule = eta if optimizer is None else optimizer
        if isinstance(rule, Optimizer):
            return rule
        if optimizer is not None:
            raise TypeError(f"{owner}: optimizer must be an Optimizer, got {describe(optimizer)}")
    return as_rate(owner, eta, dtype)


def optimizing(
    optimizer: Optimizer, program: Program, slots: Sequence[ParameterSlot], arena: Arena
) -> Optimizing:
    """Returns the update of all parameters of a Graph that learn.

    A compiled rule changes the arena in place, unless an own node has parameters, too. Then, and for rules in Python,
    all parameters are copied into flat arrays.
    """
    parameters = learning_parameters(program.order)
    places = parameter_places(slots)
    in_arena = [places.get(p) for p in parameters]
    indices = [index for index in in_arena if index is not None]
    if optimizer._rule is not None and len(indices) == len(parameters):
        region = arena.parameters
        update = Update(optimizer, parameters, indices, region.size, region.dtype)
        return Optimizing(update, plan.Steps([update.step]))
    flat = FlatUpdate(optimizer, parameters)
    places_of = [*zip(parameters, in_arena, strict=True)]
    step = CallStep(partial(_prepared, flat, places_of, arena), partial(_clear, places_of, arena))
    return Optimizing(flat, plan.Steps([step]))


# Parameters, with their places in the arena; None stands for arrays of an own node.
Placed = Sequence[tuple[Parameter, Index | None]]


def _prepared(update: FlatUpdate, places: Placed, arena: Arena, samples: int) -> tuple[Any, ...]:
    """Returns arguments for `call_or_undo`, which updates parameters at these places."""
    regions = arena.parameters, arena.parameter_grads
    pieces = [own_piece(p) if index is None else Piece(*regions, index) for p, index in places]
    return update.prepared(pieces, samples)


def _clear(places: Placed, arena: Arena) -> None:
    """Sets the gradient sums of parameters at these places to 0, after an update that has raised."""
    for _, index in places:
        if index is not None:
            arena.parameter_grads[index] = 0
    for node in {p.node for p, index in places if index is None}:
        node.zero_grad()


def parameter_places(slots: Sequence[ParameterSlot]) -> dict[Parameter, Index]:
    """Returns the places of parameters in the arena."""
    places: dict[Parameter, Index] = {}
    for node, offset, size, offsets in slots:
        for p in own_parameters(node):
            part = node._parts.get((p._value_name, p._grad_name))
            if part is not None:
                first, end, _ = part.indices(size)
                inside = slice(offset + first, offset + end)
                places[p] = inside if offsets is None else offsets[part]
    return places
