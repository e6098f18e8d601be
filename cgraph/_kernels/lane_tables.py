"""The tables of offsets that a LaneLayerStep reads, made here once for all builds.

Every table is a flat list, whose rows are the structs of lane_layer.pyx. Offsets are in elements.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from itertools import chain
from typing import Any, NamedTuple

from cgraph._kernels.window import Window

Pairs = list[tuple[int, int]]
Rows = list[tuple[int, ...]]
# Elements with equal taps, as (number, shift of the source); the elements, as (place in the source, place).
Area = tuple[Pairs, Pairs]
PACKED = 8  # from the weights of one term to those of the next, where they are packed


class Sums(NamedTuple):
    """Target channels, each the sum of taps of its source channels."""

    targets: list[int]
    sources: list[int]
    groups: list[int]
    areas: list[int]
    spots: list[int]
    terms: list[int]
    taps: list[int]


class Layer(NamedTuple):
    """What a step needs: `taps` and `windows` of a frame; `rows` of weights, and where their inputs lie."""

    outputs: Sums
    gradients: Sums
    taps: list[int]
    windows: list[int]
    rows: list[int]


def layer(
    o: Window,
    lanes: int,
    column: int,
    inputs: Any,
    d_at: int,
    c_out: int,
    steps: tuple[int, int],
    connected: Any,
) -> Layer:
    """column: samples that are worked off at once; steps: from one tap's weights, one channel's, to the next."""
    places, ins, outs = inputs.tolist(), range(len(inputs)), range(c_out)
    linked = [[connected is None or bool(connected[c][k]) for k in outs] for c in ins]
    taps = [t * steps[0] for t in range(o.k_h * o.k_w)]
    size = o.n_h * o.n_w * lanes
    outputs = sums(
        [(c * steps[1], places[c][0]) for c in ins],
        [(k, d_at + k * size, 0, 1, 1) for k in outs],
        [tuple(c for c in ins if linked[c][k]) for k in outs],
        taps,
        reading_areas(o, lanes),
        range(0, lanes, column),
        o.n_h * o.n_w > 1,
    )
    gradients = sums(
        [(k, d_at + k * size) for k in outs],
        [(c * steps[1], places[c][0], *places[c][2:]) for c in ins],
        [tuple(k for k in outs if linked[c][k]) for c in ins],
        taps,
        sending_areas(o, lanes),
        range(0, lanes, column),
        o.m_h * o.m_w > 1,
    )
    width = (o.n_w - 1) * o.s + o.k_w
    return Layer(
        outputs,
        gradients,
        [(i * width + j) * lanes for i in range(o.k_h) for j in range(o.k_w)],
        flat(
            ((a * width + b) * o.s * lanes, (a * o.n_w + b) * lanes)
            for a in range(o.n_h)
            for b in range(o.n_w)
        ),
        flat(
            (tap + c * steps[1], places[c][0] + t * lanes)
            for c in ins
            for t, tap in enumerate(taps)
        ),
    )


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
    packs: bool,
) -> Sums:
    """columns: where they begin; packs: weights are copied, PACKED apart, to be read again."""
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
                terms += [
                    ((number * len(taps) + t) * PACKED if packs else w + taps[t], x + shift)
                    for t, shift in shifts
                ]
    found: Rows = []
    spots: Pairs = []
    tap = 0
    for shifts, where in areas:
        found.append((len(spots), len(where), tap, len(shifts)))
        spots += [(x + v, to + v) for v in columns for x, to in where]
        tap += len(shifts)
    return Sums(
        flat(members), flat(read), flat(groups), flat(found), flat(spots), flat(terms), taps
    )
