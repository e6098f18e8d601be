"""Every operation can be built anew from its configuration and copies of its parameters, with equal results."""

import json

import numpy as np
import pytest
from op_row import network_of
from op_table import DTYPES, cases

import cgraph as CG

CASES = [case for case in cases() if case[2].usual]
IDLE = cases(computing=False)


def cloned(network):
    """Returns the clones of all nodes of a network."""
    twin = CG.clone(network[-1])
    return [twin[node] for node in network]


def results(node, network):
    """Returns a node's data, the gradients of a network's leaves, and all gradient sums."""
    leaves = [each for each in network if not each.backward]
    return [node.data, *(x.grad for x in leaves), *(p.grad for p in CG.parameters(network[-1]))]


def run(network, path):
    """Runs one sample through a network, node by node or in a Graph."""
    if path == "graph":
        graph = CG.Graph(network[-1])
        graph.forward()
        graph.backward()
        return
    for node in network:
        if not node.backward:
            node.forwardPropagation()
    network[-1].backwardPropagation()


@pytest.mark.parametrize(("path", "dtype"), [("nodes", "float64"), ("graph", "float32")])
@pytest.mark.parametrize(("label", "row", "case"), CASES, ids=[case[0] for case in CASES])
def test_a_clone_computes_the_same(label, row, case, dtype, path):
    network = network_of(row, case, dtype)
    twins = cloned(network)
    for node, twin in zip(network, twins, strict=True):
        assert type(twin) is type(node)
        assert repr(twin) == repr(node)
        assert twin.domsize == node.domsize
        config = node._config()
        assert twin._config() == config == json.loads(json.dumps(config))
        assert len(twin.backward) == len(node.backward)
    run(network, path)
    run(twins, path)
    of = network.index(next(node for node in network if type(node) is row.op))
    expected = results(network[of], network)
    for actual, wanted in zip(results(twins[of], twins), expected, strict=True):
        assert actual.tobytes() == wanted.tobytes()


@pytest.mark.parametrize("dtype", DTYPES)
@pytest.mark.parametrize(("label", "row", "case"), IDLE, ids=[case[0] for case in IDLE])
def test_leaves_and_base_classes_can_be_cloned(label, row, case, dtype):
    node = network_of(row, case, dtype)[-3]
    twin = CG.clone(node)[node]
    assert type(twin) is type(node) is row.op
    assert repr(twin) == repr(node)
    config = node._config()
    assert twin._config() == config == json.loads(json.dumps(config))
    np.testing.assert_array_equal(twin.data, node.data)
