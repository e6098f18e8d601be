"""Comparisons of arrays, as numpy.testing has them, that take no time where all is equal."""

import numpy as np


def assert_equal(actual, expected):
    """The same elements, with NaN in the same places; numpy.testing says where they are not."""
    if not np.array_equal(actual, expected, equal_nan=True):
        np.testing.assert_array_equal(actual, expected)


def assert_within(actual, expected, relative, absolute):
    """Elements as close as numpy.testing.assert_allclose demands, which says where they are not."""
    with np.errstate(invalid="ignore", over="ignore"):
        close = np.abs(actual - expected) <= absolute + relative * np.abs(expected)
    if not np.isfinite(expected).all():
        close &= np.isfinite(expected)
        close |= (actual == expected) | (np.isnan(actual) & np.isnan(expected))
    if np.shape(actual) != np.shape(expected) or not close.all():
        np.testing.assert_allclose(actual, expected, rtol=relative, atol=absolute)
