"""The tables of offsets that a LaneLayerStep reads, made here once for all builds.

Numbers and tables are one array, as the structs of lane_layer.pyx. Offsets are in elements.
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
# Elements with equal taps, as (number, shift of the source); the elements, as (place in the source, place).
Area = tuple[Pairs, Pairs]
PACKED = 8  # from the weights of one term to those of the next, where they are packed
LINE, WIDEST = 64, 32  # bytes of a cache line, and of the widest vector
DEPTH = 384  # terms summed at a time, so that their weights stay in the nearest cache
# Bytes of x that stay there, too, where there is but one spot and all strips read them.
NEAR = 16384
# Terms of all groups that are kept in one table; of more, a block's terms are made when it is summed.
KEPT = 1 << 16
NARROW = 128  # terms whose weights stay there, in rows that lie apart
APART = 1024  # bytes from one term's weights to the next, from which on they are fetched ahead

# How weights are read, as in lane_sums.pxd. COPIED: PACKED apart, to be read again.
IN_PLACE, FAR, COPIED = range(3)


class Scratch(NamedTuple):
    """Where a step keeps what, and all of it."""

    packed: int
    frame: int
    totals: int
    turned: int
    biases: int
    terms: int
    size: int


def frame(o: FilterGeometry) -> tuple[int, int]:
    """The windows of a Filter2d reach the end of its input: so far goes the frame, too."""
    return (o.n_h - 1) * o.s + o.k_h, (o.n_w - 1) * o.s + o.k_w


def scratch(
    o: FilterGeometry, lanes: int, c_in: int, c_out: int, itemsize: int, connected: Any
) -> Scratch:
    """Returns where a step keeps what in its scratch, whatever the size of vectors.

    A frame and a turned gradient share a place.
    """
    line, vector, taps = LINE // itemsize, WIDEST // itemsize, o.k_h * o.k_w
    height, width = frame(o)
    begin = up(max(DEPTH, taps) * PACKED, line)
    totals = begin + height * width * lanes
    biases = begin + up(c_out, 2 * vector) * lanes
    terms = up(max(totals + up(up(taps * c_out, vector) * vector, line), biases + lanes), line)
    size = terms
    if connected is not None:
        links = np.asarray(connected, bool)
        made = max(
            block_terms(links.T, reading_areas(o, lanes), taps),
            block_terms(links, sending_areas(o, lanes), taps),
        )
        size += made * 2 * np.dtype(np.intp).itemsize // itemsize
    return Scratch(0, begin, totals, begin, biases, terms, size)


def block_terms(links: Links, areas: list[Area], taps: int) -> int:
    """Terms of all areas that are made for some sources at a time; 0, where those of all groups are kept."""
    read = [int(row.sum()) for row in {row.tobytes(): row for row in links}.values()]
    of_source = sum(len(shifts) for shifts, _ in areas)
    if len(read) == 1 or sum(read) * of_source <= KEPT:
        return 0
    return of_source * min(max(DEPTH // taps, 1), max(read))


def up(n: int, unit: int) -> int:
    return -(-n // unit) * unit


def layer(
    o: FilterGeometry,
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
    """The numbers of a LaneLayerStep, those of its two Sums, and the bias.

    inputs, d: the fields of _places.Place. Weight (tap, c, o) lies at `values_at` + tap `tap_step` +
    c `channel_step` + o, the biases, which count `bias` times, behind k_h k_w c_in rows of `pitch`. connected:
    None, or which (c_in, c_out) are.
    """
    places, ins, outs = inputs.tolist(), range(len(inputs)), range(c_out)
    links = None if connected is None else np.asarray(connected, bool)
    taps = [t * tap_stride for t in range(o.k_h * o.k_w)]
    area, size, (height, width) = o.n_h * o.n_w, o.m_h * o.m_w, frame(o)
    columns = range(0, lanes, 2 * vector)
    read = [(c * channel_stride, places[c][0]) for c in ins]
    written = [(k, d[0] + k * area * lanes) for k in outs]
    few = min(NEAR // (lanes * itemsize), NARROW)
    place = FAR if channel_stride * itemsize >= APART else IN_PLACE
    outputs = sums(
        read,
        [(*where, 0, 1, 1) for where in written],
        None if links is None else links.T,
        taps,
        reading_areas(o, lanes),
        columns,
        *((COPIED, DEPTH) if area > 1 else (place, few)),
    )
    gradients = sums(
        written,
        [(*read[c], *places[c][2:]) for c in ins],
        links,
        taps,
        sending_areas(o, lanes),
        columns,
        *((COPIED, DEPTH) if size > 1 else (IN_PLACE, few)),
    )
    one_product = connected is None and area == 1 and (o.m_h, o.m_w) == (o.k_h, o.k_w)
    numbers = [
        *(lanes, c_out, area, len(taps), width),
        *(d[0], parameters_offset, len(taps) * len(ins), pitch),
        *(scratch_offset + x for x in scratch(o, lanes, len(ins), c_out, itemsize, connected)[:6]),
        (height, width) == (o.m_h, o.m_w),
        connected is not None or channel_stride == pitch > c_out,
        one_product,
    ]
    under = [(i * width + j) * lanes for i in range(o.k_h) for j in range(o.k_w)]
    windows = [
        ((a * width + b) * o.s * lanes, (a * o.n_w + b) * lanes)
        for a in range(o.n_h)
        for b in range(o.n_w)
    ]
    starts = np.array([*enumerate(taps)]) * (lanes, 1)
    products = np.array(read)[:, None] + starts[:, ::-1] if one_product else ()
    return joined(numbers, under, windows, products), outputs, gradients, bias


def joined(numbers: Sequence[int], *tables: Any) -> Numbers:
    """The numbers, where each table begins, and the tables."""
    arrays = [np.asarray(table, np.intp).ravel() for table in tables]
    begin = len(numbers) + len(tables)
    begins = accumulate((array.size for array in arrays[:-1]), initial=begin)
    return np.concatenate([np.array([*numbers, *begins], np.intp), *arrays])


def reading_areas(o: FilterGeometry, lanes: int) -> list[Area]:
    """Of outputs. What lies in the padding is no tap."""
    areas: dict[tuple[tuple[int, ...], ...], Pairs] = {}
    for a in range(o.n_h):
        rows = tuple(i for i in range(o.k_h) if 0 <= a * o.s + i - o.p < o.m_h)
        for b in range(o.n_w):
            columns = tuple(j for j in range(o.k_w) if 0 <= b * o.s + j - o.q < o.m_w)
            source = (a * o.s - o.p) * o.m_w + b * o.s - o.q
            areas.setdefault((rows, columns), []).append((source * lanes, (a * o.n_w + b) * lanes))
    return [
        ([(i * o.k_w + j, (i * o.m_w + j) * lanes) for i in rows for j in columns], spots)
        for (rows, columns), spots in areas.items()
    ]


def sending_areas(o: FilterGeometry, lanes: int) -> list[Area]:
    """Of inputs, which get something from the outputs in whose windows they lie."""
    areas: dict[tuple[tuple[int, ...], ...], Pairs] = {}
    for y in range(o.m_h):
        rows = tuple(
            i for i in range((y + o.p) % o.s, o.k_h, o.s) if 0 <= (y + o.p - i) // o.s < o.n_h
        )
        for x in range(o.m_w):
            columns = tuple(
                j for j in range((x + o.q) % o.s, o.k_w, o.s) if 0 <= (x + o.q - j) // o.s < o.n_w
            )
            source = (y + o.p) // o.s * o.n_w + (x + o.q) // o.s
            areas.setdefault((rows, columns), []).append((source * lanes, (y * o.m_w + x) * lanes))
    return [
        (
            [
                (i * o.k_w + j, -(i // o.s * o.n_w + j // o.s) * lanes)
                for i in rows
                for j in columns
            ],
            spots,
        )
        for (rows, columns), spots in areas.items()
    ]


def grouped(targets: Rows, links: Links | None, sources: int) -> list[tuple[Numbers, Rows]]:
    """The numbers of linked sources and the targets that have them.

    Where targets lie in one place, all but the first add.
    """
    every = np.arange(sources)
    groups: dict[bytes, tuple[Numbers, Rows]] = {}
    adds: dict[int, int] = {}
    for i, target in enumerate(targets):
        key = b"" if links is None else links[i].tobytes()
        if key not in groups:
            groups[key] = every if links is None else np.flatnonzero(links[i]), []
        groups[key][1].append(target)
        adds[target[1]] = adds.get(target[1], 1) and target[2]
    return [
        (linked, [(w, to, adds.pop(to, 1), *requires_grad) for w, to, _, *requires_grad in members])
        for linked, members in groups.values()
    ]


def sums(
    sources: Pairs,
    targets: Rows,
    links: Links | None,
    taps: list[int],
    areas: list[Area],
    columns: range,
    reading: int,
    depth: int,
) -> Numbers:
    """The numbers of Sums: target channels, each the sum of taps of its source channels.

    links: which (target, source) are linked, or None for all; columns: where they begin; reading: how weights are;
    depth: how many terms are summed at a time.
    """
    places, kept = np.array(sources, np.intp).reshape(-1, 2), True
    if links is not None:
        kept = block_terms(links, areas, len(taps)) == 0
    begins = np.array(taps)
    groups: Rows = []
    members: Rows = []
    read: list[Numbers] = [places[:0]]
    terms: list[Numbers] = []
    count = at = 0
    for linked, group in grouped(targets, links, len(places)):
        rows = places[linked]
        groups.append((len(members), len(group), at, len(linked), count))
        members += group
        read.append(rows)
        at += len(linked)
        numbers = np.arange(len(linked)) * len(taps) * PACKED
        for shifts, _ in areas if kept else ():
            tap, shift = np.array(shifts, np.intp).reshape(-1, 2).T
            made = np.empty((len(linked), len(tap), 2), np.intp)
            copied = reading == COPIED
            made[..., 0] = np.add.outer(
                *(numbers, tap * PACKED) if copied else (rows[:, 0], begins[tap])
            )
            made[..., 1] = np.add.outer(rows[:, 1], shift)
            terms.append(made.ravel())
            count += made.size // 2
    found: Rows = []
    spots: Pairs = []
    tap_count = 0
    for shifts, where in areas:
        found.append((len(spots), len(where), tap_count, len(shifts)))
        spots += [(x + v, to + v) for v in columns for x, to in where]
        tap_count += len(shifts)
    every = [shift for shifts, _ in areas for shift in shifts]
    return joined(
        [reading, depth, len(groups), len(areas), len(taps), kept],
        *(members, np.concatenate(read), groups, found, spots),
        *(np.concatenate(terms) if terms else (), taps, () if kept else every),
    )
