"""Central differences."""

import numpy as np


def central_differences(function, array, indices, step=1e-6):
    """d function() / d array.flat[i] for each i; `array` is restored."""
    slopes = []
    for i in indices:
        kept = array.flat[i]
        array.flat[i] = kept + step
        above = function()
        array.flat[i] = kept - step
        below = function()
        array.flat[i] = kept
        slopes.append((above - below) / (2 * step))
    return np.array(slopes)


def some_indices(size, most, rng):
    """All indices of an array, or the first, the last and `most` drawn ones where it is large."""
    if size <= most:
        return np.arange(size)
    return np.unique([0, size - 1, *rng.integers(0, size, most)])
