"""Own nodes within a Graph: their methods are called, and their exceptions leave a usable state."""

import numpy as np
import pytest
from graph_twins import Twins
from own_nodes import Failing, Recorder, Scale, Square, group, mixed

import cgraph as CG

pytestmark = pytest.mark.usefixtures("guard_pages")
METHODS = ("calcData", "calcPartialDerivative", "updateParameters")


@pytest.mark.parametrize("dtype", ["float64", "float32"])
def test_own_nodes_between_compiled_ones_equal_the_nodes_own_passes(dtype):
    twins = Twins(lambda: mixed(dtype), [10])
    rng = np.random.default_rng(1)
    for batch in (1, 2):
        samples = twins.draw(rng, 3)
        twins.graph.train(twins.feed(samples), 0.01, batch=batch)
        twins.nodes_train(samples, 0.01, batch)
        twins.assert_data_are_equal()
        twins.assert_values_are_equal()
    samples = twins.draw(rng, 2)
    twins.graph.accumulate(twins.feed(samples))
    twins.nodes_train(samples, 0, 0)
    twins.assert_equal()
    twins.graph.update(0.1)
    twins.nodes_update(0.1)
    twins.assert_equal()
    assert twins.graph.predict(twins.feed(samples), twins.ours[6]).shape == (2, 12)


@pytest.mark.parametrize("method", METHODS)
def test_an_object_with_a_method_of_its_own_is_computed_by_its_methods(method):
    calls = []
    x = CG.Leaf1(3)
    layer = CG.Affine(x, np.ones((4, 2)))
    own = getattr(layer, method)
    setattr(layer, method, lambda *eta: (calls.append(method), own(*eta)))
    graph = CG.Graph(CG.Norm2(layer))
    graph.step({x: np.ones((2, 3))}, 0.1)
    assert calls == [method] * (1 if method == "updateParameters" else 2)


def test_each_method_is_called_once_for_a_sample_and_once_for_an_update():
    log = []
    x = CG.Leaf1(2)
    graph = CG.Graph(CG.Norm2(Recorder([Recorder([x], log, "a")], log, "b")))
    graph.train({x: np.ones((3, 2))}, 0.5, batch=2)
    forward = [("calcData", "a"), ("calcData", "b")]
    backward = [("calcPartialDerivative", "b"), ("calcPartialDerivative", "a")]
    update = [("updateParameters", "b", 0.5), ("updateParameters", "a", 0.5)]
    assert log == (forward + backward) * 2 + update + forward + backward + update
    del log[:]
    graph.update(0.25)
    assert log == [("updateParameters", "b", 0.25), ("updateParameters", "a", 0.25)]
    del log[:]
    graph.predict({x: np.ones((1, 2))})
    graph.forward()
    graph.backward()
    assert log == forward + forward + backward


class Decay(CG.Node):
    """0.5 Σ K² of other nodes' kernels, a node that reads their parameters and adds to their gradient sums."""

    def __init__(self, node, nodes):
        super().__init__(node.size, 1, 1, [node])
        self.nodes = nodes

    def calcData(self):
        self.data = [0.5 * sum((node.kernel**2).sum() for node in self.nodes)]

    def calcPartialDerivative(self):
        for node in self.nodes:
            node.gradKernel += self.grad[0] * node.kernel


def test_an_own_node_may_read_and_write_what_others_learn():
    """Weight decay: in a call of train the node reads the parameters after each update, and its gradients are used."""

    def make():
        x, nodes = group()
        penalty = Decay(x, nodes)
        error = CG.Norm2(CG.Concatenation([CG.ReLU(node) for node in nodes]))
        return [x, *nodes, penalty, error, CG.Add(error, penalty)]

    twins = Twins(make, [6])
    rng = np.random.default_rng(2)
    for batch in (1, 2, 1):
        samples = twins.draw(rng, 4)
        losses = twins.graph.train(twins.feed(samples), 0.05, batch=batch)
        np.testing.assert_allclose(losses, twins.nodes_train(samples, 0.05, batch), rtol=1e-11)
        twins.assert_values_are_equal()
    twins.assert_sums_are_equal()


def test_sums_written_into_an_own_node_are_learnt_from():
    x = CG.Leaf1(2)
    scale = Scale(x, [1.0, 2.0])
    graph = CG.Graph(CG.Norm2(scale))
    graph.step({x: [[0, 0]]}, 1.0)
    scale.gradWeight[...] = 4
    graph.update(0.5)
    assert scale.weight.tolist() == [-1, 0]
    assert scale.gradWeight.tolist() == [0, 0]


def failing():
    """Builds a graph with compiled nodes above and below an own node that may raise."""
    x, nodes = group()
    own = Failing(nodes[1])
    joined = CG.Concatenation([CG.ReLU(nodes[0]), own, nodes[2]])
    scores = CG.Affine(joined, np.linspace(-0.3, 0.3, 37 * 2).reshape(37, 2))
    return [x, *nodes, own, joined, scores, CG.Norm2(scores)]


@pytest.mark.parametrize("method", METHODS)
@pytest.mark.parametrize("call", ["alone", "step", "train", "accumulate", "predict"])
def test_what_an_own_method_raises_comes_out_and_the_graph_goes_on(method, call):
    twins = Twins(failing, [7])
    rng = np.random.default_rng(3)
    samples = twins.draw(rng, 2)
    graph, own, feed = twins.graph, twins.ours[4], twins.feed(samples)

    def alone():
        graph.forward()
        graph.backward()
        graph.update(0.0)

    work = {
        "alone": alone,
        "step": lambda: graph.step(feed, 0.0),
        "train": lambda: graph.train(feed, 0.0),
        "accumulate": lambda: (graph.accumulate(feed), graph.update(0.0)),
        "predict": lambda: (graph.predict(feed), graph.step(feed, 0.0)),
    }[call]
    for _ in range(2):
        own.fails_in = method
        with pytest.raises(ZeroDivisionError, match=method):
            work()
        with pytest.raises(RuntimeError, match="needs a forward"):
            graph.backward()
        own.fails_in = None
    for node in twins.ours:
        node.zero_grad()
    for _ in range(2):
        graph.train(feed, 0.05)
        twins.nodes_train(samples, 0.05, 1)
    twins.assert_values_are_equal()
    graph.accumulate(feed)
    twins.nodes_train(samples, 0, 0)
    twins.assert_equal()


def test_an_exception_ends_a_pass_and_comes_out_once():
    log = []
    x = CG.Leaf1(2)
    first = Failing(x)
    second = Failing(first)
    graph = CG.Graph(CG.Norm2(Recorder([second], log)))
    first.fails_in = "calcData"
    with pytest.raises(ZeroDivisionError, match="calcData"):
        graph.forward()
    assert not log
    first.fails_in, second.fails_in = None, "calcPartialDerivative"
    graph.forward()
    with pytest.raises(ZeroDivisionError, match="calcPartialDerivative"):
        graph.backward()


def test_predictions_of_a_pass_that_failed_are_not_handed_out():
    x = CG.Leaf1(2)
    first = Failing(x)
    y = CG.Affine(first, np.ones((3, 2)))
    out = np.full((3, 2), np.nan)
    first.fails_in = "calcData"
    with pytest.raises(ZeroDivisionError):
        CG.Graph(y).predict({x: np.ones((3, 2))}, out=out)
    assert np.isnan(out).all()


def test_after_a_pass_that_failed_every_gradient_reads_0_and_backward_needs_another():
    nodes = failing()
    graph = CG.Graph(nodes[-1])
    graph.forward()
    graph.backward()
    graph.forward()
    nodes[4].fails_in = "calcData"
    with pytest.raises(ZeroDivisionError):
        graph.forward()
    with pytest.raises(RuntimeError, match="needs a forward"):
        graph.backward()
    nodes[4].fails_in = "calcPartialDerivative"
    with pytest.raises(ZeroDivisionError):
        graph.accumulate({nodes[0]: np.ones((1, 20))})
    assert not any(node.grad.any() for node in nodes)


def test_parameters_that_were_handed_out_show_what_was_learnt_before_an_exception():
    nodes = failing()
    graph = CG.Graph(nodes[-1])
    kernel = nodes[3].kernel
    before = kernel.copy()
    nodes[4].fails_in = "updateParameters"
    with pytest.raises(ZeroDivisionError):
        graph.train({nodes[0]: np.ones((1, 20))}, 0.1)
    assert (kernel != before).any()


@pytest.mark.parametrize("call", ["backward", "accumulate", "step", "train"])
def test_a_call_that_failed_leaves_the_sums_as_they_were(call):
    """The gradient sums of an own node are restored, too, also where they were not 0."""
    twins = Twins(failing, [7])
    samples = {twins.ours[0]: np.ones((1, 20))}
    twins.graph.accumulate(samples)
    before = [p.grad.copy() for p in twins.graph.parameters]
    assert sum(grad.any() for grad in before) > 2
    twins.ours[4].fails_in = "calcPartialDerivative"
    twins.graph.forward()
    arguments = {"backward": (), "accumulate": (samples,)}.get(call, (samples, 0.5))
    with pytest.raises(ZeroDivisionError):
        getattr(twins.graph, call)(*arguments)
    for parameter, grad in zip(twins.graph.parameters, before, strict=True):
        np.testing.assert_array_equal(parameter.grad, grad)


def test_an_update_that_failed_keeps_what_it_has_learnt():
    twins = Twins(failing, [7])
    twins.graph.forward()
    twins.graph.backward()
    kernel = twins.ours[2].kernel.copy()
    twins.ours[4].fails_in = "updateParameters"
    twins.write({0: np.ones(20)})
    twins.graph.accumulate({twins.ours[0]: np.ones((1, 20))})
    with pytest.raises(ZeroDivisionError):
        twins.graph.update(1.0)
    moved = twins.ours[2].kernel.copy()
    assert (moved != kernel).any()
    twins.graph.forward()
    np.testing.assert_array_equal(twins.ours[2].kernel, moved)
    assert not twins.ours[2].gradKernel.any()


class Vector(CG.Leaf1):
    """A leaf of the user's own, with a second method that sets its data."""

    def fill(self, value):
        self.data[...] = value


class Noise(CG.Node):
    """A node without inputs that computes its data."""

    def __init__(self):
        super().__init__(0, 2, 1)
        self.drawn = 0

    def calcData(self):
        self.drawn += 1
        self.data[...] = self.drawn


def test_a_subclass_of_a_leaf_and_a_node_without_inputs_can_be_fed():
    x, y = Vector(2), CG.Node(0, 2, 1)
    graph = CG.Graph(CG.Dots(x, y), leaf_grads=[y])
    assert set(graph.leaves) == {x, y}
    assert graph.accumulate({x: [[1, 2]], y: [[3, 4]]}).tolist() == [11]
    assert y.grad.tolist() == [1, 2]
    x.fill(5)
    graph.forward()
    assert graph.nodes[-1].data.tolist() == [35]


def test_a_node_without_inputs_that_computes_is_no_leaf():
    x, noise = CG.Leaf1(2), Noise()
    graph = CG.Graph(CG.Dots(x, noise))
    assert graph.leaves == [x]
    assert graph.accumulate({x: np.ones((3, 2))}).tolist() == [2, 4, 6]
    with pytest.raises(ValueError, match="feed must map leaves"):
        graph.step({noise: [[1, 1]]}, 0.1)


def test_a_leaf_with_inputs_takes_no_part_in_the_gradients():
    """A leaf to whose list of inputs a node was appended still computes nothing."""
    x, y = CG.Leaf1(2), CG.Leaf1(2)
    y.backward.append(x)
    x.forward.append(y)
    graph = CG.Graph(CG.Dots(CG.ReLU(x), y))
    x.data[...], y.data[...] = [1, 2], [3, 4]
    for _ in range(2):
        graph.forward()
        graph.backward()
        assert x.grad.tolist() == [3, 4]
        assert y.grad.tolist() == [1, 2]


def test_a_subclass_of_an_operation_runs_through_its_own_methods():
    class Doubled(CG.ReLU):
        def calcData(self):
            super().calcData()
            self.data *= 2

    class Counting(CG.Affine):
        def updateParameters(self, eta):
            self.weight += 1
            self.gradWeight[...] = 0

    x = CG.Leaf1(2)
    counting = Counting(x, np.zeros((3, 2)))
    graph = CG.Graph(CG.Concatenation([Doubled(x), counting]))
    assert graph.predict({x: [[1, -1]]}).tolist() == [[2, 0, 0, 0]]
    graph.update(0.1)
    assert counting.weight.tolist() == [[1, 1]] * 3


def test_predict_calls_what_a_node_needs_alone():
    log = []
    x = CG.Leaf1(2)
    needed, other = CG.ReLU(x), Recorder([x], log, "other")
    CG.Graph([needed, other]).predict({x: [[1, 2]]}, needed)
    assert log == []


def test_a_leaf_of_the_users_that_learns_is_updated():
    class Bias(CG.Leaf1):
        _parameters = (("data", "grad"),)

    x, bias = CG.Leaf1(2), Bias(2)
    bias.getInput([1, 2])
    x.getInput([3, 4])
    graph = CG.Graph(CG.Dots(x, bias))
    graph.forward()
    graph.backward()
    graph.update(0.5)
    assert bias.data.tolist() == [-0.5, 0.0]


def test_the_gradient_of_what_an_own_node_reads_is_always_computed():
    x = CG.Leaf1(2)
    graph = CG.Graph(CG.Dots(Square(x), CG.ReLU(x)))
    graph.step({x: [[1.0, 2.0]]}, 0.1)
    assert x.grad.tolist() == [3.0, 12.0]


def test_sums_that_were_handed_out_add_up_around_own_nodes():
    """The gradient sums are 0 when the call begins, and must not count as 0 once the first steps have added to them."""
    twins = Twins(failing, [7])
    assert not any(parameter.grad.any() for parameter in twins.graph.parameters)
    samples = twins.draw(np.random.default_rng(4))
    twins.write(samples)
    for _ in range(3):
        twins.graph.forward()
        twins.graph.backward()
        twins.nodes_forward()
        twins.nodes_backward()
    twins.assert_equal()


class Weighted(CG.Node):
    """d_i = w_i x, for one number x."""

    _parameters = (("w", "dw"),)

    def __init__(self, node1, shape):
        super().__init__(1, 3, 1, [node1])
        self.w, self.dw = np.array([2.0, -1.0, 0.5]).reshape(shape), np.zeros(shape)

    def calcData(self):
        self.data = self.w.ravel() * self.backward[0].data

    def calcPartialDerivative(self):
        x = self.backward[0]
        x.grad += self.w.ravel() @ self.grad
        self.dw += (x.data * self.grad).reshape(self.dw.shape)


@pytest.mark.parametrize("shape", [(3,), (3, 1)])
def test_parameters_of_own_nodes_are_fed_and_written_as_they_are_when_a_call_begins(shape):
    """A parameter that is fed as a view or as the array itself has the values at the beginning of the call."""
    found = []
    for live in (True, False):
        x = CG.Leaf1(1)
        node = Weighted(x, shape)
        graph = CG.Graph(CG.Dots(node, node))
        rows = node.w if shape == (3, 1) else node.w[:, None]
        losses = graph.train({x: rows if live else rows.copy()}, 0.01)
        predicted = graph.predict({x: [[1], [2], [3]]}, out=rows if live else None)
        assert not live or (node.w.ravel() == predicted.ravel()).all()
        found.append([*losses, *predicted.ravel()])
    np.testing.assert_array_equal(*found)
