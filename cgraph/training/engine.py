"""The interface through which the training loop and the command line use an engine, and its types."""

from __future__ import annotations

from typing import ClassVar, Literal, Protocol

import numpy as np
from numpy.typing import NDArray

EngineName = Literal["graph", "node"]
Images = NDArray[np.float32]
Labels = NDArray[np.uint8]


class Engine(Protocol):
    """Trains a classifier in place, and predicts with it.

    Attributes
    ----------
    images_at_once : int
        The number of images, about, that one call of `train` should be given: large enough for the cost of a call to
        be negligible, small enough for progress to be shown and for Ctrl-C to be heard.
    """

    images_at_once: ClassVar[int]

    def train(self, images: Images, labels: Labels, eta: float, batch: int) -> float:
        """Makes a step on the mean loss of each `batch` images, and of the remainder; returns the sum of all losses."""
        ...

    def losses(self, images: Images, labels: Labels) -> tuple[float, NDArray[np.intp]]:
        """Returns the sum of the losses of labelled images, and the most probable class of each."""
        ...

    def predict(self, images: Images) -> NDArray[np.intp]:
        """Returns the most probable class of each image."""
        ...
