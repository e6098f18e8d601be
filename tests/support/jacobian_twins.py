"""The Node path's reference for Jacobians: a backward pass for each element of a node and each sample."""

import numpy as np
from seed_twins import Seeded

import cgraph as CG


def jacobian_of_nodes(make, dtype, node, leaf, samples):
    """Returns the Jacobian of a node by a leaf, given as numbers in the list of nodes that `make` builds."""
    theirs = Seeded(lambda dtype: with_output(make, dtype, node), dtype)
    nodes = theirs.nodes
    count, size = len(next(iter(samples.values()))), nodes[node].size
    found = np.empty((count, size, nodes[leaf].size), dtype)
    for i in range(count):
        for k in range(size):
            rows = {each: values[i : i + 1] for each, values in samples.items()}
            theirs.run(rows, {node: np.eye(size)[k : k + 1]})
            found[i, k] = nodes[leaf].grad
    return found


def with_output(make, dtype, node):
    nodes, outputs = make(dtype)
    return nodes, [*dict.fromkeys([*outputs, node])]


def differences(graph, feed, node, leaf, step=1e-6):
    """Returns the central differences of a node by a leaf for all samples, in float64."""
    rows = np.asarray(feed[leaf], np.float64)
    found = np.empty((len(rows), node.size, leaf.size))
    for j in range(leaf.size):
        moved = np.zeros(leaf.size)
        moved[j] = step
        above = graph.predict(feed | {leaf: rows + moved}, node)
        below = graph.predict(feed | {leaf: rows - moved}, node)
        found[:, :, j] = (above - below) / (2 * step)
    return found


def network(dtype="float64"):
    """Returns the nodes of an MLP with two tanh layers, by name."""
    rng = np.random.default_rng(0)
    x, t = CG.Leaf1(3, dtype=dtype), CG.Leaf1(2, dtype=dtype)
    a = CG.Tanh(CG.Affine(x, rng.normal(size=(4, 5))))
    b = CG.Tanh(CG.Affine(a, rng.normal(size=(6, 7))))
    y = CG.Affine(b, rng.normal(size=(8, 2)))
    return {"x": x, "t": t, "a": a, "b": b, "y": y, "loss": CG.MSE(y, t)}
