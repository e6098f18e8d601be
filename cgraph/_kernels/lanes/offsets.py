"""The tables of offsets that a LaneLayerStep reads, in elements: one set serves the kernels of all builds.

Numbers and tables are joined to one array, whose parts are the structs of layer.pyx and gemm.pxd.
"""

from __future__ import annotations

from collections.abc import Sequence
from itertools import accumulate
from typing import Any, NamedTuple

import numpy as np
import numpy.typing as npt

from cgraph._kernels.common.geometry import FilterGeometry

Numbers = npt.NDArray[np.intp]
Links = npt.NDArray[np.bool_]
Pairs = list[tuple[int, int]]
Rows = list[tuple[int, ...]]
# Taps, as (number, offset of the source), and the positions that read them, as (offset in the source, offset).
PositionSet = tuple[Pairs, Pairs]
PACKED_STRIDE = 8  # the distance between terms in packed weights
LINE, WIDEST = 64, 32  # bytes of a cache line, and of the widest vector
DEPTH = 384  # terms of a block whose weights are packed, so that these stay in the nearest cache
# Of a single position: bytes of x in a block, which all panels read, and terms, whose weights lie in rows far apart.
NEAR_BYTES, NARROW = 16384, 128
# Terms of all channel sets that are stored in one table; of more, each block's terms are made when it is summed.
MAX_STORED_TERMS = 1 << 16
FAR_BYTES = 1024  # the distance between the weights of two terms from which on they are prefetched

# How weights are read: Reading of gemm.pxd.
IN_PLACE, PREFETCHED, PACKED = range(3)


class Scratch(NamedTuple):
    """The offsets of what a step keeps in its scratch, and the size of all of it."""

    packed: int
    padded: int
    totals: int
    transposed: int
    biases: int
    terms: int
    size: int


def padded_shape(f: FilterGeometry) -> tuple[int, int]:
    """Returns the shape of a channel's padded copy, which ends where the last window does."""
    return (f.n_h - 1) * f.s + f.k_h, (f.n_w - 1) * f.s + f.k_w


def scratch(
    f: FilterGeometry, lanes: int, c_in: int, c_out: int, itemsize: int, connected: Any
) -> Scratch:
    """Returns the layout of a step's scratch, for vectors of any size.

    A padded input channel and the transposed gradient share their room: a step needs one of them.
    """
    line, vector, taps = LINE // itemsize, WIDEST // itemsize, f.k_h * f.k_w
    height, width = padded_shape(f)
    begin = round_up(max(DEPTH, taps) * PACKED_STRIDE, line)
    totals = begin + height * width * lanes
    biases = begin + round_up(c_out, 2 * vector) * lanes
    end_of_totals = totals + round_up(round_up(taps * c_out, vector) * vector, line)
    terms = round_up(max(end_of_totals, biases + lanes), line)
    size = terms
    if connected is not None:
        links = np.asarray(connected, bool)
        made = max(
            block_terms(links.T, output_positions(f, lanes), taps),
            block_terms(links, input_positions(f, lanes), taps),
        )
        size += made * 2 * np.dtype(np.intp).itemsize // itemsize
    return Scratch(0, begin, totals, begin, biases, terms, size)


def block_terms(links: Links, position_sets: list[PositionSet], taps: int) -> int:
    """Returns the number of terms that are made for a block, or 0 where the terms of all channel sets are stored."""
    read = [int(row.sum()) for row in {row.tobytes(): row for row in links}.values()]
    of_source = sum(len(shifted) for shifted, _ in position_sets)
    if len(read) == 1 or sum(read) * of_source <= MAX_STORED_TERMS:
        return 0
    return of_source * min(max(DEPTH // taps, 1), max(read))


def round_up(n: int, multiple: int) -> int:
    """Returns the least multiple of a number that is not below n."""
    return -(-n // multiple) * multiple


def layer(
    f: FilterGeometry,
    vector: int,
    itemsize: int,
    lanes: int,
    inputs: Any,
    d: Any,
    c_out: int,
    parameters_offset: int,
    scratch_offset: int,
    tap_stride: int,
    channel_stride: int,
    pitch: int,
    bias: float,
    connected: Any,
) -> tuple[Numbers, Numbers, Numbers, float]:
    """Returns the tables of a LaneLayerStep, of its output's GEMM and of its input gradient's GEMM, and the bias.

    inputs, d: the fields of `_lowering.buffers.Operand`. Weight (tap, c, o) has the offset `parameters_offset` +
    tap `tap_stride` + c `channel_stride` + o; the biases, each multiplied by `bias`, lie behind k_h k_w c_in rows of
    `pitch`. connected: whether each (c_in, c_out) is, or None for all.
    """
    operands = inputs.tolist()
    links = None if connected is None else np.asarray(connected, bool)
    taps = [t * tap_stride for t in range(f.k_h * f.k_w)]
    n, m, (height, width) = f.n_h * f.n_w, f.m_h * f.m_w, padded_shape(f)
    columns = range(0, lanes, 2 * vector)
    ins = [(c * channel_stride, x[0]) for c, x in enumerate(operands)]
    outs = [(k, d[0] + k * n * lanes) for k in range(c_out)]
    few = min(NEAR_BYTES // (lanes * itemsize), NARROW)
    unpacked = PREFETCHED if channel_stride * itemsize >= FAR_BYTES else IN_PLACE
    outputs = gemm_table(
        ins,
        [(*out, 0, 1, 1) for out in outs],
        None if links is None else links.T,
        taps,
        output_positions(f, lanes),
        columns,
        *((PACKED, DEPTH) if n > 1 else (unpacked, few)),
    )
    gradients = gemm_table(
        outs,
        [(*entry, *x[2:]) for entry, x in zip(ins, operands, strict=True)],
        links,
        taps,
        input_positions(f, lanes),
        columns,
        *((PACKED, DEPTH) if m > 1 else (IN_PLACE, few)),
    )
    one_gemm = connected is None and n == 1 and (f.m_h, f.m_w) == (f.k_h, f.k_w)
    numbers = [
        *(lanes, c_out, n, len(taps), width),
        *(d[0], parameters_offset, len(taps) * len(ins), pitch),
        *(scratch_offset + x for x in scratch(f, lanes, len(ins), c_out, itemsize, connected)[:6]),
        (height, width) == (f.m_h, f.m_w),
        connected is not None or channel_stride == pitch > c_out,
        one_gemm,
    ]
    tap_offsets = [(i * width + j) * lanes for i in range(f.k_h) for j in range(f.k_w)]
    window_positions = [
        ((a * width + b) * f.s * lanes, (a * f.n_w + b) * lanes)
        for a in range(f.n_h)
        for b in range(f.n_w)
    ]
    of_taps = np.array([*enumerate(taps)]) * (lanes, 1)
    weight_rows = np.array(ins)[:, None] + of_taps[:, ::-1] if one_gemm else ()
    table = joined(numbers, tap_offsets, window_positions, weight_rows)
    return table, outputs, gradients, bias


def joined(numbers: Sequence[int], *tables: Any) -> Numbers:
    """Joins the numbers, the offset of each table, and the tables to one array."""
    arrays = [np.asarray(table, np.intp).ravel() for table in tables]
    begin = len(numbers) + len(tables)
    begins = accumulate((array.size for array in arrays[:-1]), initial=begin)
    return np.concatenate([np.array([*numbers, *begins], np.intp), *arrays])


def output_positions(f: FilterGeometry, lanes: int) -> list[PositionSet]:
    """Returns the positions of the output by their taps, those in the padding left out."""
    found: dict[tuple[tuple[int, ...], ...], Pairs] = {}
    for a in range(f.n_h):
        rows = tuple(i for i in range(f.k_h) if 0 <= a * f.s + i - f.p < f.m_h)
        for b in range(f.n_w):
            columns = tuple(j for j in range(f.k_w) if 0 <= b * f.s + j - f.q < f.m_w)
            source = (a * f.s - f.p) * f.m_w + b * f.s - f.q
            found.setdefault((rows, columns), []).append((source * lanes, (a * f.n_w + b) * lanes))
    return [
        ([(i * f.k_w + j, (i * f.m_w + j) * lanes) for i in rows for j in columns], positions)
        for (rows, columns), positions in found.items()
    ]


def input_positions(f: FilterGeometry, lanes: int) -> list[PositionSet]:
    """Returns the positions of the input by the taps with which windows read them."""
    found: dict[tuple[tuple[int, ...], ...], Pairs] = {}
    for y in range(f.m_h):
        rows = tuple(
            i for i in range((y + f.p) % f.s, f.k_h, f.s) if 0 <= (y + f.p - i) // f.s < f.n_h
        )
        for x in range(f.m_w):
            columns = tuple(
                j for j in range((x + f.q) % f.s, f.k_w, f.s) if 0 <= (x + f.q - j) // f.s < f.n_w
            )
            source = (y + f.p) // f.s * f.n_w + (x + f.q) // f.s
            found.setdefault((rows, columns), []).append((source * lanes, (y * f.m_w + x) * lanes))
    return [
        (
            [
                (i * f.k_w + j, -(i // f.s * f.n_w + j // f.s) * lanes)
                for i in rows
                for j in columns
            ],
            positions,
        )
        for (rows, columns), positions in found.items()
    ]


def channel_sets(outputs: Rows, links: Links | None, sources: int) -> list[tuple[Numbers, Rows]]:
    """Returns sets of output channels, each with the numbers of the source channels that all of the set read.

    Of outputs with one offset, which is that of a node read as several channels, all but the first accumulate.
    """
    every = np.arange(sources)
    sets: dict[bytes, tuple[Numbers, Rows]] = {}
    added: dict[int, int] = {}
    for i, output in enumerate(outputs):
        key = b"" if links is None else links[i].tobytes()
        if key not in sets:
            sets[key] = every if links is None else np.flatnonzero(links[i]), []
        sets[key][1].append(output)
        added[output[1]] = added.get(output[1], 1) and output[2]
    return [
        (linked, [(w, y, added.pop(y, 1), *requires_grad) for w, y, _, *requires_grad in members])
        for linked, members in sets.values()
    ]


def gemm_table(
    sources: Pairs,
    outputs: Rows,
    links: Links | None,
    taps: list[int],
    position_sets: list[PositionSet],
    columns: range,
    reading: int,
    depth: int,
) -> Numbers:
    """Returns the table of a GEMM: output channels, each the sum of taps of its source channels.

    links: whether each (output, source) is linked, or None for all; columns: the offsets of the columns of samples;
    reading: how weights are read; depth: the number of terms of a block.
    """
    operands, stored = np.array(sources, np.intp).reshape(-1, 2), True
    if links is not None:
        stored = block_terms(links, position_sets, len(taps)) == 0
    tap_weights = np.array(taps)
    sets: Rows = []
    members: Rows = []
    read: list[Numbers] = [operands[:0]]
    terms: list[Numbers] = []
    source_count = term_count = 0
    for linked, channels in channel_sets(outputs, links, len(operands)):
        rows = operands[linked]
        sets.append((len(members), len(channels), source_count, len(linked), term_count))
        members += channels
        read.append(rows)
        source_count += len(linked)
        packed = np.arange(len(linked)) * len(taps) * PACKED_STRIDE
        for shifted, _ in position_sets if stored else ():
            tap, shift = np.array(shifted, np.intp).reshape(-1, 2).T
            made = np.empty((len(linked), len(tap), 2), np.intp)
            if reading == PACKED:
                made[..., 0] = np.add.outer(packed, tap * PACKED_STRIDE)
            else:
                made[..., 0] = np.add.outer(rows[:, 0], tap_weights[tap])
            made[..., 1] = np.add.outer(rows[:, 1], shift)
            terms.append(made.ravel())
            term_count += made.size // 2
    position_rows: Rows = []
    positions: Pairs = []
    tap_count = 0
    for shifted, alike in position_sets:
        position_rows.append((len(positions), len(alike), tap_count, len(shifted)))
        positions += [(x + v, y + v) for v in columns for x, y in alike]
        tap_count += len(shifted)
    shifted_taps = [tap for shifted, _ in position_sets for tap in shifted]
    return joined(
        [reading, depth, len(sets), len(position_sets), len(taps), stored],
        *(members, np.concatenate(read), sets, position_rows, positions),
        *(np.concatenate(terms) if terms else (), taps, () if stored else shifted_taps),
    )
