"""Initial parameters: functions of a shape and a random generator.

Every function has the arguments ``(shape, rng=None, fans=None, *, dtype=None)`` and returns a new array. The
layers of `cgraph.layers` take the names of these functions, or any function that is called with ``(shape, rng, fans)``.

The shape is that of what learns: (m, n) for the weights of `Affine` without the row of the constant input;
(C, k_h, k_w) for the kernel of one `Convolution2d`; (N, C, k_h, k_w) for those of N filters. ``fan_in`` is the number
of inputs of an element of the output, m or C k_h k_w; ``fan_out`` is the number of outputs that an input reaches, n or
N k_h k_w. ``fans``, a pair of both, replaces these numbers.

``rng`` is a `numpy.random.Generator`, which goes on from where it is; or a seed, of which each call makes a new
generator; or None, for numbers that are others each time. All draw in float64: one seed gives the same numbers in both
dtypes, up to rounding.
"""

from cgraph.init.matrices import ones, orthogonal, sparse, zeros
from cgraph.init.variances import (
    glorot_normal,
    glorot_uniform,
    he_normal,
    he_uniform,
    lecun_normal,
    lecun_uniform,
)

__all__ = [
    "glorot_normal",
    "glorot_uniform",
    "he_normal",
    "he_uniform",
    "lecun_normal",
    "lecun_uniform",
    "ones",
    "orthogonal",
    "sparse",
    "zeros",
]
