"""The tables of offsets that a LaneLayerStep reads, made here once for all builds.

Numbers and tables are one flat list, as the structs of lane_layer.pyx. Offsets are in elements.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from itertools import accumulate, chain
from typing import Any, NamedTuple

from cgraph._kernels.window import Window

Pairs = list[tuple[int, int]]
Rows = list[tuple[int, ...]]
# Elements with equal taps, as (number, shift of the source); the elements, as (place in the source, place).
Area = tuple[Pairs, Pairs]
PACKED = 8  # from the weights of one term to those of the next, where they are packed
LINE, WIDEST = 64, 32  # bytes of a cache line, and of the widest vector
DEPTH = 384  # terms summed at a time, so that their weights stay in the nearest cache
# Bytes of x that stay there, too, where there is but one spot and all strips read them.
NEAR = 16384
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
    size: int


def frame(o: Window) -> tuple[int, int]:
    """The windows of a Filter2d reach the end of its input: so far goes the frame, too."""
    return (o.n_h - 1) * o.s + o.k_h, (o.n_w - 1) * o.s + o.k_w


def scratch(o: Window, lanes: int, c_out: int, itemsize: int) -> Scratch:
    """The same for vectors of all sizes. Behind the weights lies a frame or a turned gradient."""
    line, vector, taps = LINE // itemsize, WIDEST // itemsize, o.k_h * o.k_w
    height, width = frame(o)
    begin = up(max(DEPTH, taps) * PACKED, line)
    totals = begin + height * width * lanes
    biases = begin + up(c_out, 2 * vector) * lanes
    size = max(totals + up(up(taps * c_out, vector) * vector, line), biases + lanes)
    return Scratch(0, begin, totals, begin, biases, size)


def up(n: int, unit: int) -> int:
    return -(-n // unit) * unit


def layer(
    o: Window,
    vector: int,
    itemsize: int,
    lanes: int,
    inputs: Any,
    d: Any,
    c_out: int,
    values_at: int,
    scratch_at: int,
    tap_step: int,
    channel_step: int,
    pitch: int,
    bias: float,
    connected: Any,
) -> tuple[list[int], list[int], list[int], float]:
    """The numbers of a LaneLayerStep, those of its two Sums, and the bias.

    inputs, d: the fields of _places.Place. Weight (tap, c, o) lies at `values_at` + tap `tap_step` +
    c `channel_step` + o, the biases, which count `bias` times, behind k_h k_w c_in rows of `pitch`. connected:
    None, or which (c_in, c_out) are.
    """
    places, ins, outs = inputs.tolist(), range(len(inputs)), range(c_out)
    if connected is None:
        read_by, sent_to = [tuple(ins)] * c_out, [tuple(outs)] * len(ins)
    else:
        read_by = [tuple(c for c in ins if connected[c][k]) for k in outs]
        sent_to = [tuple(k for k in outs if connected[c][k]) for c in ins]
    taps = [t * tap_step for t in range(o.k_h * o.k_w)]
    area, size, (height, width) = o.n_h * o.n_w, o.m_h * o.m_w, frame(o)
    columns = range(0, lanes, 2 * vector)
    read = [(c * channel_step, places[c][0]) for c in ins]
    written = [(k, d[0] + k * area * lanes) for k in outs]
    few = min(NEAR // (lanes * itemsize), NARROW)
    place = FAR if channel_step * itemsize >= APART else IN_PLACE
    outputs = sums(
        read,
        [(*where, 0, 1, 1) for where in written],
        read_by,
        taps,
        reading_areas(o, lanes),
        columns,
        *((COPIED, DEPTH) if area > 1 else (place, few)),
    )
    gradients = sums(
        written,
        [(*read[c], *places[c][2:]) for c in ins],
        sent_to,
        taps,
        sending_areas(o, lanes),
        columns,
        *((COPIED, DEPTH) if size > 1 else (IN_PLACE, few)),
    )
    numbers = [
        *(lanes, c_out, area, len(taps), width),
        *(d[0], values_at, len(taps) * len(ins), pitch),
        *(scratch_at + at for at in scratch(o, lanes, c_out, itemsize)[:5]),
        (height, width) == (o.m_h, o.m_w),
        connected is not None or channel_step == pitch > c_out,
        connected is None and area == 1 and (o.m_h, o.m_w) == (o.k_h, o.k_w),
    ]
    under = [(i * width + j) * lanes for i in range(o.k_h) for j in range(o.k_w)]
    windows = [
        ((a * width + b) * o.s * lanes, (a * o.n_w + b) * lanes)
        for a in range(o.n_h)
        for b in range(o.n_w)
    ]
    products = [(w + tap, x + t * lanes) for w, x in read for t, tap in enumerate(taps)]
    return joined(numbers, under, flat(windows), flat(products)), outputs, gradients, bias


def joined(numbers: Sequence[int], *tables: list[int]) -> list[int]:
    """The numbers, where each table begins, and the tables."""
    begin = len(numbers) + len(tables)
    begins = accumulate(map(len, tables[:-1]), initial=begin)
    return [*numbers, *begins, *flat(tables)]


def flat(rows: Iterable[Iterable[int]]) -> list[int]:
    return list(chain.from_iterable(rows))


def reading_areas(o: Window, lanes: int) -> list[Area]:
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


def sending_areas(o: Window, lanes: int) -> list[Area]:
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


def grouped(
    targets: Sequence[tuple[int, ...]], links: Sequence[tuple[int, ...]]
) -> list[tuple[tuple[int, ...], Rows]]:
    """Pairs of linked sources and the targets that have them; where targets lie in one place, all but the first add."""
    groups: dict[tuple[int, ...], Rows] = {}
    adds: dict[int, int] = {}
    for target, linked in zip(targets, links, strict=True):
        groups.setdefault(linked, []).append(target)
        adds[target[1]] = adds.get(target[1], 1) and target[2]
    return [
        (linked, [(w, to, adds.pop(to, 1), *wanted) for w, to, _, *wanted in members])
        for linked, members in groups.items()
    ]


def sums(
    sources: Pairs,
    targets: Rows,
    links: Sequence[tuple[int, ...]],
    taps: list[int],
    areas: list[Area],
    columns: range,
    reading: int,
    depth: int,
) -> list[int]:
    """The numbers of Sums: target channels, each the sum of taps of its source channels.

    columns: where they begin; reading: how weights are; depth: how many terms are summed at a time.
    """
    step = len(taps) * PACKED
    groups: Rows = []
    members: Rows = []
    read: Pairs = []
    terms: Pairs = []
    for linked, group in grouped(targets, links):
        groups.append((len(members), len(group), len(read), len(linked), len(terms)))
        members += group
        read += [sources[c] for c in linked]
        for shifts, _ in areas:
            for number, c in enumerate(linked):
                w, x = sources[c]
                copied = range(number * step, (number + 1) * step, PACKED)
                terms += [
                    (copied[t] if reading == COPIED else w + taps[t], x + shift)
                    for t, shift in shifts
                ]
    found: Rows = []
    spots: Pairs = []
    tap = 0
    for shifts, where in areas:
        found.append((len(spots), len(where), tap, len(shifts)))
        spots += [(x + v, to + v) for v in columns for x, to in where]
        tap += len(shifts)
    return joined(
        [reading, depth, len(groups), len(areas), len(taps)],
        *(flat(members), flat(read), flat(groups), flat(found)),
        *(flat(spots), flat(terms), taps),
    )
