"""Arrays of a Graph's nodes: calls use the numbers written into them, and arrays that were read are kept up to date."""

import numpy as np
import pytest
from graph_networks import (
    convolution_of_several_groups,
    kernels_of_one,
    nodes_of,
    sparse_lenet,
    strides_of_two,
)
from graph_twins import Twins, parameters_of
from small_graphs import affine_graph

import cgraph as CG

pytestmark = pytest.mark.usefixtures("guard_pages")
SOME = (strides_of_two, kernels_of_one, convolution_of_several_groups)
every_network = pytest.mark.parametrize("network", SOME, ids=lambda network: network.__name__)
both_dtypes = pytest.mark.parametrize("dtype", ["float64", "float32"])


def twins_of(network, dtype="float64", **options):
    return Twins(lambda: nodes_of(network, dtype), [len(nodes_of(network, dtype)) - 1], **options)


def train(twins, rng, count=2, **options):
    samples = twins.draw(rng, count)
    twins.graph.train(twins.feed(samples), 0.05, **options)
    twins.nodes_train(samples, 0.05, options.get("batch", 1))


VALUES = {CG.Affine: ["weight"], CG.Convolution2d: ["kernel", "bias"]}
SUMS = {CG.Affine: ["gradWeight"], CG.Convolution2d: ["gradKernel", "gradBias"]}


def by_setter(node, name, value):
    setattr(node, name, value)


def in_place(node, name, value):
    array = getattr(node, name)
    if isinstance(array, np.ndarray):
        array[...] = value
    else:
        setattr(node, name, value)


@both_dtypes
@pytest.mark.parametrize("write", [by_setter, in_place])
@every_network
def test_parameters_and_sums_written_between_calls_count(network, write, dtype):
    rng = np.random.default_rng(0)
    twins = twins_of(network, dtype)
    for names in (VALUES, SUMS) * 2:
        train(twins, rng)
        for ours, theirs in zip(twins.ours, twins.theirs, strict=True):
            for name in names.get(type(theirs), ()):
                value = rng.uniform(-0.5, 0.5, np.shape(getattr(theirs, name)))
                value = value.astype(dtype) if np.ndim(value) else float(value)
                write(ours, name, value)
                write(theirs, name, value)
        twins.assert_values_are_equal()
        train(twins, rng, 3, batch=2)
        twins.assert_values_are_equal()
    twins.assert_data_are_equal()
    twins.assert_sums_are_equal()


@every_network
def test_arrays_fetched_from_a_graph_stay_live(network):
    """Exposed arrays show the training, and numbers that are written into them are used at any later time."""
    rng = np.random.default_rng(1)
    twins = twins_of(network)
    held, theirs = parameters_of(twins.ours), parameters_of(twins.theirs)
    for _ in range(3):
        train(twins, rng)
        for (value, _), (expected, _) in zip(held, theirs, strict=True):
            np.testing.assert_allclose(value, expected, rtol=1e-11, atol=1e-12)
        for (value, total), (value2, total2) in zip(held, theirs, strict=True):
            noise = rng.uniform(-0.1, 0.1, value.shape)
            value += noise
            value2 += noise
            total += noise
            total2 += noise
    twins.nodes_update(0.1)
    twins.graph.update(0.1)
    twins.assert_values_are_equal()
    twins.assert_sums_are_equal()


def test_graph_parameters_are_the_nodes_in_order_and_live():
    twins = twins_of(kernels_of_one)
    found = twins.graph.parameters
    above = CG.parameters(twins.ours[-1])
    assert {(p.node, p.name) for p in found} == {(p.node, p.name) for p in above}
    order = [twins.graph.nodes.index(p.node) for p in found]
    assert order == sorted(order)
    for p in found:
        p.value[...] = 0
    twins.graph.forward()
    np.testing.assert_allclose(twins.ours[-1].data, [0], atol=1)
    assert all(not p.value.any() for p in CG.parameters(twins.ours[-1]))


@every_network
def test_data_written_by_hand_between_the_passes_are_what_the_backward_pass_sees(network):
    """A Graph's backward pass uses data that was written between the passes, as the nodes' own pass does."""
    rng = np.random.default_rng(2)
    twins = twins_of(network)
    twins.write(twins.draw(rng))
    twins.graph.forward()
    twins.nodes_forward()
    for ours, theirs in zip(twins.ours, twins.theirs, strict=True):
        if not isinstance(theirs, CG.MaxPooling2d):
            theirs.data += rng.uniform(0, 0.1, theirs.size)
            ours.data = theirs.data
    twins.graph.backward()
    twins.nodes_backward()
    twins.assert_gradients_are_equal()
    twins.assert_sums_are_equal()


def test_data_and_gradients_are_views_of_one_stride_and_of_the_sample_that_came_last():
    twins = twins_of(sparse_lenet, "float32")
    rng = np.random.default_rng(3)
    arrays = [(node.data, node._grad) for node in twins.ours]
    samples = twins.draw(rng, 2)
    twins.graph.accumulate(twins.feed(samples))
    twins.nodes_train(samples, 0, 0)
    twins.assert_equal()
    for node, (data, grad) in zip(twins.ours, arrays, strict=True):
        assert node.data is data
        assert node.grad is grad
        assert data.shape == grad.shape == (node.size,)
        assert data.ndim == 1


def test_gradients_read_0_after_a_forward_pass_and_can_be_assigned():
    twins = twins_of(strides_of_two)
    train(twins, np.random.default_rng(4))
    twins.graph.forward()
    loss = twins.ours[-1]
    loss.grad = [2.5]
    assert loss.grad.tolist() == [2.5]
    assert not any(node.grad.any() for node in twins.ours[:-1])
    twins.graph.backward()
    assert loss.grad.tolist() == [1]
    twins.graph.predict({twins.graph.leaves[0]: np.ones((1, twins.graph.leaves[0].size))})
    assert not any(node.grad.any() for node in twins.ours)


def test_a_leaf_that_is_not_fed_keeps_its_data():
    x, y = CG.Leaf1(2), CG.Leaf1(2)
    y.getInput([3, 4])
    graph = CG.Graph(CG.Dots(x, y))
    assert graph.accumulate({x: [[1, 0], [0, 1], [1, 1]]}).tolist() == [3, 4, 7]
    graph.sample(2)
    assert y.data.tolist() == [3, 4]
    assert x.data.tolist() == [1, 1]
    y.data[...] = 0
    graph.forward()
    assert graph.predict({y: [[1, 2]]}).tolist() == [[3]]


def test_a_step_learns_from_what_stands_in_the_sums():
    """A step also applies gradient sums of an accumulate, of passes over one sample, or of the nodes' own passes."""
    rng = np.random.default_rng(5)
    for before in ("accumulate", "backward", "nodes"):
        twins = twins_of(kernels_of_one)
        samples, later = twins.draw(rng, 2), twins.draw(rng, 1)
        if before == "accumulate":
            twins.graph.accumulate(twins.feed(samples))
        else:
            for i in range(2):
                for k, rows in samples.items():
                    twins.ours[k].getInput(rows[i])
                if before == "backward":
                    twins.graph.forward()
                    twins.graph.backward()
                else:
                    twins.nodes_forward(twins.ours)
                    twins.nodes_backward(twins.ours)
        twins.graph.train(twins.feed(later), 0.1)
        twins.nodes_train(samples, 0, 0)
        twins.nodes_train(later, 0.1, 1)
        twins.assert_values_are_equal()
        twins.assert_sums_are_equal()


@pytest.mark.parametrize("batch", [1, 2])
def test_an_update_after_a_step_changes_nothing(batch):
    """After a step the gradient sums are 0, whatever their memory holds."""
    twins = twins_of(convolution_of_several_groups)
    train(twins, np.random.default_rng(8), batch=batch)
    twins.graph.update(0.5)
    twins.assert_values_are_equal()


@pytest.mark.parametrize("update", ["update", "step"])
def test_sums_written_after_an_update_count(update):
    rng = np.random.default_rng(9)
    twins = twins_of(kernels_of_one)
    twins.assert_sums_are_equal()
    samples = twins.draw(rng, 2)
    if update == "step":
        twins.graph.step(twins.feed(samples), 0.05)
    else:
        twins.graph.accumulate(twins.feed(samples))
        twins.graph.update(0.05)
    twins.nodes_train(samples, 0.05, 2)
    for nodes in (twins.ours, twins.theirs):
        for _, sums in parameters_of(nodes):
            sums += 0.5
    twins.graph.accumulate(twins.feed(samples))
    twins.nodes_train(samples, 0, 0)
    twins.assert_sums_are_equal()


@pytest.mark.parametrize("before", ["forward", "accumulate"])
def test_the_nodes_own_backward_pass_may_follow_a_pass_of_the_graph(before):
    twins = twins_of(strides_of_two)
    samples = twins.draw(np.random.default_rng(10), 1)
    if before == "forward":
        twins.write(samples)
        twins.graph.forward()
        twins.nodes_forward()
    else:
        twins.graph.accumulate(twins.feed(samples))
        twins.nodes_train(samples, 0, 0)
    twins.nodes_backward(twins.ours)
    twins.nodes_backward()
    twins.assert_equal()


def test_the_nodes_own_backward_pass_does_not_follow_the_prediction_of_another_node():
    graph, x, t, y = affine_graph(layout="samples")
    loss, feed = graph.nodes[-1], {x: np.ones((1, 3)), t: np.ones((1, 2))}
    graph.predict(feed)
    loss.backwardPropagation()
    graph.predict(feed, y)
    with pytest.raises(RuntimeError, match="forward pass first"):
        loss.backwardPropagation()


@pytest.mark.parametrize("other", ["predict", "accumulate", "step", "sample", "nodes"])
def test_a_backward_pass_does_not_follow_the_forward_pass_before_another_call(other):
    twins = twins_of(strides_of_two)
    feed = twins.feed(twins.draw(np.random.default_rng(11), 1))
    twins.graph.predict(feed)
    twins.graph.forward()
    {
        "predict": lambda: twins.graph.predict(feed),
        "accumulate": lambda: twins.graph.accumulate(feed),
        "step": lambda: twins.graph.step(feed, 0.1),
        "sample": lambda: twins.graph.sample(0),
        "nodes": lambda: twins.nodes_forward(twins.ours),
    }[other]()
    with pytest.raises(RuntimeError, match="needs a forward"):
        twins.graph.backward()


def test_an_update_of_the_nodes_ends_the_pass_of_a_graph():
    graph, _x, _t, y = affine_graph()
    graph.forward()
    y.forward[0].update(0.1)
    with pytest.raises(RuntimeError, match="needs a forward"):
        graph.backward()


@both_dtypes
@every_network
def test_the_nodes_and_the_graph_may_take_turns(network, dtype):
    rng = np.random.default_rng(6)
    twins = twins_of(network, dtype)
    for turn in range(6):
        train(twins, rng)
        twins.write(twins.draw(rng))
        twins.nodes_forward()
        if turn % 2:
            twins.nodes_forward(twins.ours)
        else:
            twins.graph.forward()
        twins.assert_data_are_equal()
        twins.nodes_backward()
        twins.nodes_backward(twins.ours)
        twins.assert_gradients_are_equal()
        twins.nodes_update(0.05)
        if turn < 3:
            twins.graph.update(0.05)
        else:
            twins.nodes_update(0.05, twins.ours)
        twins.assert_values_are_equal()
    twins.assert_equal()


def test_parameters_that_are_saved_and_loaded_are_those_of_the_graph(tmp_path):
    rng = np.random.default_rng(7)
    twins, other = twins_of(kernels_of_one), twins_of(kernels_of_one)
    train(twins, rng)
    CG.save_parameters(tmp_path / "learnt.npz", twins.ours[-1])
    CG.load_parameters(tmp_path / "learnt.npz", other.ours[-1])
    samples = twins.draw(rng, 2)
    rows = [t.graph.predict(t.feed(samples)) for t in (twins, other)]
    np.testing.assert_array_equal(*rows)


@pytest.mark.parametrize("call", ["step", "train", "update", "predict"])
def test_what_was_written_survives_a_call_that_is_refused(call):
    x = CG.Leaf2(4, 4)
    maps = [CG.Convolution2d([x], np.full((1, 2, 2), 0.5), 0.0) for _ in range(3)]
    graph = CG.Graph(CG.Norm2(CG.Concatenation(maps)))
    feed = {x: np.ones((2, 4, 4))}
    maps[1].kernel[...] = 3
    maps[1].gradKernel[...] = 4
    arguments = {"update": ("no",), "predict": ({x: "no"},)}.get(call, (feed, "no"))
    with pytest.raises(TypeError):
        getattr(graph, call)(*arguments)
    assert (maps[1].kernel == 3).all()
    assert (maps[1].gradKernel == 4).all()
    graph.update(0.5)
    assert (maps[1].kernel == 1).all()


def outside():
    """Builds a body that is compiled in a Graph, and two losses on it outside the Graph."""
    x, t = CG.Leaf1(2), CG.Leaf1(1)
    y = CG.Affine(CG.Tanh(x), [[1.0], [2.0], [0.5]])
    losses = [CG.MSE(y, t), CG.Dots(y, y)]
    return x, t, y, losses


def forward(x, t):
    x.getInput([1, 2])
    t.getInput([3])
    x.forwardPropagation()
    t.forwardPropagation()


@pytest.mark.parametrize("call", ["forward", "predict", "sample", None])
def test_a_loss_outside_needs_a_pass_of_its_own_after_the_graph_has_computed(call):
    x, t, y, losses = outside()
    graph = CG.Graph(y)
    graph.predict({x: [[5, 5]]})
    forward(x, t)
    if call == "predict":
        graph.predict({x: [[7, 8]]})
    elif call is not None:
        getattr(graph, call)(*[0] * (call == "sample"))
    if call is not None:
        with pytest.raises(RuntimeError, match="needs a completed forward pass first"):
            losses[0].backwardPropagation()
        assert not y.gradWeight.any()
        forward(x, t)
    for loss in losses:
        loss.backwardPropagation()
    gradients = y.gradWeight.copy(), x.grad.copy()
    x, t, y, losses = outside()
    forward(x, t)
    for loss in losses:
        loss.backwardPropagation()
    np.testing.assert_allclose(gradients[0], y.gradWeight, 1e-12)
    np.testing.assert_allclose(gradients[1], x.grad, 1e-12)


@pytest.mark.parametrize("first", [0, 1])
def test_two_losses_one_of_which_is_in_a_graph_go_backward_in_any_order(first):
    expected = []
    for compiled in (False, True):
        x, t, y, losses = outside()
        if compiled:
            CG.Graph(losses[0]).predict({x: [[5, 5]], t: [[1]]})
        forward(x, t)
        losses[first].backwardPropagation()
        losses[1 - first].backwardPropagation()
        expected.append(np.concatenate([y.gradWeight.ravel(), x.grad]))
    np.testing.assert_allclose(*expected, 1e-12)
