"""Random numbers whose variance keeps the scale of a signal from layer to layer."""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence

import numpy as np
import numpy.typing as npt

from cgraph._validation import Array, as_dtype, as_generator
from cgraph.init.shapes import Fans, as_fans, as_shape

Variance = Callable[[Fans], float]


def _glorot(fans: Fans) -> float:
    return 2 / (fans.fan_in + fans.fan_out)


def _he(fans: Fans) -> float:
    return 2 / fans.fan_in


def _lecun(fans: Fans) -> float:
    return 1 / fans.fan_in


def _uniform(
    owner: str, variance: Variance, shape: object, rng: object, fans: object, dtype: object
) -> Array:
    """Returns uniform numbers of a variance: the bounds are ±√3 standard deviations."""
    sizes, number_type = as_shape(owner, shape), as_dtype(owner, dtype)  # type: ignore[arg-type]
    bound = math.sqrt(3 * variance(as_fans(owner, fans, sizes)))
    return as_generator(owner, rng).uniform(-bound, bound, sizes).astype(number_type)


def _normal(
    owner: str, variance: Variance, shape: object, rng: object, fans: object, dtype: object
) -> Array:
    """Returns normal numbers of a variance."""
    sizes, number_type = as_shape(owner, shape), as_dtype(owner, dtype)  # type: ignore[arg-type]
    deviation = math.sqrt(variance(as_fans(owner, fans, sizes)))
    return as_generator(owner, rng).normal(0.0, deviation, sizes).astype(number_type)


def glorot_uniform(
    shape: Sequence[int],
    rng: np.random.Generator | int | None = None,
    fans: tuple[float, float] | None = None,
    *,
    dtype: npt.DTypeLike | None = None,
) -> Array:
    """Draws from U(−a, a) with a = √(6 / (fan_in + fan_out)), which is also known as Xavier's initialisation.

    The variance 2 / (fan_in + fan_out) is between those that keep the scale of data on the way forward, and that of
    gradients on the way back. It suits tanh, sigmoid and outputs without an activation.

    Parameters
    ----------
    shape : sequence of int
        (m, n), (C, k_h, k_w) or (N, C, k_h, k_w), see `cgraph.init`.
    rng : numpy.random.Generator, int or None, optional
        The source of random numbers, or a seed.
    fans : (float, float), optional
        fan_in and fan_out; by default those of the shape.
    dtype : numpy dtype, optional
        float64 (the default) or float32.

    Returns
    -------
    numpy.ndarray
        A new array of this shape.

    Raises
    ------
    TypeError, ValueError
        An argument is not of this kind, or out of range; here and in all functions of this module.

    References
    ----------
    X. Glorot, Y. Bengio: Understanding the difficulty of training deep feedforward neural networks, AISTATS 2010,
    equation 16.

    Examples
    --------
    >>> import cgraph as CG
    >>> CG.init.glorot_uniform((2, 4), rng=0).round(2)
    array([[ 0.27, -0.46, -0.92, -0.97],
           [ 0.63,  0.83,  0.21,  0.46]])
    """
    return _uniform("glorot_uniform", _glorot, shape, rng, fans, dtype)


def glorot_normal(
    shape: Sequence[int],
    rng: np.random.Generator | int | None = None,
    fans: tuple[float, float] | None = None,
    *,
    dtype: npt.DTypeLike | None = None,
) -> Array:
    """Draws from N(0, 2 / (fan_in + fan_out)), the normal distribution with the variance of `glorot_uniform`.

    It is not truncated, as Keras' is, which redraws what is more than two standard deviations from 0.

    Parameters
    ----------
    shape, rng, fans, dtype
        As in `glorot_uniform`.

    Returns
    -------
    numpy.ndarray
        A new array of this shape.

    References
    ----------
    X. Glorot, Y. Bengio: Understanding the difficulty of training deep feedforward neural networks, AISTATS 2010,
    equation 12.
    """
    return _normal("glorot_normal", _glorot, shape, rng, fans, dtype)


def he_uniform(
    shape: Sequence[int],
    rng: np.random.Generator | int | None = None,
    fans: tuple[float, float] | None = None,
    *,
    dtype: npt.DTypeLike | None = None,
) -> Array:
    """Draws from U(−a, a) with a = √(6 / fan_in), the uniform distribution with the variance of `he_normal`.

    Parameters
    ----------
    shape, rng, fans, dtype
        As in `glorot_uniform`; fan_out takes no part.

    Returns
    -------
    numpy.ndarray
        A new array of this shape.

    References
    ----------
    K. He, X. Zhang, S. Ren, J. Sun: Delving deep into rectifiers, ICCV 2015, arXiv:1502.01852, equation 10.
    """
    return _uniform("he_uniform", _he, shape, rng, fans, dtype)


def he_normal(
    shape: Sequence[int],
    rng: np.random.Generator | int | None = None,
    fans: tuple[float, float] | None = None,
    *,
    dtype: npt.DTypeLike | None = None,
) -> Array:
    """Draws from N(0, 2 / fan_in), also known as Kaiming's initialisation: for ReLU, which halves the variance.

    It is not truncated, as Keras' is, which redraws what is more than two standard deviations from 0.

    Parameters
    ----------
    shape, rng, fans, dtype
        As in `glorot_uniform`; fan_out takes no part.

    Returns
    -------
    numpy.ndarray
        A new array of this shape.

    References
    ----------
    K. He, X. Zhang, S. Ren, J. Sun: Delving deep into rectifiers, ICCV 2015, arXiv:1502.01852, equation 10.
    """
    return _normal("he_normal", _he, shape, rng, fans, dtype)


def lecun_uniform(
    shape: Sequence[int],
    rng: np.random.Generator | int | None = None,
    fans: tuple[float, float] | None = None,
    *,
    dtype: npt.DTypeLike | None = None,
) -> Array:
    """Draws from U(−a, a) with a = √(3 / fan_in), the uniform distribution with the variance of `lecun_normal`.

    Parameters
    ----------
    shape, rng, fans, dtype
        As in `glorot_uniform`; fan_out takes no part.

    Returns
    -------
    numpy.ndarray
        A new array of this shape.

    References
    ----------
    Y. LeCun, L. Bottou, G. Orr, K.-R. Müller: Efficient BackProp, in Neural Networks: Tricks of the Trade, Springer
    1998, equation 16.
    """
    return _uniform("lecun_uniform", _lecun, shape, rng, fans, dtype)


def lecun_normal(
    shape: Sequence[int],
    rng: np.random.Generator | int | None = None,
    fans: tuple[float, float] | None = None,
    *,
    dtype: npt.DTypeLike | None = None,
) -> Array:
    """Draws from N(0, 1 / fan_in), which keeps the variance of a sum of inputs of variance 1.

    It is not truncated, as Keras' is, which redraws what is more than two standard deviations from 0.

    Parameters
    ----------
    shape, rng, fans, dtype
        As in `glorot_uniform`; fan_out takes no part.

    Returns
    -------
    numpy.ndarray
        A new array of this shape.

    References
    ----------
    Y. LeCun, L. Bottou, G. Orr, K.-R. Müller: Efficient BackProp, in Neural Networks: Tricks of the Trade, Springer
    1998, equation 16.
    """
    return _normal("lecun_normal", _lecun, shape, rng, fans, dtype)
