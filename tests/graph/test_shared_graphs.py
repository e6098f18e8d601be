"""Several Graphs, and nodes without a Graph, that have the same parameters."""

import numpy as np
import pytest
from amounts import one_in
from graph_networks import Maker
from shared_networks import OwnScale

import cgraph as CG

rng = np.random.default_rng


def regression(dtype="float64", hidden=6):
    """Returns x, the prediction, the target and the loss of a small network."""
    drawn = rng(0)
    x, t = CG.Leaf1(4, dtype=dtype), CG.Leaf1(3, dtype=dtype)
    h = CG.Tanh(CG.Affine(x, drawn.normal(size=(5, hidden))))
    y = CG.Affine(h, drawn.normal(size=(hidden + 1, 3)))
    return x, y, t, CG.MSE(y, t)


def convolutional(dtype="float64"):
    """Returns the same of a network whose convolutions a Graph packs."""
    make = Maker(dtype)
    images = [make.image(6, 6)]
    maps = make.each(CG.ReLU, make.bank(images, 3, 3))
    y = make.affine(CG.LayerNorm(CG.Concatenation(maps)), 3)
    t = CG.Leaf1(3, dtype=dtype)
    return images[0], y, t, CG.MSE(y, t)


def own(dtype="float64"):
    """Returns the same of a network with a node of an own class."""
    drawn = rng(0)
    x, t = CG.Leaf1(4, dtype=dtype), CG.Leaf1(3, dtype=dtype)
    y = OwnScale(CG.Affine(x, drawn.normal(size=(5, 3))), [1.0, 2.0, 3.0])
    return x, y, t, CG.MSE(y, t)


NETWORKS = {"affine": regression, "convolutions": convolutional, "own class": own}
every_network = pytest.mark.parametrize("make", NETWORKS.values(), ids=NETWORKS)


def batch(x, t, count=7, seed=0):
    drawn = rng(seed)
    return {leaf: drawn.uniform(-1, 1, (count, leaf.size)).astype(leaf.dtype) for leaf in (x, t)}


def fed(nodes, feed):
    """The same samples for another network of the same leaves, in the same order."""
    return dict(zip(nodes, feed.values(), strict=True))


class Net:
    """A network, its Graph if it has one, and what a random test does with it."""

    def __init__(self, x, y, t, loss, compiled):
        self.x, self.y, self.t, self.loss = x, y, t, loss
        self.graph = CG.Graph(loss) if compiled else None
        self.views = []

    def twin(self, compiled):
        new = CG.clone(self.loss, share=True)
        return Net(*(new[node] for node in (self.x, self.y, self.t, self.loss)), compiled)

    def feed(self, rows):
        return {self.x: rows[0], self.t: rows[1]}

    @property
    def parameters(self):
        return CG.parameters(self.loss)

    def accumulate(self, rows):
        if self.graph is not None:
            return self.graph.accumulate(self.feed(rows))
        for i in range(len(rows[0])):
            for leaf, values in self.feed(rows).items():
                leaf.data = values[i]
            self.x.forwardPropagation()
            self.t.forwardPropagation()
            self.loss.backwardPropagation()
        return None

    def update(self, eta):
        if self.graph is not None:
            self.graph.update(eta)
        else:
            self.loss.update(eta)

    def train(self, rows, eta, size):
        if self.graph is not None:
            self.graph.train(self.feed(rows), eta, size)
            return
        for first in range(0, len(rows[0]), size):
            self.accumulate([values[first : first + size] for values in rows])
            self.update(eta)

    def predict(self, rows):
        if self.graph is not None:
            return self.graph.predict(self.feed(rows), self.y)
        found = []
        for values in rows[0]:
            self.x.data = values
            found.append(CG.evaluate(self.y))
        return np.array(found)


def act(net, number, rows, eta, seed):
    """Does one of the things that users do, and returns what it shows."""
    parameter = net.parameters[seed % len(net.parameters)]
    if number == 0:
        net.train(rows, eta, 3)
    elif number == 1:
        net.accumulate(rows)
    elif number == 2:
        net.update(eta)
    elif number == 3:
        parameter.value *= 0.9
    elif number == 4:
        parameter.grad += 0.01
    elif number == 5:
        parameter.value = np.full(parameter.shape, 0.1)
    elif number == 6:
        (net.graph or parameter.node).zero_grad()
    elif number == 7:
        parameter.trainable = not parameter.trainable
    return net.predict(rows)


@every_network
@pytest.mark.parametrize("dtype", ["float64", "float32"])
@pytest.mark.parametrize("seed", one_in(3, range(6)))
def test_whatever_is_done_with_one_network_all_see_it(make, dtype, seed):
    """Compares networks that share their parameters with one that is alone and does all that they do."""
    drawn = rng(seed)
    first = Net(*make(dtype), compiled=bool(seed % 2))
    alone = Net(*make(dtype), compiled=False)
    nets = [first, first.twin(True), first.twin(True), first.twin(False)]
    if not seed % 2:
        first.graph = CG.Graph(first.loss)
    held = []
    tolerance = (
        {"rtol": 1e-9, "atol": 1e-11} if dtype == "float64" else {"rtol": 1e-3, "atol": 1e-4}
    )
    for step in range(60):
        net = nets[drawn.integers(len(nets))]
        rows = [
            drawn.uniform(-1, 1, (drawn.integers(1, 12), leaf.size)).astype(dtype)
            for leaf in (net.x, net.t)
        ]
        rows[1] = np.resize(rows[1], (len(rows[0]), net.t.size))
        number, which = int(drawn.integers(9)), int(drawn.integers(10))
        if number == 6 and net.graph is None:
            number = 8
        if number == 6:
            for p in alone.parameters:
                if p.trainable:
                    p.grad[...] = 0
            found, expected = act(net, 6, rows, 0.01, which), alone.predict(rows)
        else:
            found, expected = (act(each, number, rows, 0.01, which) for each in (net, alone))
        np.testing.assert_allclose(found, expected, **tolerance)
        if drawn.random() < 0.2:
            held = [p.value for p in nets[drawn.integers(len(nets))].parameters]
        if drawn.random() < 0.2:
            held = []
        if drawn.random() < 0.1:
            held += [p.grad for p in net.parameters]
        if drawn.random() < 0.3 or step == 59:
            for p, q in zip(
                nets[drawn.integers(len(nets))].parameters, alone.parameters, strict=True
            ):
                np.testing.assert_allclose(p.value, q.value, **tolerance)
                np.testing.assert_allclose(p.grad, q.grad, **tolerance)
        if drawn.random() < 0.05:
            nets[1] = first.twin(True)
        if drawn.random() < 0.05:
            first.graph = CG.Graph(first.loss)


@pytest.mark.parametrize("own", [False, True])
def test_a_summary_counts_shared_parameters_once(own, capsys):
    first, second = CG.Leaf1(2), CG.Leaf1(2)
    y = OwnScale(first, [1.0, 2.0]) if own else CG.Affine(first, np.ones((3, 2)))
    graph = CG.Graph(CG.Norm2(CG.Sub(y, y.share(second))))
    graph.summary()
    count = sum(p.value.size for p in graph.parameters)
    assert f"steps for 6 nodes, {count} parameters" in capsys.readouterr().out
