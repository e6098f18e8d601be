"""History: what `fit` has measured in each epoch."""

from __future__ import annotations

from collections.abc import Mapping

import numpy as np
from numpy.typing import NDArray


class History(dict[str, NDArray[np.float64]]):
    """The measurements of `fit` by name, a dict of arrays with one element for each epoch.

    There are ``loss``; with validation ``val_loss``; each metric, and with validation also with ``val_`` in front;
    ``lr``, the learning rate of the first update of the epoch; and ``seconds``.

    Attributes
    ----------
    best_epoch : int or None
        With `patience`, the epoch (1 is the first) whose parameters the graph has now. None without `patience`, and if
        no epoch had a finite loss.
    stopped : bool
        Whether `patience` or a callback has ended the training.
    """

    best_epoch: int | None
    stopped: bool

    def __init__(
        self,
        arrays: Mapping[str, NDArray[np.float64]],
        best_epoch: int | None = None,
        stopped: bool = False,
    ) -> None:
        super().__init__(arrays)
        self.best_epoch, self.stopped = best_epoch, stopped

    def __repr__(self) -> str:
        last = "".join(f", {name}={array[-1]:.4g}" for name, array in self.items() if array.size)
        return f"History({len(self['loss'])} epochs{last})"
