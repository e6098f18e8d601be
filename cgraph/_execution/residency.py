"""Residency: whose copy of a node's arrays counts, that of the node or that of the arena of a Graph."""

from __future__ import annotations

from collections.abc import Collection, Iterable
from typing import Any, Literal

from cgraph._execution.arena import Arena
from cgraph._execution.tying import tie_outside
from cgraph._kernels.runtime.loans import (
    Account,
    Mirror,
    Sides,
    are_zero,
    clear_around,
    is_zero,
    lent,
    publish,
    read_arrays,
    read_lent,
    write_arrays,
)
from cgraph._kernels.runtime.memory import exclusively
from cgraph._kernels.runtime.sharing import Learners, Sharing
from cgraph._kernels.runtime.uninterrupted import Snapshot
from cgraph._lowering.program import Program
from cgraph._lowering.sample_steps import ParameterSlot
from cgraph._propagation import passes
from cgraph._subclassing import declared_array
from cgraph._subclassing.sharing import holders
from cgraph._validation import Array
from cgraph.node import Node

# The meaning of node.grad. live: the content of the array. zero: zeros, whatever the array holds. full and
# parameters_only: the gradients that a backward pass of this sort has computed. none: reading it raises, since the
# samples of a batch did not pass through the array. running: a call is running; the gradients count as zeros if it does
# not come to its end.
Gradients = Literal["live", "zero", "full", "parameters_only", "none", "running"]

# What a call changes: nothing but data and gradients, or the gradient sums, too, or also the parameters.
Effect = Literal["data", "sums", "parameters"]

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
        self.sides = Sides(self.memory)
        # The mirrors of the arrays that are not views of the arena, and of all gradient sums.
        self.value_mirrors: list[Mirror] = []
        self.sum_mirrors: list[Mirror] = []
        # The mirrors that were lent at the last call.
        self._lent: tuple[list[Mirror], list[Mirror]] = [], []
        # The period of a node pass, for which all mirrors have been brought up to date.
        self._pass_period = -1
        # The arrays that are views of the arena, by their loans, with the offsets of their elements.
        self.in_place: dict[Account, tuple[Array, Array]] = {}
        self.learners: Learners | None = None  # of the parameters that several nodes have
        self._effect: Effect = "data"  # of the running call
        self._sums_were_zero = False  # when it began
        self._sums_vanish = False  # whether samples whose gradients are all 0 have been added up

    # The beginning and the end of a call

    def begin(self) -> None:
        """Begins a call: reads the arrays that users or other Graphs may have written into since the last one."""
        if self.sides.begin_if_settled():
            return
        self.read()
        # Sums that somebody has cleared count no samples; those of samples whose gradients are 0 do.
        if self._lent[1] and not (self.memory.grads_are_zero or self._sums_vanish):
            self.memory.grads_are_zero = is_zero(self.arena.parameter_grads)

    def read(self, public: bool = True) -> None:
        """Reads the arrays that have been lent since the last call, or still are.

        `public` is False within a call, which alone knows what it has learnt: public mirrors are older.
        """
        sides = self.sides
        if not sides.are_settled():
            looks = sides.looks
            sums = lent(self.sum_mirrors, public)
            if self.memory.grads_are_zero and not are_zero(sums):
                self._clear_sums(sums)
            else:
                read_arrays(sums)
            self._lent = read_lent(self.value_mirrors, public), sums
            sides.reckon(*looks, not public or any(self._lent))
        sides.begin()

    def finish(self) -> None:
        """Brings the arrays that are lent up to date, unless `read` has not come to its end before."""
        sides = self.sides
        self._sums_vanish = not self.memory.grads_are_zero and is_zero(self.arena.parameter_grads)
        if sides.end():
            looks = sides.looks
            self._lent = lent(self.value_mirrors), lent(self.sum_mirrors)
            write_arrays(self._lent[0])
            write_arrays(self._lent[1])
            sides.reckon(*looks, any(self._lent))

    def hold_shared(self, owner: str, effect: Effect) -> None:
        """Refuses a call while another one learns parameters that both share, and else keeps other ones from it."""
        if self.learners is not None and effect != "data" and not self.learners.take():
            raise RuntimeError(
                f"{owner}: another call is learning parameters that it shares with this Graph"
            )

    def note_effect(self, effect: Effect) -> None:
        """Notes, when arrays have been read, what the call is going to change."""
        self._effect, self._sums_were_zero = effect, self.memory.grads_are_zero

    def publish_shared(self) -> None:
        """Ends a call: from now on other Graphs see what it has learnt, and may learn themselves."""
        if self.learners is None:
            return
        if self._effect == "parameters":
            publish(self.value_mirrors)
        if self._effect != "data" and not (self._sums_were_zero and self.memory.grads_are_zero):
            publish(self.sum_mirrors)
        self._effect = "data"
        self.learners.leave()

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
        if self._pass_period != self.sides.values.period:
            for mirror in self.value_mirrors:
                mirror.account.touch()
            self._pass_period = self.sides.values.period

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
        self.read(public=False)

    def tie(
        self,
        owner: str,
        accounts: Collection[Account],
        sharing: Sharing,
        nodes: list[Any],
        changes: Changes,
    ) -> None:
        if self.memory.busy:
            raise RuntimeError(f"{owner}: share: its Graph must not be running")
        arguments = self, accounts, sharing, nodes, changes
        exclusively(self.memory, f"{owner}: share", lambda: None, tie_outside, arguments, {})

    def is_public(self, sharing: Sharing, accounts: Collection[Account]) -> bool:
        if self.learners is None or sharing not in self.learners.sharings:
            return False
        mirrors = (*self.value_mirrors, *self.sum_mirrors)
        return not [m for m in mirrors if m.account in accounts and not m.is_public]

    # The preservation of all of it

    def refresh(self) -> None:
        """Brings all arrays of the nodes up to date, before a newer Graph copies them."""
        for mirror in (*self.value_mirrors, *self.sum_mirrors):
            mirror.refresh()

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


def add_python_sums(nodes: Iterable[Any], snapshot: Snapshot) -> None:
    """Adds the gradient sums of nodes computed in Python to a snapshot; such a node may also exchange its array.

    An array that is exchanged is passed on to nodes of other Graphs that share it.
    """
    for node in holders(nodes):
        for _, name in node._parameters:
            declared_array(node, name)
            if name in vars(node):
                snapshot.add_held_array(node, name)
            else:
                snapshot.add_array(getattr(node, name))
