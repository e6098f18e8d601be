"""The functions of cgraph/_kernels/common/vector_math.pxd in a wider dtype, and errors in units in the last place.

The reference for float32 is float64, for float64 long double. Where that is no wider than float64 (MSVC, macOS on Arm),
the errors of float64 are those of both functions.
"""

import numpy as np

WIDER = {"float32": np.float64, "float64": np.longdouble}
# 64 bits of mantissa on x86-64, 113 on aarch64 with Linux.
LONG_DOUBLE_IS_WIDER = np.finfo(np.longdouble).nmant > 52
# Beyond these, erf x is closer to 1 than half a unit in the last place of float64, by far.
ERF_IS_ONE = 6.5
TWO_OVER_ROOT_PI = np.longdouble("1.12837916709551257389615890312154517")


def sigmoid(x):
    e = np.exp(-np.abs(x))
    return np.where(x < 0, e, 1) / (1 + e)


def softplus(x):
    return np.maximum(x, 0) + np.log1p(np.exp(-np.abs(x)))


def erf(x):
    """Sums the series 2/√π e^-x² Σ 2^n x^(2n + 1) / (2n + 1)!!, whose terms are all of one sign."""
    a = np.minimum(np.abs(x), ERF_IS_ONE)
    total = term = a
    twice_square, n = 2 * a * a, 1
    most, tiny = np.nanmax(twice_square, initial=0), np.finfo(a.dtype).eps / 8
    while n < most / 2 or (term > tiny * total).any():
        term = term * (twice_square / (2 * n + 1))
        total = total + term
        n += 1
    value = total * np.exp(-a * a) * TWO_OVER_ROOT_PI.astype(a.dtype)
    return np.copysign(np.where(a == ERF_IS_ONE, 1, value), x)


FUNCTIONS = {
    "exp": np.exp,
    "expm1": np.expm1,
    "log": np.log,
    "log1p": np.log1p,
    "tanh": np.tanh,
    "sigmoid": sigmoid,
    "softplus": softplus,
    "erf": erf,
}
ODD = ("tanh", "erf")
# Where a formula changes: multiples of ln 2 / 2, powers of 2, these times √½, and the bounds of the formulas.
CRITICAL = np.array(
    [
        *(n * np.log(2) / 2 for n in range(1, 2200)),
        *(2.0**k for k in range(-1074, 1024)),
        *(np.sqrt(0.5) * 2.0**k for k in range(-1022, 1024)),
        *(abs(np.sqrt(0.5) * 2.0**k - 1) for k in range(-60, 60)),
        *(0.625, 4, 6, 10, 18, 20, 38, 88.72283911, 89, 103.9720840, 104),
        *(709.782712893384, 710, 744.4400719213812, 745.1332191019412, 746),
    ]
)


def exact(name, x):
    """Returns the values of a function of x in the wider dtype."""
    with np.errstate(all="ignore"):
        return FUNCTIONS[name](x.astype(WIDER[x.dtype.name]))


def ulps(d, exact_values):
    """Returns the errors of d in units in the last place of the exact values, which are of the wider dtype.

    A unit in the last place is the distance of two numbers of d's dtype there. The error is infinite where one of both
    is NaN and the other is not, where the sign is wrong (of a zero, too), and where d is infinite but the exact value
    would not round to that, or the other way round.
    """
    info = np.finfo(d.dtype)
    wide = exact_values.dtype.type
    with np.errstate(all="ignore"):
        rounded = exact_values.astype(d.dtype)
        exponent = np.maximum(np.frexp(exact_values)[1], info.minexp + 1)
        error = np.ldexp(np.abs(d.astype(wide) - exact_values), info.nmant + 1 - exponent)
    error = np.where(np.isfinite(d) & np.isfinite(rounded), error, np.inf)
    error[np.signbit(d) != np.signbit(exact_values)] = np.inf
    error[(d == rounded) & (np.signbit(d) == np.signbit(rounded)) & np.isinf(d)] = 0
    error[np.isnan(d) & np.isnan(exact_values)] = 0
    return error
