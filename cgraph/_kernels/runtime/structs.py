"""Arrays of C structs, whose fields are given, and checked, by their names.

The dtype of such an array comes from the struct itself: NumPy reads it from a Cython memoryview. When an array is
acquired as a memoryview, Cython compares types and offsets, but no names, so `checked` does that before.
"""

from __future__ import annotations

from typing import Any

import numpy as np
import numpy.typing as npt

Structs = npt.NDArray[np.void]


def dtype_of(view: Any) -> np.dtype[np.void]:
    """Returns the dtype of the structs in a memoryview."""
    return np.asarray(view).dtype


def structs(dtype: np.dtype[np.void], size: int, /, **fields: Any) -> Structs:
    """Returns an array of structs; each of its fields is given as one value for all of them, or one for each.

    Raises
    ------
    TypeError
        A field is missing, or the struct has no field of this name.
    """
    names = dtype.names or ()
    if fields.keys() != set(names):
        raise TypeError(
            f"a struct must be given its fields {', '.join(names)}, got {', '.join(fields)}"
        )
    array = np.empty(size, dtype)
    for name, values in fields.items():
        array[name] = values
    return array


def checked(dtype: np.dtype[np.void], array: Structs) -> Structs:
    """Returns an array, whose structs must have this dtype.

    Raises
    ------
    TypeError
        The structs have other fields, or fields of other types or in another order.
    """
    if array.dtype != dtype:
        raise TypeError(f"structs must have the fields {dtype}, got {array.dtype}")
    return array
