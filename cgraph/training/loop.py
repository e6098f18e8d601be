"""The loop that trains a classifier on a dataset of images.

Nothing here prints. `train_epochs` hands out one `Epoch` after the other, and the caller does the rest.
"""

from __future__ import annotations

import math
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from cgraph.data.datasets import Dataset
from cgraph.training.engines import Engine

DIVERGED = 4.0  # times the loss of guessing


@dataclass(frozen=True)
class Epoch:
    """What one pass over the training images gave.

    Attributes
    ----------
    number : int
        1 for the first.
    train_loss : float
        Mean loss of the training images, each measured when its turn came.
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
    """Train by stochastic gradient descent, in a new order every epoch.

    Parameters
    ----------
    engine : Engine
        Trains its classifier in place.
    dataset : Dataset
        Images of the model's size, labels within its classes.
    epochs : int
        Passes over the training images.
    batch : int
        Images that are averaged for one step.
    eta : float
        Learning rate of the first epoch; it falls linearly, to eta / epochs in the last.
    rng : numpy.random.Generator
        Source of the orders.
    on_batch : callable, optional
        Called every few mini-batches with the number of their images.

    Yields
    ------
    Epoch
        After each pass, for the parameters that the model has then.

    Raises
    ------
    FloatingPointError
        The loss, or that of the held-out images, is no longer finite, or it ends far above that of guessing: the
        learning rate is too large.
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
    """Refuse a loss that is finite only because `CEE` keeps it so: a guess has the logarithm of the classes."""
    if loss > DIVERGED * math.log(classes) > 0:
        raise FloatingPointError(
            f"the loss is {loss:.4g} after the last epoch, far worse than guessing: try a smaller learning rate than "
            f"{eta}"
        )


def evaluate(engine: Engine, dataset: Dataset) -> tuple[float, float]:
    """Mean loss and accuracy (0 to 1) of the held-out images."""
    images, labels = dataset.scaled(dataset.test_images), dataset.test_labels
    loss, predicted = engine.losses(images, labels)
    return loss / len(labels), int((predicted == labels).sum()) / len(labels)


def predict_all(engine: Engine, dataset: Dataset) -> NDArray[np.intp]:
    """The predicted classes of the held-out images."""
    return engine.predict(dataset.scaled(dataset.test_images))
