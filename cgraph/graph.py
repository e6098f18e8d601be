"""Graph: a graph of nodes, compiled so that one call computes all of them."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence

import numpy as np
import numpy.typing as npt

from cgraph._execution.derivatives import Derivatives
from cgraph._execution.extras import Gradients, Learnt, learn
from cgraph._execution.feeds import Feed, as_feeds, by_streams, require_room
from cgraph._execution.optimizing import as_rule
from cgraph._execution.outputs import predict_into
from cgraph._execution.showing import Showing
from cgraph._execution.state import CarriedState
from cgraph._kernels.runtime.memory import exclusive
from cgraph._lowering.layout import LayoutName
from cgraph._validation import Array, as_size
from cgraph.compiled import CompiledNodes
from cgraph.flat_vector import FlatVector
from cgraph.node import Node
from cgraph.optimizers.optimizer import Optimizer


class Graph(Showing, CarriedState, Derivatives, FlatVector, CompiledNodes):
    """A compiled graph: forward, backward and update of some nodes and their ancestors in one call each, or all in one.

    All data lie in one arena; sibling convolutions, and the nodes on each of their channels, are computed together;
    compiled nodes run without the GIL. The results are those of the nodes' own passes, up to rounding.

    Parameters
    ----------
    outputs : Node or sequence of Node
        The nodes to compute. Nodes that are added later, and other consumers of these nodes, do not take part.
    leaf_grads : bool or sequence of Node, optional
        The leaves whose gradient is computed: all, none, or those listed. By default all by `backward`, `sample` and
        `accumulate` of one sample, and none by `step`, `train` and batches.
    threads : int, optional
        The most threads that may share a batch; small batches stay on one. By default the number in CGRAPH_NUM_THREADS,
        or one thread for each core that affinity, CPU quota and OMP_NUM_THREADS leave to the process.
    layout : {"auto", "lanes", "samples"}, optional
        The layout of the samples of a batch: many side by side, in the lanes of the CPU's vectors; one after the other,
        which is better for convolutions with many channels; or the one whose estimated time is shorter ("auto"). Nodes
        that are computed in Python take one sample after the other, and the whole graph one thread.
    carry : mapping of Node to Node, optional
        Leaves with a state, each with the node of its shape whose data it takes after each sample, all at once. The
        nodes, and their ancestors, become part of the graph; no gradient goes through the carry. See the notes.
    streams : int, optional
        S streams of samples, each with a state of its own: feeds have shape (T, S, size) instead of (B, size), results
        (T, S, …) instead of (B, …), for T time steps, and the streams are computed side by side, in lanes and threads.

    Raises
    ------
    TypeError
        `outputs`, `leaf_grads` or `carry` are not nodes, or the nodes differ in dtype; `threads` or `streams` is not an
        integer.
    ValueError
        No outputs; `threads`, `streams` or CGRAPH_NUM_THREADS is less than 1, or `layout` not one of the three; a node
        in `leaf_grads` or `carry` that is not a leaf of the graph, or is given a node of another shape; arrays of nodes
        that do not fit together.

    Notes
    -----
    The nodes can still be used: the next call sees values that were written into their data and parameters. Leaves hold
    the last sample that they were fed. After a call with one sample the ``data`` and ``grad`` of the other nodes are
    those of this sample (unless ``layout="lanes"``). After a batch their ``data`` is that of no sample, and reading
    ``grad`` raises, until `sample` has shown a sample. A ``data`` or ``grad`` that was read before the Graph was built
    is read-only afterwards: read the property again. A node belongs to one Graph, the newest; an older Graph raises
    when it is used. Parameters and gradient sums that were handed out are up to date after each call for as long as
    they are referred to, in a time that does not depend on the number of samples; `summary` names those that are.

    After an exception (Ctrl-C is one) parameters are those of the last update of a whole batch, and gradient sums those
    with which the next batch began. Where an own node's ``updateParameters`` raises, nodes before it have learnt.

    With `carry`, samples go in order, without streams in one thread, and all calls with a feed go on from the state
    that the last one left. Carried leaves may be fed, shape (size,) or (S, size): that is the state before the first
    sample. Between calls the leaves' ``data`` is the state, which may be assigned; with streams it shows that of the
    last one, `get_state` and `set_state` have all, and `batch` counts time steps. An exception leaves the state after
    the last whole sample, with streams after a time step that all of them have completed, at most some milliseconds
    before the last. `forward`, which takes the sample that the leaves hold, carries nothing, since `backward` follows.

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
        carry: Mapping[Node, Node] | None = None,
        streams: int | None = None,
    ) -> None:
        self._compile(outputs, leaf_grads, threads, layout, carry, streams)

    # Passes for the sample that the leaves hold

    @exclusive
    def forward(self) -> None:
        """Computes all nodes from the data of the leaves; afterwards every gradient reads 0.

        Raises
        ------
        RuntimeError
            The nodes belong to a newer Graph.
        """
        self._executable.begin("Graph.forward")
        self._executable.forward()

    @exclusive
    def backward(self) -> None:
        """Computes all gradients, and adds those of the parameters to the gradient sums.

        Raises
        ------
        ValueError
            The graph has more than one output, or one of more than one element.
        RuntimeError
            No `forward` came since the last `backward`; the nodes belong to a newer Graph.
        """
        executable = self._executable
        executable.begin_training("Graph.backward", effect="sums")
        if not executable.residency.backward_may_follow:
            raise RuntimeError("Graph.backward: needs a forward() since the last backward()")
        executable.backward()

    @exclusive
    def update(
        self, eta: float | Optimizer | None = None, *, optimizer: Optimizer | None = None
    ) -> None:
        """Updates the parameters with their gradient sums, which are 0 afterwards.

        Without any sample since the last update, and with sums of 0, nothing changes.

        Parameters
        ----------
        eta : float or Optimizer
            Learning rate, for the SUM of the losses since the last update; or an optimiser, which divides the sums by
            the number of samples that this Graph, or an older one of these nodes, has accumulated since then.
        optimizer : Optimizer, optional
            The optimiser, instead of `eta`.

        Raises
        ------
        TypeError, ValueError
            `eta` is neither a number that is finite in the nodes' dtype, nor an optimiser; an own node has an
            ``updateParameters`` of its own, which an optimiser would not call.
        FloatingPointError
            The optimiser refuses a gradient that is not finite.
        RuntimeError
            The nodes belong to a newer Graph.
        """
        self._executable.begin("Graph.update", "parameters")
        rule = as_rule("Graph.update", eta, optimizer, self._executable.dtype)
        self._executable.update(rule)

    @exclusive
    def zero_grad(self) -> None:
        """Sets the gradient sums of all parameters to 0 without an update, but not of those that are frozen.

        Raises
        ------
        RuntimeError
            The nodes belong to a newer Graph.
        """
        self._executable.begin("Graph.zero_grad", "sums")
        self._executable.zero_grad()

    # Passes for samples that are fed

    @exclusive
    def accumulate(
        self,
        feed: Feed,
        *,
        weights: npt.ArrayLike | None = None,
        grads: Gradients | None = None,
        outputs: Node | Sequence[Node] | None = None,
        check_loss: bool = False,
    ) -> Learnt:
        """Runs forward and backward passes for B samples, and adds the gradients of all to the gradient sums.

        Parameters
        ----------
        feed : mapping of Node to array_like
            The samples of each leaf, shape (B, size) or (B, height, width); of a leaf of one element also (B,). Other
            leaves keep their data. With `streams`, here and in results (T, S) stands in the place of (B).
        weights : array_like, shape (B,), optional
            A finite factor on the gradient of each sample; losses are returned without it. An optimiser still divides
            by the number of samples.
        grads : mapping of Node to array_like, optional
            Gradients with which the backward pass begins, instead of the 1 of a loss, at outputs of the graph: row i
            of an array, shape (B, node.size), is the derivative of sample i's own objective with respect to that node,
            known before the call. Outputs that are not listed get 0. Graphs of several outputs, or of larger ones, are
            allowed then; `weights` and `check_loss` are not. NaN and infinities are taken as they are; `nonfinite` of
            an optimiser keeps them from the parameters.
        outputs : Node or sequence of Node, optional
            Nodes of the graph whose data are wanted, too: those with which each sample's gradients are computed.
        check_loss : bool, optional
            Whether a loss that is not finite raises. Parameters are then those before the update to which its sample
            belongs, and gradient sums those with which that batch began.

        Returns
        -------
        ndarray, shape (B,)
            The loss of each sample; with `grads`, the data of its nodes, shape (B, node.size), of several a tuple.
            With `outputs`, a tuple of that and of their data, shape (B, node.size): an array for a node given alone, a
            tuple of arrays for a sequence.

        Raises
        ------
        TypeError, ValueError
            An argument is not as above; without `grads`, the graph has more than one output, or one of more than one
            element; a leaf that is not fed has never been given data (assigned, fed, or read by the user).
        FloatingPointError
            With `check_loss`, with the number of the first sample whose loss is not finite.
        RuntimeError
            The nodes belong to a newer Graph.
        """
        executable = self._executable
        executable.begin_training("Graph.accumulate", grads is None, "sums")
        feeds = as_feeds("Graph.accumulate", feed, self._feed_specs, executable.written)
        if weights is None and grads is None and outputs is None and not check_loss:
            return executable.train(feeds, parameters_only=False)
        options = weights, grads, outputs, check_loss
        return learn("Graph.accumulate", executable, feeds, False, 0, 0.0, *options)

    @exclusive
    def step(
        self,
        feed: Feed,
        eta: float | Optimizer | None = None,
        *,
        optimizer: Optimizer | None = None,
        weights: npt.ArrayLike | None = None,
        grads: Gradients | None = None,
        outputs: Node | Sequence[Node] | None = None,
        check_loss: bool = False,
    ) -> Learnt:
        """Runs forward and backward passes for B samples, then one update.

        Parameters
        ----------
        feed : mapping of Node to array_like
            As for `accumulate`.
        eta, optimizer
            As for `update`.
        weights, grads, outputs, check_loss
            As for `accumulate`.

        Returns
        -------
        ndarray, shape (B,), or tuple
            The loss of each sample before the update, or else as for `accumulate`.

        Raises
        ------
        TypeError, ValueError
            As for `accumulate` and `update`.
        FloatingPointError
            The optimiser refuses a gradient that is not finite; with `check_loss`, as for `accumulate`.
        RuntimeError
            The nodes belong to a newer Graph.
        """
        executable = self._executable
        rule = as_rule("Graph.step", eta, optimizer, executable.dtype)
        executable.begin_training("Graph.step", grads is None)
        feeds = as_feeds("Graph.step", feed, self._feed_specs, executable.written)
        if weights is None and grads is None and outputs is None and not check_loss:
            return executable.train(feeds, True, feeds.size, rule)
        options = weights, grads, outputs, check_loss
        return learn("Graph.step", executable, feeds, True, feeds.size, rule, *options)

    @exclusive
    def train(
        self,
        feed: Feed,
        eta: float | Optimizer | None = None,
        batch: int = 1,
        *,
        optimizer: Optimizer | None = None,
        weights: npt.ArrayLike | None = None,
        grads: Gradients | None = None,
        outputs: Node | Sequence[Node] | None = None,
        check_loss: bool = False,
    ) -> Learnt:
        """Runs forward and backward passes for B samples in order, with an update after each batch and after the last.

        Parameters
        ----------
        feed : mapping of Node to array_like
            As for `accumulate`.
        eta, optimizer
            As for `update`.
        batch : int, optional
            The number of samples between two updates; 1 is online gradient descent. With streams, of time steps.
        weights, grads, outputs, check_loss
            As for `accumulate`.

        Returns
        -------
        ndarray, shape (B,), or tuple
            The loss of each sample at the time of its forward pass, or else as for `accumulate`.

        Raises
        ------
        TypeError, ValueError
            As for `accumulate` and `update`; `batch` is not an integer of at least 1.
        FloatingPointError
            The optimiser refuses a gradient that is not finite; with `check_loss`, as for `accumulate`.
        RuntimeError
            The nodes belong to a newer Graph.
        """
        executable = self._executable
        rule = as_rule("Graph.train", eta, optimizer, executable.dtype)
        count = as_size("Graph.train", "batch", batch)
        executable.begin_training("Graph.train", grads is None)
        feeds = as_feeds("Graph.train", feed, self._feed_specs, executable.written)
        count *= feeds.streams or 1
        if weights is None and grads is None and outputs is None and not check_loss:
            return executable.train(feeds, True, count, rule)
        options = weights, grads, outputs, check_loss
        return learn("Graph.train", executable, feeds, True, count, rule, *options)

    @exclusive
    def predict(self, feed: Feed, node: Node | None = None, out: Array | None = None) -> Array:
        """Computes one node and its ancestors, and no other node but those that are carried, for B samples.

        Parameters
        ----------
        feed : mapping of Node to array_like
            As for `accumulate`.
        node : Node, optional
            A node of the graph; by default its only output.
        out : ndarray, shape (B, node.size), optional
            The array for the result, contiguous and of the nodes' dtype; by default a new array. No other memory grows
            with B, unless a feed has to be cast or made contiguous.

        Returns
        -------
        ndarray, shape (B, node.size)
            The node's data for each sample.

        Raises
        ------
        TypeError, ValueError
            `feed` or `out` is not as above; `node` is not in the graph, or is missing though there are several outputs;
            a leaf above it is not fed and has never been given data.
        RuntimeError
            The nodes belong to a newer Graph.
        """
        executable = self._executable
        executable.begin("Graph.predict")
        predicted = self._predicted_node(node)
        feeds = as_feeds("Graph.predict", feed, self._feed_specs, executable.written)
        if out is None:
            shape = by_streams(feeds.size, feeds.streams, predicted.size)
            out = np.empty(shape, executable.dtype)
        elif not require_room("Graph.predict", out, feeds, predicted, executable.written):
            return predict_into(executable, predicted, feeds, out)
        return executable.predict(predicted, feeds, out)
