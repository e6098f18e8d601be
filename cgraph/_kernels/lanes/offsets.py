"""The tables of offsets that a LaneLayerStep reads, in elements: one set serves the kernels of all builds.

The tables are arrays of the structs of tables.pxd, whose fields are given by their names.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, NamedTuple

import numpy as np
import numpy.typing as npt

from cgraph._kernels.common.geometry import FilterGeometry
from cgraph._kernels.lanes.tables import (
    CHANNEL_SET,
    IN_PLACE,
    LAYER_SIZES,
    OUTPUT_CHANNEL,
    PACKED,
    PACKED_STRIDE,
    POSITION,
    POSITION_SET,
    PREFETCHED,
    SHIFTED_TAP,
    SUMMED_ROWS,
    TERM,
)
from cgraph._kernels.runtime.step import Operand
from cgraph._kernels.runtime.structs import Structs, structs

Numbers = npt.NDArray[np.intp]
Links = npt.NDArray[np.bool_]
Pairs = list[tuple[int, int]]
# Taps, as (number, offset of the source), and the positions that read them, as (offset in the source, offset).
PositionSet = tuple[Pairs, Pairs]
DEPTH = 384  # terms of a block whose weights are packed, so that these stay in the nearest cache
# Of a single position: bytes of x in a block, which all panels read, and terms, whose weights lie in rows far apart.
NEAR_BYTES, NARROW = 16384, 128
# Terms of all channel sets that are stored in one table; of more, each block's terms are made when it is summed.
MAX_STORED_TERMS = 1 << 16
FAR_BYTES = 1024  # the distance between the weights of two terms from which on they are prefetched


class GemmTables(NamedTuple):
    """The tables of a GEMM, as the struct Gemm of gemm.pxd explains them."""

    reading: int
    depth: int
    terms_stored: bool
    outputs: Structs
    sources: Structs
    channel_sets: Structs
    position_sets: Structs
    positions: Structs
    terms: Structs
    taps: Numbers
    shifted_taps: Structs


class LayerTables(NamedTuple):
    """The tables of a layer, as the attributes of LaneLayerStep explain them; `sizes` has one element."""

    sizes: Structs
    tap_offsets: Numbers
    window_positions: Structs
    row_offsets: Numbers
    row_weights: Numbers
    output_gemm: GemmTables
    gradient_gemm: GemmTables

    @property
    def nbytes(self) -> int:
        """The number of bytes of all tables."""
        tables = [*self[:5], *self.output_gemm[3:], *self.gradient_gemm[3:]]
        return sum(table.nbytes for table in tables)


class Scratch(NamedTuple):
    """The offsets of what a step keeps in its scratch, and the size of all of it."""

    packed: int
    padded: int
    totals: int
    transposed: int
    biases: int
    terms: int
    size: int


def scratch(
    f: FilterGeometry, vector: int, itemsize: int, lanes: int, c_out: int, connected: Any
) -> Scratch:
    """Returns the layout of a step's scratch; `vector` is the number of elements to which rows are padded.

    A padded input channel and the totals share their room with the transposed gradient: a step needs either. The input
    of the row of biases is needed beside both.
    """
    line, taps = 2 * vector, f.k_h * f.k_w
    begin = round_up(max(DEPTH, taps) * PACKED_STRIDE, line)
    totals = begin + f.padded_h * f.padded_w * lanes
    sums = max(taps, SUMMED_ROWS if c_out < vector else 0) * c_out
    end_of_totals = totals + round_up(round_up(sums, vector) * vector, line)
    biases = max(begin + round_up(c_out, 2 * vector) * lanes, end_of_totals)
    terms = round_up(biases + lanes, line)
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
    padded: int,
    itemsize: int,
    lanes: int,
    inputs: Sequence[Operand],
    d: Operand,
    c_out: int,
    parameters_offset: int,
    scratch_offset: int,
    tap_stride: int,
    channel_stride: int,
    pitch: int,
    connected: Any,
) -> LayerTables:
    """Returns the tables of a LaneLayerStep, whose constructor explains the arguments from `lanes` on.

    vector, padded: the number of elements of a vector, and that to which rows are padded; itemsize: the bytes of one.
    """
    links = None if connected is None else np.asarray(connected, bool)
    tap = np.arange(f.k_h * f.k_w, dtype=np.intp)
    taps = tap * tap_stride
    c_in, n, m = len(inputs), f.n_h * f.n_w, f.m_h * f.m_w
    columns = np.arange(0, lanes, 2 * vector, dtype=np.intp)
    ins = structs(
        OUTPUT_CHANNEL,
        c_in,
        w=np.arange(c_in, dtype=np.intp) * channel_stride,
        y=[x.offset for x in inputs],
        accumulate=[x.accumulate for x in inputs],
        requires_grad=[(x.requires_grad, x.requires_grad_parameters_only) for x in inputs],
    )
    outs = structs(
        OUTPUT_CHANNEL,
        c_out,
        w=np.arange(c_out),
        y=d.offset + np.arange(c_out, dtype=np.intp) * n * lanes,
        accumulate=0,
        requires_grad=1,
    )
    few = min(NEAR_BYTES // (lanes * itemsize), NARROW)
    unpacked = PREFETCHED if channel_stride * itemsize >= FAR_BYTES else IN_PLACE
    outputs = gemm_tables(
        ins,
        outs,
        None if links is None else links.T,
        taps,
        output_positions(f, lanes),
        columns,
        *((PACKED, DEPTH) if n > 1 else (unpacked, few)),
    )
    gradients = gemm_tables(
        outs,
        ins,
        links,
        taps,
        input_positions(f, lanes),
        columns,
        *((PACKED, DEPTH) if m > 1 else (IN_PLACE, few)),
    )
    in_place = (f.padded_h, f.padded_w) == (f.m_h, f.m_w)
    one_gemm = in_place and connected is None and n == 1 and (f.m_h, f.m_w) == (f.k_h, f.k_w)
    place = scratch(f, padded, itemsize, lanes, c_out, connected)
    sizes = structs(
        LAYER_SIZES,
        1,
        lanes=lanes,
        c_out=c_out,
        positions=n,
        tap_count=len(taps),
        padded_width=f.padded_w,
        d_offset=d.offset,
        parameters_offset=parameters_offset,
        rows=len(taps) * c_in,
        pitch=pitch,
        packed_offset=scratch_offset + place.packed,
        padded_offset=scratch_offset + place.padded,
        totals_offset=scratch_offset + place.totals,
        transposed_offset=scratch_offset + place.transposed,
        biases_offset=scratch_offset + place.biases,
        terms_offset=scratch_offset + place.terms,
        in_place=in_place,
        gaps=connected is not None or channel_stride == pitch > c_out,
        one_gemm=one_gemm,
    )
    i, j = np.divmod(tap, f.k_w)
    a, b = np.divmod(np.arange(n, dtype=np.intp), f.n_w)
    window_positions = structs(
        POSITION, n, x=(a * f.padded_w + b) * f.s * lanes, y=(a * f.n_w + b) * lanes
    )
    rows = ins if one_gemm else ins[:0]
    row_offsets = np.append(np.add.outer(rows["y"], tap * lanes), 0)
    row_weights = np.append(np.add.outer(rows["w"], taps), len(taps) * c_in * pitch)
    tap_offsets = (i * f.padded_w + j) * lanes
    return LayerTables(
        sizes, tap_offsets, window_positions, row_offsets, row_weights, outputs, gradients
    )


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


def channel_sets(outputs: Structs, links: Links | None) -> list[tuple[Numbers | None, Numbers]]:
    """Returns the sets of output channels that read the same source channels.

    For each set there are the numbers of these source channels, None for all, and those of its output channels.
    """
    if links is None:
        return [(None, np.arange(len(outputs)))]
    sets: dict[bytes, list[int]] = {}
    for i, row in enumerate(links):
        sets.setdefault(row.tobytes(), []).append(i)
    return [(np.flatnonzero(links[found[0]]), np.array(found)) for found in sets.values()]


def accumulate_repeated(outputs: Structs) -> None:
    """Lets all but the first of the outputs with one offset, which is that of a node read as several channels, add.

    The first one overwrites if any of them does.
    """
    _, first, node = np.unique(outputs["y"], return_index=True, return_inverse=True)
    accumulate = outputs["accumulate"][first]
    np.minimum.at(accumulate, node, outputs["accumulate"])
    outputs["accumulate"] = 1
    outputs["accumulate"][first] = accumulate


def gemm_tables(
    sources: Structs,
    outputs: Structs,
    links: Links | None,
    taps: Numbers,
    position_sets: list[PositionSet],
    columns: Numbers,
    reading: int,
    depth: int,
) -> GemmTables:
    """Returns the tables of a GEMM: output channels, each the sum of taps of its source channels.

    sources, outputs: OutputChannels, of which sources have only offsets; links: whether each (output, source) is
    linked, or None for all; columns: the offsets of the columns of samples; reading: how weights are read; depth: the
    number of terms of a block.
    """
    operands = structs(TERM, len(sources), w=sources["w"], x=sources["y"])
    stored = links is None or block_terms(links, position_sets, len(taps)) == 0
    shifted_taps = [pairs(SHIFTED_TAP, found, "tap", "x") for found, _ in position_sets]
    sets = channel_sets(outputs, links)
    members = outputs[np.concatenate([channels for _, channels in sets])]
    accumulate_repeated(members)
    read = [operands if linked is None else operands[linked] for linked, _ in sets]
    terms = [
        block_of_terms(rows, taps, shifted, reading)
        for rows in (read if stored else ())
        for shifted in shifted_taps
    ]
    tap_counts = np.array([len(shifted) for shifted in shifted_taps], np.intp)
    source_counts = np.array([len(rows) for rows in read], np.intp)
    output_counts = np.array([len(channels) for _, channels in sets], np.intp)
    position_counts = np.array([len(found) * len(columns) for _, found in position_sets], np.intp)
    return GemmTables(
        reading=reading,
        depth=depth,
        terms_stored=stored,
        outputs=members,
        sources=np.concatenate(read),
        channel_sets=structs(
            CHANNEL_SET,
            len(sets),
            first_output=begins(output_counts),
            outputs=output_counts,
            first_source=begins(source_counts),
            sources=source_counts,
            first_term=begins(source_counts * tap_counts.sum()) if stored else 0,
        ),
        position_sets=structs(
            POSITION_SET,
            len(position_sets),
            first=begins(position_counts),
            count=position_counts // len(columns),
            first_tap=begins(tap_counts),
            taps=tap_counts,
        ),
        positions=np.concatenate([in_columns(found, columns) for _, found in position_sets]),
        terms=np.concatenate(terms or [operands[:0]]),
        taps=taps,
        shifted_taps=np.concatenate(shifted_taps)[: 0 if stored else None],
    )


def begins(counts: Numbers) -> Numbers:
    """Returns the number of elements before each of several parts of an array."""
    return np.cumsum(counts) - counts


def pairs(dtype: np.dtype[np.void], rows: Pairs, first: str, second: str) -> Structs:
    """Returns structs with two fields of these names."""
    columns = np.array(rows, np.intp).reshape(-1, 2).T
    return structs(dtype, len(rows), **dict(zip((first, second), columns, strict=True)))


def in_columns(found: Pairs, columns: Numbers) -> Structs:
    """Returns positions in all columns of samples, one column after the other."""
    one = pairs(POSITION, found, "x", "y")
    x, y = (np.add.outer(columns, one[name]).ravel() for name in ("x", "y"))
    return structs(POSITION, len(x), x=x, y=y)


def block_of_terms(rows: Structs, taps: Numbers, shifted: Structs, reading: int) -> Structs:
    """Returns the terms of all sources at the positions of one set."""
    if reading == PACKED:
        source, tap = np.arange(len(rows), dtype=np.intp) * len(taps), shifted["tap"]
        w = np.add.outer(source, tap) * PACKED_STRIDE
    else:
        w = np.add.outer(rows["w"], taps[shifted["tap"]])
    x = np.add.outer(rows["x"], shifted["x"])
    return structs(TERM, w.size, w=w.ravel(), x=x.ravel())
