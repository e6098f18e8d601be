"""Comparisons of arrays with the meaning of numpy.testing's, fast where all elements are equal."""

import numpy as np


def assert_equal(actual, expected):
    """Asserts that elements are equal, NaN being equal to NaN; numpy.testing reports those that are not."""
    if not np.array_equal(actual, expected, equal_nan=True):
        np.testing.assert_array_equal(actual, expected)


def assert_within(actual, expected, relative, absolute):
    """Asserts that elements are as close as numpy.testing.assert_allclose demands, which reports those that are not."""
    with np.errstate(invalid="ignore", over="ignore"):
        close = np.abs(actual - expected) <= absolute + relative * np.abs(expected)
    if not np.isfinite(expected).all():
        close &= np.isfinite(expected)
        close |= (actual == expected) | (np.isnan(actual) & np.isnan(expected))
    if np.shape(actual) != np.shape(expected) or not close.all():
        np.testing.assert_allclose(actual, expected, rtol=relative, atol=absolute)
