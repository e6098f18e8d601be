"""Learner: a Graph that predicts and learns one sample of a stream at a time."""

from __future__ import annotations

from collections.abc import Iterable
from functools import partial
from numbers import Real
from typing import Any, NoReturn

import numpy as np
import numpy.typing as npt

from cgraph._execution.one_sample import empty_row, repeated_call
from cgraph._execution.optimizing import as_rule
from cgraph._kernels.runtime.memory import exclusively
from cgraph._validation import Array, DType, as_number, describe
from cgraph.graph import Graph
from cgraph.node import Node, as_node
from cgraph.nodes.losses import class_threshold
from cgraph.optimizers.optimizer import Optimizer
from cgraph.streaming.metrics import Metric, RunningMetrics, functions_of
from cgraph.traversal import ancestors

_PREPARED = (
    *("_graph", "_rule", "_metrics", "_nodes", "_loss", "_prediction", "_predicting", "_learning"),
    "_count",
    "_is_target",
)


def as_learning_rule(optimizer: object, dtype: DType) -> float | Optimizer:
    """Returns an optimiser or a learning rate, or refuses what is neither."""
    if not isinstance(optimizer, Optimizer | Real | np.ndarray):
        raise TypeError(
            f"Learner: optimizer must be an Optimizer or a number, got {describe(optimizer)}"
        )
    return as_rule("Learner", optimizer, None, dtype)


class Learner:
    """A Graph that predicts and learns one sample of a stream at a time, with the running metrics of what it predicts.

    Each call does what a call of the Graph does with a batch of one sample, to the bit, in less time: the arrays of the
    sample and the steps are found once.

    Parameters
    ----------
    graph : Graph
        The compiled loss. It may be used beside the Learner. Of a Graph with `carry` each call is the next time step:
        so is `learn_one` after `predict_one`, where `step_one` is one time step for both.
    x, t : Node
        The leaves for the input and for the target; where they are one leaf, as of an autoencoder, the input is the
        target, and calls take it alone. Other leaves keep their data.
    output : Node
        The node whose data are the prediction. It does not depend on `t`, unless that is `x`.
    optimizer : Optimizer or float
        The optimiser, or the learning rate of plain descent: with one sample there is no difference between the sum of
        the losses and their mean.
    metrics : iterable of str or callable, optional
        What `metrics` has beside the mean loss: ``"accuracy"`` (as in `fit`: whether the largest elements of prediction
        and target are at the same place; of one element, whether both are above 0.5 or neither; where the loss is `BCE`
        of `output`, the part of the elements for which the prediction, a logit, is above 0 and the target above 0.5, or
        neither), ``"mae"`` or ``"mean_absolute_error"``, ``"mse"`` or ``"mean_squared_error"`` (means over the
        elements), or functions of prediction and target, arrays of shape (size,), that return a number and are called
        by their ``__name__``.
    fading : float, optional
        The factor, greater than 0 and at most 1, by which the weight of each sample in the metrics falls with each
        later one. By default all samples count alike; 0.99 is a memory of about 100 samples.

    Attributes
    ----------
    graph : Graph
    optimizer : Optimizer or float
    metrics : RunningMetrics
        The running means, a read-only mapping with `samples` and `reset`.

    Raises
    ------
    TypeError, ValueError
        An argument is not as above; `x` or `t` is carried; the graph has streams, more than one output, or one of more
        than one element.

    Notes
    -----
    The metrics are prequential (Gama et al., 2013): `learn_one` and `step_one` count what was predicted for a sample
    before anything was learnt of it; `predict_one` counts nothing. The weighted mean of a value e with the fading
    factor α is  S / N  with  S ← e + α S,  N ← 1 + α N.

    NaN and infinities are taken as they are, and reach the parameters like any other number; ``nonfinite="skip"`` or
    ``"raise"`` of an optimiser keeps them from there. Where a sample raises after its forward pass, it is not counted.

    `Dropout` is active in `learn_one` and `step_one`, whose prediction is that of the thinned network; it does nothing
    in `predict_one`.

    Examples
    --------
    >>> import cgraph as CG
    >>> x, t = CG.Leaf1(2), CG.Leaf1(1)
    >>> y = CG.Affine(x, [[1.0], [1.0], [0.0]])
    >>> learner = CG.Learner(CG.Graph(CG.MSE(y, t)), x, t, y, 0.1, metrics=["mae"])
    >>> learner.predict_one([1, 2])
    3.0
    >>> learner.step_one([1, 2], 4)
    3.0
    >>> round(learner.predict_one([1, 2]), 12)
    4.2
    >>> learner.metrics
    <1 samples: loss=1, mae=1>
    """

    def __init__(
        self,
        graph: Graph,
        x: Node,
        t: Node,
        output: Node,
        optimizer: Optimizer | float,
        *,
        metrics: Iterable[str | Metric] | str | Metric = (),
        fading: float = 1.0,
    ) -> None:
        if not isinstance(graph, Graph):
            raise TypeError(f"Learner: graph must be a Graph, got {describe(graph)}")
        executable = graph._executable
        if executable.streams:
            raise ValueError(f"Learner: graph must have no streams, got {executable.streams}")
        for name, leaf in (("x", x), ("t", t)):
            as_node("Learner", name, leaf)
            if leaf not in executable.program.leaves:
                raise ValueError(f"Learner: {name} must be a leaf of this graph, got {leaf!r}")
            if leaf in executable.program.carried:
                raise ValueError(f"Learner: {name} must not be carried, got {leaf!r}")
        as_node("Learner", "output", output)
        if output not in executable.program.channel_of:
            raise ValueError(f"Learner: output must be a node of this graph, got {output!r}")
        if x is not t and t in ancestors(output):
            raise ValueError(f"Learner: output must not depend on t, got {output!r}")
        rule = as_learning_rule(optimizer, executable.dtype)
        loss = executable.program.outputs[0]
        functions = functions_of("Learner", metrics, class_threshold(loss, output))
        factor = as_number("Learner", "fading", fading)
        if not 0 < factor <= 1:
            raise ValueError(f"Learner: fading must be greater than 0 and at most 1, got {factor}")
        self._set_up(graph, x, t, output, rule, RunningMetrics("Learner", functions, factor))

    def _set_up(
        self,
        graph: Graph,
        x: Node,
        t: Node,
        output: Node,
        rule: float | Optimizer,
        metrics: RunningMetrics,
    ) -> None:
        """Prepares the calls; the arguments have been checked."""
        executable, loss = graph._executable, graph._program.outputs[0]
        exclusively(
            executable.memory,
            "Learner",
            executable.complete,
            executable.begin_training,
            ("Learner",),
            {},
        )
        self._nodes = x, t, output
        self._graph, self._rule, self._metrics = graph, rule, metrics
        input_row, target_row, self._loss, self._prediction = map(empty_row, (x, t, loss, output))
        leaves = [(x, "x", input_row), (t, "y", target_row)]
        self._is_target = x is t
        if x is t:
            target_row = input_row
            del leaves[1]
        result = output, self._prediction
        self._predicting = repeated_call(executable, leaves[:1], result)
        self._learning = repeated_call(executable, leaves, result, self._loss.array[0], rule)
        shown = self._loss.array[0], self._prediction.array[0], target_row.array[0]
        for view in shown:
            view.flags.writeable = False  # for functions of the user's
        self._count = partial(self._metrics.add, *shown)

    def __copy__(self) -> NoReturn:
        raise TypeError(
            "Learner: a learner cannot be copied without its graph, which both would train; use copy.deepcopy"
        )

    def __reduce_ex__(self, protocol: object) -> tuple[object, ...]:
        """Returns what deep copies and pickles are made of: the Graph, which they compile anew, and what it uses."""
        parts = self._graph, *self._nodes, self._rule, self._metrics
        own = {name: value for name, value in vars(self).items() if name not in _PREPARED}
        return _restored, (type(self), *parts), own or None

    @property
    def graph(self) -> Graph:
        """The Graph that learns."""
        return self._graph

    @property
    def optimizer(self) -> Optimizer | float:
        """The optimiser, or the learning rate."""
        return self._rule

    @property
    def metrics(self) -> RunningMetrics:
        """The running metrics since the beginning, or since their last ``reset``."""
        return self._metrics

    def predict_one(self, x: npt.ArrayLike) -> Array | float:
        """Returns the prediction for one sample.

        Parameters
        ----------
        x : array_like, shape (size,) or (height, width)
            The input; of a leaf of one element also a number.

        Returns
        -------
        ndarray, shape (size,), or float
            The data of `output`, a new array; of a node of one element a number.

        Raises
        ------
        TypeError, ValueError
            `x` is not as above; a leaf above the output was never given data.
        RuntimeError
            The nodes belong to a newer Graph; the Graph is running in another thread.
        """
        found: Array | float = self._predicting("Learner.predict_one", (x,), self._prediction)
        return found

    def learn_one(self, x: npt.ArrayLike, y: npt.ArrayLike | None = None) -> float:
        """Learns one sample, and returns its loss before that.

        Parameters
        ----------
        x, y : array_like, shape (size,) or (height, width)
            The input and the target; of a leaf of one element also a number. Where they have one leaf, `y` is left out,
            or is the same object as `x`.

        Returns
        -------
        float
            The loss.

        Raises
        ------
        TypeError, ValueError
            `x` or `y` is not as above; a leaf was never given data; what a metric returns is no number.
        FloatingPointError
            The optimiser refuses a gradient that is not finite.
        RuntimeError
            The nodes belong to a newer Graph; the Graph is running in another thread.
        """
        given = self._only("learn_one", x, y) if self._is_target else (x, y)
        loss: float = self._learning("Learner.learn_one", given, self._loss, self._count)
        return loss

    def step_one(self, x: npt.ArrayLike, y: npt.ArrayLike | None = None) -> Array | float:
        """Learns one sample, and returns what was predicted for it before that, in one pass.

        Parameters
        ----------
        x, y
            As for `learn_one`.

        Returns
        -------
        ndarray, shape (size,), or float
            As for `predict_one`; with `Dropout` the data with which the gradients were computed.

        Raises
        ------
        TypeError, ValueError, FloatingPointError, RuntimeError
            As for `learn_one`.
        """
        prediction = self._prediction
        given = self._only("step_one", x, y) if self._is_target else (x, y)
        found: Array | float = self._learning("Learner.step_one", given, prediction, self._count)
        return found

    def _only(self, method: str, x: npt.ArrayLike, y: object) -> tuple[npt.ArrayLike]:
        """Returns the sample for the leaf that has input and target; refuses another target."""
        if not (y is None or y is x):
            raise ValueError(
                f"Learner.{method}: y must be left out, since the input is the target, got {describe(y)}"
            )
        return (x,)

    def __repr__(self) -> str:
        return f"<Learner of {self._graph!r}, {self._metrics!r}>"


def _restored(cls: Any, *parts: Any) -> Any:
    """Returns a Learner that was copied or pickled, for which the constructor of an own class is not asked."""
    learner = cls.__new__(cls)
    learner._set_up(*parts)
    return learner
