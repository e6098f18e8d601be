"""Losses are right where their parts leave the range of the dtype, or lose their digits."""

import itertools
import math
from decimal import Decimal, localcontext

import numpy as np
import pytest
from op_row import leaf_of
from op_table import DTYPES

import cgraph as CG

# Numbers of which the squares, the exponentials and the differences leave the range of float32.
FAR = [0.0, 1.0, -1.0, 1e-30, 1e4, -1e4, 100.0, -100.0, -200.0, 300.0, 1e30, 3e38, -3e38]
FAR64 = [*FAR, 1000.0, -1400.0, 1e300, -1.7e308]


def run(op, dtype, *xs, g=1.0):
    """Returns the data of a loss, and the gradients of its inputs."""
    leaves = [leaf_of((np.size(x), 1), dtype) for x in xs]
    for leaf, x in zip(leaves, xs, strict=True):
        leaf.getInput(np.ravel(x))
    node = op(*leaves)
    node.calcData()
    node.grad[...] = g
    node.calcPartialDerivative()
    return [node.data, *(leaf.grad for leaf in leaves)]


def exact_gaussian(mean, log_variance, target):
    """Returns the loss and its gradients, and how large the terms are that cancel in each."""
    mean, v, target = map(Decimal, (mean, log_variance, target))
    # From 10⁵ on, the exponential takes all numbers but 0 out of the range of float64.
    slope = (mean - target) * max(min(-v, Decimal(10**5)), Decimal(-(10**5))).exp()
    square = (mean - target) * slope
    return [
        ((v + square) / 2, abs(v) + square),
        (slope, abs(slope)),
        ((1 - square) / 2, 1 + square),
        (-slope, abs(slope)),
    ]


@pytest.mark.parametrize("dtype", DTYPES)
def test_the_gaussian_loss_is_right_wherever_it_can_be_represented(dtype, build_name):
    limits = np.finfo(dtype)
    largest, eps = float(limits.max), float(limits.eps)
    smallest = Decimal(float(limits.smallest_subnormal))
    triples = np.array(list(itertools.product(FAR if dtype == "float32" else FAR64, repeat=3)))
    for triple in triples.astype(dtype).tolist():
        found = [array.item() for array in run(CG.GaussianNLL, dtype, *triple)]
        with localcontext() as context:
            context.prec, context.Emax, context.Emin = 50, 10**17, -(10**17)
            for ours, (exact, terms) in zip(found, exact_gaussian(*triple), strict=True):
                if abs(exact) > Decimal(largest):
                    assert ours == math.copysign(math.inf, exact)
                else:
                    slack = Decimal(32 * eps) * terms + 2 * smallest
                    assert abs(Decimal(ours) - exact) <= slack


@pytest.mark.parametrize("dtype", DTYPES)
def test_the_mean_of_gaussian_losses_is_right_where_their_sum_is_too_large(dtype, build_name):
    value = float(np.finfo(dtype).max) / 2
    loss, *_ = run(CG.GaussianNLL, dtype, [0.0] * 5, [value] * 5, [0.0] * 5)
    np.testing.assert_allclose(loss, [value / 2], rtol=1e-6)


@pytest.mark.parametrize("dtype", DTYPES)
@pytest.mark.parametrize("x", [3.0, 30.0, 80.0])
def test_the_binary_loss_keeps_its_digits_near_its_target(x, dtype, build_name):
    for sign, target in ((1, 1.0), (-1, 0.0)):
        loss, dx, _ = run(CG.BCE, dtype, sign * x, target)
        rtol = 8 * np.finfo(dtype).eps
        np.testing.assert_allclose(loss, [math.log1p(math.exp(-x))], rtol)
        np.testing.assert_allclose(dx, [-sign / (1 + math.exp(x))], rtol)


@pytest.mark.parametrize("dtype", DTYPES)
def test_the_loss_of_logits_learns_where_that_of_their_softmax_has_stopped(dtype, build_name):
    """The prediction of a logit that is 100 below the others is 0 in float32, and its logarithm the clamp's."""
    _, dx, dy = run(CG.SoftmaxCEE, dtype, [0.0, -100.0], [0.0, 1.0])
    np.testing.assert_allclose(dx, [1, -1], rtol=1e-6)
    np.testing.assert_allclose(dy, [math.exp(-100), 100], atol=1e-6)


@pytest.mark.parametrize("dtype", DTYPES)
def test_the_targets_of_logits_need_not_add_up_to_one(dtype, build_name):
    x, y = [1.0, 2.0, -1.0], [0.5, -2.0, 3.0]
    p = np.exp(x) / np.sum(np.exp(x))
    loss, dx, dy = run(CG.SoftmaxCEE, dtype, x, y, g=-2.0)
    rtol = 16 * np.finfo(dtype).eps
    np.testing.assert_allclose(loss, [-np.dot(y, np.log(p))], rtol)
    np.testing.assert_allclose(dx, -2 * (p * np.sum(y) - y), rtol)
    np.testing.assert_allclose(dy, 2 * np.log(p), rtol)


@pytest.mark.parametrize("op", [CG.SoftmaxCEE, CG.BCE, CG.Huber], ids=lambda op: op.__name__)
@pytest.mark.parametrize("dtype", DTYPES)
def test_losses_are_finite_for_large_inputs(op, dtype, build_name):
    far = np.linspace(-1e4, 1e4, 11)
    for y in (np.zeros(11), np.eye(11)[0], np.eye(11)[10]):
        for array in run(op, dtype, far, y):
            assert np.isfinite(array).all()


@pytest.mark.parametrize("delta", [1.0, math.inf])
@pytest.mark.parametrize("dtype", DTYPES)
def test_an_infinite_difference_is_an_infinite_huber_loss(dtype, delta, build_name):
    largest = float(np.finfo(dtype).max)
    for x, y in ((largest, -largest), (-largest, largest), (math.inf, 0.0), (0.0, math.inf)):
        loss, dx, dy = run(lambda *leaves: CG.Huber(*leaves, delta), dtype, x, y)
        slope = math.copysign(delta, x - y)
        assert (loss.tolist(), dx.tolist(), dy.tolist()) == ([math.inf], [slope], [-slope])


@pytest.mark.parametrize("op", [CG.Sum, CG.Mean], ids=lambda op: op.__name__)
def test_sums_of_many_elements_keep_their_digits(op, build_name):
    x = np.full(100_000, 0.1, np.float32)
    expected = float(x[0]) * (x.size if op is CG.Sum else 1)
    np.testing.assert_allclose(run(op, "float32", x)[0], [expected], rtol=1e-6)
    (total,) = run(lambda leaf: CG.Expand(leaf, x.size, 1), "float32", [1.0], g=x)[1]
    np.testing.assert_allclose(total, float(x[0]) * x.size, rtol=1e-6)
