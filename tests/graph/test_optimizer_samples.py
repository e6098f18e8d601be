"""The number of samples by which an optimiser divides gradient sums, and when there is nothing to update."""

import numpy as np
import pytest
from own_nodes import Scale

import cgraph as CG

FEED = [[1.0, 2.0], [3.0, -1.0], [0.5, 0.5]]


def network(own=False):
    """Returns leaf, parameters and loss of a network of two layers, or with an own node behind the second one."""
    x = CG.Leaf1(2)
    hidden = CG.Affine(x, [[0.5, -0.2], [0.3, 0.8], [0.1, 0.0]])
    y = CG.Affine(CG.Tanh(hidden), [[0.7, 0.1], [-0.4, 0.2], [0.0, 0.3]])
    loss = CG.Norm2(Scale(y, [0.5, 2.0]) if own else y)
    return x, CG.parameters(loss), loss


def node_passes(x, loss, samples=FEED):
    for sample in samples:
        x.getInput(sample)
        x.forwardPropagation()
        loss.backwardPropagation()


def use_sums(graph, parameter, feed):
    """Makes a Graph look at the sums, which it knows to be 0 as long as nobody writes into them."""
    parameter.grad += 1
    graph.predict(feed)
    parameter.grad -= 1


def values(parameters):
    return np.concatenate([p.value.ravel() for p in parameters])


def sums(parameters):
    return np.concatenate([p.grad.ravel() for p in parameters])


@pytest.mark.parametrize("own", [False, True])
def test_an_update_without_gradients_changes_nothing(own):
    x, parameters, loss = network(own)
    graph, sgd = CG.Graph(loss), CG.SGD(0.1, momentum=0.9, weight_decay=0.1)
    graph.step({x: FEED}, sgd)
    before = values(parameters)
    graph.update(sgd)
    assert sgd.updates == 1
    np.testing.assert_array_equal(values(parameters), before)


@pytest.mark.parametrize("own", [False, True])
def test_sums_of_frozen_parameters_are_no_gradients(own):
    x, parameters, loss = network(own)
    graph, sgd = CG.Graph(loss), CG.SGD(0.1, momentum=0.9)
    graph.step({x: FEED}, sgd)
    graph.accumulate({x: FEED})
    parameters[-1].trainable = False
    graph.update(sgd)
    use_sums(graph, parameters[0], {x: FEED})
    before = values(parameters)
    graph.update(sgd)
    assert sgd.updates == 2
    assert parameters[-1].grad.any()
    np.testing.assert_array_equal(values(parameters), before)


def test_elements_between_parameters_are_no_gradients():
    x = CG.Leaf2(1, 1)
    # Three kernels of a fused group do not fill a vector, and what lies between them is NaN after a NaN.
    maps = [CG.Convolution2d([x, x], [[[k]], [[1]]], 0.5) for k in (1, 2, 3)]
    loss = CG.Sum(CG.Concatenation(maps))
    graph = CG.Graph(loss, layout="samples")
    sgd = CG.SGD(0.1, momentum=0.9, nonfinite="raise")
    graph.step({x: [[[1.0]]]}, sgd)
    graph.accumulate({x: [[[1.0]]]})
    with pytest.raises(FloatingPointError):
        graph.step({x: [[[np.nan]]]}, sgd)
    before = values(graph.parameters)
    graph.update(sgd)
    assert sgd.updates == 1
    np.testing.assert_array_equal(values(graph.parameters), before)


@pytest.mark.parametrize("own", [False, True])
def test_a_newer_graph_takes_the_number_of_samples_over(own):
    x, parameters, loss = network(own)
    graph = CG.Graph(loss)
    graph.accumulate({x: FEED})
    expected = values(parameters) - 0.1 / 3 * sums(parameters)
    newer = CG.Graph(loss)
    newer.update(CG.SGD(0.1))
    np.testing.assert_allclose(values(parameters), expected, rtol=1e-14)


def test_a_newer_graph_takes_samples_without_gradients_over():
    x = CG.Leaf1(1)
    y = CG.Affine(CG.ReLU(x), [[1.0], [0.0]], 0)
    loss, sgd = CG.Sum(y), CG.SGD(0.1)
    CG.Graph(loss).accumulate({x: [[-1.0], [-2.0]]})
    CG.Graph(loss).step({x: [[3.0]]}, sgd)
    assert y.weight[0, 0] == pytest.approx(1 - 0.1 * 3 / 3)
    CG.Graph(loss).accumulate({x: [[-1.0]]})
    CG.Graph(loss).update(sgd)
    assert sgd.updates == 2


def test_zero_grad_forgets_node_passes():
    x, parameters, loss = network()
    graph, sgd = CG.Graph(loss), CG.SGD(0.1)
    node_passes(x, loss)
    graph.zero_grad()
    sgd.update(loss)
    assert sgd.updates == 0
    node_passes(x, loss)
    graph.zero_grad()
    node_passes(x, loss, FEED[:1])
    expected = values(parameters) - 0.1 * sums(parameters)
    sgd.update(loss)
    np.testing.assert_allclose(values(parameters), expected, rtol=1e-14)


@pytest.mark.parametrize("way", ["step", "update", "nodes"])
def test_a_refused_update_forgets_all_samples(way):
    x, parameters, loss = network()
    graph, sgd = CG.Graph(loss), CG.SGD(0.1, momentum=0.9, nonfinite="raise")
    graph.step({x: FEED}, sgd)
    graph.accumulate({x: FEED})
    node_passes(x, loss, [*FEED, [np.nan, 0]])
    call = {"step": lambda: graph.step({x: FEED}, sgd), "update": lambda: graph.update(sgd)}
    with pytest.raises(FloatingPointError):
        call.get(way, lambda: sgd.update(loss))()
    before = values(parameters)
    sgd.update(loss)
    graph.update(sgd)
    assert sgd.updates == 1
    np.testing.assert_array_equal(values(parameters), before)


def test_a_schedule_that_raises_keeps_all_samples():
    x, parameters, loss = network()

    def lr(_):
        raise ZeroDivisionError

    node_passes(x, loss)
    expected = values(parameters) - 0.1 / 3 * sums(parameters)
    sgd = CG.SGD(lr)
    with pytest.raises(ZeroDivisionError):
        sgd.update(loss)
    sgd.lr = 0.1
    sgd.update(loss)
    np.testing.assert_allclose(values(parameters), expected, rtol=1e-14)


def test_an_update_without_gradients_makes_no_state():
    _, _, loss = network()
    sgd = CG.SGD(0.1, momentum=0.9)
    sgd.update(loss)
    assert list(sgd.state_dict()) == ["updates"]


def test_samples_without_a_gradient_count_though_sums_are_looked_at():
    x = CG.Leaf1(1)
    affine = CG.Affine(x, [[1.0], [0.0]])
    graph = CG.Graph(CG.ReLU(affine))
    sums = [p.grad for p in graph.parameters]
    graph.accumulate({x: -np.ones(4)})
    assert not any(each.any() for each in sums)
    graph.accumulate({x: np.ones(1)})
    graph.update(CG.SGD(1.0))
    np.testing.assert_allclose(affine.weight.ravel(), [0.8, -0.2])


def test_sums_that_were_cleared_by_hand_count_no_samples():
    x = CG.Leaf1(1)
    affine = CG.Affine(x, [[1.0], [0.0]])
    graph = CG.Graph(CG.ReLU(affine))
    graph.accumulate({x: np.ones(4)})
    affine.gradWeight[...] = 0
    graph.accumulate({x: np.ones(1)})
    graph.update(CG.SGD(1.0))
    np.testing.assert_allclose(affine.weight.ravel(), [0, -1])
