"""The propagation rules of Node, word by word."""

import numpy as np
import pytest
from own_nodes import Recorder
from small_graphs import counters, vector

import cgraph as CG


def forward(*leaves):
    for node in leaves:
        node.forwardPropagation()


def test_neighbours_stand_in_the_order_in_which_they_were_attached():
    x, y = vector(1.0), vector(2.0)
    total, difference = CG.Add(x, y), CG.Sub(y, x)
    assert x.forward == [total, difference]
    assert y.forward == [total, difference]
    assert total.backward == [x, y]
    assert difference.backward == [y, x]
    assert x.backward == []
    assert total.forward == []
    assert type(x.forward) is list
    assert type(total.backward) is list


def test_pushThis_appends_this_node_to_the_arguments_forward():
    x, y = vector(1.0), vector(2.0)
    y.pushThis(x)
    y.pushThis(x)
    assert x.forward == [y, y]
    assert x.backward == y.forward == y.backward == []


def test_a_node_waits_for_all_its_inputs_and_counts_them_in_b_count():
    x, y, z = vector(1.0), vector(2.0), vector(4.0)
    joined = CG.Concatenation([x, y, z])
    joined.data[...] = joined.grad[...] = 9
    x.forwardPropagation()
    assert joined.b_count == 1
    y.forwardPropagation()
    assert joined.b_count == 2
    assert joined.data.tolist() == joined.grad.tolist() == [9, 9, 9]
    z.forwardPropagation()
    assert joined.b_count == 0
    assert joined.data.tolist() == [1, 2, 4]
    assert joined.grad.tolist() == [0, 0, 0]
    assert counters(x, y, z) == [(0, 0)] * 3


def test_arrivals_are_counted_not_told_apart():
    x, y = vector(1.0), vector(2.0)
    total = CG.Add(x, y)
    x.forwardPropagation()
    x.forwardPropagation()
    assert total.data.tolist() == [3]
    assert total.b_count == 0


def test_forward_zeroes_the_gradient_of_every_node_it_passes():
    x = vector(1.0, -2.0)
    h = CG.ReLU(x)
    loss = CG.Norm2(h)
    for node in (x, h, loss):
        node.grad[...] = 5
    x.forwardPropagation()
    assert all(not node.grad.any() for node in (x, h, loss))


def test_forward_keeps_the_gradient_sums_of_parameters():
    x = vector(1.0, 2.0)
    affine = CG.Affine(x, np.ones((3, 1)))
    affine.gradWeight[...] = 7
    x.forwardPropagation()
    assert np.all(affine.gradWeight == 7)


def test_backward_waits_for_all_consumers_and_counts_them_in_f_count():
    x = vector(3.0, -4.0)
    h = CG.Sub(x, vector(0.0, 0.0))
    ends = [CG.Norm2(h), CG.Norm2(h), CG.Dots(h, h)]
    forward(x, h.backward[1])
    ends[0].backwardPropagation()
    assert h.f_count == 1
    ends[1].backwardPropagation()
    assert h.f_count == 2
    assert h.grad.tolist() == pytest.approx([1.2, -1.6])
    assert x.grad.tolist() == [0, 0]
    ends[2].backwardPropagation()
    assert h.f_count == 0
    assert h.grad.tolist() == pytest.approx([7.2, -9.6])
    assert x.grad.tolist() == pytest.approx([7.2, -9.6])
    assert counters(x, h, *ends) == [(0, 0)] * 5


def test_an_end_starts_with_the_gradient_one():
    x = vector(2.0)
    end = CG.ReLU(x)
    x.forwardPropagation()
    end.grad[...] = 55
    end.backwardPropagation()
    assert end.grad.tolist() == [1]
    assert x.grad.tolist() == [1]


def test_backward_adds_to_what_the_gradients_hold():
    """Only a forward pass clears gradients: a second backward pass without it adds to them again."""
    x = vector(2.0)
    h = CG.ReLU(x)
    end = CG.ReLU(h)
    x.forwardPropagation()
    end.backwardPropagation()
    end.backwardPropagation()
    assert end.grad.tolist() == [1]
    assert h.grad.tolist() == [2]
    assert x.grad.tolist() == [3]


def test_a_leaf_may_be_the_end():
    x = vector(2.0)
    x.forwardPropagation()
    x.backwardPropagation()
    assert x.grad.tolist() == [1]


@pytest.mark.parametrize("make", [CG.Add, CG.Dots], ids=lambda op: op.__name__)
def test_a_node_used_twice_by_one_node_counts_twice(make):
    x = vector(3.0)
    h = CG.ReLU(x)
    both = make(h, h)
    x.forwardPropagation()
    both.backwardPropagation()
    assert h.forward == [both, both]
    assert h.grad.tolist() == x.grad.tolist() == ([2] if make is CG.Add else [6])
    assert counters(x, h, both) == [(0, 0)] * 3


def diamond(log):
    """x -> a -> (b, c) -> d, and x -> d as well."""
    x = vector(1.0)
    a = Recorder([x], log, "a")
    b, c = Recorder([a], log, "b"), Recorder([a], log, "c")
    return x, Recorder([b, x, c], log, "d")


def test_every_node_works_once_a_pass_after_the_nodes_it_depends_on():
    log = []
    x, end = diamond(log)
    x.forwardPropagation()
    order = [name for _, name in log]
    assert sorted(order) == ["a", "b", "c", "d"]
    assert order[0] == "a"
    assert order[-1] == "d"
    log.clear()
    end.backwardPropagation()
    order = [name for _, name in log]
    assert sorted(order) == ["a", "b", "c", "d"]
    assert order[0] == "d"
    assert order[-1] == "a"
    assert end.data.tolist() == [3]
    assert x.grad.tolist() == [3]


def test_the_order_is_that_of_calls_that_call_their_neighbours_one_after_the_other():
    """Neighbours are called in order, each with all nodes that follow from it before the next."""
    log = []
    x = vector(1.0)
    a, b = Recorder([x], log, "a"), Recorder([x], log, "b")
    a2, b2 = Recorder([a], log, "a2"), Recorder([b], log, "b2")
    end = Recorder([b2, a2], log, "end")
    x.forwardPropagation()
    assert [name for _, name in log] == ["a", "a2", "b", "b2", "end"]
    for work in (end.backwardPropagation, lambda: end.update(0.1)):
        log.clear()
        work()
        assert [entry[1] for entry in log] == ["end", "b2", "b", "a2", "a"]


def test_update_visits_each_node_once_later_layers_first():
    log = []
    x, end = diamond(log)
    x.forwardPropagation()
    end.backwardPropagation()
    log.clear()
    end.update(0.25)
    order = [name for _, name, _ in log]
    assert sorted(order) == ["a", "b", "c", "d"]
    assert order[0] == "d"
    assert order[-1] == "a"
    assert {(method, eta) for method, _, eta in log} == {("updateParameters", 0.25)}


def test_update_counts_in_f_count_and_waits_for_all_consumers():
    x = vector(1.0, 2.0)
    h = CG.Affine(x, np.ones((3, 2)))
    ends = [CG.Norm2(h), CG.Norm2(h)]
    h.gradWeight[...] = 2
    ends[0].update(0.5)
    assert h.f_count == 1
    assert np.all(h.weight == 1)
    assert np.all(h.gradWeight == 2)
    ends[1].update(0.5)
    assert h.f_count == 0
    assert np.all(h.weight == 0)
    assert np.all(h.gradWeight == 0)


def test_updateParameters_steps_against_the_sums_and_clears_them():
    x = CG.Leaf2(2, 2)
    nodes = [
        CG.Affine(x, np.ones((5, 3))),
        CG.Convolution2d([x], np.ones((1, 2, 2)), 1.0),
    ]
    for node in nodes:
        before = [p.value.copy() for p in CG.parameters(node)]
        for p in CG.parameters(node):
            p.grad[...] = 4
        node.updateParameters(0.125)
        for p, value in zip(CG.parameters(node), before, strict=True):
            np.testing.assert_array_equal(p.value, value - 0.5)
            assert not p.grad.any()
    x.updateParameters(0.125)
    assert not x.data.any()


def test_zero_grad_clears_the_sums_without_an_update():
    affine = CG.Affine(vector(1.0), np.ones((2, 1)))
    affine.gradWeight[...] = 3
    affine.zero_grad()
    assert not affine.gradWeight.any()
    assert np.all(affine.weight == 1)


def test_several_samples_before_one_update_step_on_the_sum_of_the_losses():
    rng = np.random.default_rng(0)
    weight, samples = rng.standard_normal((4, 2)), rng.standard_normal((5, 3))
    x = CG.Leaf1(3)
    affine = CG.Affine(x, weight)
    loss = CG.Dots(affine, affine)
    for sample in samples:
        x.getInput(sample)
        x.forwardPropagation()
        loss.backwardPropagation()
    extended = np.hstack([samples, np.ones((5, 1))])
    expected = sum(2 * np.outer(e, e @ weight) for e in extended)
    np.testing.assert_allclose(affine.gradWeight, expected, rtol=1e-12)
    loss.update(0.01)
    np.testing.assert_allclose(affine.weight, weight - 0.01 * expected, rtol=1e-12)
    assert not affine.gradWeight.any()
