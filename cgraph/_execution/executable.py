"""Executable: a compiled graph, which runs its steps; its methods are called with checked arguments."""

from __future__ import annotations

from functools import cached_property, partial
from typing import Any

import numpy as np

from cgraph import _kernels
from cgraph._execution.adoption import adopt
from cgraph._execution.arena import Arena
from cgraph._execution.batches import Batches, Runner
from cgraph._execution.carrying import Carrying
from cgraph._execution.choice import Executors
from cgraph._execution.executors import SampleExecutor
from cgraph._execution.feeds import RememberedFeed, by_streams
from cgraph._execution.learning import learning
from cgraph._execution.optimizing import Optimizing
from cgraph._execution.residency import (
    Effect,
    Gradients,
    Residency,
    add_python_sums,
    python_arrays,
)
from cgraph._execution.samples import Samples, begin_samples, end_samples
from cgraph._kernels.runtime import plan
from cgraph._kernels.runtime.memory import exclusively
from cgraph._kernels.runtime.plan import Schedule
from cgraph._kernels.runtime.request import Extras, Feeds, Request
from cgraph._kernels.runtime.step import PythonStep
from cgraph._kernels.runtime.uninterrupted import Snapshot, store
from cgraph._lowering.pipeline import Lowered
from cgraph._lowering.program import Kind
from cgraph._lowering.sample_steps import SampleBuilder
from cgraph._validation import Array
from cgraph.node import Node
from cgraph.optimizers.optimizer import Optimizer

STALE = "its nodes belong to a newer Graph; one of CG.clone(node, share=True) works beside it"


class Executable:
    """The steps of a lowered program with their memory.

    Parameters
    ----------
    lowered : Lowered
        The program, its buffers and its layout.
    threads : int
        The largest number of threads that may share a batch.
    streams : int, optional
        The number of streams of samples; 0 for none.

    Attributes
    ----------
    program : Program
        The fused groups and their buffers.
    dtype : numpy dtype
        The dtype of all nodes.
    memory : Memory
        The memory of the nodes, which one call at a time may hold.
    residency : Residency
        The state of the nodes' arrays.
    written : Written
        The memory to which calls write.
    streams : int
    carrying : Carrying or None
        The state of the carried leaves, if there are any; its part for requests is `carry`.
    last_feed : RememberedFeed or None
        The objects that were fed in the last call with a feed, for `sample`, not converted copies of them.
    """

    def __init__(self, lowered: Lowered, threads: int, streams: int = 0) -> None:
        self.program = program = lowered.program
        self.dtype = dtype = lowered.data.dtype
        kernels = _kernels.build(dtype)
        builder = SampleBuilder(kernels, dtype, program.shared)
        steps = {
            group: builder.step(group, lowered.uses[group])
            for group in program.groups
            if group.kind is not Kind.LEAF
        }
        self.arena = Arena(kernels, builder, lowered.data)
        self.memory = self.arena.memory
        self.residency = Residency(self.arena, program)
        self._samples = SampleExecutor(lowered, self.arena, builder, steps)
        self.all_steps = self._samples.all_steps()
        self.executors = Executors(lowered, self._samples, builder)
        self.python_nodes = [g.nodes[0] for g in program.groups if g.kind is Kind.PYTHON]
        self.batches = Batches(self.executors, threads, bool(self.python_nodes))
        self.written = self.arena.written
        if self.python_nodes:
            self.written.others = partial(python_arrays, self.python_nodes)
        self.slots = builder.slots
        self.last_feed: RememberedFeed | None = None
        # The gradient sums with which the running batch began.
        self._grads_before: Snapshot | None = None
        # The gradient sums, with what belongs to them, that a call restores at its end.
        self.set_aside: Snapshot | None = None
        self._counters = [n._sample_counter for n in program.order if n._sample_counter]
        self.is_simple = not (self.python_nodes or self._counters)  # has no nodes that need care
        self._running_samples = 0  # of a call, until they have been counted
        self._is_learning = False  # whether a call runs that updates parameters after each batch
        self.fed: list[Samples] = []  # of the last call with a feed
        store(adopt(self.residency, program, builder.slots))
        self.streams = streams
        self.carrying = Carrying(program, streams) if program.carried else None
        self.carry = None if self.carrying is None else self.carrying.carry
        self._freezes = self.residency.freezes  # the changes of `trainable` that the steps know of
        self.update_steps = self._freeze()
        self.optimizing = Optimizing(program, builder.slots, self.arena, self.python_nodes)
        self.pairing: Any = None  # with the Graph whose parameters were last copied into this one
        for node in program.outputs:
            node._component.root().compiled = True

    def _freeze(self) -> plan.Steps:
        """Tells steps and gradient sums which parameters learn, and returns the steps of an update.

        These are gradient descent on the parameters in the arena that learn, then the nodes computed in Python.
        """
        found = learning(self.program, self.slots, self.arena.parameters.size)
        self.executors.tell(found)
        self.batches.may_overwrite = not (self.python_nodes or found.is_mixed)
        self.residency.freeze_sums(self.slots)
        self.arena.clear_thread_grads()
        sgd = self.arena.kernels.elementwise.SGDStep(found.runs)
        # Of nodes with the same parameters, the first that an update reaches learns.
        once: dict[object, Node] = {}
        for node in reversed(self.python_nodes):
            once.setdefault(node._sharing or node, node)
        return plan.Steps([sgd, *map(PythonStep, once.values())])

    def begin(self, owner: str, effect: Effect = "data") -> None:
        """Begins a call: refuses a stale Graph, and reads arrays of users and whether parameters learn."""
        residency = self.residency
        if residency.stale:
            raise RuntimeError(f"{owner}: {STALE}")
        if residency.learners is not None:
            residency.hold_shared(owner, effect)
        residency.begin()
        if residency.learners is not None:
            residency.note_effect(effect)
        freezes = residency.freezes
        if freezes is not self._freezes:
            self.update_steps = self._freeze()
            self.optimizing.forget()
            self._freezes = freezes
        if self.python_nodes:
            # A Python node may read the gradient sums of other nodes.
            residency.materialise_sums()

    def begin_training(
        self, owner: str, from_loss: bool = True, effect: Effect = "parameters"
    ) -> None:
        """Begins a call for backward passes, and refuses a graph whose output is not a loss if they begin there."""
        self.begin(owner, effect)
        if from_loss and not self.is_loss:
            outputs = self.program.outputs
            raise ValueError(
                f"{owner}: needs one output of one element, got {len(outputs)} of sizes "
                f"{[node.size for node in outputs]}"
            )

    def complete(self) -> None:
        """Completes each call, also after an exception; runs again if a signal interrupts it."""
        residency, memory = self.residency, self.memory
        # An update that has raised has used the sums up, too.
        if memory.updating or (self._is_learning and memory.counted):
            self._forget_node_passes()
        self._is_learning = False
        if self._grads_before is not None:
            # Gradient sums that count as 0 need no restoring; an update that has begun has used the sums up.
            if not (memory.grads_are_zero or memory.updating):
                residency.restore_sums(self._grads_before)
            self._grads_before = None
        if self.set_aside is not None:
            residency.restore_sums(self.set_aside)
            self.set_aside = None
        if self._running_samples:
            end_samples(self._counters, memory.counted, self._running_samples)
            self._running_samples = 0
        if residency.gradients == "running":
            residency.gradients = "zero"
        if self.carrying is not None:
            self.carrying.complete()
        if not residency.stale:
            residency.finish()
        if residency.learners is not None:
            residency.publish_shared()

    @property
    def effect_of_backward(self) -> Effect:
        """What a backward pass changes that restores gradient sums: for a while, those that Python nodes share."""
        shares = [node for node in self.python_nodes if node._sharing is not None]
        return "sums" if shares else "data"

    # Passes for the sample that the leaves hold

    def forward(self) -> None:
        """Computes all nodes from the data of the leaves."""
        residency, outputs = self.residency, self.program.outputs
        residency.start("zero", outputs)
        self.memory.counted = 0
        if self._counters:
            begin_samples(self._counters, True)
            self._running_samples = 1
        plan.forward(self.all_steps, self.memory)
        residency.gradients = "zero"
        residency.backward_may_follow = True
        residency.allow_node_backward(outputs)

    def backward(self) -> None:
        """Computes all gradients, and adds those of the parameters to the gradient sums."""
        self.residency.backward_may_follow = False
        self.residency.gradients = "running"
        if self.python_nodes:
            self._snapshot_grads()
        plan.backward(self.all_steps, self.memory)
        self._grads_before = None
        self.residency.gradients = "full"

    def update(self, rule: float | Optimizer) -> None:
        """Updates the parameters by a learning rate or an optimiser with the gradient sums, which are 0 afterwards."""
        if self.memory.grads_are_zero:
            return
        if isinstance(rule, float):
            eta, steps = rule, self.update_steps
        elif self.memory.samples or self.optimizing.has_gradients():
            eta, steps = 0.0, self.optimizing.steps(rule, 1)
        else:
            return
        # When updateParameters of a Python node raises, other nodes have learnt, and must not learn twice.
        plan.apply_update(steps, self.memory, eta, self.batches.may_overwrite)
        self._forget_node_passes()

    def _forget_node_passes(self) -> None:
        """Forgets the backward passes over nodes whose gradients an update has used up."""
        for node in self.program.outputs:
            node._backward_passes = 0

    def zero_grad(self) -> None:
        """Sets all gradient sums to 0."""
        if self.python_nodes:
            self._snapshot_grads()
            for node in self.python_nodes:
                node.zero_grad()
        self.memory.grads_are_zero = True
        self._forget_node_passes()
        self._grads_before = None
        if self.python_nodes:
            self.residency.materialise_sums()

    # Passes for samples that are fed

    def train(
        self,
        feeds: Feeds,
        parameters_only: bool,
        batch: int = 0,
        rule: float | Optimizer = 0.0,
        node: Node | None = None,
        out: Array | None = None,
        extras: Extras | None = None,
    ) -> Array:
        """Runs forward and backward passes, with an update after each batch unless that is 0.

        Returns the losses or, if `out` is given, that array with the data of `node`.
        """
        shape = by_streams(feeds.size, feeds.streams)
        losses: Array = np.empty(shape, self.dtype) if out is None else out
        if feeds.size == 0:
            self.skip(feeds)
            return losses
        eta = rule if isinstance(rule, float) else 0.0
        options = batch, eta, 0, extras, self.carry
        request = Request(node, feeds, losses, True, parameters_only, *options)
        schedule = plan.find(self.batches.schedules, request) or self.batches.add_schedule(request)
        self.learn(request, schedule, rule, self.batches)
        return losses

    def learn(
        self, request: Request, schedule: Schedule, rule: float | Optimizer, batches: Runner
    ) -> None:
        """Runs the passes and updates of a request."""
        if isinstance(rule, float):
            steps, fuse = self.update_steps, not self.program.shared
        else:
            steps, fuse = self.optimizing.steps(rule, -(-request.size // request.batch)), False
        self._run(request, schedule, steps, fuse, batches)
        self.allow_backward("parameters_only" if request.parameters_only else "full")

    def predict(self, node: Node, feeds: Feeds, out: Array) -> Array:
        """Computes a node, and returns `out`, which then holds the results."""
        if feeds.size == 0:
            self.skip(feeds)
            return out
        request = Request(node, feeds, out, carry=self.carry)
        self.compute(request, self.schedule_of(request), self.batches)
        return out

    def compute(self, request: Request, schedule: Schedule, batches: Runner) -> None:
        """Runs the forward passes of a request."""
        self._run(request, schedule, self.update_steps, True, batches)
        self.allow_backward("zero", request.node)

    def schedule_of(self, request: Request) -> Schedule:
        """Returns how a request is computed; refuses one that depends on a leaf without data."""
        return plan.find(self.batches.schedules, request) or self.batches.add_schedule(request)

    def _run(
        self,
        request: Request,
        schedule: Schedule,
        update_steps: plan.Steps,
        fuse: bool,
        batches: Runner,
    ) -> None:
        """Runs all samples of a request; updates are these steps, which descent at once may replace if `fuse`.

        The leaves hold the last sample afterwards; so do the other nodes if the samples went one by one. An exception
        leaves the parameters as they were after the last whole batch, and the gradient sums as they were when the next
        batch began.
        """
        self.begin_run(request, request.backward)
        self._is_learning = request.batch > 0
        if not self.memory.grads_are_zero and request.backward and not schedule.is_uninterrupted:
            self._snapshot_grads()
        batches.run(request, schedule, update_steps, fuse, self._grads_before)
        self._grads_before = None
        if not schedule.one_by_one:
            self.end_run(request, False)

    def begin_run(self, request: Request, active: bool) -> None:
        """Begins to run samples; `active` tells whether nodes such as Dropout count them, and draw masks for them."""
        self.skip(request.feeds)
        self.residency.start("running", self.program.outputs)
        self.memory.counted = 0
        if self._counters:
            self.fed = begin_samples(self._counters, active)
            self._running_samples = request.size

    def skip(self, feeds: Feeds) -> None:
        """Takes note of feeds, of which no sample has run: of the states of carried leaves, and for `sample`."""
        self.last_feed = feeds.to_remember()
        if self.carrying is not None:
            self.carrying.begin(feeds.states or ())

    def end_run(self, request: Request, one_by_one: bool) -> None:
        """Ends it: the leaves hold the last sample, unless all nodes do, since the samples went `one_by_one`."""
        if not one_by_one:
            self.feed_leaves(request.feeds, request.size - 1)
            self.residency.gradients = "none"

    def allow_backward(self, gradients: Gradients, node: Node | None = None) -> None:
        """Notes what gradients the nodes hold, if they hold any; a backward pass over the nodes may follow then.

        `node` is the only one that was computed; None if all were.
        """
        if self.residency.gradients == "running":
            self.residency.gradients = gradients
            self.residency.allow_node_backward(self.program.outputs, self.computed_last(node))

    def computed_last(self, node: Node | None) -> Node | None:
        """Returns the node from which a backward pass over the nodes may follow a call that has computed this one.

        None stands for all outputs. After a carry there is none but a leaf: carried leaves hold the next state already.
        """
        return node if self.carrying is None else self.carrying.leaves[0]

    def feed_leaves(self, feeds: Feeds, number: int) -> None:
        """Copies one sample into the nodes' own arrays."""
        plan.feed(self.memory, self._samples.feed_ports(feeds.leaves), feeds.arrays, number)

    @cached_property
    def is_loss(self) -> bool:
        """Whether the only output is a node of one element."""
        return self.program.is_loss

    # What is restored after an exception, and after a check

    def _snapshot_grads(self) -> None:
        """Keeps the gradient sums before a call that adds to them and that an exception may end halfway."""
        snapshot = Snapshot()
        snapshot.add_array(self.arena.parameter_grads)
        add_python_sums(self.python_nodes, snapshot)
        self._grads_before = snapshot

    def preserve(self, snapshot: Snapshot) -> None:
        """Adds to a snapshot all that calls change, but for the arrays of Python nodes.

        The steps learn before which parameters have been frozen, since that moves gradient sums.
        """
        exclusively(self.memory, "Graph", self.complete, self.begin, ("gradcheck",), {})
        snapshot.add_attributes(self)
        if self.carrying is not None:
            self.carrying.preserve(snapshot)
        self.residency.preserve(snapshot)
