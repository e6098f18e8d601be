"""What an optimiser does to the parameters of a Graph: the steps of its updates, and where the state lies."""

from __future__ import annotations

from collections.abc import Sequence
from functools import partial
from typing import Any, NamedTuple

import numpy as np

from cgraph._execution.arena import Arena
from cgraph._kernels.runtime import plan
from cgraph._kernels.runtime.step import CallStep
from cgraph._lowering.program import Program
from cgraph._lowering.sample_steps import ParameterSlot
from cgraph._validation import DType, as_rate, describe
from cgraph.node import Node
from cgraph.optimizers.optimizer import Optimizer
from cgraph.optimizers.state import Index
from cgraph.optimizers.updates import FlatUpdate, Piece, Update, learning_parameters, own_piece
from cgraph.parameter import Parameter, own_parameters


class OptimizedUpdate(NamedTuple):
    """The update of the parameters of a Graph by an optimiser, and the steps that make it."""

    update: Update
    steps: plan.Steps


class Optimizing:
    """The updates of the parameters of a Graph by optimisers, of which the last is remembered."""

    def __init__(
        self,
        program: Program,
        slots: Sequence[ParameterSlot],
        arena: Arena,
        python_nodes: Sequence[Node],
    ) -> None:
        self._program, self._slots, self._arena = program, slots, arena
        self._python_nodes = python_nodes
        self._last: OptimizedUpdate | None = None

    def steps(self, optimizer: Optimizer, updates: int) -> plan.Steps:
        """Returns the steps of an update by an optimiser, and prepares so many updates."""
        last = self._last
        if last is not None and last.update.optimizer is optimizer and last.update.is_ready:
            return last.steps
        if last is None or last.update.optimizer is not optimizer or not last.update.is_current:
            last = optimized_update(optimizer, self._program, self._slots, self._arena)
            self._last = last
        last.update.begin(updates)
        return last.steps

    def forget(self) -> None:
        """Forgets the last update, since other parameters learn from now on."""
        self._last = None

    def has_gradients(self) -> bool:
        """Returns whether an element of a gradient sum is not 0 whose parameter learns."""
        region = self._arena.parameter_grads
        places = parameter_places(self._slots).items()
        sums = [region[index] for p, index in places if p.trainable]
        for node in self._python_nodes:
            learning = [pair for pair in node._parameters if pair[0] not in node._frozen]
            sums += [getattr(node, grad_name) for _, grad_name in learning]
        # No generator: an exception in it, at Ctrl-C say, would be lost.
        return bool(np.any([np.any(array) for array in sums]))


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


def optimized_update(
    optimizer: Optimizer, program: Program, slots: Sequence[ParameterSlot], arena: Arena
) -> OptimizedUpdate:
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
        return OptimizedUpdate(update, plan.Steps([update.step]))
    flat = FlatUpdate(optimizer, parameters)
    places_of = [*zip(parameters, in_arena, strict=True)]
    step = CallStep(partial(_prepared, flat, places_of, arena), partial(_clear, places_of, arena))
    return OptimizedUpdate(flat, plan.Steps([step]))


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
