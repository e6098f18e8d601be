"""Layers of channels: convolutions and poolings, with the two paddings of Keras."""

from __future__ import annotations

import math
from collections.abc import Iterable, Sequence

import numpy as np

from cgraph._validation import as_generator, as_size, describe
from cgraph.layers.activations import Activation, activated, as_activation
from cgraph.layers.arguments import (
    Initializer,
    as_channels,
    as_initializer,
    as_pair,
    as_stride,
    as_table,
    initial,
)
from cgraph.layers.undoing import undone_on_error
from cgraph.node import Node
from cgraph.nodes.convolution import Convolution2d
from cgraph.nodes.pooling import AveragePooling2d, MaxPooling2d

PADDINGS = ("valid", "same")


def placement(
    owner: str, argument: str, image: Node, window: tuple[int, int], stride: int, padding: object
) -> tuple[int, int, int, int, int]:
    """Returns stride, top and left padding, height and width of a filter, by Keras' rules, or refuses the arguments.

    Of m rows, windows of k and the stride s, "valid" makes n = ⌊(m − k) / s⌋ + 1 without padding; "same" makes
    n = ⌈m / s⌉ with max(s (n − 1) + k − m, 0) rows of padding, of which half, rounded down, are at the top.
    """
    if not isinstance(padding, str) or padding not in PADDINGS:
        raise (ValueError if isinstance(padding, str) else TypeError)(
            f'{owner}: padding must be "valid" or "same", got {describe(padding)}'
        )
    sizes = image.height, image.width
    if padding == "valid":
        if window[0] > sizes[0] or window[1] > sizes[1]:
            raise ValueError(
                f'{owner}: {argument} must be at most {sizes}, the size of the input, with padding "valid", '
                f"got {window}"
            )
        before = [0, 0]
        counts = [(m - k) // stride + 1 for m, k in zip(sizes, window, strict=True)]
    else:
        counts = [-(-m // stride) for m in sizes]
        totals = [stride * (n - 1) + k - m for m, k, n in zip(sizes, window, counts, strict=True)]
        before = [max(total, 0) // 2 for total in totals]
    return stride, before[0], before[1], counts[0], counts[1]


def conv2d(
    nodes: Node | Iterable[Node],
    filters: int,
    kernel_size: int | Sequence[int],
    strides: int | Sequence[int] = 1,
    padding: str = "valid",
    *,
    table: Iterable[Iterable[int]] | None = None,
    activation: str | Activation | None = None,
    initializer: str | Initializer = "glorot_uniform",
    rng: np.random.Generator | int | None = None,
) -> list[Node]:
    """Makes a convolutional layer: a `Convolution2d` with a bias of 0 for each filter, and the activations.

    Parameters
    ----------
    nodes : Node or sequence of Node
        The C channels, all of one height and width.
    filters : int
        The number N of filters, which is the number of channels that come out.
    kernel_size : int or (int, int)
        Height and width of the kernels.
    strides : int, optional
        The distance from one window to the next, the same in both directions.
    padding : {"valid", "same"}, optional
        "valid": none; rows and columns at the end that no window reaches are left unread. "same": zeros around the
        input, so that of m rows come ⌈m / strides⌉; if their number is odd, there is one more at the end.
    table : sequence of N sequences of int, optional
        The numbers of the channels that each filter reads; by default all.
    activation : str or callable, optional
        A name of `ACTIVATIONS` but "softmax" and "log_softmax", or a function from a node to a node, which is called
        for each channel.
    initializer : str or callable, optional
        The name of a function of `cgraph.init`, or a function that is called with the shape (N, C, k_h, k_w), a
        generator, and the pair of fan_in = C k_h k_w and fan_out = N k_h k_w, and returns the initial kernels. With a
        table it is called for each filter, with the shape (1, c, k_h, k_w) for c channels; fan_in is then c k_h k_w,
        and in fan_out N is the number of filters that read a channel, on average.
    rng : numpy.random.Generator, int or None, optional
        The source of initial kernels, or a seed.

    Returns
    -------
    list of Node
        A node for each filter.

    Raises
    ------
    TypeError, ValueError
        An argument is not of this kind, or out of range; the activation returns no node, or the initialiser an array
        of another shape. Nothing is attached to the inputs then.

    Examples
    --------
    >>> import cgraph as CG
    >>> image = CG.Leaf2(28, 28)
    >>> first = CG.layers.conv2d(image, 6, 5, padding="same", activation="relu", rng=0)
    >>> second = CG.layers.conv2d(first, 2, 5, table=[(0, 1, 2), (3, 4, 5)], rng=1)
    >>> len(first), len(second), second[0]
    (6, 2, Convolution2d(shape=(24, 24), dtype=float64, parameters=76))
    """
    owner = "conv2d"
    channels = as_channels(owner, nodes)
    count = as_size(owner, "filters", filters)
    window = as_pair(owner, "kernel_size", kernel_size)
    stride = as_stride(owner, strides)
    places = placement(owner, "kernel_size", channels[0], window, stride, padding)
    rows = None if table is None else as_table(owner, table, count, len(channels))
    function = as_activation(owner, activation, of_channels=True)
    draw = as_initializer(owner, initializer)
    generator = as_generator(owner, rng)
    area = window[0] * window[1]
    if rows is None:
        fans = len(channels) * area, count * area
        shape = count, len(channels), *window
        kernels = list(initial(owner, draw, shape, generator, fans))
        rows = [list(range(len(channels)))] * count
    else:
        readers = sum(map(len, rows)) / len(channels)
        kernels = [
            initial(
                owner, draw, (1, len(row), *window), generator, (len(row) * area, readers * area)
            )[0]
            for row in rows
        ]
    with undone_on_error(channels):
        made = [
            Convolution2d([channels[c] for c in row], kernel, 0.0, *places, crop=True)
            for row, kernel in zip(rows, kernels, strict=True)
        ]
        return activated(owner, made, function)


def max_pool2d(
    nodes: Node | Iterable[Node],
    pool_size: int | Sequence[int] = 2,
    strides: int | Sequence[int] | None = None,
    padding: str = "valid",
) -> list[Node]:
    """Makes a `MaxPooling2d` for each channel, in which padding is never the maximum.

    Parameters
    ----------
    nodes : Node or sequence of Node
        The channels, all of one height and width.
    pool_size : int or (int, int), optional
        Height and width of the windows.
    strides : int, optional
        The distance from one window to the next, the same in both directions; by default the size of a window, which
        must be a square then.
    padding : {"valid", "same"}, optional
        As in `conv2d`, with −∞ around the input.

    Returns
    -------
    list of Node
        A node for each channel.

    Raises
    ------
    TypeError, ValueError
        An argument is not of this kind, or out of range.

    Examples
    --------
    >>> import cgraph as CG
    >>> x = CG.Leaf2(3, 3)
    >>> x.getInput([[-1, -2, -3], [-4, -5, -6], [-7, -8, -9]])
    >>> CG.evaluate(CG.layers.max_pool2d(x, 2, padding="same")[0])
    array([-1., -3., -7., -9.])
    """
    owner = "max_pool2d"
    channels, window, places = _pooled(owner, nodes, pool_size, strides, padding)
    with undone_on_error(channels):
        return [
            MaxPooling2d(node, *window, *places, crop=True, pad_value=-math.inf)
            for node in channels
        ]


def average_pool2d(
    nodes: Node | Iterable[Node],
    pool_size: int | Sequence[int] = 2,
    strides: int | Sequence[int] | None = None,
    padding: str = "valid",
) -> list[Node]:
    """Makes an `AveragePooling2d` for each channel, which takes the mean of the elements that lie within the input.

    Parameters
    ----------
    nodes, pool_size, strides, padding
        As in `max_pool2d`; padding takes no part in the mean.

    Returns
    -------
    list of Node
        A node for each channel.

    Raises
    ------
    TypeError, ValueError
        An argument is not of this kind, or out of range.

    Examples
    --------
    >>> import cgraph as CG
    >>> x = CG.Leaf2(3, 3)
    >>> x.getInput([[1, 2, 3], [4, 5, 6], [7, 8, 9]])
    >>> CG.evaluate(CG.layers.average_pool2d(x, 2, padding="same")[0])
    array([3. , 4.5, 7.5, 9. ])
    """
    owner = "average_pool2d"
    channels, window, places = _pooled(owner, nodes, pool_size, strides, padding)
    with undone_on_error(channels):
        return [
            AveragePooling2d(node, *window, *places, crop=True, count_padding=False)
            for node in channels
        ]


def _pooled(
    owner: str, nodes: object, pool_size: object, strides: object, padding: object
) -> tuple[tuple[Node, ...], tuple[int, int], tuple[int, int, int, int, int]]:
    """Returns the channels of a pooling, the size of its windows, and where they are, or refuses the arguments."""
    channels = as_channels(owner, nodes)
    window = as_pair(owner, "pool_size", pool_size)
    if strides is None and window[0] != window[1]:
        raise ValueError(f"{owner}: strides must be given for a pool_size of {window}")
    stride = as_stride(owner, window if strides is None else strides)
    return channels, window, placement(owner, "pool_size", channels[0], window, stride, padding)
