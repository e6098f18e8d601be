"""Own nodes that share parameters with those of other Graphs: whose gradient sums are set aside, exchanged, learnt."""

import numpy as np
import pytest
from shared_networks import Exchanging, OwnScale

import cgraph as CG


class Calling(OwnScale):
    """An own node that makes a call in the middle of its backward pass."""

    call = None

    def calcPartialDerivative(self):
        super().calcPartialDerivative()
        if self.call is not None:
            self.call()


CALLS = {
    "value_and_grad": lambda graph, feed, leaf, node: graph.value_and_grad(feed),
    "per_sample_gradients": lambda graph, feed, leaf, node: graph.per_sample_gradients(feed),
    "jacobian": lambda graph, feed, leaf, node: graph.jacobian(feed, node, leaf),
    "input_gradients": lambda graph, feed, leaf, node: graph.input_gradients(feed, leaf),
    "sample": lambda graph, feed, leaf, node: graph.sample(0),
}


@pytest.mark.parametrize("call", CALLS.values(), ids=CALLS)
def test_gradient_sums_of_own_nodes_are_not_set_aside_while_another_call_adds_to_them(call):
    x = CG.Leaf1(2)
    own = Calling(x, [1.0, 2.0])
    loss = CG.Sum(own)
    twin = CG.clone(loss, share=True)
    graph, other = CG.Graph(loss), CG.Graph(twin[loss])
    feed = {twin[x]: np.ones((3, 2))}
    other.predict(feed)

    def refused():
        with pytest.raises(RuntimeError, match="another call is learning parameters that it"):
            call(other, feed, twin[x], twin[own])

    own.call = refused
    graph.accumulate({x: np.ones((4, 2))})
    np.testing.assert_array_equal(own.gradWeight, [4, 4])
    own.call = None
    call(other, feed, twin[x], twin[own])
    np.testing.assert_array_equal(own.gradWeight, [4, 4])


def gradcheck(graph, feed, leaf, node):
    leaf.data = feed[leaf][0]
    CG.gradcheck(graph)


@pytest.mark.parametrize("call", [*CALLS.values(), gradcheck], ids=[*CALLS, "gradcheck"])
def test_arrays_that_an_own_node_exchanges_are_those_of_all_its_nodes_afterwards(call):
    x = CG.Leaf1(2)
    own = Exchanging(x, [1.0, 2.0])
    loss = CG.Sum(own)
    twin = CG.clone(loss, share=True)
    graph, feed = CG.Graph(loss), {x: np.ones((3, 2))}
    graph.accumulate(feed)
    call(graph, feed, x, own)
    graph.accumulate(feed)
    assert twin[own].gradWeight is own.gradWeight
    np.testing.assert_array_equal(own.gradWeight, [6, 6])
