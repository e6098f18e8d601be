"""Updates: what an optimiser does to the parameters of a Graph, or of some nodes, and with which memory."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from functools import partial
from typing import TYPE_CHECKING, Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

from cgraph import _kernels
from cgraph._kernels.runtime import plan
from cgraph._kernels.runtime.memory import Memory, address
from cgraph._kernels.runtime.optimizer_step import LEARNING_EXTENT, SETTINGS, OptimizerStep
from cgraph._kernels.runtime.structs import Structs, structs
from cgraph._kernels.runtime.uninterrupted import assign_parts, call_or_undo
from cgraph._propagation import half_passes
from cgraph._subclassing import declared_array
from cgraph._subclassing.order import topological_order
from cgraph._validation import DTYPES, Array, DType
from cgraph.node import Node
from cgraph.nodes.learning import LearningNode
from cgraph.optimizers.rule import Rule
from cgraph.optimizers.settings import rate_at
from cgraph.optimizers.state import Home, Index
from cgraph.parameter import Parameter, parameters_of

if TYPE_CHECKING:
    from cgraph.optimizers.optimizer import Optimizer


# The rule with which a compiled step makes the gradient for a rule in Python.
PREPARATION = Rule("scale", ())


class Update:
    """The update of some parameters, which lie at the same places of flat arrays as their sums and their state.

    Parameters
    ----------
    optimizer : Optimizer
        The rule, and the state so far, which moves here.
    parameters : sequence of Parameter
        Those that learn.
    indices : sequence of slice or ndarray
        The places of their elements.
    size, dtype
        Those of the flat arrays.

    Attributes
    ----------
    step : OptimizerStep
        The compiled update.
    steps : plan.Steps
        What a Graph runs for an update.
    """

    def __init__(
        self,
        optimizer: Optimizer,
        parameters: Sequence[Parameter],
        indices: Sequence[Index],
        size: int,
        dtype: DType,
    ) -> None:
        self.optimizer = optimizer
        self.parameters = list(parameters)
        self._version = optimizer._version
        self.home = Home(size, dtype)
        rows = _Rows(optimizer)
        settings_of = np.full(size, -1, np.intp)
        counts = optimizer._states.updates_of(parameters)
        numbers = []
        for p, index, count in zip(parameters, indices, counts, strict=True):
            elements = np.arange(size)[index]
            numbers.append(rows.number(p, count, decays=True))
            settings_of[elements] = numbers[-1]
            if not optimizer.decay_bias and isinstance(p.node, LearningNode):
                biases = elements[p.node._biases(p._value_name)]
                settings_of[biases] = rows.number(p, count, decays=False)
        self.home.settings = rows.structs()
        self._groups = rows.groups
        rule = optimizer._rule or PREPARATION
        optimizer._states.move(self.parameters, self.home, indices, numbers)
        states = [None if name is None else self.home.array(name) for name in rule.states]
        norm = optimizer.max_grad_norm
        self.step = OptimizerStep(
            type(optimizer).__name__,
            rule.name,
            _kernels.build(dtype).elementwise.OPTIMIZER_KERNELS,
            _extents(settings_of),
            self.home.settings,
            states,
            np.inf if norm is None else norm,
            optimizer.nonfinite,
            optimizer._states.total,
        )
        self.steps = plan.Steps([self.step])
        self._constant: Any = (
            None  # the optimiser's learning rate of the last call, if all rates were numbers
        )

    @property
    def is_current(self) -> bool:
        """Whether settings are as they were, and the state still lies here."""
        return self.home.is_current and self._version is self.optimizer._version

    @property
    def is_ready(self) -> bool:
        """Whether the next updates need no `begin`, since settings, state and constant rates are those of the last."""
        optimizer = self.optimizer
        return (
            optimizer._settings["lr"] is self._constant
            and optimizer._version is self._version
            and self.home.is_current
        )

    def begin(self, updates: int) -> None:
        """Evaluates the learning rates of the next updates, before a call begins."""
        optimizer = self.optimizer
        lr = optimizer._settings["lr"]
        if lr is self._constant:
            return
        lrs = [group.get("lr", lr) for group in self._groups] or [lr]
        varies = any(map(callable, lrs))
        owner, first = type(optimizer).__name__, optimizer.updates
        rates = [
            [rate_at(owner, each, first + row) for each in lrs]
            for row in range(updates if varies else 1)
        ]
        self._rates = np.array(rates, float)
        self.step.begin(np.ascontiguousarray(self._rates[:, : len(self._groups)]))
        self._constant = None if varies else lr


class _Rows:
    """The settings of an update: one for all parameters that have the same, and have had as many updates."""

    def __init__(self, optimizer: Optimizer) -> None:
        self._optimizer = optimizer
        self._numbers: dict[Any, int] = {}
        self.groups: list[dict[str, Any]] = []
        self._structs: list[dict[str, Any]] = []

    def number(self, parameter: Parameter, updates: int, decays: bool) -> int:
        """Returns the number of the settings of a parameter."""
        optimizer = self._optimizer
        group = optimizer._group_of(parameter)
        key = tuple(sorted(group.items(), key=str)), updates, decays
        if key not in self._numbers:
            settings = optimizer._settings | group
            self._numbers[key] = len(self.groups)
            self.groups.append(group)
            decay = settings["weight_decay"] if decays else 0
            self._structs.append(
                {
                    "updates": updates,
                    "weight_decay": decay,
                    "decoupled": optimizer._decoupled,
                    **dict.fromkeys(("momentum", "decay", "eps"), 0),
                    **optimizer._numbers(settings),
                }
            )
        return self._numbers[key]

    def structs(self) -> Structs:
        """Returns all settings, in the order of their numbers."""
        rows = self._structs
        fields = {name: [row[name] for row in rows] for name in SETTINGS.names or ()}
        return structs(SETTINGS, len(rows), **fields)


def _extents(settings_of: NDArray[np.intp]) -> Structs:
    """Returns the runs of elements with the same settings; -1 stands for elements that do not learn."""
    edges = np.flatnonzero(np.diff(settings_of, prepend=-1, append=-1))
    firsts, ends = edges[:-1], edges[1:]
    learn = settings_of[firsts] >= 0
    firsts, ends = firsts[learn], ends[learn]
    return structs(
        LEARNING_EXTENT,
        len(firsts),
        first=firsts,
        count=ends - firsts,
        settings=settings_of[firsts],
    )


# The parameters of an array, and the gradient sums of another: at some places, or all (...) of an own node's arrays.
class Piece(NamedTuple):
    values: Array
    grads: Array
    index: Any


class FlatUpdate(Update):
    """The update of parameters that lie apart, by copies in flat arrays; rules in Python get these arrays."""

    def __init__(self, optimizer: Optimizer, parameters: Sequence[Parameter]) -> None:
        dtypes = {p.node.dtype for p in parameters}
        if len(dtypes) > 1:
            raise TypeError(
                f"{type(optimizer).__name__}: nodes must all have one dtype, got {sorted(map(str, dtypes))}"
            )
        dtype = dtypes.pop() if dtypes else DTYPES[0]
        sizes = [int(np.prod(p.shape)) for p in parameters]
        ends = np.cumsum(sizes, dtype=np.intp).tolist()
        self._parts = [slice(end - size, end) for size, end in zip(sizes, ends, strict=True)]
        size = sum(sizes)
        super().__init__(optimizer, parameters, self._parts, size, dtype)
        self._values, self._gradients = np.zeros(size, dtype), np.zeros(size, dtype)
        self._memory = Memory(0, 0, address(self._values), address(self._gradients), 0)

    def prepared(self, pieces: Sequence[Piece], samples: int) -> tuple[Any, ...]:
        """Returns arguments for `call_or_undo`, which updates the parameters of these pieces and sets their sums to 0.

        No signal is heard between a rule and the copies of its results. An update that raises leaves parameters, state
        and counts as they were, and has used the sums up.
        """
        values, gradients, parts = self._values, self._gradients, self._parts
        indices = [piece.index for piece in pieces]
        results = []
        for piece, part in zip(pieces, parts, strict=True):
            found = piece.values[piece.index]
            values[part] = found.reshape(-1)
            gradients[part] = piece.grads[piece.index].reshape(-1)
            results.append(values[part].reshape(found.shape))
        sums, zeros = [piece.grads for piece in pieces], [0] * len(pieces)
        self._memory.samples = samples
        call: Callable[[], object] = partial(plan.apply_update, self.steps, self._memory, 0.0, True)
        undo: Callable[[], object] = partial(assign_parts, sums, indices, zeros)
        if self.optimizer._rule is None:
            call, undo = partial(self._apply, call, max(samples, 1)), self._undoing(undo)
        targets = [piece.values for piece in pieces] + sums
        return call, targets, indices + indices, results + zeros, undo

    def _apply(self, prepare: Callable[[], object], samples: int) -> None:
        """Makes the gradient, and calls the rule of the user's own if it is finite, or need not be."""
        optimizer, before = self.optimizer, self.optimizer.updates
        prepare()
        if optimizer.updates > before:
            self.rate = float(self._rates[min(self.step.count, len(self._rates)) - 1, 0])
            optimizer._running = self
            try:
                optimizer.apply(self._values, self._gradients, samples)
            finally:
                optimizer._running = None

    def _undoing(self, clear: Callable[[], object]) -> Callable[[], None]:
        """Returns a function that puts state and counts back as they are now, and sets the gradient sums to 0."""
        arrays, settings, total = self.home.arrays, self.home.settings, self.optimizer._states.total
        state = {name: array.copy() for name, array in arrays.items()}
        counts, updates = settings["updates"].copy(), int(total[0])

        def undo() -> None:
            for name, array in arrays.items():
                array[...] = state.get(name, 0)
            settings["updates"] = counts
            total[0] = updates
            clear()

        return undo

    def state(self, name: str) -> Array:
        """Returns the array of state of a name."""
        return self.home.array(name)


# The parameters of nodes


def learning_parameters(nodes: Iterable[Node]) -> list[Parameter]:
    """Returns the parameters of nodes that learn; refuses nodes that would not learn by an optimiser."""
    for node in nodes:
        method = type(node).updateParameters
        if "updateParameters" in vars(node) or method not in (
            Node.updateParameters,
            LearningNode.updateParameters,
        ):
            raise TypeError(
                f"{type(node).__name__}: an optimiser would not call its updateParameters; "
                "declare what learns in _parameters"
            )
    return [p for p in parameters_of(nodes) if p.trainable]


def own_piece(parameter: Parameter, use: str = "an optimiser") -> Piece:
    """Returns the arrays of a parameter that a node of a user's own class declares; `use` says what for."""
    node, names = parameter.node, (parameter._value_name, parameter._grad_name)
    values, grads = (declared_array(node, name) for name in names)
    for name, array in zip(names, (values, grads), strict=True):
        writeable = array.flags.writeable
        if array.dtype.kind != "f" or not writeable or array.shape != values.shape:
            came = f"one of dtype {array.dtype} and shape {array.shape}"
            raise TypeError(
                f"{type(node).__name__}: {name} must be a writable array of floating-point numbers, of shape "
                f"{values.shape}, for {use}, got {came if writeable else 'a read-only one'}"
            )
    return Piece(values, grads, ...)


def node_piece(parameter: Parameter) -> Piece:
    """Returns the arrays of a parameter of any node, up to date."""
    node, names = parameter.node, (parameter._value_name, parameter._grad_name)
    if not (isinstance(node, LearningNode) and names in node._parts):
        return own_piece(parameter)
    for name in names:
        node._loans[name].touch()
    return Piece(node._parameter_vector, node._grad_vector, node._parts[names])


def update_nodes(optimizer: Optimizer, ends: Sequence[Node]) -> None:
    """Updates the parameters of some ends and of their ancestors with the gradients that backward passes have added."""
    for end in ends:
        half_passes.before_update(end)
    order = topological_order(ends)
    parameters = learning_parameters(order)
    samples = max(end._backward_passes for end in ends)
    pieces = [node_piece(p) for p in parameters]
    try:
        if samples or _have_gradients(pieces):
            update = optimizer._node_update
            if update is None or not update.is_current or update.parameters != parameters:
                update = optimizer._node_update = FlatUpdate(optimizer, parameters)
            update.begin(1)
            call_or_undo(*update.prepared(pieces, samples))
    finally:
        # An update that has raised has used the sums up, too, unless it had not begun.
        if not _have_gradients(pieces):
            for end in ends:
                end._backward_passes = 0


def _have_gradients(pieces: Iterable[Piece]) -> bool:
    """Returns whether an element of a gradient sum is not 0."""
    # No generator: an exception in it, at Ctrl-C say, would be lost.
    return bool(np.any([np.any(piece.grads[piece.index]) for piece in pieces]))
