"""What a Graph is beneath its public methods: steps, their memory, and what its arrays hold."""

from __future__ import annotations

import weakref
from collections.abc import Callable
from functools import partial, wraps
from typing import Any, Literal, TypeVar, cast

import numpy as np

from cgraph import _kernels
from cgraph._execution.arena import Arena
from cgraph._execution.batches import Batches, Request
from cgraph._execution.executors import LaneExecutor, Lowered, SampleExecutor
from cgraph._execution.feeds import Feed, Feeds, Kept, as_feeds, feed_specs
from cgraph._kernels.runtime import plan
from cgraph._kernels.runtime.uninterrupted import Snapshot, preserving, store
from cgraph._lowering.buffers import mark_requires_grad, place_buffers, uses
from cgraph._lowering.layout import LayoutName, choose_layout
from cgraph._lowering.program import Kind, Program
from cgraph._lowering.sample_steps import Builder
from cgraph._propagation import passes
from cgraph._validation import Array
from cgraph.node import Node

Method = TypeVar("Method", bound=Callable[..., Any])

# What node.grad reads. live: what the array holds; zero: zeros, whatever it holds; full, lean: what that pass computed;
# none: nothing, since the samples of a batch do not pass through it; running: what the array holds at the moment, and
# zeros if the call that is running does not come to its end.
Gradients = Literal["live", "zero", "full", "parameters_only", "none", "running"]


def alone(method: Method) -> Method:
    """A method of a Graph that runs while no other one does, and after which arrays of the user's are up to date."""
    name = f"Graph.{method.__name__}"

    @wraps(method)
    def guarded(self: Executable, *args: Any, **kwargs: Any) -> Any:
        return plan.exclusively(
            self._arena.memory, name, self._complete, method, self, *args, **kwargs
        )

    return cast("Method", guarded)


class Executable:
    """A program, compiled; the nodes know it as `_graph`.

    Parameters
    ----------
    program : Program
        The units.
    full, lean : frozenset of Node
        The leaves whose gradient full and lean passes compute.
    layout : str
        How the samples of a batch lie: see `Graph`.
    threads : int
        The most that may share a batch.
    """

    def __init__(
        self,
        program: Program,
        full: frozenset[Node],
        parameters_only: frozenset[Node],
        layout: LayoutName,
        threads: int,
    ) -> None:
        ends, dtype = program.outputs, program.outputs[0].dtype
        kernels = _kernels.build(dtype)
        mark_requires_grad(program, full, parameters_only)
        data = place_buffers(program, dtype)
        builder = Builder(kernels, dtype)
        inputs = uses(program)
        steps = {u: builder.step(u, inputs[u]) for u in program.groups if u.kind is not Kind.LEAF}
        self._program = program
        self._dtype = dtype
        self._arena = Arena(program, builder, data)
        self._samples = SampleExecutor(program, self._arena, builder, data, steps)
        self._whole = self._samples.whole()
        self._calls_python = any(u.kind is Kind.PYTHON for u in program.groups)
        lowered = Lowered(inputs, builder.parameters_offset)
        self._layout_plan = choose_layout(program, layout, self._calls_python)
        self._batches = Batches(
            self._samples,
            partial(LaneExecutor, self._samples, kernels, lowered),
            self._layout_plan,
            threads,
            self._calls_python,
        )
        self._update_steps = plan.Steps(self._arena.update_steps())
        self._is_loss = len(ends) == 1 and ends[0].size == 1
        self._feed_specs = feed_specs(program.leaves)
        self._last: Kept | None = None
        self._stale = False
        self._gradients: Gradients = "live"
        self._ready = False
        self._grads_before: Snapshot | None = (
            None  # the gradient sums with which the running batch began
        )
        self._has_computed = False  # since the last forward pass of the nodes
        store(self._arena.move_in(self))
        for node in ends:
            node._component.root().compiled = True

    def _begin(self, method: str) -> None:
        if self._stale:
            raise RuntimeError(f"Graph.{method}: its nodes belong to a newer Graph")
        self._arena.begin()
        if self._calls_python:
            self._arena.materialise_grads()  # since an own node may look at the sums of others

    def _complete(self) -> None:
        """After each method, whatever has ended it; again, if a signal interrupts it."""
        if self._grads_before is not None:
            # Sums that count as 0 need not be put back; and what learns from them has ended what began with them.
            if not (self._arena.grads_are_zero or self._arena.memory.updating):
                self._arena.restore_grads(self._grads_before)
            self._grads_before = None
        if self._gradients == "running":
            self._gradients = "zero"
        if not self._stale:
            self._arena.finish()

    def _require_loss(self, method: str) -> None:
        """Refuses a graph whose output is not a loss."""
        outputs = self._program.outputs
        if len(outputs) > 1 or outputs[0].size > 1:
            raise ValueError(
                f"Graph.{method}: needs one output of one element, got {len(outputs)} of sizes "
                f"{[node.size for node in outputs]}"
            )

    def _train(
        self,
        method: str,
        feed: Feed,
        parameters_only: bool,
        batch: int | None = 0,
        eta: float = 0.0,
    ) -> Array:
        """batch: samples to an update; 0 for none, None for all of them."""
        self._begin(method)
        if not self._is_loss:
            self._require_loss(method)
        feeds = as_feeds(f"Graph.{method}", feed, self._feed_specs, self._is_live)
        losses = np.empty(feeds.size, self._dtype)
        if feeds.size == 0:
            self._keep(feeds)
            return losses
        if batch is None:
            batch = feeds.size
        request = Request(None, feeds, losses, True, parameters_only, batch, eta)
        self._run(request)
        if self._gradients == "running":
            self._gradients = "parameters_only" if parameters_only else "full"
            self._has_run()
        return losses

    def _run(self, request: Request) -> None:
        """All samples. The leaves hold the last one afterwards; the other nodes, if they have passed one by one.

        An exception leaves the parameters as the last update of a whole batch has left them, and the gradient sums as
        they were when the next batch began.
        """
        self._start("running")
        self._keep(request.feeds)
        if request.backward and not (
            self._arena.memory.grads_are_zero or self._batches.is_short(request)
        ):
            self._snapshot_grads()
        one_by_one = self._batches.run(request, self._update_steps, self._grads_before)
        self._grads_before = None
        if not one_by_one:
            self._feed_leaves(request.feeds, request.feeds.size - 1)
            self._gradients = "none"

    def _start(self, gradients: Gradients) -> None:
        """Before data change: no backward pass may follow, here or of the nodes, until all have been computed."""
        self._ready = False
        self._has_computed = True
        self._gradients = gradients
        for node in self._program.outputs:
            node._has_run = False

    def _snapshot_grads(self) -> None:
        """Before gradients are added to sums that do not count as 0 by what an exception may end halfway."""
        before = Snapshot()
        before.add_array(self._arena.parameter_grads)
        self._snapshot_python_grads(before)
        self._grads_before = before

    def _snapshot_python_grads(self, snapshot: Snapshot) -> None:
        """Keeps the gradient sums of nodes that are computed in Python, which may put another array in their place."""
        for group in self._program.groups:
            if group.kind is Kind.PYTHON:
                (node,) = group.nodes
                for _, name in node._parameters:
                    if name in vars(node):
                        snapshot.add_held_array(node, name)
                    else:
                        snapshot.add_array(getattr(node, name))

    def _keep(self, feeds: Feeds) -> None:
        """Keeps for `sample` what the user has fed, not copies that were cast."""
        self._last = feeds.leaves, feeds.given, feeds.size

    def _is_live(self, array: Array) -> bool:
        """Whether a call may write to the memory of an array: that of the arena, or of parameters of own nodes."""
        if self._arena.holds(array):
            return True
        if not self._calls_python:
            return False
        own = [u.nodes[0] for u in self._program.groups if u.kind is Kind.PYTHON]
        held = [getattr(node, name) for node in own for pair in node._parameters for name in pair]
        return any(np.may_share_memory(array, each) for each in held)

    def _deliver(self, rows: Array, out: Array) -> None:
        """Copies results that were computed aside into `out`; an array of a node then counts as written by the user."""
        live = self._arena.holds(out)
        if live:
            self._give_way()
        out[...] = rows
        if live:
            self._arena.begin()

    def _has_run(self, target: Node | None = None) -> None:
        """The nodes' own backward pass may follow, at all outputs, or at the one that alone was computed."""
        last = None
        for node in self._program.outputs:
            node._has_run = target is None or node is target
            root = node._component.root()
            if root is not last and root.forward:
                passes.waiting_forward.forget(root, self)
            last = root

    def _feed_leaves(self, feeds: Feeds, number: int) -> None:
        """One sample into the nodes' own arrays."""
        feed_ports = self._samples.feed_ports(feeds.leaves)
        plan.feed(self._arena.memory, feed_ports, feeds.arrays, number)

    def _show(self, feeds: Feeds, number: int) -> None:
        """One sample in the nodes' own arrays, and its gradients."""
        self._start("live")
        self._feed_leaves(feeds, number)
        plan.forward(self._whole, self._arena.memory)
        self._gradients = "zero"
        self._has_run()
        if self._is_loss:
            self._gradients = "running"
            preserving(self._show_gradients)
            self._gradients = "full"

    def _show_gradients(self, snapshot: Snapshot) -> None:
        """Runs a backward pass whose gradient sums are dropped."""
        self._snapshot_python_grads(snapshot)
        memory, _sums = self._arena.memory_aside()
        plan.backward(self._whole, memory)

    # What the nodes ask for

    def _materialise_grad(self, node: Node) -> None:
        """Before a node's gradient is read."""
        if self._gradients == "zero":
            self._arena.grad[...] = 0
            self._gradients = "live"
        elif self._gradients == "none":
            raise RuntimeError(
                f"{type(node).__name__}: grad is not kept for a batch; Graph.sample(i) computes that of one sample"
            )
        elif self._gradients in ("full", "parameters_only"):
            requires_grad = self._program.where[node][0].requires_grad[
                self._gradients == "parameters_only"
            ]
            if not requires_grad:
                raise RuntimeError(
                    f"{type(node).__name__}: grad was not computed, since the Graph was built with leaf_grads that "
                    "leave it out"
                )

    def _expose_parameters(self) -> None:
        self._arena.expose_parameters()

    def _expose_grads(self) -> None:
        self._arena.expose_grads()

    def _refresh_parameters(self) -> None:
        self._arena.refresh_parameters()

    def _hand_over(self) -> None:
        """Before a node's own method runs within a pass: what it may read of others is up to date."""
        self._arena.finish()

    def _take_back(self) -> None:
        """Reads what a node's own method may have written into arrays of other nodes."""
        self._arena.read_exposed()

    def _give_way(self) -> None:
        """Before a pass of the nodes themselves."""
        if self._gradients_are_zero():
            self._arena.grad[...] = 0
        self._gradients = "live"
        self._ready = False
        self._arena.expose_parameters()
        self._arena.expose_grads()

    def _follow(self) -> None:
        """Before a node is computed in a forward pass of the nodes themselves."""
        self._has_computed = False
        self._give_way()

    def _stand_aside(self) -> None:
        """Before nodes compute their data outside of a pass."""
        if self._arena.memory.busy:
            raise RuntimeError("evaluate: nodes must not belong to a Graph that is running")
        self._ready = False
        self._arena.refresh_parameters()

    def _gradients_are_zero(self) -> bool:
        """Whether gradients count as 0, whatever the arrays hold."""
        return self._gradients in ("zero", "none")

    def _require_idle(self) -> None:
        """Refuses to let the nodes go to a newer Graph in the middle of a call."""
        if self._arena.memory.busy:
            raise RuntimeError("Graph: nodes must not belong to a Graph that is running")

    def _loosen(self) -> None:
        """Before the nodes are cut: from now on they do not keep this Graph alive, and outlive it."""
        owned = [node for node in self._program.order if node._graph is self]
        # Both stay lent, so that the nodes' own arrays are up to date whenever this Graph ends.
        self._arena.expose_parameters()
        self._arena.expose_grads()
        grad, nodes = self._arena.grad, weakref.WeakSet(owned)

        def forget(gone: object) -> None:
            grad[...] = 0
            for node in nodes:
                if node._graph is gone:
                    node._graph = None

        known = weakref.proxy(self, forget)
        store([(("_graph",), [(node, known) for node in owned])])

    def _itself(self) -> Executable:
        """Returns this Graph, where the caller may have a weak proxy of it."""
        return self
