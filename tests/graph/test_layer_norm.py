"""LayerNorm in a Graph, and its parameters that do not learn."""

import numpy as np
import pytest

import cgraph as CG

RNG = np.random.default_rng(3)
FIRST, SECOND, SLOPES = RNG.standard_normal((3, 9))


def network(dtype="float64"):
    """Returns the leaf, the LayerNorm, and a loss with a slope for each element."""
    x, weights = CG.Leaf1(9, dtype=dtype), CG.Leaf1(9, dtype=dtype)
    norm = CG.LayerNorm(x, np.linspace(0.5, 1.5, 9), np.linspace(-1, 1, 9))
    weights.getInput(SLOPES)
    return x, norm, CG.Dots(norm, weights)


def node_gradients(sample, freeze=()):
    """Returns the gradients of input, gain and bias by the nodes' own passes, with some parameters frozen."""
    x, norm, loss = network()
    for p in CG.parameters(norm):
        p.trainable = p.name not in freeze
    x.getInput(sample)
    for leaf in (x, loss.backward[1]):
        leaf.forwardPropagation()
    loss.backwardPropagation()
    return [x.grad.copy(), norm.gradGain.copy(), norm.gradBias.copy()]


def test_data_written_between_the_passes_of_a_graph_count(build_name):
    x, norm, loss = network()
    graph = CG.Graph(loss)
    x.getInput(FIRST)
    graph.forward()
    x.data[...] = SECOND
    graph.backward()
    for ours, theirs in zip(
        (x.grad, norm.gradGain, norm.gradBias), node_gradients(SECOND), strict=True
    ):
        np.testing.assert_allclose(ours, theirs, rtol=1e-12, atol=1e-14)


@pytest.mark.parametrize("freeze", [("gain",), ("bias",), ("gain", "bias")])
def test_parameters_that_do_not_learn_have_no_gradient_sums(freeze):
    dx, *sums = node_gradients(FIRST, freeze)
    expected_dx, *expected = node_gradients(FIRST)
    np.testing.assert_array_equal(dx, expected_dx)
    for name, ours, theirs in zip(("gain", "bias"), sums, expected, strict=True):
        np.testing.assert_array_equal(ours, 0 * theirs if name in freeze else theirs)


@pytest.mark.parametrize("layout", ["samples", "lanes"])
def test_updates_in_place_are_those_of_summed_gradients(layout, build_name):
    samples = np.random.default_rng(5).standard_normal((21, 9))
    results = []
    for fused in (True, False):
        x, norm, loss = network()
        graph, feed = (
            CG.Graph(loss, layout=layout),
            {x: samples, loss.backward[1]: np.tile(SLOPES, (21, 1))},
        )
        if fused:
            graph.train(feed, 0.01, batch=21)
        else:
            graph.accumulate(feed)
            graph.update(0.01)
        results.append(np.concatenate([norm.gain, norm.bias]))
        assert (norm.gradGain == 0).all()
    np.testing.assert_allclose(*results, rtol=1e-12)


def test_gains_and_biases_are_one_and_zero_at_first_and_can_be_assigned():
    norm = CG.LayerNorm(CG.Leaf2(2, 3, dtype="float32"))
    assert (norm.gain.tolist(), norm.bias.tolist()) == ([1] * 6, [0] * 6)
    assert norm.eps == float(np.float32(1e-5))
    norm.gain, norm.bias = np.arange(6), -np.arange(6)
    norm.gradGain, norm.gradBias = np.ones(6), np.full(6, 2)
    norm.updateParameters(1)
    assert norm.gain.tolist() == [-1, 0, 1, 2, 3, 4]
    assert norm.bias.tolist() == [-2, -3, -4, -5, -6, -7]
    assert [(p.name, p.shape) for p in CG.parameters(norm)] == [("gain", (6,)), ("bias", (6,))]


@pytest.mark.parametrize("layout", ["samples", "lanes"])
@pytest.mark.parametrize("dtype", ["float32", "float64"])
def test_equal_elements_are_at_their_mean_exactly(dtype, layout, build_name):
    """Over the nodes and in a Graph, also where rounding would move a sum, and where it would be too large."""
    values = [0.1, 10000.1, 1 / 3, float(np.finfo(dtype).max), 1e-40]
    x = CG.Leaf1(7, dtype=dtype)
    bias = np.arange(7)
    normal, undefined = CG.LayerNorm(x, bias=bias), CG.LayerNorm(x, eps=0)
    samples = np.repeat(values, 7).reshape(-1, 7)
    for sample in samples:
        x.getInput(sample)
        np.testing.assert_array_equal(CG.evaluate(normal), bias)
        assert np.isnan(CG.evaluate(undefined)).all()
    graph = CG.Graph([normal, undefined], layout=layout)
    ours = graph.predict({x: samples}, normal)
    np.testing.assert_array_equal(ours, np.tile(bias, (len(values), 1)))
    assert np.isnan(graph.predict({x: samples}, undefined)).all()


def distant(rng):
    """Samples whose mean is a thousand times their spread; of some, the first element is the only distant one."""
    samples = 1000 + rng.standard_normal((5, 203))
    samples[3:, 1:] -= 1000
    return samples


@pytest.mark.parametrize("layout", ["samples", "lanes"])
def test_moments_of_long_and_distant_samples_are_those_of_float64(layout, build_name):
    """Over lanes the moments of blocks are merged, and no error grows with the distance of the mean from 0."""
    rng = np.random.default_rng(7)
    samples, slopes = distant(rng).astype(np.float32), rng.standard_normal((5, 203))
    found = {}
    for dtype in ("float32", "float64"):
        x, weights = CG.Leaf1(203, dtype=dtype), CG.Leaf1(203, dtype=dtype)
        norm = CG.LayerNorm(x)
        loss = CG.Dots(norm, weights)
        graph = CG.Graph(loss, leaf_grads=[x], layout=layout, threads=1)
        feed = {x: samples, weights: slopes.astype(np.float32)}
        graph.accumulate(feed)
        found[dtype] = [graph.predict(feed, norm), norm.gradGain, norm.gradBias]
        for sample in range(len(samples)):
            graph.sample(sample)
            found[dtype].append(x.grad.copy())
    for ours, exact in zip(found["float32"], found["float64"], strict=True):
        np.testing.assert_allclose(ours, exact, rtol=1e-4, atol=3e-4 * abs(exact).max())
