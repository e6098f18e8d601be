"""What a call computes into an array: the data of a node where the array may be one of a node, and Jacobians."""

from __future__ import annotations

import numpy as np

from cgraph._execution.executable import Executable
from cgraph._kernels.runtime.request import Feeds
from cgraph._kernels.runtime.uninterrupted import Snapshot, preserving
from cgraph._validation import Array
from cgraph.node import Node


def predict_into(executable: Executable, node: Node, feeds: Feeds, out: Array) -> Array:
    """Computes a node into an array that may be an array of a node, or one of those that are fed."""
    written, residency = executable.written, executable.residency
    is_node_array = written.holds(out)
    fed = any(np.may_share_memory(out, x) for x in feeds.arrays)
    if not (is_node_array or fed or written.may_include(out)):
        return executable.predict(node, feeds, out)
    rows = executable.predict(node, feeds, np.empty_like(out))
    if is_node_array:
        residency.before_node_pass(False)
    out[...] = rows
    if is_node_array:  # which counts as written by the user
        residency.begin()
    return out


def compute_jacobian(
    executable: Executable, node: Node, leaf: Node, feeds: Feeds, out: Array
) -> Array:
    """Computes the Jacobian of a node with respect to a leaf, and returns `out`, which then holds it."""
    batches = executable.jacobians.batches(node, leaf, feeds.size)
    if not batches.calls_python:
        return executable.predict(node, feeds, out, batches)

    def run(snapshot: Snapshot) -> None:
        executable.add_python_grads(snapshot)
        executable.predict(node, feeds, out, batches)

    preserving(run)
    return out
