"""Parameters that do not learn: neither they nor their gradient sums change, in any layout, and the others learn."""

import numpy as np
import pytest

import cgraph as CG

RNG = np.random.default_rng(0)
IMAGES, LABELS = RNG.normal(size=(40, 6, 6)), RNG.normal(size=(40, 3))
# Numbers of parameters: kernels and biases of a fused group in turn, then the weights of two Affine nodes.
FROZEN = [[0], [1], [0, 2, 4], [1, 3, 5], [0, 1, 2, 3, 4, 5], [6], [6, 7], [*range(8)]]


def network(middle=CG.Affine):
    rng = np.random.default_rng(1)
    x, t = CG.Leaf2(6, 6), CG.Leaf1(3)
    maps = [CG.ReLU(CG.Convolution2d([x], rng.normal(size=(1, 3, 3)), 0.1)) for _ in range(3)]
    flat = CG.Concatenation(maps)
    hidden = CG.Tanh(middle(flat, rng.normal(size=(flat.size + 1, 5)) * 0.3))
    return x, t, CG.MSE(CG.Affine(hidden, rng.normal(size=(6, 3))), t)


def node_passes(x, t, loss, images, labels):
    for image, label in zip(images, labels, strict=True):
        for leaf, value in ((x, image), (t, label)):
            leaf.getInput(value)
            leaf.forwardPropagation()
        loss.backwardPropagation()


def train_nodes(x, t, loss, eta, batch):
    for i in range(0, len(IMAGES), batch):
        node_passes(x, t, loss, IMAGES[i : i + batch], LABELS[i : i + batch])
        loss.update(eta)


def assert_alike(ours, theirs):
    for p, q in zip(ours, theirs, strict=True):
        np.testing.assert_allclose(p.value, q.value, rtol=1e-6, atol=1e-9)
        np.testing.assert_allclose(p.grad, q.grad, rtol=1e-6, atol=1e-8)


@pytest.mark.parametrize("frozen", FROZEN, ids=str)
@pytest.mark.parametrize("layout", ["samples", "lanes"])
@pytest.mark.parametrize("threads", [1, 2])
def test_frozen_parameters_and_their_sums_stay_and_the_others_learn_as_over_nodes(
    frozen, layout, threads
):
    for batch in (1, 4, 20):
        (x, t, loss), twin = network(), network()
        feed = {x: IMAGES, t: LABELS}
        graph = CG.Graph(loss, layout=layout, threads=threads)
        graph.train(feed, 1e-2, batch)
        ours, theirs = graph.parameters, CG.parameters(twin[-1])
        for p, q in zip(ours, theirs, strict=True):
            p.grad[...] = 3
            q.value, q.grad = p.value, p.grad
        kept = [(ours[i].value.copy(), ours[i].grad.copy()) for i in frozen]
        for i in frozen:
            ours[i].trainable = theirs[i].trainable = False
        graph.train(feed, 1e-2, batch)
        train_nodes(*twin, 1e-2, batch)
        graph.accumulate(feed)
        node_passes(*twin, IMAGES, LABELS)
        assert_alike(ours, theirs)
        graph.zero_grad()
        for i, (value, total) in zip(frozen, kept, strict=True):
            np.testing.assert_array_equal(ours[i].value, value)
            np.testing.assert_array_equal(ours[i].grad, total)
        for p, q in zip(ours, theirs, strict=True):
            p.trainable = q.trainable = True
            q.grad = p.grad
        graph.train(feed, 1e-3, batch)
        train_nodes(*twin, 1e-3, batch)
        assert_alike(ours, theirs)


class Mine(CG.Affine):
    """A class without methods of its own."""


class Fixed(CG.Affine):
    _parameters = ()


class Noisy(CG.Affine):
    def calcData(self):
        super().calcData()


@pytest.mark.parametrize(("cls", "layout"), [(Mine, "lanes"), (Fixed, "lanes"), (Noisy, "samples")])
def test_a_derived_class_keeps_the_compiled_step_unless_it_has_a_method_of_its_own(
    cls, layout, capsys
):
    (x, t, loss), plain = network(cls), network()
    graph, twin = CG.Graph(loss), CG.Graph(plain[-1])
    graph.summary()
    rows = capsys.readouterr().out.splitlines()
    assert next(row for row in rows if cls.__name__ in row).endswith(layout)
    reason = "in one thread, since Noisy is computed in Python"
    assert (reason in rows[-1]) == (cls is Noisy)
    if cls is Fixed:
        twin.parameters[6].trainable = False
    losses = graph.train({x: IMAGES, t: LABELS}, 1e-2, 4)
    expected = twin.train({plain[0]: IMAGES, plain[1]: LABELS}, 1e-2, 4)
    np.testing.assert_allclose(losses, expected, rtol=1e-9)


def test_a_method_of_one_object_is_called():
    x, t, loss = network()
    node = loss.backward[0]
    calls = []
    node.calcData = lambda: (calls.append(1), type(node).calcData(node))
    CG.Graph(loss).predict({x: IMAGES, t: LABELS})
    assert len(calls) == len(IMAGES)


def test_an_own_node_that_does_not_learn_keeps_its_arrays():
    class Scale(CG.Node):
        _parameters = (("weight", "gradWeight"),)

        def __init__(self, x):
            super().__init__(x.size, x.height, x.width, [x])
            self.weight, self.gradWeight = np.full(x.size, 2.0), np.zeros(x.size)

        def calcData(self):
            self.data = self.weight * self.backward[0].data

        def calcPartialDerivative(self):
            self.backward[0].grad += self.weight * self.grad
            self.gradWeight += self.backward[0].data * self.grad

    x = CG.Leaf1(3)
    node = Scale(x)
    graph = CG.Graph(CG.Norm2(node))
    (p,) = graph.parameters
    p.trainable = False
    graph.train({x: np.ones((4, 3))}, 0.1)
    assert node.weight.tolist() == [2, 2, 2]
    assert not node.gradWeight.any()
    p.trainable = True
    graph.train({x: np.ones((4, 3))}, 0.1)
    assert (node.weight < 2).all()


class Meddling(CG.Affine):
    """Every method writes into the weights and into their gradient sum."""

    def calcData(self):
        super().calcData()
        self.weight[...] += 1

    def calcPartialDerivative(self):
        super().calcPartialDerivative()
        self.weight[...] += 1
        self.gradWeight[...] += 1

    def updateParameters(self, eta):
        self.weight[...] -= eta * self.gradWeight + 1
        self.gradWeight[...] = 0


CALLS = {
    "nodes": lambda x, t, loss, graph: node_passes(x, t, loss, IMAGES[:2], LABELS[:2]),
    "update of nodes": lambda x, t, loss, graph: loss.update(0.1),
    "evaluate": lambda x, t, loss, graph: CG.evaluate(loss),
    "train": lambda x, t, loss, graph: graph.train({x: IMAGES, t: LABELS}, 0.1, 4),
    "predict": lambda x, t, loss, graph: graph.predict({x: IMAGES, t: LABELS}),
}


@pytest.mark.parametrize("call", CALLS)
def test_what_own_methods_do_to_a_frozen_parameter_is_undone(call):
    x, t, loss = network(Meddling)
    graph = CG.Graph(loss)
    p = graph.parameters[6]
    assert type(p.node) is Meddling
    p.grad[...] = 3
    p.trainable = False
    value = p.value.copy()
    CALLS[call](x, t, loss, graph)
    np.testing.assert_array_equal(p.value, value)
    assert (p.grad == 3).all()


def test_zero_grad_of_a_graph_clears_all_sums_or_none():
    class Refusing(CG.Affine):
        def calcData(self):
            super().calcData()

        def zero_grad(self):
            super().zero_grad()
            raise ZeroDivisionError

    x, t, loss = network(Refusing)
    graph = CG.Graph(loss)
    graph.accumulate({x: IMAGES, t: LABELS})
    before = [p.grad.copy() for p in graph.parameters]
    with pytest.raises(ZeroDivisionError):
        graph.zero_grad()
    for p, total in zip(graph.parameters, before, strict=True):
        np.testing.assert_array_equal(p.grad, total)


def test_trainable_takes_a_truth_value_alone():
    p = CG.parameters(network()[-1])[0]
    for wrong in (1, None, "no"):
        with pytest.raises(TypeError, match="trainable must be True or False, got"):
            p.trainable = wrong
    assert p.trainable is True
    p.trainable = np.False_
    assert repr(p).endswith("trainable=False)")
    with pytest.raises(ValueError, match="wrt must"):
        CG.gradcheck(network()[-1], wrt=[p])
