"""Graph: a whole graph of nodes compiled into one call."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from typing import Any, Literal, NoReturn

import numpy as np

from cgraph import _kernels
from cgraph._arena import Arena
from cgraph._array import Array, as_rate, as_size
from cgraph._feed import Feed, Stream, as_streams, inlet
from cgraph._kernels import plan
from cgraph._places import mark_wanted, operands, place_blocks
from cgraph._steps import Builder, multiply_adds
from cgraph._summary import summary
from cgraph.lowering import Kind, Program
from cgraph.node import Node, as_node, as_nodes
from cgraph.walk import Parameter, own_parameters

# What node.grad reads. live: what the array holds; zero: zeros, whatever it holds; full, lean: what that pass computed.
Gradients = Literal["live", "zero", "full", "lean"]


class Graph:
    """The ancestors of some nodes, compiled: forward, backward and update in one call each, or all in one.

    All data lie in one arena; sibling convolutions and what sits on their channels are computed together; everything
    runs without the GIL. The numbers are those of the nodes' own passes, up to rounding.

    Parameters
    ----------
    outputs : Node or sequence of Node
        What is to be computed. Nodes that are added later, and other consumers of these nodes, do not take part.
    leaf_grads : bool or sequence of Node, optional
        The leaves whose gradient is computed: all, none, or these. By default all by `backward` and `accumulate`,
        none by `step` and `train`.
    threads : int, optional
        How many threads may share the samples of a batch.

    Raises
    ------
    TypeError
        `outputs` or `leaf_grads` are not nodes, or the nodes differ in dtype.
    ValueError
        No outputs; a node in `leaf_grads` that is not a leaf of the graph; arrays of nodes that do not fit together.

    Notes
    -----
    The nodes stay what they are: after each call their ``data``, ``grad`` and parameters can be read, and what is
    written into them is seen by the next call. Arrays that were fetched before the Graph was built are stale: read the
    property again. A node belongs to one Graph, the newest; an older one raises when used.

    A parameter array that was handed out is kept up to date at both ends of each later call, which costs time; once a
    gradient sum was handed out, `step` and `train` no longer learn while they go backward.

    Examples
    --------
    >>> import cgraph as CG
    >>> x, t = CG.Leaf1(2), CG.Leaf1(1)
    >>> y = CG.Affine(x, [[1.0], [1.0], [0.0]])
    >>> graph = CG.Graph(CG.MSE(y, t))
    >>> graph.step({x: [[1, 2]], t: [[4]]}, eta=0.1)
    array([1.])
    >>> y.weight.ravel()
    array([1.2, 1.4, 0.2])
    """

    def __init__(
        self,
        outputs: Node | Iterable[Node],
        *,
        leaf_grads: bool | Iterable[Node] | None = None,
        threads: int | None = None,
    ) -> None:
        self._stale = False
        self._threads = None if threads is None else as_size("Graph", "threads", threads)
        ends = [outputs] if isinstance(outputs, Node) else as_nodes("Graph", "outputs", outputs)
        program = Program(ends)
        dtype = ends[0].dtype
        for node in program.order:
            if node.dtype is not dtype:
                raise TypeError(f"Graph: nodes must all have dtype {dtype}, got {node!r}")
        self._program = program
        self._dtype = dtype
        self._leaves = {n for u in program.units if u.kind is Kind.LEAF for n in u.nodes}
        full, lean = self._wanted_leaves(leaf_grads)
        mark_wanted(program, full, lean)
        data = place_blocks(program, dtype)
        builder = Builder(_kernels.build(dtype), dtype)
        pairs = zip(program.units, operands(program), strict=True)
        self._step_of = {u: builder.step(u, o) for u, o in pairs if u.kind is not Kind.LEAF}
        self._cost = sum(map(multiply_adds, program.units))
        self._arena = Arena(program, builder, data)
        self._calls_python = any(u.kind is Kind.PYTHON for u in program.units)
        self._steps = plan.Steps([*self._step_of.values(), self._arena.end_step()])
        self._learners = plan.Steps(self._arena.learners())
        self._inlets = {leaf: inlet(leaf, program.where[leaf][0].at) for leaf in self._leaves}
        self._is_loss = len(ends) == 1 and ends[0].size == 1
        self._outlet = program.where[ends[0]][0].at * dtype.itemsize, dtype.itemsize
        self._parts: dict[Node, tuple[plan.Steps, tuple[int, int]]] = {}
        self._gradients: Gradients = "live"
        self._ready = False
        self._arena.adopt(self)

    def _wanted_leaves(
        self, leaf_grads: bool | Iterable[Node] | None
    ) -> tuple[Sequence[Node], Sequence[Node]]:
        """The leaves whose gradient full and lean passes compute."""
        every = self.leaves
        if leaf_grads is None:
            return every, []
        if isinstance(leaf_grads, bool):
            return (every, every) if leaf_grads else ([], [])
        listed = as_nodes("Graph", "leaf_grads", leaf_grads, minimum=0)
        for node in listed:
            if node not in self._leaves:
                raise ValueError(f"Graph: leaf_grads must hold leaves of this graph, got {node!r}")
        return listed, listed

    # What is there

    @property
    def nodes(self) -> list[Node]:
        """All nodes, inputs before their consumers."""
        return list(self._program.order)

    @property
    def leaves(self) -> list[Node]:
        """The leaves, in the order of `nodes`."""
        return [node for node in self._program.order if node in self._leaves]

    @property
    def parameters(self) -> list[Parameter]:
        """Every array that learns, in the order of `nodes`; this hands them all out."""
        return [p for node in self._program.order for p in own_parameters(node)]

    def summary(self) -> None:
        """Prints the steps: which nodes each computes, their sizes, parameters and multiply-adds; and the memory."""
        print(summary(self._program, self._arena.counts(), self._arena.nbytes))

    def __repr__(self) -> str:
        return f"Graph({len(self._step_of)} steps for {len(self._program.order)} nodes)"

    def __reduce_ex__(self, protocol: object) -> NoReturn:
        raise TypeError(
            "Graph: a graph cannot be copied or pickled; build it anew, and use save_parameters and "
            "load_parameters for what it has learnt"
        )

    # The sample that the leaves hold

    def forward(self) -> None:
        """Computes all nodes from what the leaves hold; afterwards every gradient reads 0.

        Raises
        ------
        RuntimeError
            The nodes belong to a newer Graph.
        """
        self._begin("forward")
        self._ready = False
        self._gradients = "zero"
        plan.forward(self._steps, self._arena.memory)
        self._gradients = "zero"
        self._ready = True
        self._has_run()

    def backward(self) -> None:
        """Computes all gradients, and adds to the gradient sums of what learns.

        Raises
        ------
        ValueError
            The graph has more than one output, or one of more than one element.
        RuntimeError
            There was no `forward` since the last `backward`; the nodes belong to a newer Graph.
        """
        self._begin("backward")
        self._require_loss("backward")
        if not self._ready:
            raise RuntimeError("Graph.backward: needs a forward() since the last backward()")
        self._ready = False
        self._gradients = "live"
        try:
            plan.backward(self._steps, self._arena.memory, self._take_fresh())
        finally:
            self._arena.finish()
        self._gradients = "full"

    def update(self, eta: float) -> None:
        """Parameters -= eta * their gradient sums, then the sums are 0.

        Parameters
        ----------
        eta : float
            Learning rate, for the SUM of the losses since the last update.

        Raises
        ------
        TypeError, ValueError
            `eta` is not a number, or not finite in the nodes' dtype.
        RuntimeError
            The nodes belong to a newer Graph.
        """
        self._begin("update")
        rate = as_rate("Graph.update", eta, self._dtype)
        if self._calls_python:  # an own node may do more than to learn from a gradient
            self._arena.settle_sums()
        if not self._arena.fresh:
            try:
                plan.learn(self._learners, self._arena.memory, rate)
            finally:
                self._arena.finish()
            self._arena.fresh = not self._arena.sums_lent

    # Samples

    def accumulate(self, feed: Feed) -> Array:
        """Forward and backward of B samples; the gradients are summed, as B passes over the nodes would.

        Parameters
        ----------
        feed : mapping of Node to array_like
            For each leaf its samples, shape (B, size) or (B, height, width). Other leaves keep their data.

        Returns
        -------
        ndarray, shape (B,)
            The losses.

        Raises
        ------
        TypeError, ValueError
            Something in `feed` is not as above; the graph has more than one output, or one of more than one element.
        RuntimeError
            The nodes belong to a newer Graph.
        """
        return self._train("accumulate", feed, lean=False)

    def step(self, feed: Feed, eta: float) -> Array:
        """Forward and backward of B samples, then one update.

        Parameters
        ----------
        feed : mapping of Node to array_like
            As for `accumulate`.
        eta : float
            Learning rate, for the sum of the losses.

        Returns
        -------
        ndarray, shape (B,)
            The losses before the update.

        Raises
        ------
        TypeError, ValueError
            As for `accumulate`; `eta` is not a finite number.
        RuntimeError
            The nodes belong to a newer Graph.
        """
        rate = as_rate("Graph.step", eta, self._dtype)
        return self._train("step", feed, lean=True, batch=None, eta=rate)

    def train(self, feed: Feed, eta: float, batch: int = 1) -> Array:
        """Forward and backward of B samples in order, with an update after each `batch` of them and after the last.

        Parameters
        ----------
        feed : mapping of Node to array_like
            As for `accumulate`.
        eta : float
            Learning rate, for the sum of the losses of a batch.
        batch : int, optional
            Samples between two updates; 1 is online gradient descent.

        Returns
        -------
        ndarray, shape (B,)
            The loss of each sample when it came.

        Raises
        ------
        TypeError, ValueError
            As for `accumulate`; `eta` is not a finite number, `batch` not an integer of at least 1.
        RuntimeError
            The nodes belong to a newer Graph.
        """
        rate = as_rate("Graph.train", eta, self._dtype)
        return self._train(
            "train", feed, lean=True, batch=as_size("Graph.train", "batch", batch), eta=rate
        )

    def predict(self, feed: Feed, node: Node | None = None) -> Array:
        """Computes one node, and what it needs alone, for B samples.

        Parameters
        ----------
        feed : mapping of Node to array_like
            As for `accumulate`.
        node : Node, optional
            A node of the graph; by default its only output.

        Returns
        -------
        ndarray, shape (B, node.size)
            The node's data for each sample.

        Raises
        ------
        TypeError, ValueError
            Something in `feed` is not as above; `node` is not a node of the graph, or missing where there are several
            outputs.
        RuntimeError
            The nodes belong to a newer Graph.
        """
        self._begin("predict")
        target = self._target(node)
        feeds, count = as_streams("Graph.predict", feed, self._inlets)
        result = np.empty((count, target.size), self._dtype)
        steps, outlet = self._part(target)
        self._run(steps, feeds, (result, *outlet), count, backward=False)
        self._gradients = "zero"
        return result

    # Behind the public methods

    def _begin(self, method: str) -> None:
        if self._stale:
            raise RuntimeError(f"Graph.{method}: its nodes belong to a newer Graph")
        self._arena.begin()

    def _require_loss(self, method: str) -> None:
        """Refuses a graph whose output is not a loss."""
        outputs = self._program.outputs
        if len(outputs) > 1 or outputs[0].size > 1:
            raise ValueError(
                f"Graph.{method}: needs one output of one element, got {len(outputs)} of sizes "
                f"{[node.size for node in outputs]}"
            )

    def _target(self, node: Node | None) -> Node:
        """What predict is to compute."""
        if node is None:
            if len(self._program.outputs) > 1:
                raise ValueError(
                    "Graph.predict: node must be given where there are several outputs"
                )
            return self._program.outputs[0]
        as_node("Graph.predict", "node", node)
        if node not in self._program.where:
            raise ValueError(f"Graph.predict: node must be one of this graph, got {node!r}")
        return node

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
        self._give_way()
        self._stale = True
