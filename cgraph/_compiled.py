"""What a Graph is beneath its public methods: steps, their memory, and what its arrays hold."""

from __future__ import annotations

from collections.abc import Collection
from typing import Any, Literal

import numpy as np

from cgraph import _kernels
from cgraph._arena import Arena
from cgraph._array import Array
from cgraph._feed import Feed, Stream, as_streams, inlet
from cgraph._kernels import plan
from cgraph._places import mark_wanted, operands, place_blocks
from cgraph._steps import Builder, multiply_adds
from cgraph.lowering import Kind, Program
from cgraph.node import Node

# What node.grad reads. live: what the array holds; zero: zeros, whatever it holds; full, lean: what that pass computed.
Gradients = Literal["live", "zero", "full", "lean"]

MOST_PARTS = 16  # of a graph that are remembered, for one node each


class Compiled:
    """A program, compiled; the nodes know it as `_graph`.

    Parameters
    ----------
    program : Program
        The units.
    full, lean : collection of Node
        The leaves whose gradient full and lean passes compute.
    """

    def __init__(self, program: Program, full: Collection[Node], lean: Collection[Node]) -> None:
        ends, dtype = program.outputs, program.outputs[0].dtype
        mark_wanted(program, full, lean)
        data = place_blocks(program, dtype)
        builder = Builder(_kernels.build(dtype), dtype)
        pairs = zip(program.units, operands(program), strict=True)
        self._program = program
        self._dtype = dtype
        self._step_of = {u: builder.step(u, o) for u, o in pairs if u.kind is not Kind.LEAF}
        self._cost = sum(map(multiply_adds, program.units))
        self._arena = Arena(program, builder, data)
        self._calls_python = any(u.kind is Kind.PYTHON for u in program.units)
        self._steps = plan.Steps([*self._step_of.values(), self._arena.end_step()])
        self._learners = plan.Steps(self._arena.learners())
        self._inlets = {leaf: inlet(leaf, program.where[leaf][0].at) for leaf in program.leaves}
        self._is_loss = len(ends) == 1 and ends[0].size == 1
        self._outlet = program.where[ends[0]][0].at * dtype.itemsize, dtype.itemsize
        self._parts: dict[Node, tuple[plan.Steps, tuple[int, int]]] = {}
        self._stale = False
        self._gradients: Gradients = "live"
        self._ready = False
        self._arena.adopt(self)

    def _begin(self, method: str) -> None:
        if self._stale:
            raise RuntimeError(f"Graph.{method}: its nodes belong to a newer Graph")
        if self._arena.memory.busy:
            raise RuntimeError(
                f"Graph.{method}: is already running, in another thread or in a node's own method"
            )
        self._arena.begin()

    def _require_loss(self, method: str) -> None:
        """Refuses a graph whose output is not a loss."""
        outputs = self._program.outputs
        if len(outputs) > 1 or outputs[0].size > 1:
            raise ValueError(
                f"Graph.{method}: needs one output of one element, got {len(outputs)} of sizes "
                f"{[node.size for node in outputs]}"
            )

    def _part(self, target: Node) -> tuple[plan.Steps, tuple[int, int]]:
        """The steps that lead to a node, and where, in bytes, they leave its data in one piece."""
        known = self._parts.get(target)
        if known is None:
            block, channel = self._program.where[target]
            steps = [
                self._step_of[u] for u in self._program.units_above(block) if u in self._step_of
            ]
            at = block.at
            if block.pitch > 1:
                steps.append(self._arena.packing(block, channel))
                at = self._arena.transfer
            item = self._dtype.itemsize
            if len(self._parts) == MOST_PARTS:
                self._parts.clear()
            known = self._parts[target] = plan.Steps(steps), (at * item, target.size * item)
        return known

    def _train(
        self, method: str, feed: Feed, lean: bool, batch: int | None = 0, eta: float = 0.0
    ) -> Array:
        """batch: samples to an update; 0 for none, None for all of them."""
        self._begin(method)
        if not self._is_loss:
            self._require_loss(method)
        streams, count = as_streams(f"Graph.{method}", feed, self._inlets)
        losses = np.empty(count, self._dtype)
        if count == 0:
            return losses
        if batch is None:
            batch = count
        fresh = self._take_fresh()
        # While steps learn, they leave the sums alone: these count as 0 afterwards too, whatever ends the pass.
        self._arena.fresh = fresh and batch == 1
        self._run(
            self._steps, streams, (losses, *self._outlet), count,
            backward=True, lean=lean, fresh=fresh, batch=batch, eta=eta,
        )  # fmt: skip
        self._gradients = "lean" if lean else "full"
        self._has_run()
        if batch:
            self._arena.fresh = not self._arena.sums_lent
        self._arena.finish()
        return losses

    def _run(
        self, steps: plan.Steps, feeds: list[Stream], out: Stream, count: int, **task: Any
    ) -> None:
        """All samples, each of which leaves a row in the array of `out`."""
        self._ready = False
        self._gradients = "live"  # for nodes that run their own methods
        try:
            plan.run(
                steps, self._learners, self._arena.memory, feeds, out, count, self._cost, **task
            )
        except BaseException:
            self._gradients = "zero"
            self._arena.finish()
            raise

    def _has_run(self) -> None:
        """The nodes' own backward pass may follow."""
        for node in self._program.outputs:
            node._has_run = True

    def _take_fresh(self) -> bool:
        """Whether steps may overwrite the gradient sums, which then no longer count as 0."""
        if self._calls_python:  # a node that raises leaves the sums of those behind it unwritten
            self._arena.settle_sums()
        fresh, self._arena.fresh = self._arena.fresh, False
        return fresh

    # What the nodes ask for

    def _settle_gradient(self, node: Node) -> None:
        """Before a node's gradient is read."""
        if self._gradients == "zero":
            self._arena.grad[...] = 0
            self._gradients = "live"
        elif self._gradients != "live":
            wanted = self._program.where[node][0].wanted[self._gradients == "lean"]
            if not wanted:
                raise RuntimeError(
                    f"{type(node).__name__}: grad was not computed, since the Graph was built with leaf_grads that "
                    "leave it out"
                )

    def _lend_values(self) -> None:
        self._arena.lend_values()

    def _lend_sums(self) -> None:
        self._arena.lend_sums()

    def _hand_over(self) -> None:
        """Before a node's own method runs within a pass: what it may read of others is up to date."""
        self._arena.finish()

    def _take_back(self) -> None:
        """After it: what it may have written into others counts."""
        self._arena.begin()

    def _give_way(self) -> None:
        """Before a pass of the nodes themselves."""
        if self._gradients == "zero":
            self._arena.grad[...] = 0
        self._gradients = "live"
        self._ready = False
        self._arena.lend_values()
        self._arena.lend_sums()

    def _retire(self) -> None:
        """Before the nodes go to a newer Graph."""
        if self._arena.memory.busy:
            raise RuntimeError("Graph: nodes must not belong to a Graph that is running")
        self._give_way()
        self._stale = True
