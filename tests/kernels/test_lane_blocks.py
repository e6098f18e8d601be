"""Layers over blocks of half a line, one, two and four lines, of which any number of samples exist.

The arrays lie between guard pages, and lanes without a sample are NaN.
"""

import itertools
from typing import NamedTuple

import numpy as np
import pytest
from amounts import full, some_of
from guard_pages import EDGES, needs_guard_pages
from lane_arena import blocks_of, lanes_of, vector_of
from lane_layers import Bench, affine, group, lone
from numpy.testing import assert_array_equal

pytestmark = [
    needs_guard_pages,
    pytest.mark.usefixtures("build_name"),
    pytest.mark.thread_unsafe(reason="selects kernels for all threads"),
]

ETA, SUM = 0.5, 3.0


class Way(NamedTuple):
    """How a block learns: whether its gradients are added to sums, by fused SGD, and which parameters learn."""

    add: bool = False
    fused: bool = False
    weights_learn: bool = True
    biases_learn: bool = True


WAYS = [Way(*flags) for flags in itertools.product((False, True), repeat=4)]


def check(bench, way, expected):
    """Runs the samples that a bench shows, and compares all that is written with the results of each sample."""
    step, learns = bench.step, (way.weights_learn, way.biases_learn)
    step.weights_learn, step.biases_learn = learns
    step.accumulate = way.add
    positions = bench.weight_positions, bench.bias_positions
    values = bench.w, bench.b
    bench.values[positions[0]], bench.values[positions[1]] = values
    bench.sums[:] = SUM if way.add else np.nan
    d, dx, *shares = (each[..., : bench.valid] for each in expected)
    read = sorted(set(bench.layer.channels))
    if way.fused:
        found = bench.descend(ETA)
    else:
        assert_array_equal(bench.forward(), d)
        found = bench.backward(True)
    assert_array_equal(found[read], dx[read])
    for at, value, share, learnt in zip(positions, values, shares, learns, strict=True):
        total = share.sum(-1) + SUM * way.add
        if not learnt:
            assert_array_equal(bench.sums[at], SUM if way.add else np.nan)
        elif not way.fused:
            assert_array_equal(bench.sums[at], total)
        assert_array_equal(bench.values[at], value - ETA * total * (way.fused and learnt))
    assert_array_equal(bench.values[:4], 0)
    assert_array_equal(bench.sums[:4], SUM if way.add else np.nan)


def counts_of(lanes, dtype, every):
    """Returns the numbers of samples in a block: all of up to a line, and those around whole vectors of more."""
    vector = vector_of(dtype)
    near = 0, 1, vector - 1
    return [
        n for n in range(1, lanes + 1) if every or lanes <= lanes_of(dtype) or n % vector in near
    ]


def check_blocks(layer, dtype, every, turn=0):
    """Checks counts of samples in all blocks, in one of the ways in turn; or all counts, in every way."""
    for lanes in blocks_of(dtype):
        benches = [Bench(layer, dtype, lanes=lanes, edge=edge) for edge in EDGES]
        for bench in benches:
            bench.fill(lanes)
        expected = benches[0].reference_by_sample()
        for count in counts_of(lanes, dtype, every):
            turn += 1
            for k, way in enumerate(WAYS if every else [WAYS[turn % len(WAYS)]]):
                bench = benches[(turn // len(WAYS) + k) % 2]
                bench.show(count)
                check(bench, way, expected)


def dtypes(test):
    return pytest.mark.parametrize("dtype", ["float32", "float64"])(test)


def in_one_way_or_in_every_way(test):
    return pytest.mark.parametrize("every", [False, full(True)])(test)


@some_of(2, ("m", "dtype"), [1, 5, 24, 25, 49], ["float32", "float64"])
@in_one_way_or_in_every_way
def test_an_affine_of_few_outputs(m, dtype, every):
    """Up to a vector of outputs: those of the last chunk of inputs, and of the first one, are summed, too."""
    for n in range(1, vector_of(dtype) + 2):
        check_blocks(affine(m, n, bias=2.0), dtype, every, turn=m + n)


@dtypes
@in_one_way_or_in_every_way
@pytest.mark.parametrize("n", [10, 16, 17, 33])
def test_an_affine_of_many_outputs(n, dtype, every):
    """Columns of two vectors, of one, and parts of both; tiles with the row of biases, and without it."""
    for m in (6, 13):
        check_blocks(affine(m, n, bias=-1.0), dtype, every, turn=m)


CONVOLUTIONS = {
    "one-output": group((3, 3), (3, 3), 2, 12),
    "one-output-few": group((3, 3), (3, 3), 3, 2),
    "one-output-2x3": group((2, 3), (2, 3), 2, 3),
    "one-output-2x4": group((2, 4), (2, 4), 1, 3),
    "one-output-3x4": group((3, 4), (3, 4), 2, 7),
    "one-output-4x4": group((4, 4), (4, 4), 2, 5),
    "padded": group((4, 3), (3, 3), 2, 7, height=4, width=3),
    "stride": group((5, 6), (3, 2), 2, 5, stride=2, height=3, width=4),
    "repeated": group((3, 3), (2, 2), 3, 2, channels=(1, 0, 1)),
    "sparse": group((3, 4), (2, 2), 3, 4, missing=[(0, 1), (2, 1), (1, 3)]),
    "outside": group((2, 2), (2, 2), 2, 3, top=3, left=3, height=6, width=6),
    "unconnected": group((3, 3), (2, 2), 2, 3, missing=[(0, 1), (1, 1), (0, 0), (0, 2)]),
    "lone": lone((4, 4), (3, 3), 2, height=4, width=4),
}


@some_of(2, ("name", "dtype"), CONVOLUTIONS, ["float32", "float64"])
@in_one_way_or_in_every_way
def test_convolutions(name, dtype, every):
    check_blocks(CONVOLUTIONS[name], dtype, every, turn=len(name))
