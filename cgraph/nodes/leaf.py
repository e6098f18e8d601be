"""Leaves: the inputs of a graph.

docs/look_up/specification.md says which document *the specification* is.
"""

import numpy.typing as npt

from cgraph._validation import as_real, as_size, copy_into
from cgraph.node import Node


class Leaf1(Node):
    """A vector that the user sets (specification, section "Class: Leaf1").

    Parameters
    ----------
    size : int
        Number of elements; the data has shape (size, 1).
    dtype : numpy dtype, optional
        float64 (default) or float32.

    Examples
    --------
    >>> import cgraph as CG
    >>> x = CG.Leaf1(3)
    >>> x.getInput([1, 2, 3])
    >>> x.data
    array([1., 2., 3.])
    """

    def __init__(self, size: int, *, dtype: npt.DTypeLike | None = None) -> None:
        self._set_up(0, as_size(type(self).__name__, "size", size), 1, (), dtype)

    def getInput(self, input: npt.ArrayLike) -> None:
        """Copies a vector of exactly `size` real numbers into ``data``, cast to its dtype.

        Raises
        ------
        TypeError
            The elements are not real numbers (None, strings, complex numbers, objects).
        ValueError
            The vector has another shape than (size,), or is a ragged sequence.
        """
        copy_into(type(self).__name__, "input", input, self._data)


class Leaf2(Node):
    """A matrix that the user sets (specification, section "Class: Leaf2").

    Parameters
    ----------
    height, width : int
        Shape of the data.
    dtype : numpy dtype, optional
        float64 (default) or float32.

    Examples
    --------
    >>> import cgraph as CG
    >>> x = CG.Leaf2(2, 3)
    >>> x.getInput([[1, 2, 3], [4, 5, 6]])
    >>> x.data
    array([1., 2., 3., 4., 5., 6.])
    """

    def __init__(self, height: int, width: int, *, dtype: npt.DTypeLike | None = None) -> None:
        owner = type(self).__name__
        self._set_up(0, as_size(owner, "height", height), as_size(owner, "width", width), (), dtype)

    def getInput(self, input: npt.ArrayLike) -> None:
        """Copies a matrix of shape (height, width), or its elements row by row, into ``data``.

        Raises
        ------
        TypeError
            The elements are not real numbers (None, strings, complex numbers, objects).
        ValueError
            The matrix has another shape than (height, width) and (height * width,), or is a ragged sequence.
        """
        owner = type(self).__name__
        array = as_real(owner, "input", input)
        if array.shape not in ((self.size,), (self.height, self.width)):
            raise ValueError(
                f"{owner}: input must have shape ({self.height}, {self.width}) or ({self.size},), "
                f"got {array.shape}"
            )
        copy_into(owner, "input", array.reshape(-1), self._data)
