"""Graph: a whole graph of nodes compiled into one call."""

from __future__ import annotations

from collections.abc import Iterable
from typing import NoReturn

import numpy as np

from cgraph._execution.batches import Request
from cgraph._execution.executable import Executable, alone
from cgraph._execution.feeds import Feed, Feeds, as_feeds, one_sample
from cgraph._execution.summary import summary
from cgraph._execution.threads import default_threads
from cgraph._kernels.runtime import plan
from cgraph._lowering.fusion import fuse
from cgraph._lowering.layout import LayoutName
from cgraph._lowering.program import Program
from cgraph._streams import say
from cgraph._validation import Array, as_index, as_rate, as_size, describe
from cgraph.node import Node, as_node, as_nodes
from cgraph.parameter import Parameter, own_parameters


class Graph(Executable):
    """The ancestors of some nodes, compiled: forward, backward and update in one call each, or all in one.

    All data lie in one arena; sibling convolutions and what sits on their channels are computed together; everything
    runs without the GIL. The numbers are those of the nodes' own passes, up to rounding.

    Parameters
    ----------
    outputs : Node or sequence of Node
        What is to be computed. Nodes that are added later, and other consumers of these nodes, do not take part.
    leaf_grads : bool or sequence of Node, optional
        The leaves whose gradient is computed: all, none, or these. By default all by `backward`, `sample` and
        `accumulate` of one sample, none by `step`, `train` and in batches, where nobody could see them.
    threads : int, optional
        How many threads may share the samples of a batch. By default what CGRAPH_NUM_THREADS says, or one for each core
        that affinity, CPU quota and OMP_NUM_THREADS leave to the process. Small batches stay on one thread.
    layout : {"auto", "lanes", "samples"}, optional
        How the samples of a batch are computed: many side by side, in the lanes of the CPU's vectors; one after the
        other, which is better for convolutions with many channels; or whichever is estimated to be faster. Where a node
        is computed in Python, samples always go one after the other.

    Raises
    ------
    TypeError
        `outputs` or `leaf_grads` are not nodes, or the nodes differ in dtype; `threads` is not an integer.
    ValueError
        No outputs; `threads` or CGRAPH_NUM_THREADS is less than 1, or `layout` not one of the three; a node in
        `leaf_grads` that is not a leaf of the graph; arrays of nodes that do not fit together.

    Notes
    -----
    The nodes stay what they are: what is written into their data and parameters is seen by the next call. Leaves hold
    the last sample that they were fed. After a call with one sample the other nodes' ``data`` and ``grad`` are those of
    this sample (unless ``layout="lanes"``); after a batch ``data`` is that of no sample, and reading ``grad`` raises,
    until `sample` has shown one. Arrays that were fetched before the Graph was built are stale: read the
    property again. A node belongs to one Graph, the newest; an older one raises when used.

    A parameter array that was handed out is kept up to date at both ends of each later call, which costs time for each
    call, and none for its samples.

    An exception, Ctrl-C too, leaves the parameters as the last update of a whole batch has left them, and the gradient
    sums as they were when the next batch began; but for one that ends an own node's ``updateParameters``, in front of
    which other nodes have learnt.

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
        layout: LayoutName = "auto",
    ) -> None:
        given = [outputs] if isinstance(outputs, Node) else as_nodes("Graph", "outputs", outputs)
        ends = list(dict.fromkeys(given))
        workers = default_threads() if threads is None else as_size("Graph", "threads", threads)
        if not isinstance(layout, str) or layout not in ("auto", "lanes", "samples"):
            raise ValueError(
                f'Graph: layout must be "auto", "lanes" or "samples", got {describe(layout)}'
            )
        program = fuse(ends)
        for node in program.order:
            if node.dtype is not ends[0].dtype:
                raise TypeError(f"Graph: nodes must all have dtype {ends[0].dtype}, got {node!r}")
        super().__init__(program, *leaves_that_require_grad(program, leaf_grads), layout, workers)

    # What is there

    @property
    def nodes(self) -> list[Node]:
        """All nodes, inputs before their consumers."""
        return list(self._program.order)

    @property
    def leaves(self) -> list[Node]:
        """The leaves, in the order of `nodes`."""
        return list(self._program.leaves)

    @property
    def parameters(self) -> list[Parameter]:
        """Every array that learns, in the order of `nodes`; this hands them all out."""
        return [p for node in self._program.order for p in own_parameters(node)]

    def summary(self) -> None:
        """Prints the steps and the memory.

        For each step the nodes that it computes, their shape and parameters, the multiply-adds of a sample forward,
        and how it takes the samples of a batch: side by side ("lanes") or one after the other ("samples").
        """
        say(summary(self._program, self._arena.nbytes, self._batches))

    def __repr__(self) -> str:
        return f"Graph({len(self._samples.steps)} steps for {len(self._program.order)} nodes)"

    def __reduce_ex__(self, protocol: object) -> NoReturn:
        raise TypeError(
            "Graph: a graph cannot be copied or pickled; build it anew, and use save_parameters and "
            "load_parameters for what it has learnt"
        )

    # The sample that the leaves hold

    @alone
    def forward(self) -> None:
        """Computes all nodes from what the leaves hold; afterwards every gradient reads 0.

        Raises
        ------
        RuntimeError
            The nodes belong to a newer Graph.
        """
        self._begin("forward")
        self._start("zero")
        plan.forward(self._whole, self._arena.memory)
        self._gradients = "zero"
        self._ready = True
        self._has_run()

    @alone
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
        self._gradients = "running"
        if self._calls_python:
            self._snapshot_grads()
        plan.backward(self._whole, self._arena.memory)
        self._grads_before = None
        self._gradients = "full"

    @alone
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
        if not self._arena.grads_are_zero:
            # When a node's own update raises, the others have learnt, and must not learn the same again.
            plan.apply_update(self._update_steps, self._arena.memory, rate, not self._calls_python)

    # Samples

    @alone
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
        return self._train("accumulate", feed, parameters_only=False)

    @alone
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
        return self._train("step", feed, parameters_only=True, batch=None, eta=rate)

    @alone
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
            "train",
            feed,
            parameters_only=True,
            batch=as_size("Graph.train", "batch", batch),
            eta=rate,
        )

    @alone
    def predict(self, feed: Feed, node: Node | None = None, out: Array | None = None) -> Array:
        """Computes one node, and what it needs alone, for B samples.

        Parameters
        ----------
        feed : mapping of Node to array_like
            As for `accumulate`.
        node : Node, optional
            A node of the graph; by default its only output.
        out : ndarray, shape (B, node.size), optional
            Where the result goes: contiguous and of the nodes' dtype. Without it, a new array. Nothing else grows with
            B, unless a feed has to be cast or made contiguous.

        Returns
        -------
        ndarray, shape (B, node.size)
            The node's data for each sample.

        Raises
        ------
        TypeError, ValueError
            Something in `feed` or `out` is not as above; `node` is not a node of the graph, or missing where there are
            several outputs.
        RuntimeError
            The nodes belong to a newer Graph.
        """
        self._begin("predict")
        target = self._target(node)
        feeds = as_feeds("Graph.predict", feed, self._feed_specs, self._is_live)
        if out is None:
            return self._predict(target, feeds, np.empty((feeds.size, target.size), self._dtype))
        self._require_room(out, feeds.size, target)
        aside = self._is_live(out) or any(np.may_share_memory(out, x) for x in feeds.arrays)
        if aside:
            self._deliver(self._predict(target, feeds, np.empty_like(out)), out)
            return out
        return self._predict(target, feeds, out)

    def _predict(self, target: Node, feeds: Feeds, out: Array) -> Array:
        if feeds.size == 0:
            self._keep(feeds)
            return out
        self._run(Request(target, feeds, out))
        if self._gradients == "running":
            self._gradients = "zero"
            self._has_run(target)
        return out

    def _require_room(self, out: object, count: int, target: Node) -> None:
        """Refuses an array that does not take the results of predict."""
        if isinstance(out, np.ndarray) and out.shape != (count, target.size):
            raise ValueError(
                f"Graph.predict: out must have shape (B, size) = {(count, target.size)}, got {out.shape}"
            )
        fits = isinstance(out, np.ndarray) and out.dtype == self._dtype and out.flags.carray
        if not fits:
            came = (
                f"an array of dtype {out.dtype}" if isinstance(out, np.ndarray) else describe(out)
            )
            raise TypeError(
                f"Graph.predict: out must be a C-contiguous, writable {self._dtype} array, got {came}"
            )

    @alone
    def sample(self, i: int) -> None:
        """Runs one sample of the last feed again, so that each node shows its data and, if there is a loss, its grad.

        Parameters and gradient sums are left as they are; the leaves hold this sample afterwards. The feed itself is
        kept until the next call, not a copy of it, and only this sample of it is converted (of what is neither an array
        nor a list, all are): what has been written to it since then counts, and so do parameters that have learnt.

        Parameters
        ----------
        i : int
            Its number in the arrays that `accumulate`, `step`, `train` or `predict` was called with last.

        Raises
        ------
        TypeError
            `i` is not an integer.
        IndexError, ValueError
            There is no such sample; there is none any more, in an array that has become smaller.
        RuntimeError
            Nothing has been fed; the nodes belong to a newer Graph.
        """
        self._begin("sample")
        kept = self._last
        if kept is None:
            raise RuntimeError("Graph.sample: needs samples that were fed before")
        number = as_index("Graph.sample", i, kept[2])
        self._show(one_sample("Graph.sample", kept, number, self._feed_specs), 0)

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


def leaves_that_require_grad(
    program: Program, leaf_grads: bool | Iterable[Node] | None
) -> tuple[frozenset[Node], frozenset[Node]]:
    """The leaves whose gradient full and lean passes compute."""
    every, none = frozenset(program.leaves), frozenset[Node]()
    if leaf_grads is None:
        return every, none
    if isinstance(leaf_grads, bool):
        return (every, every) if leaf_grads else (none, none)
    listed = frozenset(as_nodes("Graph", "leaf_grads", leaf_grads, minimum=0))
    for node in listed:
        if node not in every:
            raise ValueError(f"Graph: leaf_grads must hold leaves of this graph, got {node!r}")
    return listed, listed
