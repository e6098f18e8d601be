"""The functions of vector_math.pxd: worst errors, special values, and equal bits wherever an element lies.

tools/accuracy.py measures the same errors over all numbers of float32, and far more of float64.
"""

import numpy as np
import pytest
from exact_functions import CRITICAL, LONG_DOUBLE_IS_WIDER, ODD, exact, ulps

from cgraph import _kernels

pytestmark = [
    pytest.mark.usefixtures("build_name"),
    pytest.mark.thread_unsafe(reason="selects kernels for all threads"),
    pytest.mark.parametrize("dtype", ["float32", "float64"]),
]

# The largest error in units in the last place, of any build.
BOUNDS = {
    "exp": 1.1,
    "expm1": 1.35,
    "log": 0.9,
    "log1p": 0.9,
    "tanh": 1.55,
    "sigmoid": 1.9,
    "softplus": 1.25,
    "erf": 1.5,
}
every_function = pytest.mark.parametrize("name", BOUNDS)

INF, NAN = np.inf, np.nan
# x and f(x), to the bit.
EXACT = {
    "exp": [(0.0, 1), (-0.0, 1), (INF, INF), (-INF, 0), (1e4, INF), (-1e4, 0)],
    "exp_nonpositive": [(0.0, 1), (-0.0, 1), (-INF, 0), (-1e4, 0)],
    "expm1": [(0.0, 0.0), (-0.0, -0.0), (INF, INF), (-INF, -1), (1e4, INF), (-1e4, -1)],
    "log": [(1, 0.0), (0.0, -INF), (-0.0, -INF), (INF, INF), (-1, NAN), (-1e-42, NAN), (-INF, NAN)],
    "log1p": [(0.0, 0.0), (-0.0, -0.0), (-1, -INF), (INF, INF), (-1.5, NAN), (-INF, NAN)],
    "tanh": [(0.0, 0.0), (-0.0, -0.0), (INF, 1), (-INF, -1), (1e4, 1), (-1e4, -1)],
    "sigmoid": [(0.0, 0.5), (-0.0, 0.5), (INF, 1), (-INF, 0.0), (1e4, 1), (-1e4, 0.0)],
    "softplus": [(INF, INF), (-INF, 0.0), (1e4, 1e4), (-1e4, 0.0)],
    "erf": [(0.0, 0.0), (-0.0, -0.0), (INF, 1), (-INF, -1), (1e4, 1), (-1e4, -1)],
}
# Functions that are x itself near 0, subnormal numbers included.
NEARLY_X = ("expm1", "log1p", "tanh")
RANGES = {"exp": (0, INF), "expm1": (-1, INF), "tanh": (-1, 1), "sigmoid": (0, 1), "erf": (-1, 1)}


def apply(name, x):
    """Returns a function of x, computed by the build in use."""
    d = np.full_like(x, NAN)
    _kernels.build(x.dtype).elementwise.apply(name, x, d)
    return d


def numbers(dtype):
    """Returns numbers of every exponent and sign, and those around which a formula changes."""
    unsigned = np.uint32 if dtype == "float32" else np.uint64
    mantissa = np.finfo(dtype).nmant
    exponents = np.arange(1 << (8 * np.dtype(dtype).itemsize - 1 - mantissa), dtype=unsigned)
    rng = np.random.default_rng(0)
    mantissas = rng.integers(0, 1 << mantissa, 64 if dtype == "float32" else 8, dtype=unsigned)
    mantissas = np.append(mantissas, unsigned([0, 1, (1 << mantissa) - 1]))
    bits = (exponents[:, None] << unsigned(mantissa)) + mantissas
    with np.errstate(over="ignore", under="ignore"):
        critical = CRITICAL.astype(dtype).view(unsigned)
    near = critical[:, None] + np.arange(-3, 4).astype(unsigned)
    near = near[(critical > 3) & np.isfinite(critical.view(dtype))]
    common = rng.normal(0, 3, 20_000).astype(dtype).view(unsigned)
    x = np.concatenate([bits.ravel(), near.ravel(), common]).view(dtype)
    return np.concatenate([x, -x])


@every_function
def test_errors_are_below_their_bounds(name, dtype):
    x = numbers(dtype)
    errors = ulps(apply(name, x), exact(name, x))
    slack = 0 if dtype == "float32" or LONG_DOUBLE_IS_WIDER else 1
    worst = errors.argmax()
    assert errors[worst] < BOUNDS[name] + slack, (x[worst], errors[worst])


def test_powers_of_nonpositive_numbers_are_those_of_exp(dtype):
    x = numbers(dtype)
    x = x[~(x > 0)]
    assert ulps(apply("exp_nonpositive", x), exact("exp", x)).max() < BOUNDS["exp"]


@pytest.mark.parametrize("name", EXACT)
def test_special_values_are_exact(name, dtype):
    x, expected = np.array([*EXACT[name], (NAN, NAN)], dtype).T.copy()
    d = apply(name, x)
    assert np.array_equal(d, expected, equal_nan=True), d
    number = ~np.isnan(expected)
    assert np.array_equal(np.signbit(d[number]), np.signbit(expected[number])), d


@pytest.mark.parametrize("name", NEARLY_X)
def test_small_numbers_stay_what_they_are(name, dtype):
    info = np.finfo(dtype)
    x = np.array([info.smallest_subnormal, 7 * info.smallest_subnormal, info.tiny, 1e-30], dtype)
    x = np.concatenate([x, -x])
    assert np.array_equal(apply(name, x), x)


@pytest.mark.parametrize("name", ODD)
def test_odd_functions_are_odd_to_the_bit(name, dtype):
    x = numbers(dtype)
    x = x[~np.isnan(x)]
    assert apply(name, -x).tobytes() == (-apply(name, x)).tobytes()


@pytest.mark.parametrize("name", RANGES)
def test_values_stay_in_their_range(name, dtype):
    x = numbers(dtype)
    d = apply(name, x[~np.isnan(x)])
    low, high = RANGES[name]
    assert d.min() >= low
    assert d.max() <= high


@every_function
def test_equal_inputs_give_equal_bits_wherever_they_lie(name, dtype):
    """In each lane of a vector, in its remainder, and in strided arrays."""
    values = np.array([0.3, -0.7, 1.7, -3.9, 5.5, -20.1, 0.62499, 88.1], dtype)
    values = np.abs(values) if name.startswith("log") else values
    alone = np.array([apply(name, values[i : i + 1])[0] for i in range(len(values))])
    for size in [*range(1, 36), 64]:
        index = np.arange(size) * 5 % len(values)
        for stride in (1, 3):
            x = np.full(size * stride, NAN, dtype)[::stride]
            x[:] = values[index]
            d = np.empty(size * stride, dtype)[::stride]
            _kernels.build(x.dtype).elementwise.apply(name, x, d)
            assert d.tobytes() == alone[index].tobytes()


def test_an_unknown_name_is_refused(dtype):
    with pytest.raises(ValueError, match="not in tuple"):
        apply("cosh", np.zeros(1, dtype))
