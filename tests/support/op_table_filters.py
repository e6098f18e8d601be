"""The filters' rows of the op table: domain, kernel and further arguments, with every kind of padding."""

from __future__ import annotations

import math
from functools import partial

from op_row import Case, Row, apart
from reference_filters import AveragePooling2d, Convolution2d, FilterGeometry, MaxPooling2d

import cgraph as CG

# Arguments after the kernel's size: () | (stride,) | (stride, height, width) |
# (stride, top, left, height, width); convolution also takes (height, width).
GEOMETRIES = {
    "one_element": ((1, 1), (1, 1), (1,)),
    "kernel_1x1": ((5, 4), (1, 1), (1,)),
    "kernel_is_domain": ((5, 5), (5, 5), (1,)),
    "aligned": ((6, 7), (3, 2), (1,)),
    "aligned_stride2": ((7, 9), (3, 3), (2,)),
    "aligned_stride2_padded": ((6, 8), (3, 3), (2,)),
    "aligned_stride3": ((8, 11), (2, 5), (3,)),
    "aligned_stride3_padded": ((9, 10), (2, 2), (3,)),
    "aligned_stride_over_kernel": ((5, 7), (1, 2), (3,)),
    "centred_even_kernel": ((5, 5), (4, 2), (1, 5, 5)),
    "centred_stride2": ((6, 7), (3, 3), (2, 3, 4)),
    "centred_stride3": ((7, 5), (3, 4), (3, 4, 3)),
    "given_asymmetric": ((5, 6), (3, 4), (1, 2, 0, 6, 4)),
    "given_bottom_only": ((5, 6), (3, 3), (2, 0, 1, 3, 3)),
    "given_top_only": ((5, 6), (3, 3), (2, 2, 2, 3, 4)),
    "given_rows_alone": ((5, 6), (3, 4), (1, 2, 0, 7, 3)),
    "given_stride3": ((7, 8), (3, 2), (3, 1, 2, 4, 4)),
    "given_padding_over_kernel": ((3, 3), (2, 2), (1, 3, 4, 8, 9)),
    "kernel_over_domain_aligned": ((2, 2), (3, 4), (3,)),
    "kernel_over_domain_centred": ((2, 2), (3, 5), (1, 2, 2)),
    "kernel_over_domain_given": ((2, 3), (5, 6), (1, 1, 2, 2, 3)),
    "one_row": ((1, 17), (1, 3), (1,)),
    "one_column": ((19, 1), (4, 1), (2,)),
    "pooling_2x2": ((8, 8), (2, 2), (2,)),
    "broad": ((4, 37), (3, 5), (1,)),
    "broad_stride2": ((4, 39), (3, 5), (2,)),
}
GEOMETRIES |= {f"width{w}": ((3, w), (2, 3), (1, 3, w)) for w in (6, 7, 9, 15, 17, 31, 33)}

UNUSUAL = {"width6", "width9", "width15", "width31"}  # for poolings, beside 7, 17 and 33

# Channels that only a convolution has: (channels, domain, kernel, arguments).
CHANNELS = {
    "stride_by_default": (2, (6, 7), (3, 2), ()),
    "size_alone": (2, (5, 6), (3, 3), (5, 6)),
    "channels_16": (16, (7, 5), (3, 3), (1,)),
    "channels_33_1x1": (33, (4, 5), (1, 1), ()),
    "channels_7_stride2": (7, (9, 8), (3, 3), (2,)),
    "lenet_first": (1, (28, 28), (5, 5), (28, 28)),
    "lenet_third": (6, (14, 14), (5, 5), ()),
}

NAMES = {
    0: (),
    1: ("stride",),
    2: ("height", "width"),
    3: ("stride", "height", "width"),
    5: ("stride", "topPadding", "leftPadding", "height", "width"),
}
WINDOW_NAMES = {"topPadding": "top", "leftPadding": "left"}


def window(m, k, args, crop=False):
    """Returns the reference geometry of a constructor call with these arguments."""
    named = dict(zip(NAMES[len(args)], args, strict=True))
    sizes = {WINDOW_NAMES.get(name, name): n for name, n in named.items()}
    return FilterGeometry.of(m, k, **sizes, crop=crop)


def convolution(channels, m, k, args, crop=False):
    def make(inputs, params, dtype):
        kernel, bias = params
        options = {"crop": True} if crop else {}
        return CG.Convolution2d(inputs, kernel, bias.item(), *args, **options)

    reference = Convolution2d(window(m, k, args, crop))
    return Case((m,) * channels, make, reference, ((channels, *k), (1,)))


# What windows leave unread at the end of rows, of columns or of both, where that is allowed.
CROPPED = {
    "odd_2x2": ((9, 7), (2, 2), (2,)),
    "stride3": ((8, 12), (2, 2), (3,)),
    "rows_only": ((5, 8), (2, 4), (2,)),
    "overlapping": ((8, 6), (3, 3), (2,)),
    "centred": ((9, 10), (3, 2), (2, 3, 4)),
    "given": ((7, 9), (3, 3), (2, 1, 1, 3, 4)),
    "long_way": ((20, 3), (1, 1), (1, 0, 0, 2, 2)),
    "kernel_1x1_stride2": ((6, 4), (1, 1), (2,)),
    "kernel_is_domain": ((4, 4), (4, 4), (1, 1, 0, 1, 1)),
    "as_wide_as_the_domain": ((4, 5), (2, 2), (1, 0, 1, 3, 4)),
    "padded_columns": ((9, 4), (3, 3), (2, 0, 1, 3, 3)),
    "padding_over_kernel": ((3, 3), (2, 2), (2, 3, 0, 2, 1)),
}
# Channels that only a convolution has, as in CHANNELS.
CROPPED_CHANNELS = {
    "stride_by_default": (3, (6, 5), (3, 2), (4, 3)),
    "channels_16": (16, (8, 6), (3, 3), (2,)),
    "channels_33_1x1": (33, (4, 6), (1, 1), (2,)),
    "lenet_first": (1, (28, 28), (5, 5), (2,)),
}


def pooling(op, reference, m, k, args, usual=True, crop=False, **options):
    def make(inputs, params, dtype):
        return op(inputs[0], *k, *args, **options, **({"crop": True} if crop else {}))

    return Case((m,), make, reference(window(m, k, args, crop), **options), usual=usual)


max_pooling = partial(pooling, CG.MaxPooling2d, MaxPooling2d)
average_pooling = partial(pooling, CG.AveragePooling2d, AveragePooling2d)


def cropped(make, table=CROPPED):
    return {f"cropped_{name}": make(*geometry, crop=True) for name, geometry in table.items()}


def has_padding(m, k, args):
    """Does any window reach into padding, so that the value there counts?"""
    return any(padding for *_, padding in window(m, k, args).windows())


def has_empty_window(m, k, args):
    """Whether a window lies entirely in the padding."""
    area = k[0] * k[1]
    return any(padding == area for *_, padding in window(m, k, args).windows())


def convolutions():
    table = {name: convolution(2, *geometry) for name, geometry in GEOMETRIES.items()}
    table |= {name: convolution(*numbers) for name, numbers in CHANNELS.items()}
    return table | cropped(partial(convolution, 2)) | cropped(convolution, CROPPED_CHANNELS)


def poolings(make):
    """Returns a case for each geometry; those of a width that convolutions have, too, are unusual."""
    return {
        name: make(*geometry, usual=name not in UNUSUAL) for name, geometry in GEOMETRIES.items()
    }


def max_poolings():
    table = poolings(max_pooling)
    for name, geometry in GEOMETRIES.items():
        if not has_empty_window(*geometry):
            usual = has_padding(*geometry) and name not in UNUSUAL
            table[f"{name}_inf"] = max_pooling(*geometry, usual, pad_value=-math.inf)
    table["pad_value"] = max_pooling((5, 6), (3, 3), (1, 5, 6), pad_value=0.3)
    return table | cropped(max_pooling)


def average_poolings():
    table = poolings(average_pooling) | cropped(average_pooling)
    for name, geometry in GEOMETRIES.items():
        usual = has_padding(*geometry) and name not in UNUSUAL
        table[f"{name}_within"] = average_pooling(*geometry, usual, count_padding=False)
    return table


FILTER_ROWS = [
    Row(CG.Convolution2d, convolutions()),
    Row(CG.MaxPooling2d, max_poolings(), draws=(apart,)),
    Row(CG.AveragePooling2d, average_poolings()),
]
