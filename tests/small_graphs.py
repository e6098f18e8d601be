"""What the tests of the propagation rules build their graphs from, and look at."""

import cgraph as CG


def vector(*values, dtype=None):
    """A Leaf1 that holds these values."""
    node = CG.Leaf1(len(values), dtype=dtype)
    node.getInput(values)
    return node


def counters(*nodes):
    return [(node.b_count, node.f_count) for node in nodes]
