"""The Python operators between nodes and numbers."""

import operator
from decimal import Decimal
from fractions import Fraction

import numpy as np
import pytest

import cgraph as CG

SIGNS = {
    "+": operator.add,
    "-": operator.sub,
    "*": operator.mul,
    "/": operator.truediv,
}
every_sign = pytest.mark.parametrize("sign", SIGNS)
NUMBERS = [
    *(3, 0.5, -2, True, Fraction(1, 4)),
    *(np.float64(2), np.float32(0.5), np.int8(-100), np.uint8(200)),
]
X, Y = np.array([1.0, -2.0, 0.25]), np.array([4.0, 0.5, -8.0])


def leaf(values, dtype="float64"):
    node = CG.Leaf1(len(values), dtype=dtype)
    node.getInput(values)
    return node


@every_sign
def test_operators_between_nodes(sign):
    node = SIGNS[sign](leaf(X), leaf(Y))
    np.testing.assert_array_equal(CG.evaluate(node), SIGNS[sign](X, Y))


@every_sign
@pytest.mark.parametrize("number", NUMBERS, ids=lambda number: repr(number))
@pytest.mark.parametrize("dtype", ["float32", "float64"])
def test_operators_between_a_node_and_a_number(sign, number, dtype):
    x, value = leaf(X, dtype), float(number)
    for node, expected in (
        (SIGNS[sign](x, number), SIGNS[sign](X, value)),
        (SIGNS[sign](number, x), SIGNS[sign](value, X)),
    ):
        assert (node.dtype, node.backward) == (np.dtype(dtype), [x])
        rtol = 2 * np.finfo(dtype).eps
        np.testing.assert_allclose(CG.evaluate(node), expected, rtol=rtol)


def test_minus_of_a_node():
    np.testing.assert_array_equal(CG.evaluate(-leaf(X)), -X)


@every_sign
@pytest.mark.parametrize(
    "other",
    [X, np.array(2.0), [1.0, 2.0, 3.0], "2", 1j, None, Decimal(2), CG.Leaf1],
    ids=lambda other: type(other).__name__,
)
def test_other_operands_are_refused(sign, other):
    x = leaf(X)
    for operands in ((x, other), (other, x)):
        with pytest.raises(TypeError):
            SIGNS[sign](*operands)
    assert x.forward == []


def test_a_sum_of_nodes_begins_with_the_number_0():
    np.testing.assert_array_equal(CG.evaluate(sum([leaf(X), leaf(Y)])), X + Y)


def test_a_number_by_which_is_divided_has_a_finite_reciprocal():
    x = leaf(X, "float32")
    for zero in (0, -0.0, np.float64(0)):
        with pytest.raises(ValueError, match="the number by which a node is divided must not be 0"):
            x / zero
    with pytest.raises(ValueError, match=r"Scale: factor must be finite in float32, got 1e\+40"):
        x / 1e-40
    assert x.forward == []


@every_sign
@pytest.mark.parametrize("number", [10**400, -(10**400), Fraction(10**400)])
def test_a_number_too_large_for_a_float_is_infinite(sign, number):
    x = leaf(X)
    with pytest.raises(ValueError, match=r"must be finite in float64, got -?inf"):
        SIGNS[sign](number, x)
    assert x.forward == []
    np.testing.assert_array_equal(CG.evaluate(x / number), 0 * X)


@every_sign
def test_nodes_of_unequal_shapes_are_refused(sign):
    x, y = leaf(X), leaf([1.0, 2.0])
    with pytest.raises(ValueError, match="must have the same height and width"):
        SIGNS[sign](x, y)
    assert x.forward == y.forward == []


@every_sign
def test_a_node_of_one_element_is_expanded(sign):
    for x, y in (([2.0], Y), (X, [2.0])):
        node = SIGNS[sign](leaf(x), leaf(y))
        np.testing.assert_array_equal(CG.evaluate(node), SIGNS[sign](np.array(x), np.array(y)))
        assert (node.height, node.width) == (3, 1)


@every_sign
def test_a_node_of_one_element_that_is_refused_is_not_expanded(sign):
    x, y = leaf([2.0]), leaf(Y, "float32")
    for pair, dtype in (((x, y), "float64"), ((y, x), "float32")):
        with pytest.raises(
            TypeError, match=rf"^\w+: inputs must all have dtype {dtype}, got Leaf1\("
        ):
            SIGNS[sign](*pair)
    assert x.forward == y.forward == []


def test_an_expression_is_compiled_and_learns(gradcheck):
    x, y, t = leaf(X), leaf(Y), leaf(X)
    hidden = CG.Affine(x, np.linspace(-1, 1, 12).reshape(4, 3))
    scale = CG.Mean(CG.Exp(hidden))
    loss = CG.MSE((1 - 2 * hidden) / y + (hidden * hidden - scale) * -y, t)
    gradcheck(loss)
    graph = CG.Graph(loss)
    feed = {x: X[None], y: Y[None], t: X[None]}
    losses = [graph.step(feed, 1e-4)[0] for _ in range(5)]
    assert losses == sorted(losses, reverse=True)
