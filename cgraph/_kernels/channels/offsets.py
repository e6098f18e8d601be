"""The tables of offsets that a ConvolutionGroupStep reads, in elements: one set serves the kernels of all builds.

`subconvolutions` is an array of structs of tables.pxd; the other tables are arrays of offsets.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, NamedTuple

import numpy as np
import numpy.typing as npt

from cgraph._kernels.channels.tables import ROW_GROUP
from cgraph._kernels.common.geometry import FilterGeometry
from cgraph._kernels.runtime.step import Operand
from cgraph._kernels.runtime.structs import Structs, structs

Offsets = npt.NDArray[np.intp]


class Tables(NamedTuple):
    """The tables of a step.

    `missing` holds the offset of each missing connection's weight within the weights of one tap; the header of
    convolution_group.pyx explains the others.
    """

    missing: Offsets
    kernel_offsets: Offsets
    window_offsets: Offsets
    result_offsets: Offsets
    grad_term_offsets: Offsets
    grad_offsets: Offsets
    input_offsets: Offsets
    kernel_rows: Offsets
    subconvolutions: Structs


def lie_side_by_side(inputs: Sequence[Operand]) -> bool:
    """Whether the channels of a position are neighbours in memory, and their operands alike otherwise."""
    first = inputs[0]
    return all(
        x.offset == first.offset + c
        and x.stride == first.stride
        and x.accumulate == first.accumulate
        and x.requires_grad == first.requires_grad
        and x.requires_grad_parameters_only == first.requires_grad_parameters_only
        for c, x in enumerate(inputs)
    )


def tables(
    f: FilterGeometry,
    c_in: int,
    c_out: int,
    pitch: int,
    padded_stride: int,
    lanes: int,
    connected: Any,
) -> Tables:
    """Returns the tables of a step.

    padded_stride: the distance between positions of the padded input; lanes: the number of elements of a vector.
    """
    row, line = f.padded_w * padded_stride, f.n_w * pitch
    missing = () if connected is None else np.argwhere(np.asarray(connected) == 0)
    most = max(f.k_h * f.k_w * c_in, f.n_h * f.n_w)
    parts, grad_offsets, input_offsets = subconvolutions(f, c_in, c_out, pitch, lanes)
    return Tables(
        missing=array([c * pitch + k for c, k in missing]),
        kernel_offsets=array(
            [tap + c for tap in grid(f.k_h, f.k_w, row, padded_stride) for c in range(c_in)]
        ),
        window_offsets=array(grid(f.n_h, f.n_w, f.s * row, f.s * padded_stride)),
        result_offsets=array(list(range(0, most * pitch, pitch))),
        grad_term_offsets=array(
            [k - above for above in range(0, f.k_h * line, line) for k in range(c_out)]
        ),
        grad_offsets=grad_offsets,
        input_offsets=input_offsets,
        kernel_rows=array([i * f.k_w * c_in * pitch for i in kernel_row_order(f)]),
        subconvolutions=parts,
    )


def grid(height: int, width: int, row: int, stride: int) -> list[int]:
    """Returns the offsets of height * width elements, row by row.

    row, stride: the distances between rows and between the elements of a row.
    """
    return [a + b for a in range(0, height * row, row) for b in range(0, width * stride, stride)]


def array(offsets: list[int]) -> Offsets:
    """Returns offsets as kernels read them."""
    return np.array(offsets, np.intp)


def kernel_row_order(f: FilterGeometry) -> list[int]:
    """Returns the rows of a kernel, those side by side that contribute to the same input row."""
    return [i for phase in range(f.s) for i in range(phase, f.k_h, f.s)]


def subconvolutions(
    f: FilterGeometry, c_in: int, c_out: int, pitch: int, lanes: int
) -> tuple[Structs, Offsets, Offsets]:
    """Returns the subconvolutions, and the offsets of gradients and of inputs that they share out.

    A subconvolution covers the input rows whose gradients come from one set of kernel rows.
    """
    input_rows: dict[tuple[int, int], list[int]] = {}
    for y in range(f.p, f.p + f.m_h):
        kernel_rows = [i for i in range(y % f.s, f.k_h, f.s) if 0 <= y - i <= (f.n_h - 1) * f.s]
        if kernel_rows:
            input_rows.setdefault((kernel_rows[0], len(kernel_rows)), []).append(y)
    order = kernel_row_order(f)
    # Neighbours in a tile have windows two vectors apart, for a load waits for the stores that it spans.
    apart = -(-2 * lanes // (f.s * c_in))
    columns = [b for first in range(apart) for b in range(first, f.n_w, apart)]
    grad_columns, input_columns = [b * pitch for b in columns], [b * f.s * c_in for b in columns]
    grad_offsets, input_offsets = [array([])], [array([])]
    for (i, _), ys in input_rows.items():
        grad_rows = [(y - i) // f.s * f.n_w * pitch for y in ys]
        grad_offsets.append(array([row + column for row in grad_rows for column in grad_columns]))
        rows = [y * f.padded_w * c_in for y in ys]
        input_offsets.append(array([row + column for row in rows for column in input_columns]))
    parts = structs(
        ROW_GROUP,
        len(input_rows),
        first=np.cumsum([len(offsets) for offsets in grad_offsets])[:-1],
        rows=[len(ys) * f.n_w for ys in input_rows.values()],
        term=[order.index(i) * c_out for i, _ in input_rows],
        depth=[count * c_out for _, count in input_rows],
    )
    return parts, np.concatenate(grad_offsets), np.concatenate(input_offsets)
