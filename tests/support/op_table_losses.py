"""The rows of losses, of sums, and of the operations that make parts of vectors."""

from __future__ import annotations

import reference_losses as ref
from op_row import Case, Row, apart, binary, normal, target, unary

import cgraph as CG


def slices():
    """Slices of each end, of the middle, of everything, and of single elements."""

    def case(shape, start, stop):
        def make(inputs, params, dtype):
            return CG.Slice(inputs[0], start, stop)

        return Case((shape,), make, ref.Slice(start, stop))

    return {
        "first": case((9, 1), 0, 4),
        "last": case((9, 1), 5, 9),
        "middle": case((4, 5), 3, 14),
        "all": case((1, 7), 0, 7),
        "one": case((1, 1), 0, 1),
        "long": case((130, 1), 17, 110),
    }


def expands():
    def case(height, width):
        def make(inputs, params, dtype):
            return CG.Expand(inputs[0], height, width)

        return Case(((1, 1),), make, ref.Expand(height, width))

    return {f"{h}x{w}": case(h, w) for h, w in ((7, 1), (1, 1), (3, 5), (1, 33), (130, 1))}


def hubers():
    """Differences on both sides of delta, of which the default is one."""
    usual = binary(CG.Huber, ref.Huber(1.0))
    return usual | {
        "delta": Case(
            ((4, 5), (4, 5)),
            lambda inputs, params, dtype: CG.Huber(*inputs, 0.25),
            ref.Huber(0.25),
        ),
        "delta_keyword": Case(
            ((9, 1), (9, 1)),
            lambda inputs, params, dtype: CG.Huber(*inputs, delta=2),
            ref.Huber(2.0),
        ),
    }


def gaussians():
    def make(inputs, params, dtype):
        return CG.GaussianNLL(*inputs)

    shapes = ((6, 1), (1, 1), (4, 5), (2, 35), (129, 1))
    return {f"{h}x{w}": Case(((h, w),) * 3, make, ref.GaussianNLL()) for h, w in shapes}


def layer_norms():
    """Of one element the variance is 0, and the gradient as well."""

    def case(shape, used=1e-5, **options):
        def make(inputs, params, dtype):
            return CG.LayerNorm(inputs[0], *params, **options)

        size = shape[0] * shape[1]
        return Case((shape,), make, ref.LayerNorm(used), ((size,), (size,)))

    shapes = ((7, 1), (1, 1), (3, 5), (1, 33), (64, 1), (130, 1))
    table = {f"{h}x{w}": case((h, w)) for h, w in shapes}
    return table | {"eps": case((10, 1), 0.5, eps=0.5), "without": case((6, 1), 0.0, eps=0)}


def uniform(rng, shape):
    return rng.uniform(0, 1, shape)


LOSS_ROWS = [
    Row(CG.Slice, slices()),
    Row(CG.Expand, expands()),
    Row(CG.Sum, unary(CG.Sum, ref.Sum())),
    Row(CG.Mean, unary(CG.Mean, ref.Mean())),
    Row(CG.LogSoftmax, unary(CG.LogSoftmax, ref.LogSoftmax())),
    Row(CG.SoftmaxCEE, binary(CG.SoftmaxCEE, ref.SoftmaxCEE()), draws=(normal, target)),
    Row(CG.BCE, binary(CG.BCE, ref.BCE()), draws=(normal, uniform)),
    Row(CG.Huber, hubers(), draws=(apart, normal)),
    Row(CG.GaussianNLL, gaussians()),
    Row(CG.LayerNorm, layer_norms()),
]
