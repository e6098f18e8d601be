"""Leaves: the inputs of a graph.

docs/look_up/specification.md says which document *the specification* is.
"""

from typing import Any

import numpy.typing as npt

from cgraph._validation import Array, as_real, as_size, copy_into
from cgraph.node import Node


class _Leaf(Node):
    """The common part of the leaves, which know whether they have ever been given data."""

    _is_given = False

    @property
    def data(self) -> Array:
        """The data, a flat array with element (i, j) at index i * width + j.

        The array is live: passes use what is written into it. Assigning to the property copies into the array.
        """
        self._is_given = True
        return super().data

    @data.setter
    def data(self, value: npt.ArrayLike) -> None:
        copy_into(type(self).__name__, "data", value, self._data)
        self._is_given = True


class Leaf1(_Leaf):
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

    def _config(self) -> dict[str, Any]:
        return {"size": self.size, "dtype": self._dtype.name}

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
        self._is_given = True


class Leaf2(_Leaf):
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

    def _config(self) -> dict[str, Any]:
        return {"height": self._height, "width": self._width, "dtype": self._dtype.name}

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
        self._is_given = True
