"""The scratch of kernels: accesses stay within the requested size, and earlier contents have no effect."""

import threading

import numpy as np
import pytest
from amounts import over_kinds
from arrays import assert_equal
from op_row import build, gradient_sums
from op_table import DTYPES, cases

import cgraph as CG
from cgraph import _kernels

USERS = (CG.Affine, CG.Convolution2d)
every_user = over_kinds([each for each in cases() if each[1].op in USERS])
every_convolution = over_kinds([each for each in cases() if each[1].op is CG.Convolution2d])
MARGIN = 1000


class Fenced:
    """An allocator of scratch of exactly the requested size, full of NaN, with margins of 7 elements."""

    def __init__(self):
        self.given = []

    def __call__(self, dtype, size):
        whole = np.full(size + 2 * MARGIN, 7, dtype)
        self.given.append(whole)
        whole[MARGIN:-MARGIN] = np.nan
        return whole[MARGIN:-MARGIN]

    def is_intact(self):
        margins = (part for whole in self.given for part in (whole[:MARGIN], whole[-MARGIN:]))
        return all(np.all(part == 7) for part in margins)


def results(row, case, dtype):
    """Returns data and all gradients of one pass."""
    built = build(row, case, dtype)
    built.node.calcData()
    built.node.grad[...] = np.linspace(-1, 1, built.node.size)
    built.node.calcPartialDerivative()
    return [built.node.data, *(leaf.grad for leaf in built.leaves), *gradient_sums(built.node)]


@every_user
def test_kernels_stay_within_their_scratch_and_read_only_what_they_wrote(
    row, case, dtype, build_name, monkeypatch
):
    expected = results(row, case, dtype)
    fenced = Fenced()
    monkeypatch.setattr(_kernels, "scratch", fenced)
    for ours, theirs in zip(results(row, case, dtype), expected, strict=True):
        assert_equal(ours, theirs)
    assert fenced.given
    assert fenced.is_intact()


@every_convolution
def test_the_gradient_of_a_kernel_needs_nothing_that_another_function_left(
    row, case, dtype, build_name
):
    *_, kernel, bias = results(row, case, dtype)
    node = build(row, case, dtype).node
    node.grad[...] = np.linspace(-1, 1, node.size)
    node._kernels.convolution.convolution2d_backward_kernel(
        [x.data for x in node.backward],
        node.grad,
        node._taps,
        node._geometry,
        Fenced()(node.dtype, node._scratch_size),
        node._grad_vector,
    )
    assert_equal(node.gradKernel, kernel)
    assert node.gradBias == bias


@pytest.mark.parametrize("dtype", DTYPES)
def test_scratch_is_large_enough_and_one_threads_alone(dtype):
    dtype = np.dtype(dtype)
    mine, theirs = _kernels.scratch(dtype, 10), []
    thread = threading.Thread(target=lambda: theirs.append(_kernels.scratch(dtype, 10)))
    thread.start()
    thread.join()
    assert not np.shares_memory(mine, theirs[0])
    for size in (10, mine.size, mine.size + 1, 10 * mine.size):
        scratch = _kernels.scratch(dtype, size)
        assert scratch.size >= size
        assert scratch.dtype == dtype
