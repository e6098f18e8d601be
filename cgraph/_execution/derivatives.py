"""Derivatives: the methods of a Graph that return derivatives by a leaf, sample by sample."""

from __future__ import annotations

from functools import cached_property

import numpy as np

from cgraph._execution.executable import Executable
from cgraph._execution.feeds import Feed, FeedSpecs, as_feeds, by_streams
from cgraph._execution.jacobians import Jacobians
from cgraph._kernels.runtime.memory import exclusive
from cgraph._validation import Array
from cgraph.node import Node, as_node


class Derivatives:
    """Derivatives of the nodes of a Graph by one of its leaves."""

    _executable: Executable
    _feed_specs: FeedSpecs

    @cached_property
    def _jacobians(self) -> Jacobians:
        return Jacobians(self._executable)

    @exclusive
    def jacobian(self, feed: Feed, node: Node, leaf: Node) -> Array:
        """Computes the derivatives of all elements of a node by all elements of a leaf, for B samples.

        ``J[b, i, j]`` = ∂nᵢ/∂xⱼ at sample b, for the elements nᵢ of the node and xⱼ of the leaf, in reverse mode: one
        forward pass, and a backward pass for each element of the node, from the gradient eᵢ.

        Parameters and gradient sums keep their values, and it does not matter which of them are frozen, nor what
        `leaf_grads` the Graph was built with. A Dropout copies its input, as in `predict`. Afterwards the nodes hold
        what they hold after `predict`, and `sample` shows samples of this feed.

        Parameters
        ----------
        feed : mapping of Node to array_like
            As for `accumulate`.
        node : Node
            A node of the graph, which need not be an output.
        leaf : Node
            A leaf of the graph. Where the node does not depend on it, the derivatives are 0.

        Returns
        -------
        ndarray, shape (B, node.size, leaf.size)
            A new array of the nodes' dtype. Elements of images follow each other row by row, as in `predict`.

        Raises
        ------
        TypeError, ValueError
            `feed` is not as above; `node` is not in the graph, or `leaf` is not one of its leaves; a leaf above the
            node is not fed and has never been given data.
        RuntimeError
            The nodes belong to a newer Graph.

        Notes
        -----
        At a kink, such as 0 for a ReLU, and at ties, the derivatives are those of a backward pass. The steps for a
        pair of node and leaf are made by the first call with it, and those of the last few pairs are remembered. Of
        many samples, several lie side by side, and the backward passes follow each other; of few samples, several
        passes run side by side. A node of an own class runs one sample at a time, in Python.

        Examples
        --------
        >>> import cgraph as CG
        >>> x = CG.Leaf1(2)
        >>> y = CG.Square(CG.Affine(x, [[1.0, 2.0], [0.0, 1.0], [0.0, 0.0]]))
        >>> CG.Graph(y).jacobian({x: [[1, 0], [1, 1]]}, y, x)
        array([[[ 2.,  0.],
                [ 8.,  4.]],
        <BLANKLINE>
               [[ 2.,  0.],
                [12.,  6.]]])
        """
        executable = self._executable
        executable.begin("Graph.jacobian", executable.effect_of_backward)
        as_node("Graph.jacobian", "node", node)
        if node not in executable.program.channel_of:
            raise ValueError(f"Graph.jacobian: node must be one of this graph, got {node!r}")
        require_leaf("Graph.jacobian", leaf, self._feed_specs)
        feeds = as_feeds("Graph.jacobian", feed, self._feed_specs, executable.written)
        shape = by_streams(feeds.size, feeds.streams, node.size, leaf.size)
        out = np.empty(shape, executable.dtype)
        return self._jacobians.compute(node, leaf, feeds, out)

    @exclusive
    def input_gradients(self, feed: Feed, leaf: Node) -> Array:
        """Computes the gradient of the loss with respect to a leaf, for B samples, and leaves gradient sums alone.

        Row b is ∂L/∂x at sample b, the only row of `jacobian` of the loss.

        Parameters
        ----------
        feed : mapping of Node to array_like
            As for `accumulate`.
        leaf : Node
            A leaf of the graph.

        Returns
        -------
        ndarray, shape (B, leaf.size)
            A new array of the nodes' dtype.

        Raises
        ------
        TypeError, ValueError
            An argument is not as above; the graph has more than one output, or one of more than one element; a leaf
            that is not fed has never been given data.
        RuntimeError
            The nodes belong to a newer Graph.

        Examples
        --------
        >>> import cgraph as CG
        >>> x, t = CG.Leaf1(2), CG.Leaf1(2)
        >>> CG.Graph(CG.MSE(x, t)).input_gradients({x: [[1, 2]], t: [[0, 0]]}, x)
        array([[1., 2.]])
        """
        executable = self._executable
        executable.begin_training("Graph.input_gradients", effect=executable.effect_of_backward)
        require_leaf("Graph.input_gradients", leaf, self._feed_specs)
        feeds = as_feeds("Graph.input_gradients", feed, self._feed_specs, executable.written)
        out = np.empty(by_streams(feeds.size, feeds.streams, leaf.size), executable.dtype)
        return self._jacobians.compute(executable.program.outputs[0], leaf, feeds, out)


def require_leaf(owner: str, leaf: Node, specs: FeedSpecs) -> None:
    """Refuses what is not one of the leaves that may be fed."""
    as_node(owner, "leaf", leaf)
    if leaf not in specs:
        raise ValueError(f"{owner}: leaf must be one of the leaves of this graph, got {leaf!r}")
