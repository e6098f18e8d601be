"""Ties and edges of the operations, with the exact data and gradients that they must give."""

import math
from typing import NamedTuple

import cgraph as CG

NAN, INF = math.nan, math.inf


class Edge(NamedTuple):
    """Inputs (2-D lists) and output gradient; the data and the gradients they must give."""

    op: object
    xs: list
    g: list
    data: list
    dxs: list


def vector(*numbers):
    return [[number] for number in numbers]


def pool(*args, **options):
    return lambda node: CG.MaxPooling2d(node, *args, **options)


def with_options(op, *options):
    return lambda node: op(node, *options)


EDGES = {
    "maximum_tie_halves": Edge(
        CG.Maximum,
        [vector(1.0, 0.0, INF), vector(1.0, -0.0, INF)],
        [2, 4, 6],
        [1, 0, INF],
        [[1, 2, 3], [1, 2, 3]],
    ),
    "maximum_inf": Edge(
        CG.Maximum, [vector(-INF, INF), vector(1.0, 1.0)], [2, 4], [1, INF], [[0, 4], [2, 0]]
    ),
    "maximum_nan_of_either": Edge(
        CG.Maximum, [vector(NAN, 1.0), vector(1.0, NAN)], [2, 4], [NAN, NAN], [[2, 4], [2, 4]]
    ),
    "maximum_blocks_nan_gradients": Edge(
        CG.Maximum, [vector(1.0), vector(2.0)], [NAN], [2], [[0], [NAN]]
    ),
    "minimum_tie_halves": Edge(
        CG.Minimum,
        [vector(1.0, 0.0, INF), vector(1.0, -0.0, INF)],
        [2, 4, 6],
        [1, 0, INF],
        [[1, 2, 3], [1, 2, 3]],
    ),
    "minimum_inf": Edge(
        CG.Minimum, [vector(-INF, INF), vector(1.0, 1.0)], [2, 4], [-INF, 1], [[2, 0], [0, 4]]
    ),
    "minimum_nan_of_either": Edge(
        CG.Minimum, [vector(NAN, 1.0), vector(1.0, NAN)], [2, 4], [NAN, NAN], [[2, 4], [2, 4]]
    ),
    "mul_inf": Edge(
        CG.Mul, [vector(INF, INF), vector(2.0, 0.0)], [1, 1], [INF, NAN], [[2, 0], [INF, INF]]
    ),
    "div_by_zero": Edge(
        CG.Div, [vector(1.0, 0.0), vector(0.0, 0.0)], [1, 1], [INF, NAN], [[INF, INF], [-INF, NAN]]
    ),
    "div_by_minus_zero": Edge(CG.Div, [vector(1.0), vector(-0.0)], [1], [-INF], [[-INF], [-INF]]),
    "div_by_inf": Edge(
        CG.Div, [vector(1.0, INF), vector(INF, INF)], [1, 1], [0, NAN], [[0, 0], [0, NAN]]
    ),
    "exp_large": Edge(
        CG.Exp, [vector(1e4, -1e4, INF, -INF)], [1, 1, 0, 1], [INF, 0, INF, 0], [[INF, 0, NAN, 0]]
    ),
    "log_of_zeros": Edge(
        CG.Log, [vector(0.0, -0.0, INF)], [1, 1, 1], [-INF, -INF, INF], [[INF, -INF, 0]]
    ),
    "log_of_negative": Edge(CG.Log, [vector(-2.0)], [1], [NAN], [[-0.5]]),
    "square_of_inf": Edge(CG.Square, [vector(-INF, 0.0)], [1, 1], [INF, 0], [[-INF, 0]]),
    "sqrt_of_zeros": Edge(
        CG.Sqrt, [vector(0.0, -0.0, 0.0)], [1, 1, 0], [0, 0, 0], [[INF, -INF, NAN]]
    ),
    "sqrt_of_negative": Edge(
        CG.Sqrt, [vector(-1.0, -INF, INF)], [1, 1, 1], [NAN, NAN, INF], [[NAN, NAN, 0]]
    ),
    "reciprocal_of_zeros": Edge(
        CG.Reciprocal, [vector(0.0, -0.0, INF)], [1, 1, 1], [INF, -INF, 0], [[-INF, -INF, 0]]
    ),
    "reciprocal_of_nothing": Edge(
        with_options(CG.Reciprocal, 0), [vector(2.0, 0.0)], [1, 1], [0, NAN], [[0, NAN]]
    ),
    "scale_inf": Edge(
        with_options(CG.Scale, -2, 1), [vector(INF, -INF)], [1, 1], [-INF, INF], [[-2, -2]]
    ),
    "scale_by_zero": Edge(
        with_options(CG.Scale, 0, 1), [vector(2.0, INF)], [1, INF], [1, NAN], [[0, NAN]]
    ),
    "abs_zeros": Edge(CG.Abs, [vector(0.0, -0.0, -INF)], [3, 3, 3], [0, 0, INF], [[0, 0, -3]]),
    "abs_nan": Edge(CG.Abs, [vector(NAN, 2.0**-149)], [3, 3], [NAN, 2.0**-149], [[0, 3]]),
    "clip_bounds_pass": Edge(
        with_options(CG.Clip, -1, 2),
        [vector(-1.0, 2.0, -1.5, 2.5)],
        [3, 4, 5, 6],
        [-1, 2, -1, 2],
        [[3, 4, 0, 0]],
    ),
    "clip_nan_and_inf": Edge(
        with_options(CG.Clip, -1, 2),
        [vector(NAN, INF, -INF)],
        [3, 4, NAN],
        [NAN, 2, -1],
        [[0, 0, 0]],
    ),
    "clip_without_bounds": Edge(
        with_options(CG.Clip, -INF, INF),
        [vector(INF, -INF, 1.0)],
        [3, 4, 5],
        [INF, -INF, 1],
        [[3, 4, 5]],
    ),
    "clip_to_one_number": Edge(
        with_options(CG.Clip, 1, 1), [vector(1.0, 2.0)], [3, 4], [1, 1], [[3, 0]]
    ),
    "leaky_relu_zeros": Edge(
        with_options(CG.LeakyReLU, 0.5),
        [vector(0.0, -0.0, -INF)],
        [2, 2, 2],
        [0, 0, -INF],
        [[1, 1, 1]],
    ),
    "leaky_relu_nan": Edge(
        with_options(CG.LeakyReLU, 0.5), [vector(NAN, INF)], [2, 2], [NAN, INF], [[1, 2]]
    ),
    "elu_zeros": Edge(
        with_options(CG.ELU, 0.5), [vector(0.0, -0.0, NAN)], [2, 2, 2], [0, 0, NAN], [[1, 1, NAN]]
    ),
    "elu_large": Edge(
        CG.ELU, [vector(1e4, -1e4, INF, -INF)], [1, 1, 1, 1], [1e4, -1, INF, -1], [[1, 0, 1, 0]]
    ),
    "softplus_large": Edge(
        CG.Softplus,
        [vector(1e4, -1e4, INF, -INF, NAN)],
        [1, 1, 1, 1, 1],
        [1e4, 0, INF, 0, NAN],
        [[1, 0, 1, 0, NAN]],
    ),
    "silu_large": Edge(
        CG.SiLU,
        [vector(1e4, -1e4, INF, -INF, NAN)],
        [1, 1, 1, 1, 1],
        [1e4, 0, INF, 0, NAN],
        [[1, 0, 1, 0, NAN]],
    ),
    "silu_zero": Edge(
        CG.SiLU, [vector(0.0, 2.0**120, -1e38)], [1, 1, 1], [0, 2.0**120, 0], [[0.5, 1, 0]]
    ),
    "gelu_large": Edge(
        CG.GELU,
        [vector(1e4, -1e4, INF, -INF, NAN)],
        [1, 1, 1, 1, 1],
        [1e4, 0, INF, 0, NAN],
        [[1, 0, 1, 0, NAN]],
    ),
    "gelu_zero": Edge(
        CG.GELU, [vector(0.0, 2.0**120, -1e38)], [1, 1, 1], [0, 2.0**120, 0], [[0.5, 1, 0]]
    ),
    "gelu_by_tanh_large": Edge(
        with_options(CG.GELU, True),
        [vector(1e4, -1e4, INF, -INF, NAN)],
        [1, 1, 1, 1, 1],
        [1e4, 0, INF, 0, NAN],
        [[1, 0, 1, 0, NAN]],
    ),
    "gelu_by_tanh_zero": Edge(
        with_options(CG.GELU, True),
        [vector(0.0, 2.0**120, -1e38)],
        [1, 1, 1],
        [0, 2.0**120, 0],
        [[0.5, 1, 0]],
    ),
    "relu_zero_passes": Edge(CG.ReLU, [vector(0.0)], [3], [0], [[3]]),
    "relu_minus_zero_passes": Edge(CG.ReLU, [vector(-0.0)], [3], [0], [[3]]),
    "relu_nan_stays": Edge(CG.ReLU, [vector(1.0, NAN)], [2, 3], [1, NAN], [[2, 0]]),
    "relu_blocks_nan_gradients": Edge(CG.ReLU, [vector(-1.0, NAN)], [NAN, NAN], [0, NAN], [[0, 0]]),
    "relu_inf": Edge(CG.ReLU, [vector(INF, -INF)], [2, 2], [INF, 0], [[2, 0]]),
    "relu_smallest_negative": Edge(CG.ReLU, [vector(-1e-45)], [2], [0], [[0]]),
    "softmax_large": Edge(
        CG.Softmax, [vector(1e4, -1e4, 1e4)], [1, 1, 0], [0.5, 0, 0.5], [[0.25, 0, -0.25]]
    ),
    "softmax_all_low": Edge(CG.Softmax, [vector(-1e4, -1e4)], [1, 0], [0.5, 0.5], [[0.25, -0.25]]),
    "softmax_largest_last": Edge(CG.Softmax, [vector(0.0, 1e4)], [2, 1], [0, 1], [[0, 0]]),
    "softmax_one": Edge(CG.Softmax, [vector(7.0)], [5], [1], [[0]]),
    "softmax_minus_inf": Edge(CG.Softmax, [vector(0.0, -INF)], [1, 1], [1, 0], [[0, 0]]),
    "sigmoid_large": Edge(
        CG.Sigmoid, [vector(1e4, -1e4, 0.0)], [1, 1, 1], [1, 0, 0.5], [[0, 0, 0.25]]
    ),
    "sigmoid_inf": Edge(CG.Sigmoid, [vector(INF, -INF)], [1, 1], [1, 0], [[0, 0]]),
    "tanh_large": Edge(CG.Tanh, [vector(1e4, -1e4, 0.0)], [1, 1, 1], [1, -1, 0], [[0, 0, 1]]),
    "norm2_zero": Edge(CG.Norm2, [vector(0.0, 0.0)], [3], [0], [[0, 0]]),
    "norm2_minus_zero": Edge(CG.Norm2, [vector(-0.0)], [3], [0], [[0]]),
    "mse_equal": Edge(CG.MSE, [vector(2.0, 2.0), vector(2.0, 2.0)], [3], [0], [[0, 0], [0, 0]]),
    "cee_zero_target_ignores_nan": Edge(
        CG.CEE, [vector(NAN, 1.0), vector(0.0, 1.0)], [2], [0], [[0, -2], [NAN, 0]]
    ),
    "cee_minus_zero_target": Edge(
        CG.CEE, [vector(NAN, 1.0), vector(-0.0, 1.0)], [2], [0], [[0, -2], [NAN, 0]]
    ),
    "cee_nan_counts_where_there_is_a_target": Edge(
        CG.CEE, [vector(NAN), vector(1.0)], [2], [NAN], [[NAN], [NAN]]
    ),
    "cee_nan_target": Edge(CG.CEE, [vector(1.0), vector(NAN)], [2], [NAN], [[NAN], [0]]),
    "log_softmax_large": Edge(CG.LogSoftmax, [vector(1e4, -1e4)], [1, 2], [0, -2e4], [[-2, 2]]),
    "log_softmax_minus_inf": Edge(CG.LogSoftmax, [vector(5.0, -INF)], [1, 3], [0, -INF], [[-3, 3]]),
    "log_softmax_one": Edge(CG.LogSoftmax, [vector(7.0)], [5], [0], [[0]]),
    "softmax_cee_large": Edge(
        CG.SoftmaxCEE,
        [vector(1e4, -1e4), vector(0.0, 1.0)],
        [2],
        [2e4],
        [[2, -2], [0, 4e4]],
    ),
    "softmax_cee_right_and_large": Edge(
        CG.SoftmaxCEE, [vector(1e4, -1e4), vector(1.0, 0.0)], [2], [0], [[0, 0], [0, 4e4]]
    ),
    "softmax_cee_zero_target_ignores_minus_inf": Edge(
        CG.SoftmaxCEE, [vector(3.0, -INF), vector(1.0, 0.0)], [2], [0], [[0, 0], [0, INF]]
    ),
    "softmax_cee_nan_counts_everywhere": Edge(
        CG.SoftmaxCEE, [vector(NAN, 1.0), vector(0.0, 1.0)], [2], [NAN], [[NAN] * 2, [NAN] * 2]
    ),
    "bce_large_and_right": Edge(
        CG.BCE, [vector(1e4, -1e4), vector(1.0, 0.0)], [2], [0], [[0, 0], [-1e4, 1e4]]
    ),
    "bce_large_and_wrong": Edge(
        CG.BCE, [vector(1e4, -1e4), vector(0.0, 1.0)], [2], [1e4], [[1, -1], [-1e4, 1e4]]
    ),
    "bce_inf_and_right": Edge(
        CG.BCE, [vector(INF, -INF), vector(1.0, 0.0)], [2], [0], [[0, 0], [-INF, INF]]
    ),
    "bce_inf_and_wrong": Edge(CG.BCE, [vector(INF), vector(0.0)], [2], [INF], [[2], [-INF]]),
    "bce_nan": Edge(CG.BCE, [vector(NAN), vector(0.0)], [1], [NAN], [[NAN], [NAN]]),
    "huber_at_delta": Edge(
        CG.Huber, [vector(1.0, -1.0), vector(0.0, 0.0)], [2], [0.5], [[1, -1], [-1, 1]]
    ),
    "huber_large": Edge(
        CG.Huber, [vector(1e4, -1e4), vector(0.0, 0.0)], [2], [9999.5], [[1, -1], [-1, 1]]
    ),
    "huber_inf": Edge(CG.Huber, [vector(INF), vector(0.0)], [2], [INF], [[2], [-2]]),
    "huber_nan": Edge(CG.Huber, [vector(NAN), vector(0.0)], [2], [NAN], [[NAN], [NAN]]),
    "huber_infinite_delta": Edge(
        lambda x, y: CG.Huber(x, y, INF), [vector(4.0), vector(0.0)], [2], [8], [[8], [-8]]
    ),
    "gaussian_equal": Edge(
        CG.GaussianNLL,
        [vector(3.0), vector(-1e4), vector(3.0)],
        [2],
        [-5e3],
        [[0], [1], [0]],
    ),
    "gaussian_wide": Edge(
        CG.GaussianNLL, [vector(1e4), vector(1e4), vector(0.0)], [2], [5e3], [[0], [1], [0]]
    ),
    "gaussian_too_large": Edge(
        CG.GaussianNLL,
        [vector(1e4), vector(-1e4), vector(0.0)],
        [1],
        [INF],
        [[INF], [-INF], [-INF]],
    ),
    "gaussian_without_gradient": Edge(
        CG.GaussianNLL, [vector(1e4), vector(-1e4), vector(0.0)], [0], [INF], [[0], [0], [0]]
    ),
    "layer_norm_of_equal_elements": Edge(
        lambda x: CG.LayerNorm(x, bias=[3, 4], eps=4.0),
        [vector(1e4, 1e4)],
        [2, 6],
        [3, 4],
        [[-1, 1]],
    ),
    "layer_norm_of_one": Edge(lambda x: CG.LayerNorm(x, [5], [7]), [vector(-3.0)], [2], [7], [[0]]),
    "layer_norm_inf": Edge(CG.LayerNorm, [vector(INF, 0.0)], [1, 1], [NAN, NAN], [[NAN, NAN]]),
    "sum_inf": Edge(CG.Sum, [vector(INF, 1.0)], [2], [INF], [[2, 2]]),
    "mean_of_infinities": Edge(CG.Mean, [vector(INF, -INF)], [2], [NAN], [[1, 1]]),
    "pool_tie_shares": Edge(pool(2, 2, 1), [[[5, 5], [1, 5]]], [3], [5], [[1, 1, 0, 1]]),
    "pool_padding_zero_wins": Edge(pool(2, 2, 1, 1, 1, 1, 1), [[[-1.0]]], [3], [0], [[0]]),
    "pool_padding_ties_count_the_domain": Edge(
        pool(2, 2, 1, 1, 1, 1, 1), [[[0.0]]], [3], [0], [[3]]
    ),
    "pool_minus_zero_ties_zero": Edge(pool(1, 2, 1), [[[-0.0, 0.0]]], [4], [0], [[2, 2]]),
    "pool_nan_window": Edge(pool(1, 2, 1), [[[NAN, 1, 2]]], [3, 4], [NAN, 2], [[0, 0, 4]]),
    "pool_nan_last": Edge(pool(1, 2, 1), [[[1, 2, NAN]]], [3, 4], [2, NAN], [[0, 3, 0]]),
    "pool_minus_inf_ties": Edge(pool(1, 2, 1), [[[-INF, -INF]]], [4], [-INF], [[2, 2]]),
    "pool_inf_ties": Edge(pool(1, 2, 1), [[[INF, INF]]], [4], [INF], [[2, 2]]),
    "pool_overlap_adds": Edge(pool(1, 2, 1), [[[1, 2, 1]]], [3, 4], [2, 2], [[0, 7, 0]]),
    "pool_pad_value": Edge(pool(2, 2, 1, 1, 1, 1, 1, pad_value=-2.0), [[[-1.0]]], [3], [-1], [[3]]),
    "pool_pad_value_wins": Edge(
        pool(2, 2, 1, 1, 1, 1, 1, pad_value=0.5), [[[0.25]]], [3], [0.5], [[0]]
    ),
    "pool_inf_padding_never_wins": Edge(
        pool(2, 2, 1, 1, 1, 1, 1, pad_value=-INF), [[[-7.0]]], [3], [-7], [[3]]
    ),
    "pool_inf_padding_ties_inf": Edge(
        pool(2, 2, 1, 1, 1, 1, 1, pad_value=-INF), [[[-INF]]], [3], [-INF], [[3]]
    ),
    "pool_empty_window_is_zero": Edge(
        pool(1, 1, 3, 0, 1, 1, 3), [[[4, 5, 6, 7, 8]]], [3, 4, 5], [0, 6, 0], [[0, 0, 4, 0, 0]]
    ),
    "pool_empty_window_by_alignment": Edge(
        pool(1, 1, 3), [[[4, 5, 6, 7, 8]]], [3, 4, 5], [0, 6, 0], [[0, 0, 4, 0, 0]]
    ),
}
