"""Adam's state where gradients have ended: subnormal numbers, which are slow and would never vanish, count as 0."""

import numpy as np
import pytest

import cgraph as CG


@pytest.mark.parametrize(("dtype", "updates"), [("float32", 1000), ("float64", 8000)])
def test_a_running_mean_without_gradients_becomes_0(dtype, updates):
    x = CG.Leaf1(21, dtype=dtype)  # more than a whole vector
    y = CG.Affine(x, np.ones((22, 1)))
    graph, optimizer = CG.Graph(CG.Sum(y)), CG.Adam(0.01)
    graph.step({x: np.ones((1, 21))}, optimizer)
    graph.train({x: np.zeros((updates, 21))}, optimizer, 1)
    state = optimizer.state_dict()
    weights = {
        name.partition(".")[2]: state[name][:-1]
        for name in state
        if name != "updates" and state[name].size > 1
    }
    assert np.all(weights["exp_avg"] == 0)
    assert np.all(weights["exp_avg_sq"] > 0)
    # The gradient was 1 once: the running means are those of a single 1, ever longer ago.
    steps = np.arange(updates + 1)
    mean = 0.1 * 0.9**steps / (1 - 0.9 ** (steps + 1))
    square = 0.001 * 0.999**steps / (1 - 0.999 ** (steps + 1))
    expected = 1 - 0.01 * (mean / (np.sqrt(square) + 1e-8)).sum()
    np.testing.assert_allclose(y.weight[:-1], expected, rtol=1e-5 if dtype == "float32" else 1e-12)
