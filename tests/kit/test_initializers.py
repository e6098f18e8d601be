"""Initial parameters: formulas, distributions, structure, seeds."""

import math

import numpy as np
import pytest

import cgraph as CG

# The variance of each, of fan_in and fan_out.
VARIANCES = {
    "glorot": lambda fan_in, fan_out: 2 / (fan_in + fan_out),
    "he": lambda fan_in, fan_out: 2 / fan_in,
    "lecun": lambda fan_in, fan_out: 1 / fan_in,
}
RANDOM = [f"{name}_{kind}" for name in VARIANCES for kind in ("uniform", "normal")]
DRAWN = [*RANDOM, "orthogonal", "sparse"]
# Shapes with their fan_in and fan_out, by Keras' rule: the receptive field times the channels in and out.
SHAPES = {(3, 5): (3, 5), (2, 3, 4): (24, 12), (6, 2, 3, 4): (24, 72), (1, 1): (1, 1)}


def init(name):
    return getattr(CG.init, name)


@pytest.mark.parametrize("shape", SHAPES)
@pytest.mark.parametrize("name", RANDOM)
def test_the_numbers_are_those_of_the_published_formula(name, shape):
    family, kind = name.split("_")
    for fans in (SHAPES[shape], (2.5, 7)):
        variance = VARIANCES[family](*fans)
        rng = np.random.default_rng(3)
        expected = {
            "uniform": lambda v, rng=rng: rng.uniform(-math.sqrt(3 * v), math.sqrt(3 * v), shape),
            "normal": lambda v, rng=rng: math.sqrt(v) * rng.standard_normal(shape),
        }[kind](variance)
        given = None if fans == SHAPES[shape] else fans
        np.testing.assert_allclose(init(name)(shape, 3, given), expected, rtol=1e-14)


@pytest.mark.parametrize("name", RANDOM)
def test_the_distribution_function_is_that_of_the_name(name):
    """The statistic of Kolmogorov and Smirnov, which exceeds this bound with a probability of 0.001."""
    family, kind = name.split("_")
    deviation = math.sqrt(VARIANCES[family](150, 100))
    x = np.sort(init(name)((150, 100), 11).ravel()) / deviation
    uniform = (np.clip(x / math.sqrt(3), -1, 1) + 1) / 2
    normal = (1 + np.vectorize(math.erf)(x / math.sqrt(2))) / 2
    distance = np.abs((uniform if kind == "uniform" else normal) - np.arange(x.size) / x.size).max()
    assert distance < 1.95 / math.sqrt(x.size)
    if kind == "uniform":
        assert np.abs(x).max() <= math.sqrt(3)


@pytest.mark.parametrize("dtype", ["float64", "float32"])
@pytest.mark.parametrize(
    "shape", [(5, 3), (3, 5), (4, 4), (1, 6), (6, 1), (7, 2, 2, 1), (3, 2, 2, 2), (2, 3, 4)]
)
def test_orthogonal_columns_or_rows_are_orthogonal(shape, dtype):
    w = CG.init.orthogonal(shape, 1, gain=1.5, dtype=dtype).astype(float)
    matrix = w.reshape(1 if len(shape) == 3 else shape[0], -1)
    if matrix.shape[0] < matrix.shape[1]:
        matrix = matrix.T
    product = matrix.T @ matrix
    tolerance = 1e-14 if dtype == "float64" else 1e-6
    np.testing.assert_allclose(product, 2.25 * np.eye(len(product)), atol=tolerance)


@pytest.mark.parametrize("shape", [(6, 4), (4, 6), (5, 5)])
def test_the_signs_of_an_orthogonal_matrix_do_not_depend_on_lapack(shape):
    """A = Q R, with a positive diagonal of R, has one solution."""
    q = CG.init.orthogonal(shape, 9)
    if shape[0] < shape[1]:
        q = q.T
    r = q.T @ np.random.default_rng(9).normal(size=q.shape)
    assert np.abs(np.tril(r, -1)).max() < 1e-14
    assert (np.diagonal(r) > 0).all()


def test_orthogonal_matrices_are_equally_likely():
    """Rotations of the plane by any angle, and as many reflections."""
    rng = np.random.default_rng(5)
    drawn = np.array([CG.init.orthogonal((2, 2), rng) for _ in range(2000)])
    assert np.linalg.det(drawn).mean() == pytest.approx(0, abs=0.07)
    assert drawn.mean(axis=0) == pytest.approx(np.zeros((2, 2)), abs=0.05)
    angles = np.sort(np.arctan2(drawn[:, 1, 0], drawn[:, 0, 0]))
    uniform = np.linspace(-math.pi, math.pi, angles.size)
    assert np.abs(angles - uniform).max() < 2 * math.pi * 1.95 / math.sqrt(angles.size)


@pytest.mark.parametrize(
    ("sparsity", "zeros"), [(0.9, 18), (0, 0), (0.99, 19), (0.55, 11), (0.01, 1), (0.1, 2)]
)
def test_sparse_leaves_each_output_the_same_number_of_weights(sparsity, zeros):
    for shape in ((20, 30), (30, 5, 2, 2), (5, 2, 2)):
        w = CG.init.sparse(shape, 2, sparsity=sparsity)
        rows = w.T if len(shape) == 2 else w.reshape(-1, 20)
        assert (np.count_nonzero(rows == 0, axis=1) == zeros).all()
        assert np.abs(w).max() <= 1 / math.sqrt(20)
        patterns = {(row == 0).tobytes() for row in rows}
        assert (len(patterns) > 1) == (sparsity > 0 and len(rows) > 1)


def test_sparse_weights_are_uniform_and_all_places_are_equally_likely():
    w = CG.init.sparse((10, 4000), 4, sparsity=0.7)
    assert (w != 0).mean(axis=1) == pytest.approx(np.full(10, 0.3), abs=0.03)
    x = np.sort(w[w != 0]) * math.sqrt(10)
    assert np.abs((x + 1) / 2 - np.arange(x.size) / x.size).max() < 1.95 / math.sqrt(x.size)
    assert np.abs(CG.init.sparse((10, 9), 4, (90, 1))).max() <= 1 / math.sqrt(90)


def test_the_fraction_of_zeros_is_not_rounded_up_by_a_rounding_error():
    assert 0.55 * 100 > 55
    assert np.count_nonzero(CG.init.sparse((100, 1), 0, sparsity=0.55)) == 45


def test_one_weight_of_each_output_remains():
    assert (np.count_nonzero(CG.init.sparse((4, 50), 0), axis=0) == 1).all()


@pytest.mark.parametrize("shape", SHAPES)
def test_zeros_and_ones(shape):
    assert CG.init.zeros(shape).tolist() == np.zeros(shape).tolist()
    assert CG.init.ones(shape).tolist() == np.ones(shape).tolist()


@pytest.mark.parametrize("name", CG.init.__all__)
def test_every_initialiser_keeps_the_common_rules(name):
    for shape in SHAPES:
        value = init(name)(list(shape), 6)
        assert (value.shape, value.dtype) == (shape, np.float64)
        assert value.flags.c_contiguous
        assert value.flags.writeable
        assert value.base is None or value.base.size == value.size
        narrow = init(name)(shape, 6, dtype=np.float32)
        assert narrow.dtype == np.float32
        np.testing.assert_array_equal(narrow, value.astype(np.float32))
        for again in (6, np.uint8(6), np.random.default_rng(6)):
            assert init(name)(shape, again).tobytes() == value.tobytes()
        assert init(name)(shape, 6, (3.5, 2)).shape == shape


@pytest.mark.parametrize("name", DRAWN)
def test_numbers_differ_between_seeds_go_on_in_a_generator_and_are_new_without_one(name):
    draw, rng = init(name), np.random.default_rng(1)
    values = [draw((9, 8), one) for one in (1, 2, rng, rng, None, None)]
    bits = [value.tobytes() for value in values]
    assert bits[0] == bits[2]
    assert len(set(bits)) == 5


@pytest.mark.parametrize("name", ["zeros", "ones"])
def test_what_is_not_drawn_takes_nothing_from_the_generator(name):
    rng = np.random.default_rng(1)
    init(name)((3, 3), rng)
    assert rng.random() == np.random.default_rng(1).random()
