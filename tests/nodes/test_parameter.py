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
    assert not graph._executable.residency.lent_arrays
    assert graph._executable.memory.grads_are_zero


def test_an_optimiser_over_an_older_list_trains_as_the_graph_does():
    """Images of 28 × 28, 32 fused channels and two threads: parameters are packed, and each thread has its own sums."""

    def classifier():
        rng = np.random.default_rng(0)
        x, t = CG.Leaf2(28, 28), CG.Leaf1(10)
        channels = [CG.Convolution2d([x], rng.normal(size=(1, 3, 3)), 0.1) for _ in range(32)]
        pooled = [CG.MaxPooling2d(CG.ReLU(channel), 2, 2, 2) for channel in channels]
        y = CG.Affine(CG.Concatenation(pooled), rng.normal(size=(32 * 169 + 1, 10)) * 0.01)
        return x, t, CG.MSE(y, t)

    rng = np.random.default_rng(1)
    images, labels = rng.normal(size=(100, 28, 28)), rng.normal(size=(100, 10))
    (x, t, loss), (twin_x, twin_t, twin_loss) = classifier(), classifier()
    parameters = CG.parameters(loss)
    graph, twin = CG.Graph(loss, threads=2), CG.Graph(twin_loss, threads=2)
    for _ in range(3):
        losses = graph.accumulate({x: images, t: labels})
        for p in parameters:
            p.value -= 1e-4 * p.grad
            p.grad[...] = 0
        np.testing.assert_allclose(losses, twin.step({twin_x: images, twin_t: labels}, 1e-4))
    for ours, theirs in zip(parameters, twin.parameters, strict=True):
        np.testing.assert_allclose(ours.value, theirs.value, rtol=1e-9, atol=1e-12)


def test_a_forward_pass_over_nodes_hands_no_gradient_sum_out_and_a_backward_pass_adds_to_the_sums():
    def network():
        rng = np.random.default_rng(0)
        x, t = CG.Leaf2(6, 6), CG.Leaf1(144)
        channels = [CG.Convolution2d([x], rng.normal(size=(1, 3, 3)), 0.1, 6, 6) for _ in range(4)]
        return x, t, channels, CG.MSE(CG.Concatenation(channels), t)

    def passes(x, t, sample):
        for leaf, value in zip((x, t), sample, strict=True):
            leaf.getInput(value)
            leaf.forwardPropagation()

    rng = np.random.default_rng(1)
    images, labels = rng.normal(size=(3, 6, 6)), rng.normal(size=(3, 144))
    (x, t, channels, loss), (twin_x, twin_t, twins, twin_loss) = network(), network()
    graph = CG.Graph(loss)
    graph.step({x: images, t: labels}, 0.0)
    graph.accumulate({x: images, t: labels})
    passes(x, t, (images[0], labels[0]))
    assert not graph._executable.residency.lent_arrays
    loss.backwardPropagation()
    for i in (0, 1, 2, 0):
        passes(twin_x, twin_t, (images[i], labels[i]))
        twin_loss.backwardPropagation()
    for channel, twin in zip(channels, twins, strict=True):
        np.testing.assert_allclose(channel.gradKernel, twin.gradKernel, rtol=1e-10)
