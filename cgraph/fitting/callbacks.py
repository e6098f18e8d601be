"""Callback: what a user's own class does while `fit` runs."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import TYPE_CHECKING, Any

import numpy as np
import numpy.typing as npt

from cgraph._validation import describe, is_iterable

if TYPE_CHECKING:
    from cgraph._validation import Array
    from cgraph.fitting.run import Run


class Callback:
    """The base of classes whose methods `fit` calls; all of them do nothing here.

    `run` tells about the training: ``run.graph``, ``run.optimizer``, ``run.epoch`` (1 is the first), ``run.epochs``,
    ``run.logs`` (in `on_epoch_end` the measurements of this epoch by name), and ``run.history`` (those of all epochs so
    far, as a `History`).

    A method that returns True ends the training: `on_batch_end` after this batch, whose epoch is measured and recorded
    as it is. An exception leaves `fit`; parameters are then those of the last update.

    A callback with a state of its own defines ``state_dict()``, which returns a dict of arrays or numbers, and
    ``load_state_dict(state)``, which takes a dict of arrays. Checkpoints keep it. What ``load_state_dict`` raises
    leaves `fit`, with a note that names the file; graph, optimiser, generator and callbacks then have the state that
    they had before.

    Examples
    --------
    >>> import numpy as np
    >>> import cgraph as CG
    >>> class Halve(CG.Callback):
    ...     def on_epoch_end(self, run):
    ...         run.optimizer.lr /= 2
    >>> x, t = CG.Leaf1(1), CG.Leaf1(1)
    >>> graph = CG.Graph(CG.MSE(CG.Affine(x, np.zeros((2, 1))), t))
    >>> feed = {x: [0.0, 1.0], t: [1.0, 3.0]}
    >>> CG.fit(graph, feed, CG.SGD(lr=0.4), epochs=3, batch=2, callbacks=[Halve()])["lr"]
    array([0.4, 0.2, 0.1])
    """

    def on_epoch_begin(self, run: Run) -> bool | None:
        """Is called before each epoch."""
        return None

    def on_batch_end(self, run: Run, losses: Array) -> bool | None:
        """Is called after each update, with the losses of its batch.

        A class that defines it has one call of the graph for each batch, instead of one for many batches.
        """
        return None

    def on_epoch_end(self, run: Run) -> bool | None:
        """Is called after each epoch, when it has been measured and recorded."""
        return None


class AtEpochEnd(Callback):
    """A function as a callback: it is called at the end of each epoch."""

    def __init__(self, function: Callable[[Run], object]) -> None:
        self._function = function

    def on_epoch_end(self, run: Run) -> bool | None:
        return is_true(self._function(run))


def is_true(answer: object) -> bool:
    """Returns whether a callback asks for the end: True itself, not any value that a function happens to return."""
    return isinstance(answer, (bool, np.bool_)) and bool(answer)


def as_callbacks(callbacks: Any) -> list[Callback]:
    """Returns the callbacks, functions among them wrapped, or refuses them."""
    given = [callbacks] if callable(callbacks) or isinstance(callbacks, Callback) else callbacks
    result = []
    for each in given if is_iterable(given) else [given]:
        if isinstance(each, type) or not (isinstance(each, Callback) or callable(each)):
            raise TypeError(
                f"fit: callbacks must be Callbacks or functions of the run, got {describe(each)}"
            )
        result.append(each if isinstance(each, Callback) else AtEpochEnd(each))
    return result


def state_of(callback: Callback) -> dict[str, npt.NDArray[Any]]:
    """Returns the state that a callback keeps in checkpoints, by name; nothing if it has none."""
    state: Any = getattr(callback, "state_dict", dict)()
    owner = f"{type(callback).__name__}.state_dict"
    if not isinstance(state, Mapping):
        raise TypeError(f"{owner}: must return a dict of arrays, got {describe(state)}")
    arrays = {}
    for name, value in state.items():
        arrays[name] = np.array(value)
        if not isinstance(name, str) or arrays[name].dtype.kind not in "biufcU":
            raise TypeError(
                f"{owner}: must return a dict of arrays, got {describe(name)}: {describe(value)}"
            )
    return arrays
