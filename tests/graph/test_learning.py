"""Fused SGD: steps over lanes update parameters in the last backward pass of a batch, with the result of an update.

All numbers are small integers and the rates are powers of 2, so that updates are exact in any order.
"""

import numpy as np
import pytest
from graph_networks import convolution_of_several_groups, nodes_of, sparse_lenet, strides_of_two
from graph_twins import parameters_of
from lane_arena import lanes_of
from numpy.testing import assert_array_equal

import cgraph as CG

ETA = 0.5
# Row panels of six rows and fewer; columns of whole vectors, of parts, and of both; last a matrix with wide blocks.
SIZES = [(1, 1), (5, 8), (6, 16), (13, 13), (7, 20), (70, 33), (3, 120), (100, 100)]

both_dtypes = pytest.mark.parametrize("dtype", ["float32", "float64"])
every_size = pytest.mark.parametrize(("m", "n"), SIZES)


def integers(rng, *shape):
    return rng.integers(-3, 4, shape).astype(float)


class Bench:
    """A graph whose loss is (W x) · t, and the expected W."""

    def __init__(self, m, n, dtype, layout="lanes"):
        self.rng = np.random.default_rng(m + n)
        self.weight = integers(self.rng, m + 1, n)
        self.x, self.t = CG.Leaf1(m, dtype=dtype), CG.Leaf1(n, dtype=dtype)
        self.y = CG.Affine(self.x, self.weight, bias=2)
        self.graph = CG.Graph(CG.Dots(self.y, self.t), threads=1, layout=layout)

    def feed(self, count):
        """Returns a feed of `count` samples, and updates the expected W by it."""
        x, t = integers(self.rng, count, self.x.size), integers(self.rng, count, self.t.size)
        self.weight = self.weight - ETA * (np.column_stack([x, np.full(count, 2)]).T @ t)
        return {self.x: x, self.t: t}

    def step(self, count):
        self.graph.step(self.feed(count), ETA)

    def check(self):
        assert_array_equal(self.y.weight, self.weight)


def counts(dtype):
    """Returns numbers of samples: parts of a block of lanes, whole blocks, and more than one block."""
    lanes = lanes_of(dtype)
    return [1, 3, lanes - 1, lanes, lanes + 1, 4 * lanes, 4 * lanes + 5, 9 * lanes]


@both_dtypes
@pytest.mark.parametrize("layout", ["lanes", "samples", "auto"])
@every_size
def test_a_batch_is_learnt_once_however_many_samples_it_has(m, n, layout, dtype):
    bench = Bench(m, n, dtype, layout)
    for count in counts(dtype):
        bench.step(count)
    bench.check()


@both_dtypes
@every_size
def test_every_batch_of_a_call_is_learnt_once(m, n, dtype):
    bench = Bench(m, n, dtype)
    for batch in counts(dtype):
        bench.graph.train(bench.feed(2 * batch + 1), ETA, batch)
    bench.check()


@both_dtypes
def test_sums_that_are_there_are_learnt_too(dtype):
    bench = Bench(7, 20, dtype)
    for count in counts(dtype):
        bench.graph.accumulate(bench.feed(5))
        bench.step(count)
        bench.graph.accumulate(bench.feed(count))
        bench.graph.update(ETA)
    bench.check()


@both_dtypes
def test_sums_that_were_handed_out_are_0_after_a_step(dtype):
    bench = Bench(7, 20, dtype)
    bench.step(20)
    sums = bench.y.gradWeight
    for count in counts(dtype):
        bench.step(count)
        assert not sums.any()
        bench.check()


@both_dtypes
def test_wide_blocks_are_no_wider_than_a_batch(dtype):
    bench, line = Bench(100, 100, dtype), lanes_of(dtype)
    executors = bench.graph._executable.executors._lanes[True]
    for count, widest in ((1, line // 2), (line, line), (line + 1, 2 * line), (100, 4 * line)):
        executors.clear()
        bench.step(count)
        assert max(executors) <= widest
    bench.check()


NETWORKS = [strides_of_two, convolution_of_several_groups, sparse_lenet]


@both_dtypes
@pytest.mark.parametrize("network", NETWORKS, ids=lambda network: network.__name__)
def test_convolutions_learn_in_a_step_as_from_sums(network, dtype):
    """Results are not exact here, but the gradient sums have the same order of summation."""
    rng = np.random.default_rng(0)
    update_steps = []
    for _ in "12":
        nodes = nodes_of(network, dtype)
        update_steps.append((nodes, CG.Graph(nodes[-1], threads=1, layout="lanes")))
    for count in (1, 16, 21, 40):
        samples = [rng.uniform(-1, 1, (count, x.size)) for x in update_steps[0][1].leaves]
        (_, at_once), (_, apart) = update_steps
        at_once.step(dict(zip(at_once.leaves, samples, strict=True)), 0.01)
        apart.accumulate(dict(zip(apart.leaves, samples, strict=True)))
        apart.update(0.01)
    tolerance = 64 * np.finfo(dtype).eps
    pairs = zip(*(parameters_of(nodes) for nodes, _ in update_steps), strict=True)
    for (value, _), (expected, _) in pairs:
        np.testing.assert_allclose(value, expected, tolerance, tolerance)
