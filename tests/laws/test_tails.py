"""Functions that approach a limit keep their relative precision where they are small."""

import math

import numpy as np
import pytest
from op_row import leaf_of
from op_table import DTYPES

import cgraph as CG

# The lowest x at which the value and the slope are normal numbers.
LOWEST = {"float32": -13.0, "float64": -37.0}


def value_and_slope(op, x, dtype):
    leaf = leaf_of((x.size, 1), dtype)
    leaf.getInput(x)
    node = op(leaf)
    node.calcData()
    node.grad[...] = 1
    node.calcPartialDerivative()
    return node.data.astype(float), leaf.grad.astype(float)


def arguments(low, high, dtype):
    return np.linspace(low, high, 500).astype(dtype).astype(float)


@pytest.mark.parametrize("dtype", DTYPES)
def test_the_tail_of_gelu_is_right_to_a_few_units_and_as_many_more_as_the_exponent_has(
    dtype, build_name
):
    """An error of half a unit in x² is one of x² / 4 units in e^(−x²/2)."""
    x = arguments(LOWEST[dtype], -1, dtype)
    data, slope = value_and_slope(CG.GELU, x, dtype)
    part = np.array([math.erfc(-each / math.sqrt(2)) / 2 for each in x])
    density = np.exp(-x * x / 2) / math.sqrt(2 * math.pi)
    rtol = 5 * np.finfo(dtype).eps * (1 + x * x / 4)
    assert (np.abs(data / (x * part) - 1) < rtol).all()
    assert (np.abs(slope - (part + x * density)) < rtol * np.abs(x * density)).all()


@pytest.mark.parametrize("dtype", DTYPES)
def test_the_tail_of_silu_is_right_to_a_few_units(dtype, build_name):
    x = arguments({"float32": -80, "float64": -690}[dtype], -2, dtype)
    data, slope = value_and_slope(CG.SiLU, x, dtype)
    e = np.exp(x)
    part = e / (1 + e)
    eps = np.finfo(dtype).eps
    np.testing.assert_allclose(data, x * part, rtol=8 * eps)
    np.testing.assert_allclose(slope, part * (1 + x / (1 + e)), rtol=20 * eps)


@pytest.mark.parametrize("dtype", DTYPES)
def test_elu_keeps_what_is_left_of_its_slope_and_is_x_near_0(dtype, build_name):
    x = arguments({"float32": -80, "float64": -690}[dtype], -1e-6, dtype)
    data, slope = value_and_slope(CG.ELU, x, dtype)
    eps = np.finfo(dtype).eps
    np.testing.assert_allclose(data, np.expm1(x), rtol=4 * eps)
    np.testing.assert_allclose(slope, np.exp(x), rtol=4 * eps)


@pytest.mark.parametrize("dtype", DTYPES)
@pytest.mark.parametrize("approximate", [False, True])
def test_gelu_falls_to_zero_with_its_slope(approximate, dtype, build_name):
    x = np.array([-1e3, -1e2, -50.0])
    data, slope = value_and_slope(lambda node: CG.GELU(node, approximate), x, dtype)
    assert not data.any()
    assert not slope.any()
