"""Ties and edges have exact data and gradients."""

import math

import numpy as np
import pytest
from edge_table import EDGES, pool
from op_row import leaf_of
from op_table import DTYPES

import cgraph as CG

TINY = {dtype: float(np.finfo(dtype).tiny) for dtype in DTYPES}


@pytest.mark.parametrize("dtype", DTYPES)
@pytest.mark.parametrize("edge", EDGES.values(), ids=EDGES)
def test_edges_have_their_exact_values(edge, dtype, build_name):
    leaves = [leaf_of(np.shape(x), dtype) for x in edge.xs]
    for node, x in zip(leaves, edge.xs, strict=True):
        node.getInput(np.ravel(x))
    node = edge.op(*leaves)
    with np.errstate(over="raise", divide="raise"):
        node.calcData()
        node.grad[...] = edge.g
        node.calcPartialDerivative()
    np.testing.assert_array_equal(node.data, edge.data)
    for x, expected in zip(leaves, edge.dxs, strict=True):
        np.testing.assert_array_equal(x.grad, expected)


COUNTS = {
    "tie": (pool(2, 2, 1), [[5, 5], [1, 5]], [[3]]),
    "padding_not_counted": (pool(2, 2, 1, 1, 1, 1, 1), [[0.0]], [[1]]),
    "padding_wins": (pool(2, 2, 1, 1, 1, 1, 1), [[-1.0]], [[0]]),
    "nan": (pool(1, 2, 1), [[math.nan, 1, 1]], [[0, 2]]),
    "rows_and_columns": (pool(1, 2, 1), [[1, 2, 2], [3, 1, 0]], [[1, 2], [1, 1]]),
    "empty_window": (pool(1, 1, 3), [[4, 5, 6, 7, 8]], [[0, 1, 0]]),
}


@pytest.mark.parametrize(("make", "x", "expected"), COUNTS.values(), ids=COUNTS)
def test_maxCount_counts_the_maxima_within_the_domain(make, x, expected, build_name):
    source = leaf_of(np.shape(x), "float64")
    source.getInput(np.ravel(x))
    node = make(source)
    node.calcData()
    np.testing.assert_array_equal(node.maxCount, expected)
    assert node.maxCount.dtype.kind == "u"


@pytest.mark.parametrize("dtype", DTYPES)
@pytest.mark.parametrize("op", [CG.Add, CG.Sub, CG.Dots, CG.MSE], ids=lambda op: op.__name__)
def test_a_node_may_be_both_inputs(op, dtype):
    x = leaf_of((3, 1), dtype)
    x.getInput([1, 2, 3])
    node = op(x, x)
    x.forwardPropagation()
    g = np.arange(1.0, node.size + 1)
    x.grad[...] = 0
    node.grad[...] = g
    node.calcPartialDerivative()
    values = {
        CG.Add: ([2, 4, 6], 2 * g),
        CG.Sub: ([0, 0, 0], 0 * g),
        CG.Dots: ([14], [2, 4, 6]),
        CG.MSE: ([0], [0, 0, 0]),
    }
    np.testing.assert_array_equal(node.data, values[op][0])
    np.testing.assert_array_equal(x.grad, values[op][1])
    assert x.forward == [node, node]
    assert node.backward == [x, x]


@pytest.mark.parametrize("dtype", DTYPES)
@pytest.mark.parametrize("x", [0.0, -0.0, -3.0, -math.inf])
def test_cee_clamps_at_the_smallest_normal_number(x, dtype):
    """CEE treats every smaller value as `tiny`, so that loss and gradients stay finite."""
    tiny = TINY[dtype]
    prediction, truth = leaf_of((2, 1), dtype), leaf_of((2, 1), dtype)
    prediction.getInput([x, tiny])
    truth.getInput([1, 1])
    node = CG.CEE(prediction, truth)
    node.calcData()
    node.grad[...] = 1
    node.calcPartialDerivative()
    loss = np.array(-2 * math.log(tiny), dtype=dtype)
    np.testing.assert_allclose(node.data, [loss], rtol=4 * np.finfo(dtype).eps)
    np.testing.assert_array_equal(prediction.grad, np.array([-1 / tiny] * 2, dtype=dtype))
    log = -math.log(tiny)
    np.testing.assert_allclose(truth.grad, [log, log], rtol=4 * np.finfo(dtype).eps)


@pytest.mark.parametrize("dtype", DTYPES)
@pytest.mark.parametrize(("y", "g"), [(1e10, 1e-10), (1e-10, 1e10), (-1.0, 1.0), (0.5, -2.0)])
def test_cee_is_finite_where_the_product_of_target_and_gradient_is_at_most_one(y, g, dtype):
    prediction, truth = leaf_of((1, 1), dtype), leaf_of((1, 1), dtype)
    truth.getInput([y * (1 - 1e-6)])
    node = CG.CEE(prediction, truth)
    node.calcData()
    node.grad[...] = g
    node.calcPartialDerivative()
    assert np.all(np.isfinite(node.data))
    expected = -y * (1 - 1e-6) * g / TINY[dtype]
    np.testing.assert_allclose(prediction.grad.astype(float), [expected], rtol=1e-6)
    assert np.all(np.isfinite(truth.grad))


@pytest.mark.parametrize("scale", [1e200, 1e-160, 1e-200, 1e-320])
def test_norm2_neither_overflows_nor_vanishes(scale):
    """Norm2 is exact for numbers whose squares are not representable."""
    check_norm2(scale, "float64")


@pytest.mark.parametrize("scale", [1e30, 1e-22, 1e-30, 1e-43])
def test_norm2_neither_overflows_nor_vanishes_in_float32(scale):
    check_norm2(scale, "float32")


@pytest.mark.parametrize("dtype", DTYPES)
def test_the_gradient_of_norm2_is_finite_for_the_largest_numbers(dtype):
    largest = float(np.finfo(dtype).max)
    x = leaf_of((1, 1), dtype)
    x.getInput([-largest])
    node = CG.Norm2(x)
    node.calcData()
    node.grad[...] = 2
    node.calcPartialDerivative()
    assert (node.data[0], x.grad[0]) == (largest, -2)


def check_norm2(scale, dtype):
    x = leaf_of((2, 1), dtype)
    x.getInput([3 * scale, -4 * scale])
    node = CG.Norm2(x)
    node.calcData()
    node.grad[...] = 2
    node.calcPartialDerivative()
    wide = x.data.astype(np.float64)
    norm = math.hypot(*wide)
    smallest = np.finfo(dtype).smallest_subnormal
    rtol = 4 * np.finfo(dtype).eps
    np.testing.assert_allclose(node.data, [norm], rtol=rtol, atol=smallest)
    # Where the norm itself is rounded to a subnormal number, so is the quotient.
    slack = float(smallest / norm)
    np.testing.assert_allclose(x.grad, 2 * wide / norm, rtol=rtol + 2 * slack)


@pytest.mark.parametrize("dtype", DTYPES)
@pytest.mark.parametrize("op", [CG.Tanh, CG.Sigmoid], ids=lambda op: op.__name__)
def test_squashing_keeps_its_relative_precision_near_its_zero(op, dtype):
    near = {CG.Tanh: 1e-6, CG.Sigmoid: -60.0}[op]
    x = leaf_of((1, 1), dtype)
    x.getInput([near])
    node = op(x)
    node.calcData()
    expected = {CG.Tanh: math.tanh, CG.Sigmoid: lambda v: 1 / (1 + math.exp(-v))}[op](x.data[0])
    np.testing.assert_allclose(node.data, [expected], rtol=8 * np.finfo(dtype).eps)


@pytest.mark.parametrize(("dtype", "x"), [("float64", -730.0), ("float32", -95.0)])
def test_sigmoid_keeps_what_is_left_where_the_exponential_of_minus_x_overflows(dtype, x):
    source = leaf_of((1, 1), dtype)
    source.getInput([x])
    node = CG.Sigmoid(source)
    node.calcData()
    np.testing.assert_allclose(node.data.astype(float), [math.exp(x)], rtol=1e-3)
