"""Targets of losses, made of labels."""

import numpy as np
import numpy.typing as npt

from cgraph._validation import Array, as_dtype, as_real, as_size, describe


def one_hot(labels: npt.ArrayLike, classes: int, *, dtype: npt.DTypeLike | None = None) -> Array:
    """Returns rows that are 1 at a label and 0 elsewhere: the targets of `CEE` and `SoftmaxCEE`.

    Parameters
    ----------
    labels : array_like of int
        Numbers from 0 to `classes` - 1, in an array of any shape.
    classes : int
        The length of the rows.
    dtype : numpy dtype, optional
        float64 (the default) or float32.

    Returns
    -------
    numpy.ndarray, shape labels.shape + (classes,)
        A new array.

    Raises
    ------
    TypeError
        `labels` or `classes` are not integers, or the dtype is another one.
    ValueError
        A label is not below `classes`, or below 0; the rows of `labels` differ in length.

    Examples
    --------
    >>> import cgraph as CG
    >>> CG.one_hot([2, 0], 3)
    array([[0., 0., 1.],
           [1., 0., 0.]])
    """
    count = as_size("one_hot", "classes", classes)
    numbers = as_real("one_hot", "labels", labels)
    if numbers.size and numbers.dtype.kind not in "iu":
        came = (
            f"an array of dtype {numbers.dtype}"
            if isinstance(labels, np.ndarray)
            else describe(labels)
        )
        raise TypeError(f"one_hot: labels must be integers, got {came}")
    wrong = numbers[(numbers < 0) | (numbers >= count)]
    if wrong.size:
        raise ValueError(f"one_hot: labels must be in [0, {count}), got {wrong.flat[0]}")
    rows = np.zeros((numbers.size, count), as_dtype("one_hot", dtype))
    rows[np.arange(numbers.size), numbers.ravel().astype(np.intp)] = 1
    return rows.reshape(*numbers.shape, count)
