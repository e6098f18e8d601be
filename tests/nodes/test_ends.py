"""The nodes at which a backward pass may start, and the consumers for which it waits."""

import pytest
from small_graphs import counters, vector

import cgraph as CG


def test_backward_from_more_than_one_element_is_a_ValueError():
    x = vector(1.0, 2.0)
    end = CG.ReLU(x)
    x.forwardPropagation()
    with pytest.raises(ValueError, match=r"ReLU.*2"):
        end.backwardPropagation()
    assert counters(x, end) == [(0, 0)] * 2
    assert not x.grad.any()


def test_backward_before_a_complete_forward_is_a_RuntimeError():
    x, y = vector(1.0), vector(2.0)
    end = CG.Dots(x, y)
    with pytest.raises(RuntimeError):
        end.backwardPropagation()
    x.forwardPropagation()
    with pytest.raises(RuntimeError):
        end.backwardPropagation()
    y.forwardPropagation()
    end.backwardPropagation()
    assert x.grad.tolist() == [2]
    assert y.grad.tolist() == [1]


def test_a_consumer_that_leads_nowhere_keeps_the_backward_pass_waiting():
    x = vector(3.0)
    h = CG.ReLU(x)
    probe, loss = CG.Norm2(h), CG.Dots(h, h)
    x.forwardPropagation()
    loss.backwardPropagation()
    assert h.f_count == 2
    assert h.grad.tolist() == [6]
    assert x.grad.tolist() == [0]
    probe.backwardPropagation()
    assert h.f_count == 0
    assert h.grad.tolist() == x.grad.tolist() == [7]


def test_detach_removes_a_node_without_consumers_from_its_inputs():
    x, y = vector(3.0), vector(4.0)
    h = CG.ReLU(x)
    loss = CG.Dots(h, h)
    probe = CG.Concatenation([h, y, h])
    assert h.forward == [loss, loss, probe, probe]
    probe.detach()
    assert h.forward == [loss, loss]
    assert y.forward == []
    x.forwardPropagation()
    loss.backwardPropagation()
    assert h.f_count == 0
    assert x.grad.tolist() == [6]


def test_a_detached_node_waits_for_nothing_and_has_not_been_computed():
    x, y = vector(3.0), vector(4.0)
    probe = CG.Dots(x, y)
    for leaf in (x, y, x):
        leaf.forwardPropagation()
    assert probe.b_count == 1
    probe.detach()
    assert probe.b_count == 0
    with pytest.raises(RuntimeError, match="needs a completed forward pass first"):
        probe.backwardPropagation()


def test_detach_refuses_a_node_that_has_consumers():
    x = vector(3.0)
    h = CG.ReLU(x)
    end = CG.Norm2(h)
    with pytest.raises((RuntimeError, ValueError)):
        h.detach()
    assert x.forward == [h]
    assert h.backward == [x]
    assert h.forward == [end]


def test_a_forward_pass_ends_a_backward_pass_that_was_kept_waiting():
    """Arrivals of the old pass must not count in the new one, or incomplete gradients would be passed on."""
    x = vector(3.0)
    h = CG.ReLU(x)
    loss, other = CG.Dots(CG.Add(h, h), h), CG.Norm2(h)
    for _ in range(2):
        x.forwardPropagation()
        assert h.f_count == 0
        loss.backwardPropagation()
        assert (h.f_count, x.grad.tolist()) == (3, [0])
    other.backwardPropagation()
    assert counters(x, h, loss, other) == [(0, 0)] * 4
    assert x.grad.tolist() == [13]
