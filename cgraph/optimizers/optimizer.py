"""Optimizer: the base class of all rules by which parameters learn."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import Any, ClassVar, SupportsIndex

from numpy.typing import NDArray

from cgraph._validation import Array, describe
from cgraph.node import Node, as_nodes
from cgraph.optimizers.rule import Rule
from cgraph.optimizers.settings import (
    Rate,
    Setting,
    amount,
    as_lr,
    as_nonfinite,
    as_norm,
    flag,
)
from cgraph.optimizers.state import States
from cgraph.optimizers.updates import update_nodes
from cgraph.parameter import Parameter

Settings = Mapping[str, Any]
Groups = Mapping[Parameter | Node, Settings]


class Optimizer:
    """A rule by which parameters learn; `SGD`, `Adam`, `AdamW` and `RMSprop` are compiled.

    An optimiser goes where a learning rate goes: ``graph.step(feed, optimizer)``, ``graph.train(feed, optimizer,
    batch)``, ``graph.update(optimizer)`` after ``graph.accumulate``, and ``optimizer.update(loss)`` after backward
    passes over nodes. It divides the gradient sums by the number of samples that have been added to them since the last
    update; then it clips them, and then the rule changes the parameters. Parameters that are not ``trainable`` keep
    their values, sums and state.

    For a rule of your own derive a class from Optimizer and define ``apply(self, values, gradients, samples)``.

    Parameters
    ----------
    lr : float or function of int
        The learning rate, or a function that returns it for the number of updates so far, such as those of
        `CG.schedules`. It is called for all updates of a call before the call begins.
    weight_decay : float, optional
        The factor of the parameters that is added to their gradients.
    max_grad_norm : float, optional
        If the Euclidean norm of the whole gradient, of all parameters that learn, is larger, the gradient is scaled
        down to it; by default it is not.
    nonfinite : {"ignore", "skip", "raise"}, optional
        What to do if an element of the gradient is NaN or infinite: apply it nevertheless; leave this update out; or
        raise FloatingPointError. After the latter two parameters, state and `updates` are as before, and the gradient
        sums are 0.
    decay_bias : bool, optional
        Whether `weight_decay` counts for biases, too: the row of Affine's weight that belongs to the constant, the
        biases of kernels, gain and bias of LayerNorm.
    groups : mapping of Parameter or Node to dict, optional
        Settings of their own for single parameters, or for those of a node: ``{"lr": 1e-4, "weight_decay": 0}``. Those
        of a parameter go before those of its node.

    Attributes
    ----------
    updates : int
        The number of updates so far.

    Raises
    ------
    TypeError, ValueError
        A setting is not as above; a group of what is neither Parameter nor Node; an unknown setting in a group.

    Notes
    -----
    The settings are attributes and can be assigned at any time; they count from the next call on. An optimiser belongs
    to one thread at a time. It keeps the parameters alive that it has updated.

    Examples
    --------
    Eligibility traces, with a state that follows the parameters:

    >>> import cgraph as CG
    >>> class Traces(CG.Optimizer):
    ...     def apply(self, values, gradients, samples):
    ...         trace = self.state("trace")
    ...         trace *= 0.9
    ...         trace += gradients
    ...         values -= self.rate * trace
    >>> x, t = CG.Leaf1(1), CG.Leaf1(1)
    >>> y = CG.Affine(x, [[1.0], [0.0]])
    >>> graph = CG.Graph(CG.MSE(y, t))
    >>> traces = Traces(lr=0.25)
    >>> graph.train({x: [[1], [1]], t: [[0], [0]]}, traces)
    array([1., 0.])
    >>> sorted(traces.state_dict())
    ['00000.trace', '00000.updates', 'updates']
    """

    lr = Setting(as_lr)
    weight_decay = Setting(amount)
    max_grad_norm = Setting(as_norm)
    nonfinite = Setting(as_nonfinite)
    decay_bias = Setting(flag)

    # The settings that a group may have. A rule of the user's own has one learning rate for all parameters.
    _of_groups: ClassVar[tuple[str, ...]] = ("weight_decay",)
    # The names that arrays of state may have; None stands for any name.
    _state_names: ClassVar[tuple[str, ...] | None] = None
    # Whether weight_decay shrinks the parameters themselves, whatever the gradients.
    _decoupled: ClassVar[bool] = False

    def __init__(
        self,
        lr: Rate,
        *,
        weight_decay: float = 0,
        max_grad_norm: float | None = None,
        nonfinite: str = "ignore",
        decay_bias: bool = True,
        groups: Groups | None = None,
    ) -> None:
        self._settings: dict[str, Any] = {}
        self._begin()
        self.lr, self.weight_decay, self.max_grad_norm = lr, weight_decay, max_grad_norm
        self.nonfinite, self.decay_bias = nonfinite, decay_bias
        self._groups = self._as_groups({} if groups is None else groups)

    def _begin(self) -> None:
        """Sets what an optimiser has beside settings and groups, before its first update."""
        # Another object after each change of a setting that is not the learning rate.
        self._version = object()
        self._states = States(type(self).__name__, self._state_names)
        self._node_update: Any = None  # the last FlatUpdate of nodes
        self._running: Any = None  # the FlatUpdate whose `apply` is running

    def _as_groups(self, groups: object) -> dict[Parameter | Node, dict[str, Any]]:
        """Returns the settings of groups, checked."""
        owner = type(self).__name__
        if not isinstance(groups, Mapping):
            raise TypeError(
                f"{owner}: groups must map parameters or nodes to dicts, got {describe(groups)}"
            )
        checked = {}
        for key, settings in groups.items():
            if not isinstance(key, Parameter | Node) or not isinstance(settings, Mapping):
                raise TypeError(
                    f"{owner}: groups must map parameters or nodes to dicts, got "
                    f"{describe(key)}: {describe(settings)}"
                )
            for name in settings:
                if name not in self._of_groups:
                    raise ValueError(
                        f"{owner}: a group may have the settings {', '.join(self._of_groups)}, got {name!r}"
                    )
            checked[key] = {
                name: getattr(type(self), name).check(owner, f"{name} of a group", value)
                for name, value in settings.items()
            }
        return checked

    @property
    def updates(self) -> int:
        """The number of updates so far."""
        return self._states.updates

    def __repr__(self) -> str:
        settings = ", ".join(f"{name}={value!r}" for name, value in self._settings.items())
        return f"{type(self).__name__}({settings})"

    def __reduce_ex__(self, protocol: SupportsIndex) -> tuple[object, ...]:
        begun = ("_version", "_states", "_node_update", "_running")
        attributes = {name: value for name, value in vars(self).items() if name not in begun}
        state = self.state_dict(), self._states.parameters
        return _restored, (type(self), *state), attributes

    def _config(self) -> dict[str, Any]:
        """Returns the keyword arguments with which the class is built anew, besides `groups`.

        A class whose constructor takes other arguments than the settings overrides this method.
        """
        return dict(self._settings)

    # What compiled updates ask

    @property
    def _rule(self) -> Rule | None:
        """The compiled rule; None for a rule that `apply` is."""
        return None

    def _group_of(self, parameter: Parameter) -> dict[str, Any]:
        """Returns the settings of its own that a parameter has."""
        groups = self._groups
        if not groups:
            return {}
        found = [groups.get(node, {}) for node in parameter.nodes] + [groups.get(parameter, {})]
        return {name: value for group in found for name, value in group.items()}

    def _numbers(self, settings: Settings) -> dict[str, float]:
        """Returns the numbers of the compiled rule for these settings: those of momentum, decay and eps that it has."""
        return {}

    # A rule of the user's own

    def apply(self, values: Array, gradients: Array, samples: int) -> None:
        """Changes parameters in place; a class with a rule of its own defines it.

        If it raises, parameters, state and `updates` are as before, and the gradient sums are 0.

        Parameters
        ----------
        values : ndarray
            All parameters that learn, one behind the other, in the order of ``graph.parameters``.
        gradients : ndarray
            Their gradients: the sums divided by `samples`, clipped, with the weight decay. They may be overwritten.
        samples : int
            The number of samples whose gradients were added.
        """
        raise NotImplementedError(f"{type(self).__name__}: a rule needs a method apply")

    @property
    def rate(self) -> float:
        """In `apply`: the learning rate of this update. Elsewhere it raises RuntimeError."""
        return float(self._require_running("rate").rate)

    def state(self, name: str) -> Array:
        """In `apply`: returns an array with an element for each of `values`: zeros at first, later what was put there.

        It follows the parameters from Graph to Graph, and is a part of `state_dict`. Elsewhere it raises RuntimeError.
        """
        array: Array = self._require_running("state").state(name)
        return array

    def _require_running(self, name: str) -> Any:
        if self._running is None:
            raise RuntimeError(f"{type(self).__name__}: {name} is known in apply alone")
        return self._running

    # Updates of nodes

    def update(self, loss: Node | Iterable[Node]) -> None:
        """Updates the parameters of a loss and of its ancestors with the gradients that backward passes have added.

        Parameters
        ----------
        loss : Node or sequence of Node
            The ends at which backward passes began since the last update; the sums are divided by their number, of
            several ends by the largest of the numbers.

        Raises
        ------
        TypeError, ValueError
            `loss` is no Node and no sequence of at least one; the nodes differ in dtype; an own node has an
            ``updateParameters`` of its own, which an optimiser would not call, or a parameter that is no writable array
            of floating-point numbers with a gradient sum of its shape.
        FloatingPointError
            `nonfinite` is "raise", and a gradient is not finite.
        """
        owner = type(self).__name__
        ends = [loss] if isinstance(loss, Node) else as_nodes(f"{owner}.update", "loss", loss)
        update_nodes(self, ends)

    # The state

    def state_dict(self) -> dict[str, NDArray[Any]]:
        """Returns copies of all state by name, which `load_state_dict` takes and `numpy.savez` can save.

        For each parameter, in the order of its first update, there are the number of its updates and its arrays:
        ``00000.updates``, ``00000.exp_avg`` …; and ``updates``. Settings are not a part of it.
        """
        return self._states.to_dict()

    def load_state_dict(
        self, state: Mapping[str, NDArray[Any]], parameters: Iterable[Parameter] | None = None
    ) -> None:
        """Replaces all state by a copy of one that `state_dict` has returned.

        Parameters
        ----------
        state : mapping of str to ndarray
            The state.
        parameters : iterable of Parameter, optional
            The parameters, in the order in which the saved optimiser updated them first: for one Graph that of
            ``graph.parameters``, of those that learnt. By default the parameters that this optimiser has updated or,
            if there are none, those of its first update.

        Raises
        ------
        TypeError, ValueError
            `state` is no state of as many parameters of these shapes; nothing has changed.
        """
        self._states.load(state, parameters)


def _restored(
    cls: type[Optimizer], state: Mapping[str, NDArray[Any]], parameters: list[Parameter]
) -> Optimizer:
    """Returns an optimiser with the state of one that was copied or pickled, whose attributes are set afterwards."""
    optimizer = cls.__new__(cls)
    optimizer._begin()
    optimizer.load_state_dict(state, parameters or None)
    return optimizer
