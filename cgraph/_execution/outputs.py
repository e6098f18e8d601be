"""What a call computes into an array that may be one of a node, or one of those that are fed."""

from __future__ import annotations

import numpy as np

from cgraph._execution.executable import Executable
from cgraph._kernels.runtime.request import Feeds
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
