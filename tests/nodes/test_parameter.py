"""Parameters: live views that are read from the node at each look."""

import numpy as np

import cgraph as CG


def network():
    x, t = CG.Leaf1(1), CG.Leaf1(1)
    y = CG.Affine(x, [[1.0], [0.0]])
    return x, t, y, CG.MSE(y, t)


def test_a_list_made_before_a_graph_trains_it():
    x, t, y, loss = network()
    parameters = CG.parameters(loss)
    graph = CG.Graph(loss)
    for _ in range(50):
        losses = graph.accumulate({x: [[1.0]], t: [[3.0]]})
        for p in parameters:
            p.value[...] -= 0.1 * p.grad
            p.grad[...] = 0
    assert losses[0] < 1e-6
    assert CG.evaluate(y) == np.float64(CG.parameters(loss)[0].value.sum())


def test_a_step_in_place_learns_once():
    _, _, y, loss = network()
    y.gradWeight = [[1.0], [2.0]]
    (p,) = CG.parameters(loss)
    p.value -= 0.5 * p.grad
    np.testing.assert_array_equal(y.weight, [[0.5], [-1.0]])


def test_to_list_parameters_and_to_save_them_hands_no_gradient_sum_out(tmp_path):
    x, t, _, loss = network()
    graph = CG.Graph(loss)
    assert [p.name for p in graph.parameters] == ["weight"]
    CG.save_parameters(tmp_path / "model.npz", loss)
    CG.load_parameters(tmp_path / "model.npz", loss)
    graph.step({x: [[1.0]], t: [[3.0]]}, 0.1)
    assert not graph._arena.grads_exposed
    assert graph._arena.grads_are_zero
