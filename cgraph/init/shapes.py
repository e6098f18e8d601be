"""The shape of what is initialised, and the numbers of inputs and outputs that follow from it."""

from __future__ import annotations

import math
from typing import NamedTuple

from cgraph._validation import MAX_SIZE, as_number, as_size, describe, is_iterable


class Fans(NamedTuple):
    """How many inputs an output has, and how many outputs an input reaches."""

    fan_in: float
    fan_out: float


def as_shape(owner: str, value: object) -> tuple[int, ...]:
    """Returns a shape of two to four sizes, or refuses the value."""
    expected = f"{owner}: shape must be (m, n), (C, k_h, k_w) or (N, C, k_h, k_w)"
    if isinstance(value, (str, bytes)) or not is_iterable(value):
        raise TypeError(f"{expected}, got {describe(value)}")
    shape = tuple(as_size(owner, "a size in shape", size) for size in value)
    if not 2 <= len(shape) <= 4:
        raise ValueError(f"{expected}, got {describe(shape)}")
    if math.prod(shape) > MAX_SIZE:
        raise ValueError(
            f"{owner}: shape must have at most {MAX_SIZE} elements, got {describe(shape)}"
        )
    return shape


def as_fans(owner: str, value: object, shape: tuple[int, ...]) -> Fans:
    """Returns the given fans, or those of a shape for None; refuses what is not a pair of positive numbers."""
    if value is None:
        return fans_of(shape)
    if not isinstance(value, (tuple, list)) or len(value) != 2:
        raise TypeError(f"{owner}: fans must be a pair (fan_in, fan_out), got {describe(value)}")
    fans = Fans(*(as_number(owner, "fans", fan) for fan in value))
    if not all(0 < fan < math.inf for fan in fans):
        raise ValueError(f"{owner}: fans must be positive and finite, got {describe(value)}")
    return fans


def fans_of(shape: tuple[int, ...]) -> Fans:
    """Returns the numbers of inputs and outputs of a matrix (m, n), a kernel, or the kernels of N filters."""
    if len(shape) == 2:
        return Fans(*shape)
    filters, channels, height, width = (1, *shape)[-4:]
    return Fans(channels * height * width, filters * height * width)


def rows_of_outputs(shape: tuple[int, ...]) -> tuple[int, int]:
    """Returns the number of outputs and that of the weights that each of them has: the shape with flat filters."""
    if len(shape) == 2:
        return shape[1], shape[0]
    filters = shape[0] if len(shape) == 4 else 1
    return filters, math.prod(shape) // filters
