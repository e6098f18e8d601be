"""The tables of offsets that a ConvolutionGroupStep reads, in elements: one set serves the kernels of all builds.

Each table is a flat list of integers; the rows of `inputs` and `subconvolutions` are structs of convolution_group.pyx.
"""

from __future__ import annotations

from itertools import chain
from typing import Any, NamedTuple

from cgraph._kernels.common.geometry import FilterGeometry

TILE, TALL = 6, 8  # rows of a tile, as in indirect_gemm.pxd


class Tables(NamedTuple):
    """The tables of a step, in the order of its attributes.

    `missing` holds the offset of each missing connection's weight within the weights of one tap; the header of
    convolution_group.pyx explains the others.
    """

    inputs: list[int]
    connected: list[int]
    missing: list[int]
    kernel_offsets: list[int]
    window_offsets: list[int]
    result_offsets: list[int]
    grad_term_offsets: list[int]
    grad_offsets: list[int]
    input_offsets: list[int]
    subconvolutions: list[int]


def lie_side_by_side(inputs: Any) -> bool:
    """Whether the channels of a position are neighbours in memory, and their operands alike otherwise."""
    rows = inputs.tolist()
    return all(row == [rows[0][0] + c, *rows[0][1:]] for c, row in enumerate(rows))


def tables(
    f: FilterGeometry,
    inputs: Any,
    c_out: int,
    pitch: int,
    padded_stride: int,
    padded_width: int,
    lanes: int,
    connected: Any,
) -> Tables:
    """Returns the tables of a step.

    padded_stride: the distance between positions of the padded input; lanes: the number of elements of a vector.
    """
    c_in, row, line = len(inputs), padded_width * padded_stride, f.n_w * pitch
    linked = [] if connected is None else connected.tolist()
    most = max(f.k_h * f.k_w * c_in, f.n_h * f.n_w)
    return Tables(
        list(chain.from_iterable(inputs.tolist())),
        list(chain.from_iterable(linked)),
        [
            c * pitch + k
            for c, links in enumerate(linked)
            for k, link in enumerate(links)
            if not link
        ],
        extended([tap + c for tap in grid(f.k_h, f.k_w, row, padded_stride) for c in range(c_in)]),
        extended(grid(f.n_h, f.n_w, f.s * row, f.s * padded_stride)),
        extended(list(range(0, most * pitch, pitch))),
        extended([k - above for above in range(0, f.k_h * line, line) for k in range(c_out)]),
        *subconvolutions(f, c_in, c_out, pitch, padded_width, lanes),
    )


def grid(height: int, width: int, row: int, stride: int) -> list[int]:
    """Returns the offsets of height * width elements, row by row.

    row, stride: the distances between rows and between the elements of a row.
    """
    return [a + b for a in range(0, height * row, row) for b in range(0, width * stride, stride)]


def extended(offsets: list[int]) -> list[int]:
    """The offsets of a GEMM's rows, and behind them the last one, as often as a tile may read beyond the rows.

    A tile with fewer rows than it sums side by side computes the missing rows, too, and drops them. The elements
    that it reads for them, at these offsets plus each of `term_offsets`, must lie within the array. Those of an
    existing row do; those at offset 0 would not where terms have negative offsets, as in `grad_term_offsets`.
    """
    return offsets + offsets[-1:] * TALL


def subconvolutions(
    f: FilterGeometry, c_in: int, c_out: int, pitch: int, padded_width: int, lanes: int
) -> tuple[list[int], list[int], list[int]]:
    """Returns the offsets of gradients and of inputs, and the subconvolutions that share them out.

    A subconvolution covers the input rows whose gradients come from one set of kernel rows. It is a GEMM with a
    depth of its own, and so its tables are extended on their own: at some of its depths, the first rows of the
    next subconvolution, which follow its last row, would lie outside the array.
    """
    input_rows: dict[tuple[int, int], list[int]] = {}
    grad_offsets: list[int] = []
    input_offsets: list[int] = []
    parts: list[int] = []
    for y in range(f.p, f.p + f.m_h):
        kernel_rows = [i for i in range(y % f.s, f.k_h, f.s) if 0 <= y - i <= (f.n_h - 1) * f.s]
        if kernel_rows:
            input_rows.setdefault((kernel_rows[0], len(kernel_rows)), []).append(y)
    order = [i for phase in range(f.s) for i in range(phase, f.k_h, f.s)]
    # Windows overlap. Those of neighbours in a tile should not, for a load waits for the stores that it spans.
    apart = -(-2 * lanes // (f.s * c_in))
    columns = [b for first in range(apart) for b in range(first, f.n_w, apart)]
    grad_columns, input_columns = [b * pitch for b in columns], [b * f.s * c_in for b in columns]
    for (i, count), ys in input_rows.items():
        parts += [len(grad_offsets), len(ys) * f.n_w, order.index(i) * c_out, count * c_out]
        grads: list[int] = []
        inputs: list[int] = []
        for first in range(0, len(ys), TILE):
            tile = ys[first : first + TILE]
            grad_rows = [(y - i) // f.s * f.n_w * pitch for y in tile]
            grads += [row + column for column in grad_columns for row in grad_rows]
            rows = [y * padded_width * c_in for y in tile]
            inputs += [row + column for column in input_columns for row in rows]
        grad_offsets += extended(grads)
        input_offsets += extended(inputs)
    return grad_offsets, input_offsets, parts
