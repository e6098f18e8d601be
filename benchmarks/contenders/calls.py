"""Calls of a Graph with one sample, of networks so small that what a call does besides its steps counts."""

from collections.abc import Callable
from functools import partial

import numpy as np

import cgraph as CG
from benchmarks.measure.timing import Work
from benchmarks.networks.lenet import LENET
from benchmarks.networks.network import ETA, Nodes
from benchmarks.networks.tanh import POLICY, SURROGATE, name

DTYPE = "float32"


def norm() -> Nodes:
    """The smallest graph that learns nothing: its steps take next to no time."""
    x = CG.Leaf1(1, dtype=DTYPE)
    loss = CG.Norm2(x)
    return Nodes([x], x, loss, loss)


NETWORKS: dict[str, Callable[[], Nodes]] = {
    "Norm2 of 1": norm,
    **{name(layers): partial(layers.nodes, DTYPE) for layers in (SURROGATE, POLICY)},
    "LeNet-5, one call": partial(LENET.nodes, DTYPE),
}
STEP, TRAIN, ACCUMULATE, PREDICT, PREDICT_INTO = CALLS = (
    "Graph.step",
    "Graph.train",
    "Graph.accumulate",
    "Graph.predict",
    "Graph.predict, out",
)


def graph_and_feed(network: str) -> tuple[CG.Graph, Nodes, dict[CG.Node, np.ndarray]]:
    """Builds a Graph of one thread, and one sample for all of its leaves."""
    nodes = NETWORKS[network]()
    graph = CG.Graph(nodes.loss, threads=1)
    rng = np.random.default_rng(0)
    feed = {x: rng.random((1, x.size), np.float32) for x in graph.leaves}
    return graph, nodes, feed


def graph_calls(network: str) -> dict[str, Work]:
    """All CALLS, from arrays of the user to an array of results; sums that are kept would slow the other calls down."""
    graph, nodes, feed = graph_and_feed(network)
    summing, _, summed = graph_and_feed(network)
    inputs = {x: feed[x] for x in nodes.x}
    out = np.empty((1, nodes.y.size), DTYPE)
    return {
        STEP: Work(lambda: graph.step(feed, ETA)),
        TRAIN: Work(lambda: graph.train(feed, ETA)),
        ACCUMULATE: Work(lambda: summing.accumulate(summed)),
        PREDICT: Work(lambda: graph.predict(inputs, nodes.y)),
        PREDICT_INTO: Work(lambda: graph.predict(inputs, nodes.y, out)),
    }


def graph_call(network: str, call: str) -> Work:
    """One of these calls."""
    return graph_calls(network)[call]
