"""The pipeline from nodes to a lowered program, stage by stage; it makes no steps, and runs nothing."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from typing import NamedTuple

from cgraph._lowering.buffers import (
    Allocator,
    Use,
    mark_requires_grad,
    place_buffers,
    place_seeds,
    uses,
)
from cgraph._lowering.carry import begin_at_zero, place_asides, require_leaves
from cgraph._lowering.fusion import fuse
from cgraph._lowering.layout import LayoutName, Layouts, choose_layouts
from cgraph._lowering.program import NO_CARRY, Buffer, FusedGroup, Program
from cgraph._lowering.stretches import order_stretches
from cgraph.node import Node, as_nodes


class Lowered(NamedTuple):
    """A program that is ready for steps to be made of it.

    Attributes
    ----------
    program : Program
        The fused groups, and their buffers with the offsets of their data.
    layouts : Layouts
        The layouts of the samples of a batch.
    uses : dict of FusedGroup to list of Use
        The inputs of each group, and whether its gradients must be added.
    data : Allocator
        The region of the data, and of their gradients.
    seeds : dict of Node to Buffer
        For each output a place in this region to which a gradient may be fed.
    asides : dict of Node to Buffer
        For each carried leaf a place in this region in which its new data may wait.
    layout : str
        The layout that was asked for.
    """

    program: Program
    layouts: Layouts
    uses: dict[FusedGroup, list[Use]]
    data: Allocator
    seeds: dict[Node, Buffer]
    asides: dict[Node, Buffer]
    layout: LayoutName


def lower(
    outputs: Sequence[Node],
    leaf_grads: bool | Iterable[Node] | None,
    layout: LayoutName,
    carried: Mapping[Node, Node] = NO_CARRY,
) -> Lowered:
    """Lowers the ancestors of some nodes, and of the nodes of carried leaves; the arguments are those of `Graph`.

    Raises
    ------
    TypeError, ValueError
        As for `Graph`.
    """
    program = fuse(outputs, carried)
    require_leaves(program)
    order_stretches(program)
    parts = program.order_around_python()
    require_one_dtype(program)
    mark_requires_grad(program, *leaves_that_require_grad(program, leaf_grads))
    layouts = choose_layouts(program, parts, layout)
    data = place_buffers(program, program.outputs[0].dtype)
    seeds, asides = place_seeds(program, data), place_asides(program, data)
    begin_at_zero(program)
    return Lowered(program, layouts, uses(program), data, seeds, asides, layout)


def require_one_dtype(program: Program) -> None:
    """Refuses a program of nodes that differ in dtype."""
    dtype = program.outputs[0].dtype
    for node in program.order:
        if node.dtype is not dtype:
            raise TypeError(f"Graph: nodes must all have dtype {dtype}, got {node!r}")


def leaves_that_require_grad(
    program: Program, leaf_grads: bool | Iterable[Node] | None
) -> tuple[frozenset[Node], frozenset[Node]]:
    """Returns the leaves whose gradient is computed by full backward passes, and by those for parameters only."""
    leaves, none = frozenset(program.leaves), frozenset[Node]()
    if leaf_grads is None:
        return leaves, none
    if isinstance(leaf_grads, bool):
        return (leaves, leaves) if leaf_grads else (none, none)
    listed = frozenset(as_nodes("Graph", "leaf_grads", leaf_grads, minimum=0))
    for node in listed:
        if node not in leaves:
            raise ValueError(f"Graph: leaf_grads must hold leaves of this graph, got {node!r}")
    return listed, listed
