"""Which parameters of a Graph learn: the flags of its steps, and the runs of parameters that an update descends."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from typing import Any, NamedTuple

import numpy as np

from cgraph._kernels.runtime.step import EXTENT, Step
from cgraph._kernels.runtime.structs import Structs, structs
from cgraph._lowering.program import FusedGroup, Program
from cgraph._lowering.sample_steps import ParameterSlot


class Learning(NamedTuple):
    """The parameters that learn.

    Attributes
    ----------
    flags : dict of FusedGroup to list of (bool, bool)
        For each group with parameters, whether the weights of each of its `learners` learn, and whether its biases do.
    runs : ndarray of Extent
        The runs of the arena's parameters that learn.
    is_mixed : bool
        Whether in some fused group a parameter learns, and that of another node does not, or in some cell another one
        of it. Its step computes both, and so must not use fused SGD.
    adding : frozenset of FusedGroup
        The groups whose gradient sums a later group has written before them in a backward pass.
    """

    flags: Mapping[FusedGroup, Sequence[tuple[bool, bool]]]
    runs: Structs
    is_mixed: bool
    adding: frozenset[FusedGroup]

    def tell(self, steps: Mapping[FusedGroup, Step]) -> None:
        """Sets the flags of the steps that have parameters."""
        for group, flags in self.flags.items():
            step = steps.get(group)  # None over lanes, where the group takes one sample at a time
            learners = step.learners if step is not None else ()
            for each, (weights, biases) in zip(learners, flags, strict=False):
                each.weights_learn, each.biases_learn = weights, biases
                each.accumulate = group in self.adding


def learning(program: Program, slots: Iterable[ParameterSlot], size: int) -> Learning:
    """Returns which parameters learn; `size` is the number of elements of the arena's parameters."""
    flags: dict[FusedGroup, Sequence[tuple[bool, bool]]] = {}
    is_mixed = False
    for group in program.groups:
        nodes: Any = group.nodes
        names = [name for name, _ in getattr(nodes[0], "_parts", ())]
        half = (len(names) + 1) // 2  # weights, then as many biases; of an Affine, one has both
        learn = {name: {name not in n._frozen for n in nodes} for name in names}
        pairs = zip(names[:half], names[-half:], strict=True) if names else ()
        if names:
            flags[group] = [(any(learn[w]), any(learn[b])) for w, b in pairs]
            is_mixed |= any(len(found) > 1 for found in learn.values())
            is_mixed |= half > 1 and len(set().union(*learn.values())) > 1
    learns = np.ones(size, np.int8)
    for node, offset, count, offsets in slots:
        elements = np.arange(offset, offset + count) if offsets is None else offsets
        for (name, _), part in node._parts.items():
            if name in node._frozen:
                learns[elements[part]] = 0
    edges = np.flatnonzero(np.diff(learns, prepend=0, append=0))
    firsts, ends = edges[::2], edges[1::2]
    runs = structs(EXTENT, len(firsts), first=firsts, count=ends - firsts)
    return Learning(flags, runs, is_mixed, adding_groups(program))


def adding_groups(program: Program) -> frozenset[FusedGroup]:
    """Returns the groups with parameters of which a backward pass has computed gradients in another group before."""
    written: set[FusedGroup] = set()
    found = set()
    for group in reversed(program.groups):
        owner = program.shared.get(group, group)
        if owner in written:
            found.add(group)
        written.add(owner)
    return frozenset(found)
