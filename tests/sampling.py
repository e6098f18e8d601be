"""Which elements of a large array a test looks at."""

import numpy as np


def some_indices(size, most, rng):
    """All indices of an array, or the first, the last and `most` drawn ones where it is large."""
    if size <= most:
        return np.arange(size)
    return np.unique([0, size - 1, *rng.integers(0, size, most)])
