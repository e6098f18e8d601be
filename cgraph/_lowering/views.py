"""Views: the nodes over lanes that lie within others, so that a Slice or a Concatenation copies nothing.

Over lanes all elements of a node are contiguous, in rows of one width, and no user sees them. So a Slice lies in its
input, and the inputs of a Concatenation lie in its output. Their gradients lie there, too: what reads a part adds to
the gradient of the whole.
"""

from __future__ import annotations

from collections.abc import Collection, Mapping, Sequence
from typing import NamedTuple

import numpy as np

from cgraph._lowering.buffers import Use
from cgraph._lowering.program import Buffer, FusedGroup, Part, Program

Place = tuple[Buffer, int]


class Views(NamedTuple):
    """The buffers over lanes that lie within others.

    Attributes
    ----------
    places : dict of Buffer to (Buffer, int)
        For each of them the buffer around it, which lies within no other, and the element there where it begins.
    groups : set of FusedGroup
        The groups that have no step.
    """

    places: dict[Buffer, Place]
    groups: set[FusedGroup]

    def place(self, buffer: Buffer) -> Place:
        """Returns the outermost buffer around a buffer, and the element there where it begins."""
        return self.places.get(buffer, (buffer, 0))


class LaneUses(NamedTuple):
    """The inputs of the steps over lanes, and the buffers whose gradients begin a backward pass at 0."""

    uses: dict[FusedGroup, list[Use]]
    cleared: set[Buffer]


def find_views(program: Program, per_sample: Collection[FusedGroup] = ()) -> Views:
    """Returns the views of a program.

    Where some groups take one sample at a time, there are none, since buffers are copied from one layout to the other.
    """
    within: dict[Buffer, Place] = {}
    groups: set[FusedGroup] = set()
    for group in () if per_sample else program.groups:
        if not group.op.parts:
            continue
        found = places_of(program, group.op.parts(group))
        if found and within.keys().isdisjoint(found):
            within |= found
            groups.add(group)
    return Views(outermost(within), groups)


def places_of(program: Program, parts: Sequence[Part]) -> dict[Buffer, Place]:
    """Returns the places of the buffers of some parts, or nothing if not all of these can be placed whole.

    The channels of a fused group, which lie one behind the other, must all be parts, and in this order.
    """
    found: dict[Buffer, Place] = {}
    missing: dict[Buffer, int] = {}
    for part in parts:
        buffer, channel = program.channel_of[part.node]
        around, index = program.channel_of[part.whole]
        place = around, index * part.whole.size + part.start - channel * part.node.size
        if found.setdefault(buffer, place) != place:
            return {}
        missing[buffer] = missing.get(buffer, len(buffer.nodes)) - 1
    return {} if any(missing.values()) else found


def outermost(within: Mapping[Buffer, Place]) -> dict[Buffer, Place]:
    """Returns places in buffers that have no places themselves."""
    found: dict[Buffer, Place] = {}
    for buffer in within:
        nested = []
        while buffer in within and buffer not in found:
            nested.append(buffer)
            buffer = within[buffer][0]
        around, start = found.get(buffer, (buffer, 0))
        for inner in reversed(nested):
            start += within[inner][1]
            found[inner] = around, start
    return found


class Gradients:
    """Which elements of the gradients around views have been written, in the course of a backward pass.

    Attributes
    ----------
    cleared : set of Buffer
        The buffers of which a step would overwrite some elements and add to others.
    """

    def __init__(self, views: Views) -> None:
        self._views = views
        self._written = {around: np.zeros(around.size, bool) for around, _ in views.places.values()}
        self.cleared: set[Buffer] = set()

    def has(self, buffer: Buffer) -> bool:
        """Returns whether a buffer lies within another one, or another one within it."""
        return self._views.place(buffer)[0] in self._written

    def write(self, buffer: Buffer, first: int, count: int) -> bool:
        """Writes elements of a buffer, and returns whether all of them had been written before."""
        around, start = self._views.place(buffer)
        elements = self._written[around][start + first : start + first + count]
        all_were, some_were = bool(elements.all()), bool(elements.any())
        if some_were and not all_were:
            self.cleared.add(around)
        elements[:] = True
        return all_were

    def use(self, group: FusedGroup, use: Use) -> Use:
        """Writes the gradient of an input of a group, and returns the input as its step over lanes needs it."""
        if not self.has(use.buffer):
            return use
        size = use.buffer.nodes[0].size
        part = (0, use.buffer.size) if group.input_buffers else (use.channel * size, size)
        return use._replace(accumulate=self.write(use.buffer, *part))

    def end(self) -> None:
        """Ends the pass: what nobody has written begins at 0."""
        self.cleared |= {b for b, elements in self._written.items() if not elements.all()}


def lane_uses(program: Program, views: Views, uses: Mapping[FusedGroup, Sequence[Use]]) -> LaneUses:
    """Returns the inputs of all steps over lanes; `uses` are those of the steps for one sample.

    Of a buffer around views, the first step that writes an element of the gradient overwrites it. Where a step would
    overwrite some elements and add to others, or nobody writes an element, the gradient begins at 0, and all add.
    """
    gradients = Gradients(views)
    for node in program.outputs:
        buffer, _ = program.channel_of[node]
        if not gradients.has(buffer):
            continue
        if program.is_loss:
            gradients.write(buffer, 0, buffer.size)
        else:  # to which seeds are added
            gradients.cleared.add(views.place(buffer)[0])
    for node in program.carried.values():
        buffer, _ = program.channel_of[node]
        if node not in program.before_outputs and gradients.has(buffer):
            gradients.cleared.add(views.place(buffer)[0])
    found = {
        group: [gradients.use(group, use) for use in uses[group]]
        for group in reversed(program.groups)
        if group not in views.groups
    }
    gradients.end()
    cleared = gradients.cleared
    for group, inputs in found.items():
        found[group] = [
            use._replace(accumulate=use.accumulate or views.place(use.buffer)[0] in cleared)
            for use in inputs
        ]
    buffers = [group.buffer for group in program.groups]
    return LaneUses(
        found, cleared | {b for b in buffers if b.zeroed_first and not gradients.has(b)}
    )
