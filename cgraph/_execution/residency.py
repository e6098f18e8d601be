"""Residency: whose copy of a node's arrays counts, that of the node or that of the arena of a Graph."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any, Literal

import numpy as np

from cgraph._execution.arena import Arena
from cgraph._kernels.runtime.loans import (
    Mirror,
    Sides,
    are_zero,
    clear_around,
    is_zero,
    lent,
    read_arrays,
    write_arrays,
)
from cgraph._kernels.runtime.memory import exclusively
from cgraph._kernels.runtime.uninterrupted import Snapshot
from cgraph._lowering.program import Program
from cgraph._lowering.sample_steps import ParameterSlot
from cgraph._propagation import passes
from cgraph._validation import Array
from cgraph.node import Node

# The meaning of node.grad. live: the content of the array. zero: zeros, whatever the array holds. full and
# parameters_only: the gradients that a backward pass of this sort has computed. none: reading it raises, since the
# samples of a batch did not pass through the array. running: a call is running; the gradients count as zeros if it does
# not come to its end.
Gradients = Literal["live", "zero", "full", "parameters_only", "none", "running"]

# Attributes to be set: their names, and rows of an object with its new values of these attributes.
Changes = list[tuple[tuple[str, ...], list[tuple[object, ...]]]]


class Residency:
    """The state of the arrays of nodes that lie in an arena, to which the nodes refer.

    Data and gradients of the nodes are views of the arena. Parameters and their gradient sums are views of it, too, or
    arrays of their own that mirror elements of the arena: where a fused group packs them, and where a view of them was
    referred to when the Graph was built. This object does not refer to the nodes, which would be a cycle.

    Attributes
    ----------
    stale : bool
        Whether the nodes have moved to the arena of a newer Graph.
    gradients : Gradients
        The meaning of the nodes' ``grad``.
    backward_may_follow : bool
        Whether a forward pass of the Graph has come since its last backward pass, and nothing has changed since.
    has_computed : bool
        Whether the Graph has computed data since the last forward pass over the nodes.
    freezes : object
        Another object after each assignment to `trainable` of a parameter.
    """

    def __init__(self, arena: Arena, program: Program) -> None:
        self.arena = arena
        self.memory = arena.memory
        self.stale = False
        self.gradients: Gradients = "live"
        self.backward_may_follow = False
        self.has_computed = False
        self.freezes = object()
        channels = program.channel_of.items()
        # The nodes whose gradient is not computed: by full backward passes, and by those for the parameters only.
        # Their ids, since references would be a cycle, and only these nodes ask.
        self._without_grad: dict[str, frozenset[int]] = {
            "full": frozenset(id(n) for n, (x, _) in channels if not x.requires_grad[0]),
            "parameters_only": frozenset(id(n) for n, (x, _) in channels if not x.requires_grad[1]),
        }
        self._sides = Sides(self.memory)
        # The mirrors of the arrays that are not views of the arena, and of all gradient sums.
        self.value_mirrors: list[Mirror] = []
        self.sum_mirrors: list[Mirror] = []
        # The mirrors that were lent at the last call.
        self._lent: tuple[list[Mirror], list[Mirror]] = [], []
        # The period of a node pass, for which all mirrors have been brought up to date.
        self._pass_period = -1

    # The beginning and the end of a call

    def begin(self) -> None:
        """Begins a call: reads the arrays that users may have written into since the last one."""
        if self._sides.begin_if_settled():
            return
        self.read()
        if self._lent[1] and not self.memory.grads_are_zero:
            self.memory.grads_are_zero = is_zero(self.arena.parameter_grads)

    def read(self) -> None:
        """Reads the arrays that have been lent since the last call, or still are."""
        sides = self._sides
        if not sides.are_settled():
            looks = sides.looks
            self._lent = lent(self.value_mirrors), lent(self.sum_mirrors)
            if self.memory.grads_are_zero and not are_zero(self._lent[1]):
                self._clear_sums(self._lent[1])
            else:
                read_arrays(self._lent[1])
            read_arrays(self._lent[0])
            sides.reckon(*looks, any(self._lent))
        sides.begin()

    def finish(self) -> None:
        """Brings the arrays that are lent up to date, unless `read` has not come to its end before."""
        sides = self._sides
        if sides.end():
            looks = sides.looks
            self._lent = lent(self.value_mirrors), lent(self.sum_mirrors)
            write_arrays(self._lent[0])
            write_arrays(self._lent[1])
            sides.reckon(*looks, any(self._lent))

    def materialise_sums(self) -> None:
        """Sets gradient sums that count as 0 to 0."""
        if self.memory.grads_are_zero:
            self._clear_sums([])

    def _clear_sums(self, kept: list[Mirror]) -> None:
        """Sets the gradient sums in the arena to 0, but those that are kept to the content of their arrays."""
        frozen = [mirror for mirror in self.sum_mirrors if mirror.frozen and mirror.in_place]
        clear_around([*kept, *frozen], self.arena.parameter_grads)
        self.memory.grads_are_zero = False

    def restore_sums(self, snapshot: Snapshot) -> None:
        """Puts the gradient sums of a snapshot back, also into the arrays that are lent, which a node may read."""
        snapshot.restore()
        write_arrays(lent(self.sum_mirrors))

    @property
    def lent_arrays(self) -> list[Mirror]:
        """The mirrors of arrays of which a view lives, at a cost of copies at both ends of each call."""
        return [m for m in (*self.value_mirrors, *self.sum_mirrors) if m.account.live]

    def start(self, gradients: Gradients, outputs: Iterable[Node]) -> None:
        """Notes, before data change, that no backward pass may follow until all nodes have been computed."""
        self.backward_may_follow = False
        self.has_computed = True
        self.gradients = gradients
        for node in outputs:
            node._has_run = False

    def allow_node_backward(self, outputs: Iterable[Node], computed: Node | None = None) -> None:
        """Allows a backward pass over the nodes, from all outputs, or from the only one that was computed."""
        last = None
        for node in outputs:
            node._has_run = computed is None or node is computed
            root = node._component.root()
            if root is not last and root.forward:
                passes.waiting_forward.forget(root, self)
            last = root

    # What nodes and their passes call

    def before_grad(self, node: Node) -> None:
        if self.gradients == "zero":
            self.arena.grad[...] = 0
            self.gradients = "live"
        elif self.gradients == "none":
            raise RuntimeError(
                f"{type(node).__name__}: grad is not kept for a batch; Graph.sample(i) computes that of one sample"
            )
        elif id(node) in self._without_grad.get(self.gradients, ()):
            raise RuntimeError(
                f"{type(node).__name__}: grad was not computed, since the Graph was built with leaf_grads that "
                "leave it out"
            )

    def before_node_pass(self, forward: bool) -> None:
        """Prepares for the computation of a node in a pass; gradient sums are looked at by the nodes that add to them.

        So a forward pass alone leaves the gradient sums as they are.
        """
        if forward:
            self.has_computed = False
        if self.gradients_are_zero:
            self.arena.grad[...] = 0
        self.gradients = "live"
        self.backward_may_follow = False
        if self._pass_period != self._sides.values.period:
            for mirror in self.value_mirrors:
                mirror.account.touch()
            self._pass_period = self._sides.values.period

    def before_evaluate(self) -> None:
        if self.memory.busy:
            raise RuntimeError("evaluate: nodes must not belong to a Graph that is running")
        self.backward_may_follow = False
        for mirror in self.value_mirrors:
            mirror.refresh()

    def freeze_sums(self, slots: Iterable[ParameterSlot]) -> None:
        """Leaves the gradient sums of parameters that do not learn to their nodes, and takes the others back.

        A gradient sum that is not a view of the arena keeps its numbers while its parameter does not learn.
        """
        frozen = {
            id(slot.node._loans[grad_name]): name in slot.node._frozen
            for slot in slots
            for name, grad_name in slot.node._parts
        }
        changed = [m for m in self.sum_mirrors if m.frozen is not frozen[id(m.account)]]
        if changed:
            self.materialise_sums()
        for mirror in changed:
            # The copy comes first, so that after a signal the next call does it again.
            if mirror.frozen:
                read_arrays([mirror])
            else:
                mirror.refresh()
            mirror.frozen = not mirror.frozen

    @property
    def gradients_are_zero(self) -> bool:
        """Whether the gradients count as 0, whatever the arrays hold."""
        return self.gradients in ("zero", "none")

    def before_python_node(self) -> None:
        """Brings lent arrays up to date before a method of a Python node runs, which may read them."""
        self.finish()

    def after_python_node(self) -> None:
        """Reads lent arrays after a method of a Python node, which may have written into them."""
        self.read()

    # The move of nodes into the arena

    def adopt(self, program: Program, slots: Iterable[ParameterSlot]) -> Changes:
        """Copies the content of all nodes' arrays into the arena.

        Returns the changes that make the arrays of the nodes views of the arena, and older Graphs of these nodes stale.
        Until the changes are made, the nodes and these Graphs are as before.

        Raises
        ------
        RuntimeError
            A node belongs to a Graph that is running.
        """
        older: list[Residency] = passes.residencies(program.order)
        for each in older:
            if each.memory.busy:
                raise RuntimeError("Graph: nodes must not belong to a Graph that is running")
        for each in older:
            each.refresh()
        views: list[tuple[object, ...]] = []
        flags: list[tuple[object, ...]] = []
        changes: Changes = [
            (("stale",), [(each, True) for each in older]),
            (("_data", "_grad", "_residency"), views),
            (("writeable",), flags),
        ]
        arena = self.arena
        for group in program.groups:
            buffer = group.buffer
            end = buffer.offset + group.nodes[0].size * buffer.pitch
            for offset, node in enumerate(group.nodes, buffer.offset):
                elements = slice(offset, end, buffer.pitch)
                data, grad = arena.data[elements], arena.grad[elements]
                data[...] = node._data
                if node._residency is None or not node._residency.gradients_are_zero:
                    grad[...] = node._grad
                views.append((node, data, grad, self))
                # Arrays that were handed out before would be read and written in vain.
                flags += (node._data.flags, False), (node._grad.flags, False)
        for slot in slots:
            changes += self._adopt_parameters(slot)
        samples = max((each.memory.samples for each in older), default=0)
        self.memory.grads_are_zero = not (samples or arena.parameter_grads.any())
        self.memory.samples = samples
        return changes

    def _adopt_parameters(self, slot: ParameterSlot) -> Changes:
        """Copies the parameters of a node and their gradient sums into the arena, and returns the changes for them.

        Where an array is packed, or a view of it lives, the arrays of the node stay, and mirror the arena.
        """
        node, offset, size, offsets = slot
        packed = offsets is not None
        if offsets is None:
            offsets = np.arange(offset, offset + size)
        moved: dict[str, Array] = {}
        accounts: list[tuple[object, ...]] = []
        sides = (
            (0, node._parameter_vector, self.arena.parameters, node._parameter_views),
            (1, node._grad_vector, self.arena.parameter_grads, node._grad_views),
        )
        for side, vector, region, views in sides:
            region[offsets] = vector
            stays = packed or any(node._loans[pair[side]].live for pair in node._parts)
            if not stays:
                vector = region[offset : offset + size]
                moved |= views(vector)
            for pair, part in node._parts.items():
                account = node._loans[pair[side]]
                if side == 1 or stays:
                    where = (region, offsets[part]) if stays else ()
                    mirror = Mirror(
                        (self._sides.values, self._sides.sums)[side], account, vector[part], *where
                    )
                    (self.value_mirrors, self.sum_mirrors)[side].append(mirror)
                    accounts.append((account, mirror))
                else:
                    accounts.append((account, None))
        return [(tuple(moved), [(node, *moved.values())]), (("mirror",), accounts)]

    def refresh(self) -> None:
        """Brings all arrays of the nodes up to date, before a newer Graph copies them."""
        for mirror in (*self.value_mirrors, *self.sum_mirrors):
            mirror.refresh()

    # The preservation of all of it

    def preserve(self, snapshot: Snapshot) -> None:
        """Adds this state, and the content of the arena, to a snapshot.

        All arrays are brought up to date before, so that no later call misses what users have written into them. Those
        of a stale Graph are so already, and its arena is older than they are.
        """
        if not self.stale:
            exclusively(self.memory, "Graph", self.finish, self.begin, (), {})
            self.refresh()
        snapshot.add_attributes(self)
        snapshot.add_field(self.memory, "grads_are_zero")
        for array in self.arena.arrays:
            snapshot.add_array(array)


def python_arrays(nodes: Iterable[Any]) -> list[Array]:
    """Returns the arrays that nodes computed in Python declare as their parameters and gradient sums."""
    return [getattr(node, name) for node in nodes for pair in node._parameters for name in pair]
