"""Passes that are left half done: exactly the mistakes are warned of, once for each graph, before anything changes."""

import warnings

import numpy as np
import pytest
from amounts import one_in
from own_nodes import Failing
from random_graphs import Recipe
from small_graphs import SHIFTED, STUCK, line, show, warned_of

import cgraph as CG
from cgraph._propagation.passes import observing


def state(nodes):
    """Returns the counters, and all that passes change."""
    counters = [(node.b_count, node.f_count, node._has_run) for node in nodes]
    arrays = [array for node in nodes for array in (node.data, node.grad)]
    for node in nodes:
        for p in (p for p in CG.parameters(node) if p.node is node):
            arrays += [p.value, p.grad]
    return counters, [array.tolist() for array in arrays]


# A prediction alone


def test_a_prediction_alone_shifts_the_passes_that_follow_and_the_next_backward_pass_says_so():
    x, t, y, loss = line()
    show((x, t), (1.0, 2.0))
    loss.backwardPropagation()
    y.zero_grad()
    show([x], [5.0])  # a prediction
    show((x, t), (10.0, 11.0))
    assert loss.data.tolist() == [64]  # of the new input and the old target
    before = state([x, t, y, loss])
    with pytest.raises(RuntimeWarning, match=f"MSE: .*{SHIFTED}: MSE.* has had 1 of 2 calls since"):
        loss.backwardPropagation()
    assert state([x, t, y, loss]) == before
    with pytest.warns(RuntimeWarning, match=SHIFTED) as caught:
        loss.backwardPropagation()
    assert caught[0].filename == __file__


def test_the_same_with_evaluate_is_right():
    x, t, y, loss = line()
    show((x, t), (1.0, 2.0))
    x.getInput([5.0])
    assert CG.evaluate(y).tolist() == [5.0]
    show((x, t), (10.0, 11.0))
    loss.backwardPropagation()
    assert loss.data.tolist() == [1.0]
    assert y.gradWeight.ravel().tolist() == [-20, -2]


@pytest.mark.parametrize("flip", [False, True])
def test_a_graph_is_warned_of_once_and_a_new_one_anew(flip):
    for _ in range(2):
        x, t, y, loss = line()
        show([x], [5.0])
        leaves = (t, x) if flip else (x, t)
        show(leaves, (1.0, 2.0))
        with pytest.warns(RuntimeWarning, match=SHIFTED):
            loss.backwardPropagation()
        show(leaves, (1.0, 2.0))
        loss.backwardPropagation()
        late = CG.MSE(y, t)
        show((x, *leaves), (1.0, 1.0, 2.0))
        late.backwardPropagation()
        assert (loss.b_count, late.b_count) == (0, 1)


def test_predicting_alone_is_not_warned_of():
    x, _, y, loss = line()
    for value in range(5):
        show([x], [value])
        assert y.data.tolist() == [value]
    assert loss.b_count == 1


class Clock:
    """A clock that notes when each node was computed, from which missing warnings are found without counters."""

    def __init__(self):
        self.times, self.now = {}, 0

    def __call__(self, method, node):
        if method == "calcData":
            self.now += 1
            self.times[node] = self.now

    def is_torn(self, end):
        """Whether a node above `end` was computed before one of its inputs."""
        return any(
            self.times.get(x, 0) > self.times.get(node, 0)
            for node in CG.ancestors(end)
            for x in node.backward
        )


@pytest.mark.parametrize("seed", one_in(2, range(60)))
def test_whatever_leaves_are_called_a_node_that_is_older_than_its_input_is_warned_of(seed):
    """A node that waits is warned of also if its data happen not to be older; no other node is."""
    recipe, rng, clock = Recipe(seed), np.random.default_rng([seed, 2]), Clock()
    nodes = recipe.nodes("float64")
    leaves = [nodes[k] for k in recipe.leaves]
    ends = [nodes[k] for k in recipe.ends]
    with observing(clock):
        for _ in range(12):
            for k in rng.integers(len(leaves), size=rng.integers(1, 2 * len(leaves) + 1)):
                leaves[k].forwardPropagation()
            for end in ends:
                if end._has_run:
                    before = state(nodes)
                    found = warned_of(end.backwardPropagation)
                    waits = any(node.b_count for node in CG.ancestors(end))
                    assert found == (SHIFTED if waits else None)
                    assert waits or not clock.is_torn(end)
                    assert found is None or state(nodes) == before


def test_what_an_earlier_pass_of_the_same_leaf_has_left_still_counts():
    leaves = [CG.Leaf1(1) for _ in range(4)]
    end = CG.Norm2(CG.Concatenation(leaves))
    pair = CG.Add(*leaves[:2])
    show(leaves, [1.0] * 4)
    show(leaves[:1] * 3, [2.0] * 3)
    assert (end.backward[0].b_count, pair.b_count) == (3, 1)
    with pytest.raises(RuntimeWarning, match=f"{SHIFTED}: Concatenation.* has had 3 of 4 calls"):
        end.backwardPropagation()


# Correct passes give no warning


@pytest.mark.parametrize("seed", one_in(2, range(60)))
def test_right_use_of_a_random_graph_is_not_warned_of(seed):
    recipe, rng = Recipe(seed), np.random.default_rng([seed, 3])
    nodes = recipe.nodes("float64")
    leaves = [nodes[k] for k in recipe.leaves]
    ends = [nodes[k] for k in recipe.ends]
    graph = None
    for _ in range(6):
        for _ in range(rng.integers(1, 4)):  # gradients are accumulated
            for leaf in rng.permutation(leaves):
                leaf.getInput(rng.uniform(-1, 1, leaf.size))
            CG.evaluate(nodes[rng.integers(len(nodes))])
            if graph is not None and rng.random() < 0.5:
                graph.forward()
            else:
                for leaf in rng.permutation(leaves):
                    leaf.forwardPropagation()
            with CG.detect_anomaly():
                for end in rng.permutation(ends):
                    end.backwardPropagation()
        if len(ends) == 1 and rng.random() < 0.1:
            CG.gradcheck(ends[0], mode="projection")
        for end in rng.permutation(ends):
            end.update(0.01)
        if rng.random() < 0.3:
            graph = CG.Graph(ends)


def test_two_losses_on_one_body_are_updated_one_after_the_other():
    x, t, y, first = line()
    second = CG.Norm2(CG.Sub(y, t))
    for _ in range(3):
        show((x, t), (1.0, 2.0))
        first.backwardPropagation()
        second.backwardPropagation()
        first.update(0.1)
        assert y.f_count == 1
        second.update(0.1)
    assert y.weight[0] != 1


def test_nets_that_share_a_leaf_learn_one_by_one():
    """The shared leaf waits, but no node above it has parameters."""
    x, t, y, loss = line()
    other = CG.MSE(CG.Affine(x, [[1.0], [0.0]]), t)
    for _ in range(2):
        show((x, t), (1.0, 2.0))
        loss.backwardPropagation()
        assert (x.f_count, other.b_count) == (1, 0)
        loss.update(0.1)
    assert y.weight[0] > 1


def test_what_a_graph_has_computed_is_no_longer_torn():
    x, t, y, loss = line()
    show([x], [5.0])
    graph = CG.Graph(loss)
    show([x], [6.0])
    show([t], [2.0])
    assert loss.b_count == 1
    graph.forward()
    for _ in range(2):
        loss.backwardPropagation()
    show((x, t), (1.0, 2.0))
    assert warned_of(loss.backwardPropagation) == SHIFTED
    graph.predict({x: [[1.0]], t: [[2.0]]})
    assert y.gradWeight.any()


# A consumer that never calls


def test_a_loss_that_is_made_again_keeps_the_first_from_being_learnt_and_is_named():
    x, t, y, _ = line(0.5)
    loss = CG.MSE(y, t)
    show((x, t), (1.0, 3.0))
    loss.backwardPropagation()
    before = state([x, t, y, loss])
    with pytest.raises(
        RuntimeWarning,
        match=rf"MSE: update finds Affine.* {STUCK}.*: 1 of 2 .* never forward\[0\], MSE\(",
    ):
        loss.update(0.1)
    assert state([x, t, y, loss]) == before
    with pytest.warns(RuntimeWarning, match=STUCK) as caught:
        loss.update(0.1)
    assert caught[0].filename == __file__
    for end in (loss, CG.MSE(y, t)):  # a newer node belongs to the graph as well
        show((x, t), (1.0, 3.0))
        end.backwardPropagation()
        assert y.f_count
        end.update(0.1)


def test_the_consumer_is_named_that_all_the_others_wait_for():
    x, t, y, _ = line()
    inner = CG.ReLU(y)
    loss, probe = CG.MSE(inner, t), CG.Norm2(CG.Concatenation([inner, t]))
    y.forward[0].detach()
    CG.Dots(y, y)
    show((x, t), (1.0, 3.0))
    y.forward[1].backwardPropagation()
    loss.backwardPropagation()
    assert (inner.f_count, y.f_count) == (1, 2)
    with pytest.raises(RuntimeWarning, match=r"finds ReLU.* never forward\[1\], Concatenation\("):
        y.forward[1].update(0.1)
    probe.backwardPropagation()
    loss.update(0.1)


def test_a_push_too_many_is_warned_of_without_a_name():
    x = CG.Leaf1(1)
    y = CG.Affine(x, [[1.0], [0.0]])
    loss = CG.Norm2(y)
    loss.pushThis(y)
    show([x], [1.0])
    loss.backwardPropagation()
    with pytest.raises(RuntimeWarning, match="never the others"):
        loss.update(0.1)


@pytest.mark.parametrize("seed", one_in(2, range(60)))
def test_an_update_is_warned_of_exactly_where_a_backward_pass_keeps_something_from_learning(seed):
    recipe, rng = Recipe(seed), np.random.default_rng([seed, 4])
    nodes = recipe.nodes("float64")
    leaves = [nodes[k] for k in recipe.leaves]
    ends = [nodes[k] for k in recipe.ends]
    ends += [CG.Norm2(nodes[rng.integers(len(nodes) - 1)]) for _ in range(rng.integers(3))]
    ends = [end for end in ends if not end.forward]
    for _ in range(6):
        for leaf in leaves:
            leaf.forwardPropagation()
        order = list(rng.permutation(ends))
        for end in order[: rng.integers(1, len(order) + 1)]:
            end.backwardPropagation()
        left = {node for node in nodes if node.f_count and CG.parameters(node)}
        for end in rng.permutation(ends):  # nodes that wait after an update are correct
            stuck = any(node.f_count for node in left.intersection(CG.ancestors(end)))
            before = state(nodes)
            found = warned_of(end.update, 0.01)
            assert found == (STUCK if stuck else None)
            if found:
                assert state(nodes) == before
                break


def test_a_detached_or_cut_graph_waits_for_nothing_and_keeps_nothing():
    x, t, y, loss = line()
    probe = CG.Norm2(CG.Add(y, t))
    show([x], [1.0])
    assert x._left_forward
    loss.cut()
    assert not x._left_forward
    x, t, y, loss = line()
    probe = CG.Dots(y, t)
    show([x], [1.0])
    probe.detach()
    assert x._left_forward == [loss]
    show([t], [1.0])
    loss.backwardPropagation()


def test_a_pass_that_raised_has_left_nothing():
    x, t = CG.Leaf1(1), CG.Leaf1(1)
    y = CG.Affine(x, [[1.0], [0.0]])
    own = Failing(y)
    loss = CG.MSE(own, t)
    show([x], [1.0])
    own.fails_in = "calcData"
    with pytest.raises(ZeroDivisionError):
        show([x], [2.0])
    own.fails_in = None
    show((x, t), (1.0, 2.0))
    loss.backwardPropagation()
    loss.update(0.1)
    assert y.weight[0] > 1


def test_nodes_that_wait_elsewhere_do_not_concern_a_graph():
    other = line()
    show(other[:1], [1.0])
    x, t, _, loss = line()
    show((x, t), (1.0, 2.0))
    with warnings.catch_warnings(record=True) as caught:
        warnings.simplefilter("always")
        loss.backwardPropagation()
        loss.update(0.1)
    assert not caught
