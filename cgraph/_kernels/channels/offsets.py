"""The tables of offsets that a ConvolutionGroupStep reads, made here once for all builds.

Every table is a flat list, whose rows are the structs of group.pyx. Offsets are in elements.
"""

from __future__ import annotations

from itertools import chain
from typing import Any, NamedTuple

from cgraph._kernels.common.geometry import FilterGeometry

TILE, TALL = 6, 8  # as in product.pxd


class Tables(NamedTuple):
    """What a step needs; `missing`: of each missing connection, its place in the rows of one tap."""

    inputs: list[int]
    connected: list[int]
    missing: list[int]
    taps: list[int]
    windows: list[int]
    lines: list[int]
    sent: list[int]
    senders: list[int]
    receivers: list[int]
    bands: list[int]


def lie_side_by_side(inputs: Any) -> bool:
    """Whether the channels of a position are neighbours, and equal otherwise."""
    rows = inputs.tolist()
    return all(row == [rows[0][0] + c, *rows[0][1:]] for c, row in enumerate(rows))


def tables(
    o: FilterGeometry,
    inputs: Any,
    c_out: int,
    pitch: int,
    frame_stride: int,
    frame_width: int,
    lanes: int,
    connected: Any,
) -> Tables:
    """frame_step: from one position of a frame to the next; lanes: of a vector."""
    c_in, row, line = len(inputs), frame_width * frame_stride, o.n_w * pitch
    linked = [] if connected is None else connected.tolist()
    most = max(o.k_h * o.k_w * c_in, o.n_h * o.n_w)
    return Tables(
        list(chain.from_iterable(inputs.tolist())),
        list(chain.from_iterable(linked)),
        [
            c * pitch + k
            for c, links in enumerate(linked)
            for k, link in enumerate(links)
            if not link
        ],
        table([at + c for at in grid(o.k_h, o.k_w, row, frame_stride) for c in range(c_in)]),
        table(grid(o.n_h, o.n_w, o.s * row, o.s * frame_stride)),
        table(list(range(0, most * pitch, pitch))),
        table([k - at for at in range(0, o.k_h * line, line) for k in range(c_out)]),
        *sendings(o, c_in, c_out, pitch, frame_width, lanes),
    )


def grid(height: int, width: int, row: int, step: int) -> list[int]:
    """Where the elements lie, line by line; row, step: from one line and from one element to the next."""
    return [a + b for a in range(0, height * row, row) for b in range(0, width * step, step)]


def table(offsets: list[int]) -> list[int]:
    """The offsets of a product's rows, and behind them the last one as often as a tile may read it.

    A tile that has fewer rows than it sums side by side computes the missing ones, too, and drops them. So it
    reads elements at their offsets plus all of `along`, which must lie within the array: those of an existing row
    do. Offset 0 does not where `along` is negative, as `sent` is.
    """
    return offsets + offsets[-1:] * TALL


def sendings(
    o: FilterGeometry, c_in: int, c_out: int, pitch: int, frame_width: int, lanes: int
) -> tuple[list[int], list[int], list[int]]:
    """Senders and receivers, in bands: input rows that get something from the same rows of the kernel.

    Each band is a product, of a depth of its own, and so has a table of its own: the first rows of the next band,
    behind its last row, would lie outside the array at some of the depths of this one.
    """
    groups: dict[tuple[int, int], list[int]] = {}
    senders: list[int] = []
    receivers: list[int] = []
    bands: list[int] = []
    for y in range(o.p, o.p + o.m_h):
        rows = [i for i in range(y % o.s, o.k_h, o.s) if 0 <= y - i <= (o.n_h - 1) * o.s]
        if rows:
            groups.setdefault((rows[0], len(rows)), []).append(y)
    order = [i for phase in range(o.s) for i in range(phase, o.k_h, o.s)]
    # Receivers overlap. A tile's neighbours shall not, for a load has to wait for the stores that it spans.
    apart = -(-2 * lanes // (o.s * c_in))
    columns = [b for first in range(apart) for b in range(first, o.n_w, apart)]
    sent, received = [b * pitch for b in columns], [b * o.s * c_in for b in columns]
    for (i, count), ys in groups.items():
        bands += [len(senders), len(ys) * o.n_w, order.index(i) * c_out, count * c_out]
        band_senders: list[int] = []
        band_receivers: list[int] = []
        for block in range(0, len(ys), TILE):
            tile = ys[block : block + TILE]
            lines = [(y - i) // o.s * o.n_w * pitch for y in tile]
            band_senders += [line + at for at in sent for line in lines]
            rows = [y * frame_width * c_in for y in tile]
            band_receivers += [row + at for at in received for row in rows]
        senders += table(band_senders)
        receivers += table(band_receivers)
    return senders, receivers, bands
