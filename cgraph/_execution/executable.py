"""Executable: a compiled graph, its steps and their memory, and the state of the arrays of its nodes."""

from __future__ import annotations

import weakref
from collections.abc import Callable
from functools import partial, wraps
from typing import Any, Literal, TypeVar, cast

import numpy as np

from cgraph import _kernels
from cgraph._execution.arena import Arena
from cgraph._execution.batches import Batches, Request
from cgraph._execution.executors import LaneExecutor, SampleExecutor, SampleLowering
from cgraph._execution.feeds import Feed, Feeds, RememberedFeed, as_feeds, feed_specs
from cgraph._kernels.runtime import plan
from cgraph._kernels.runtime.uninterrupted import Snapshot, preserving, store
from cgraph._lowering.buffers import mark_requires_grad, place_buffers, uses
from cgraph._lowering.layout import LayoutName, choose_layout
from cgraph._lowering.program import Kind, Program
from cgraph._lowering.sample_steps import SampleBuilder
from cgraph._propagation import passes
from cgraph._validation import Array
from cgraph.node import Node

Method = TypeVar("Method", bound=Callable[..., Any])

# The meaning of node.grad. live: the content of the array. zero: zeros, whatever the array holds. full and
# parameters_only: the gradients that a backward pass of this sort has computed. none: reading it raises, since the
# samples of a batch did not pass through the array. running: a call is running; the gradients count as zeros if it does
# not come to its end.
Gradients = Literal["live", "zero", "full", "parameters_only", "none", "running"]


def exclusive(method: Method) -> Method:
    """Decorates a method of a Graph: only one runs at a time, and exposed arrays are up to date after it."""
    name = f"Graph.{method.__name__}"

    @wraps(method)
    def guarded(self: Executable, *args: Any, **kwargs: Any) -> Any:
        return plan.exclusively(
            self._arena.memory, name, self._complete, method, self, *args, **kwargs
        )

    return cast("Method", guarded)


class Executable:
    """A compiled program, to which its nodes refer as `_graph`.

    Parameters
    ----------
    program : Program
        The fused groups and their buffers.
    full, parameters_only : frozenset of Node
        The leaves whose gradient is computed by a full backward pass, and by one for the parameters only.
    layout : str
        The layout of the samples of a batch: see `Graph`.
    threads : int
        The largest number of threads that may share a batch.
    """

    def __init__(
        self,
        program: Program,
        full: frozenset[Node],
        parameters_only: frozenset[Node],
        layout: LayoutName,
        threads: int,
    ) -> None:
        outputs, dtype = program.outputs, program.outputs[0].dtype
        kernels = _kernels.build(dtype)
        mark_requires_grad(program, full, parameters_only)
        data = place_buffers(program, dtype)
        builder = SampleBuilder(kernels, dtype)
        inputs = uses(program)
        steps = {g: builder.step(g, inputs[g]) for g in program.groups if g.kind is not Kind.LEAF}
        self._program = program
        self._dtype = dtype
        self._arena = Arena(program, builder, data)
        self._samples = SampleExecutor(program, self._arena, builder, data, steps)
        self._all_steps = self._samples.all_steps()
        self._calls_python = any(group.kind is Kind.PYTHON for group in program.groups)
        lowered = SampleLowering(inputs, builder.parameters_offset)
        self._layout_plan = choose_layout(program, layout, self._calls_python)
        self._batches = Batches(
            self._samples,
            partial(LaneExecutor, self._samples, kernels, lowered),
            self._layout_plan,
            threads,
            self._calls_python,
        )
        self._update_steps = plan.Steps(self._arena.update_steps())
        self._is_loss = len(outputs) == 1 and outputs[0].size == 1
        self._feed_specs = feed_specs(program.leaves)
        self._last_feed: RememberedFeed | None = None
        self._stale = False
        self._gradients: Gradients = "live"
        self._backward_may_follow = False
        # The gradient sums with which the running batch began.
        self._grads_before: Snapshot | None = None
        # Whether the graph has computed data since the last forward pass over the nodes.
        self._has_computed = False
        store(self._arena.adopt_nodes(self))
        for node in outputs:
            node._component.root().compiled = True

    def _begin(self, method: str) -> None:
        """Begins a call of a public method: refuses a stale Graph, and reads exposed arrays."""
        if self._stale:
            raise RuntimeError(f"Graph.{method}: its nodes belong to a newer Graph")
        self._arena.begin()
        if self._calls_python:
            # A Python node may read the gradient sums of other nodes.
            self._arena.materialise_grads()

    def _complete(self) -> None:
        """Completes each public method, also after an exception; runs again if a signal interrupts it."""
        if self._grads_before is not None:
            # Gradient sums that count as 0 need no restoring; an update that has begun has used the sums up.
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
        """Runs forward and backward passes with updates, and returns the losses.

        `batch` is the number of samples to an update; 0 for no update, None for one update after all samples.
        """
        self._begin(method)
        if not self._is_loss:
            self._require_loss(method)
        feeds = as_feeds(f"Graph.{method}", feed, self._feed_specs, self._may_write_to)
        losses = np.empty(feeds.size, self._dtype)
        if feeds.size == 0:
            self._remember_feed(feeds)
            return losses
        if batch is None:
            batch = feeds.size
        request = Request(None, feeds, losses, True, parameters_only, batch, eta)
        self._run(request)
        if self._gradients == "running":
            self._gradients = "parameters_only" if parameters_only else "full"
            self._allow_node_backward()
        return losses

    def _run(self, request: Request) -> None:
        """Runs all samples of a request.

        The leaves hold the last sample afterwards; so do the other nodes if the samples went one by one. An exception
        leaves the parameters as they were after the last whole batch, and the gradient sums as they were when the next
        batch began.
        """
        self._start("running")
        self._remember_feed(request.feeds)
        if request.backward and not (
            self._arena.memory.grads_are_zero or self._batches.is_uninterrupted(request)
        ):
            self._snapshot_grads()
        one_by_one = self._batches.run(request, self._update_steps, self._grads_before)
        self._grads_before = None
        if not one_by_one:
            self._feed_leaves(request.feeds, request.feeds.size - 1)
            self._gradients = "none"

    def _start(self, gradients: Gradients) -> None:
        """Notes, before data change, that no backward pass may follow until all nodes have been computed."""
        self._backward_may_follow = False
        self._has_computed = True
        self._gradients = gradients
        for node in self._program.outputs:
            node._has_run = False

    def _snapshot_grads(self) -> None:
        """Keeps the gradient sums before a call that adds to them and that an exception may end halfway."""
        snapshot = Snapshot()
        snapshot.add_array(self._arena.parameter_grads)
        self._snapshot_python_grads(snapshot)
        self._grads_before = snapshot

    def _snapshot_python_grads(self, snapshot: Snapshot) -> None:
        """Adds the gradient sums of Python nodes to a snapshot; such a node may also exchange its array."""
        for group in self._program.groups:
            if group.kind is Kind.PYTHON:
                (node,) = group.nodes
                for _, name in node._parameters:
                    if name in vars(node):
                        snapshot.add_held_array(node, name)
                    else:
                        snapshot.add_array(getattr(node, name))

    def _remember_feed(self, feeds: Feeds) -> None:
        """Keeps the objects that the user has fed for `sample`, not converted copies of them."""
        self._last_feed = feeds.leaves, feeds.given, feeds.size

    def _may_write_to(self, array: Array) -> bool:
        """Returns whether a call may write to an array: to memory of the arena, or to parameters of Python nodes."""
        if self._arena.holds(array):
            return True
        if not self._calls_python:
            return False
        nodes = [g.nodes[0] for g in self._program.groups if g.kind is Kind.PYTHON]
        held = [getattr(node, name) for node in nodes for pair in node._parameters for name in pair]
        return any(np.may_share_memory(array, each) for each in held)

    def _copy_to_out(self, rows: Array, out: Array) -> None:
        """Copies results into `out`; where that is an array of a node, it counts as written by the user."""
        is_node_array = self._arena.holds(out)
        if is_node_array:
            self._before_node_pass()
        out[...] = rows
        if is_node_array:
            self._arena.begin()

    def _allow_node_backward(self, computed: Node | None = None) -> None:
        """Allows a backward pass over the nodes, from all outputs, or from the only one that was computed."""
        last = None
        for node in self._program.outputs:
            node._has_run = computed is None or node is computed
            root = node._component.root()
            if root is not last and root.forward:
                passes.waiting_forward.forget(root, self)
            last = root

    def _feed_leaves(self, feeds: Feeds, number: int) -> None:
        """Copies one sample into the nodes' own arrays."""
        feed_ports = self._samples.feed_ports(feeds.leaves)
        plan.feed(self._arena.memory, feed_ports, feeds.arrays, number)

    def _show_sample(self, feeds: Feeds, number: int) -> None:
        """Computes one sample, and its gradients if there is a loss, in the nodes' own arrays."""
        self._start("live")
        self._feed_leaves(feeds, number)
        plan.forward(self._all_steps, self._arena.memory)
        self._gradients = "zero"
        self._allow_node_backward()
        if self._is_loss:
            self._gradients = "running"
            preserving(self._show_gradients)
            self._gradients = "full"

    def _show_gradients(self, snapshot: Snapshot) -> None:
        """Runs a backward pass whose gradient sums are discarded."""
        self._snapshot_python_grads(snapshot)
        memory, _grads = self._arena.memory_with_discarded_grads()
        plan.backward(self._all_steps, memory)

    # Methods that the nodes and their passes call

    def _materialise_grad(self, node: Node) -> None:
        """Brings the gradient of a node up to date before it is read, or refuses to show it."""
        if self._gradients == "zero":
            self._arena.grad[...] = 0
            self._gradients = "live"
        elif self._gradients == "none":
            raise RuntimeError(
                f"{type(node).__name__}: grad is not kept for a batch; Graph.sample(i) computes that of one sample"
            )
        elif self._gradients in ("full", "parameters_only"):
            requires_grad = self._program.channel_of[node][0].requires_grad[
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

    def _before_python_node(self) -> None:
        """Brings exposed arrays up to date before a method of a Python node runs, which may read them."""
        self._arena.finish()

    def _after_python_node(self) -> None:
        """Reads exposed arrays after a method of a Python node, which may have written into them."""
        self._arena.read_exposed()

    def _before_node_pass(self) -> None:
        """Brings data, gradients and parameters of the nodes up to date before a pass over the nodes.

        Gradient sums are exposed by the nodes that add to them, in `calcPartialDerivative`, so that a forward pass
        alone does not expose them.
        """
        if self._gradients_are_zero():
            self._arena.grad[...] = 0
        self._gradients = "live"
        self._backward_may_follow = False
        self._arena.expose_parameters()

    def _before_node_forward(self) -> None:
        """Prepares for a forward pass over the nodes, before a node of this Graph is computed in it."""
        self._has_computed = False
        self._before_node_pass()

    def _before_evaluate(self) -> None:
        """Prepares for `evaluate`, which computes the data of nodes outside of any pass."""
        if self._arena.memory.busy:
            raise RuntimeError("evaluate: nodes must not belong to a Graph that is running")
        self._backward_may_follow = False
        self._arena.refresh_parameters()

    def _gradients_are_zero(self) -> bool:
        """Returns whether the gradients count as 0, whatever the arrays hold."""
        return self._gradients in ("zero", "none")

    def _require_idle(self) -> None:
        """Refuses to hand the nodes over to a newer Graph in the middle of a call."""
        if self._arena.memory.busy:
            raise RuntimeError("Graph: nodes must not belong to a Graph that is running")

    def _release_nodes(self) -> None:
        """Lets the nodes outlive this Graph, before they are cut off from each other; they keep it alive no longer."""
        owned = [node for node in self._program.order if node._graph is self]
        # Exposed arrays stay up to date, at whatever moment this Graph is deleted.
        self._arena.expose_parameters()
        self._arena.expose_grads()
        grad, nodes = self._arena.grad, weakref.WeakSet(owned)

        def forget(dead_proxy: object) -> None:
            grad[...] = 0
            for node in nodes:
                if node._graph is dead_proxy:
                    node._graph = None

        proxy = weakref.proxy(self, forget)
        store([(("_graph",), [(node, proxy) for node in owned])])

    def _strong_reference(self) -> Executable:
        """Returns this Graph, where the caller may have a weak proxy of it."""
        return self
