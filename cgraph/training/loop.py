"""The loop that trains a classifier on a dataset of images.

Nothing is printed here: `train_epochs` yields one `Epoch` after the other, and the caller shows it.
"""

from __future__ import annotations

import math
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from cgraph.data.datasets import Dataset
from cgraph.training.engine import Engine

# A training has diverged if its loss exceeds this multiple of the loss of guessing.
DIVERGED = 4.0


@dataclass(frozen=True)
class Epoch:
    """The losses and the accuracy of one pass over the training images.

    Attributes
    ----------
    number : int
        1 for the first.
    train_loss : float
        Mean loss of the training images, each measured in the step that trained on it.
    test_loss, test_accuracy : float
        Mean loss and accuracy (0 to 1) of the held-out images at the end of the epoch.
    seconds : float
        Time that the epoch took.
    """

    number: int
    train_loss: float
    test_loss: float
    test_accuracy: float
    seconds: float


def train_epochs(
    engine: Engine,
    dataset: Dataset,
    *,
    epochs: int,
    batch: int,
    eta: float,
    rng: np.random.Generator,
    on_batch: Callable[[int], object] = lambda count: None,
) -> Iterator[Epoch]:
    """Trains by stochastic gradient descent, in a new order every epoch.

    Parameters
    ----------
    engine : Engine
        Trains its classifier in place.
    dataset : Dataset
        Images of the model's size, labels within its classes.
    epochs : int
        Passes over the training images.
    batch : int
        Number of images over whose mean loss a step is made.
    eta : float
        Learning rate of the first epoch; it falls linearly, to eta / epochs in the last.
    rng : numpy.random.Generator
        Source of the orders.
    on_batch : callable, optional
        Called every few mini-batches with their number of images.

    Yields
    ------
    Epoch
        The result of a pass, for the parameters that the model has at its end.

    Raises
    ------
    FloatingPointError
        The learning rate is too large: the training loss or the held-out loss is no longer finite, or the training
        loss ends far above that of guessing.
    """
    at_once = max(engine.images_at_once // batch, 1) * batch
    for number in range(1, epochs + 1):
        start = time.perf_counter()
        rate = eta * (1 - (number - 1) / epochs)
        order = rng.permutation(len(dataset.train_labels))
        total = 0.0
        for first in range(0, len(order), at_once):
            chosen = order[first : first + at_once]
            images = dataset.scaled(dataset.train_images[chosen])
            total += engine.train(images, dataset.train_labels[chosen], rate, batch)
            on_batch(len(chosen))
            _check_finite(total, "the loss", number, eta)
        test_loss, test_accuracy = evaluate(engine, dataset)
        _check_finite(test_loss, "the loss of the held-out images", number, eta)
        seconds = time.perf_counter() - start
        if number == epochs:
            _check_size(total / len(order), dataset.classes, eta)
        yield Epoch(number, total / len(order), test_loss, test_accuracy, seconds)


def _check_finite(loss: float, name: str, epoch: int, eta: float) -> None:
    if not math.isfinite(loss):
        raise FloatingPointError(
            f"{name} is {loss} in epoch {epoch}: try a smaller learning rate than {eta}"
        )


def _check_size(loss: float, classes: int, eta: float) -> None:
    """Refuses a loss that is finite and yet far too large; guessing has a loss of log(classes)."""
    if loss > DIVERGED * math.log(classes) > 0:
        raise FloatingPointError(
            f"the loss is {loss:.4g} after the last epoch, far worse than guessing: try a smaller learning rate than "
            f"{eta}"
        )


def evaluate(engine: Engine, dataset: Dataset) -> tuple[float, float]:
    """Returns the mean loss and the accuracy (0 to 1) of the held-out images."""
    images, labels = dataset.scaled(dataset.test_images), dataset.test_labels
    loss, predicted = engine.losses(images, labels)
    return loss / len(labels), int((predicted == labels).sum()) / len(labels)


def predict_all(engine: Engine, dataset: Dataset) -> NDArray[np.intp]:
    """Returns the predicted classes of the held-out images."""
    return engine.predict(dataset.scaled(dataset.test_images))
