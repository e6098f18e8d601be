"""The handwritten digits that come with the package."""

from __future__ import annotations

from importlib import resources
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray


class Digits(NamedTuple):
    """1,797 handwritten digits: `images` (1797, 8, 8) with values 0 to 16, `labels` (1797,)."""

    images: NDArray[np.uint8]
    labels: NDArray[np.uint8]


def load_digits() -> Digits:
    """Returns the UCI optical digits as scikit-learn ships them, in the same order.

    Returns
    -------
    Digits
        `images`, unsigned bytes of shape (1797, 8, 8) with grey values 0 to 16, and `labels`,
        unsigned bytes of shape (1797,) from 0 to 9. Each call returns arrays of its own.

    Notes
    -----
    E. Alpaydin and C. Kaynak, "Optical Recognition of Handwritten Digits", UCI Machine Learning
    Repository, 1998, CC BY 4.0; details in `LICENSE-digits.txt` beside this file.

    Examples
    --------
    >>> from cgraph.data import load_digits
    >>> images, labels = load_digits()
    >>> images.shape, int(images.max()), labels[:5].tolist()
    ((1797, 8, 8), 16, [0, 1, 2, 3, 4])
    """
    file = resources.files("cgraph.data").joinpath("digits.npz")
    with file.open("rb") as stream, np.load(stream, allow_pickle=False) as arrays:
        return Digits(arrays["images"], arrays["labels"])
