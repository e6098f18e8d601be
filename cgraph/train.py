"""Training a classifier on images: the data and the loop.

Nothing here prints. `train_epochs` hands out one `Epoch` after the other, and the caller does the rest.
"""

from __future__ import annotations

import math
import os
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from cgraph._engines import Engine
from cgraph.data import DataError, load_digits, load_idx_folder

__all__ = [
    "Dataset",
    "Epoch",
    "digits_dataset",
    "evaluate",
    "idx_dataset",
    "predict_all",
    "train_epochs",
]

Bytes = NDArray[np.uint8]

_HELD_OUT = 360  # a fifth of the 1,797 digits
DIVERGED = 4.0  # times the loss of guessing


@dataclass(frozen=True, eq=False)
class Dataset:
    """Images (n, height, width) with grey values 0 to `levels`, and labels (n,) from 0."""

    train_images: Bytes
    train_labels: Bytes
    test_images: Bytes
    test_labels: Bytes
    levels: int

    @property
    def size(self) -> tuple[int, int]:
        """Height and width of an image."""
        return self.train_images.shape[1], self.train_images.shape[2]

    @property
    def classes(self) -> int:
        """Number of classes: the labels are 0 to classes - 1."""
        return int(max(self.train_labels.max(), self.test_labels.max())) + 1

    @property
    def unseen(self) -> list[int]:
        """The classes of which there is no image to train on: 0 where labels begin at 1."""
        seen = {int(label) for label in np.unique(self.train_labels)}
        return [number for number in range(self.classes) if number not in seen]

    def scaled(self, images: Bytes) -> NDArray[np.float32]:
        """Grey values from 0 to 1, as the classifier sees them."""
        return images.astype(np.float32) / np.float32(self.levels)


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


def digits_dataset(seed: int) -> Dataset:
    """The 1,797 digits that come with the package: 1,437 to train on, 360 held out.

    The seed alone fixes the split, on every machine and with every version of NumPy.
    """
    images, labels = load_digits()
    # A permutation of a Generator may differ in another version of NumPy, and a saved model
    # would then be tested on digits it was trained on. The raw bits of a bit generator may not.
    order = np.argsort(np.random.PCG64(seed).random_raw(len(labels)), kind="stable")
    test, train = order[:_HELD_OUT], order[_HELD_OUT:]
    return Dataset(images[train], labels[train], images[test], labels[test], levels=16)


def idx_dataset(folder: str | os.PathLike[str]) -> Dataset:
    """The four IDX files of a folder (see `cgraph.data.load_idx_folder`).

    Labels that do not begin at 0 stay as they are: the classes below the first are `unseen`.

    Raises
    ------
    FileNotFoundError
        The folder or one of the files is not there.
    DataError
        What the files hold is damaged, or not unsigned bytes as images and 0 to 255 as labels.
    """
    data = load_idx_folder(folder)
    for images in (data.train_images, data.test_images):
        if images.dtype != np.uint8:
            raise DataError(
                f"{os.fspath(folder)}: expected images of unsigned bytes (IDX type 0x08), "
                f"got {images.dtype}"
            )
    train_labels, test_labels = _classes(folder, data.train_labels, data.test_labels)
    return Dataset(data.train_images, train_labels, data.test_images, test_labels, levels=255)


def _classes(folder: str | os.PathLike[str], *labels: NDArray[Any]) -> list[Bytes]:
    for numbers in labels:
        # NaN is below nothing, and is no class.
        wrong = numbers[~((numbers >= 0) & (numbers <= 255) & (numbers == np.floor(numbers)))]
        if len(wrong):
            raise DataError(
                f"{os.fspath(folder)}: expected labels that are whole numbers from 0 to 255, "
                f"got {wrong[0]}"
            )
    return [numbers.astype(np.uint8) for numbers in labels]


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
