"""Datasets of labelled images, split into a part to train on and a part that is held out."""

from __future__ import annotations

import os
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from cgraph.data.digits import load_digits
from cgraph.data.idx import DataError, load_idx_folder

Bytes = NDArray[np.uint8]

_HELD_OUT = 360  # images, a fifth of the 1,797 digits


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
        """The classes without an image to train on, such as class 0 where the labels begin at 1."""
        seen = {int(label) for label in np.unique(self.train_labels)}
        return [number for number in range(self.classes) if number not in seen]

    def scaled(self, images: Bytes) -> NDArray[np.float32]:
        """Returns the images with grey values from 0 to 1."""
        return images.astype(np.float32) / np.float32(self.levels)


def digits_dataset(seed: int) -> Dataset:
    """Returns the 1,797 digits that come with the package: 1,437 to train on, 360 held out.

    The seed alone fixes the split, on every machine and with every version of NumPy.
    """
    images, labels = load_digits()
    # A permutation of a Generator may differ in another version of NumPy, and a saved model
    # would then be tested on digits it was trained on. The raw bits of a bit generator may not.
    order = np.argsort(np.random.PCG64(seed).random_raw(len(labels)), kind="stable")
    test, train = order[:_HELD_OUT], order[_HELD_OUT:]
    return Dataset(images[train], labels[train], images[test], labels[test], levels=16)


def idx_dataset(folder: str | os.PathLike[str]) -> Dataset:
    """Reads the four IDX files of a folder (see `cgraph.data.load_idx_folder`) as a dataset.

    Labels that do not begin at 0 are kept: the classes below the first label are `unseen`.

    Raises
    ------
    FileNotFoundError
        The folder or one of the files does not exist.
    DataError
        A file is damaged, or the images are not unsigned bytes, or a label is not an integer from 0 to 255.
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
    """Returns labels as unsigned bytes; values that are not integers from 0 to 255 raise a DataError."""
    for numbers in labels:
        # NaN fails all comparisons, and is refused by this condition, too.
        wrong = numbers[~((numbers >= 0) & (numbers <= 255) & (numbers == np.floor(numbers)))]
        if len(wrong):
            raise DataError(
                f"{os.fspath(folder)}: expected labels that are whole numbers from 0 to 255, "
                f"got {wrong[0]}"
            )
    return [numbers.astype(np.uint8) for numbers in labels]
