"""Graphs with two threads and batches for them, for tests that run in processes of their own, too."""

import numpy as np
from graph_networks import nodes_of, strides_of_two

import cgraph as CG

COUNT = 100


def trained(graph, feed, rounds=5):
    """Trains on some batches; returns losses, parameters and gradient sums."""
    found = []
    for _ in range(rounds):
        found += [graph.accumulate(feed), graph.train(feed, 1e-3, batch=32), graph.predict(feed)]
    return [*found, *(p.value for p in graph.parameters)]


def small_problem(dtype="float32"):
    """Returns a graph with two threads, and a batch for it."""
    nodes = nodes_of(strides_of_two, dtype)
    graph, rng = CG.Graph(nodes[-1], threads=2), np.random.default_rng(0)
    return graph, {x: rng.uniform(-1, 1, (COUNT, x.size)).astype(dtype) for x in graph.leaves}


def long_problem(count=20_000):
    """Returns a graph with two threads and a batch that takes some milliseconds."""
    graph, feed = small_problem()
    return graph, {leaf: np.resize(rows, (count, leaf.size)) for leaf, rows in feed.items()}
