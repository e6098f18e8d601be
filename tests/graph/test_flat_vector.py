"""The flat vector of a Graph, and gradients in its order: those of passes over nodes, without a trace in the sums."""

import itertools

import numpy as np
import pytest
from arrays import assert_equal
from batch_settings import every_setting
from op_row import network_of
from op_table import DTYPES, cases
from own_nodes import Scale

import cgraph as CG

pytestmark = pytest.mark.usefixtures("guard_pages", "eager_threads")
TOLERANCE = {"float64": 1e-11, "float32": 2e-5}
COUNTS = (1, 2, 7, 16, 33, 100)


class Net:
    """A network, with samples for its leaves, `rows`; equal ones have equal numbers."""

    def __init__(self, make, dtype="float64", count=100):
        self.dtype, self.rng = np.dtype(dtype), np.random.default_rng(0)
        self.loss, self.leaves = make(self)
        self.rows = {x: self.draw((count, x.size)) for x in self.leaves}
        self.parameters = CG.parameters(self.loss)

    def draw(self, shape):
        return self.rng.uniform(-1, 1, shape).astype(self.dtype)

    def leaf(self, height, width=None):
        if width is None:
            return CG.Leaf1(height, dtype=self.dtype)
        return CG.Leaf2(height, width, dtype=self.dtype)

    def affine(self, x, n, *bias):
        return CG.Affine(x, self.draw((x.size + 1, n)), *bias)

    def feed(self, count, first=0):
        return {x: rows[first : first + count] for x, rows in self.rows.items()}

    def compile(self, **options):
        self.graph = CG.Graph(self.loss, **options)
        return self.graph

    def sums(self):
        return np.concatenate([p.grad.ravel() for p in self.parameters if p.trainable])

    def expected(self, count):
        """Returns the gradient of each sample, by passes of the nodes of an equal network."""
        rows = []
        for number in range(count):
            for p in self.parameters:
                p.grad[...] = 0
            for x, data in self.rows.items():
                x.getInput(data[number])
            for x in self.leaves:
                x.forwardPropagation()
            self.loss.backwardPropagation()
            rows.append(self.sums())
        return np.array(rows).reshape(count, -1)


def dense(net):
    """Matrices of all shapes, one with a constant input of its own, one with one column, and one that reads a part."""
    x, t = net.leaf(3), net.leaf(1)
    wide = CG.Tanh(net.affine(x, 37))
    parts = [CG.ReLU(net.affine(wide, 5, -0.5)), net.affine(CG.Slice(wide, 3, 11), 2)]
    joined = CG.Concatenation([*parts, x])
    return CG.MSE(net.affine(CG.Sigmoid(joined), 1), t), [x, t]


def shared(net):
    """Two matrices, each of which several nodes have: at one depth, and twice on a path."""
    x, z, t = net.leaf(3), net.leaf(3), net.leaf(4)
    first = net.affine(x, 4, 0.5)
    inner = net.affine(CG.Concatenation([CG.Tanh(first), CG.Tanh(first.share(z))]), 8)
    again = inner.share(CG.Sigmoid(inner))
    return CG.MSE(net.affine(CG.Mul(inner, again), 4), t), [x, z, t]


def shared_images(net):
    """Convolutions of a fused group on two images, and a layer behind them with the parameters of another one."""
    one, two, t = net.leaf(4, 5), net.leaf(4, 5), net.leaf(2)
    maps = [CG.Convolution2d([one], net.draw((1, 2, 2)), 0.1) for _ in range(3)]
    others = [maps[k].share([two]) for k in (0, 2)]
    head = net.affine(CG.Concatenation([CG.Tanh(each) for each in maps[:2]]), 2)
    both = CG.Add(head, head.share(CG.Concatenation([maps[2], CG.ReLU(others[1])])))
    return CG.MSE(CG.Add(both, net.affine(others[0], 2)), t), [one, two, t]


def images(net):
    """Convolutions of a fused group, one alone, and normalised layers behind them."""
    image, t = net.leaf(5, 5), net.leaf(3)
    maps = [CG.ReLU(CG.Convolution2d([image], net.draw((1, 2, 2)), 0.1)) for _ in range(3)]
    alone = CG.Convolution2d([maps[0], maps[2]], net.draw((2, 2, 2)), 0.25, 4, 4)
    joined = CG.LayerNorm(CG.Concatenation([*maps, alone]), net.draw(64), net.draw(64))
    return CG.SoftmaxCEE(net.affine(joined, 3), t), [image, t]


def own(net):
    """A node of a user's class between matrices, and a matrix that is computed in Python."""

    class Mine(CG.Affine):
        def calcData(self):
            super().calcData()

    x, t = net.leaf(3), net.leaf(2)
    hidden = Scale(net.affine(x, 4), net.draw(4))
    return CG.MSE(Mine(CG.Tanh(hidden), net.draw((5, 2))), t), [x, t]


NETWORKS = {
    "dense": dense,
    "shared": shared,
    "images": images,
    "shared_images": shared_images,
    "own": own,
}
# Numbers of parameters that do not learn.
FROZEN = {
    "shared": [(), (0,), (1,)],
    "shared_images": [(), (0, 5), (6,)],
    "dense": [(), (0,), (1, 3)],
    "images": [(), (0, 3), (6, 8, 9), (10,)],
    "own": [(), (1,)],
}
# Each with one dtype, in turn, but both where all learn.
ROWS = [
    (name, frozen, dtype)
    for number, (name, frozen) in enumerate((name, f) for name in FROZEN for f in FROZEN[name])
    for dtype in (DTYPES if not frozen else DTYPES[number % 2 :][:1])
]
every_network = pytest.mark.parametrize("make", NETWORKS.values(), ids=list(NETWORKS))


def assert_close(found, expected, dtype):
    scale = max(1.0, np.abs(expected).max(initial=0))
    assert found.dtype == dtype
    assert found.shape == expected.shape
    np.testing.assert_allclose(found, expected, rtol=0, atol=TOLERANCE[dtype] * scale)


def check(graph, feed, expected, losses, dtype):
    """Compares both gradients of a Graph with those of each sample."""
    assert_close(graph.per_sample_gradients(feed), expected, dtype)
    value, gradient = graph.value_and_grad(feed)
    assert type(value) is float
    np.testing.assert_allclose(value, losses.sum(), rtol=TOLERANCE[dtype] * 10)
    assert_close(gradient, expected.sum(0), dtype)


@pytest.mark.parametrize(("name", "frozen", "dtype"), ROWS, ids=str)
def test_gradients_of_networks_are_those_of_passes_over_nodes(name, frozen, dtype):
    twin = Net(NETWORKS[name], dtype)
    for number in frozen:
        twin.parameters[number].trainable = False
    expected = twin.expected(max(COUNTS))
    for number, setting in enumerate(itertools.product(("lanes", "samples", "auto"), (1, 2))):
        net = Net(NETWORKS[name], dtype)
        graph = net.compile(layout=setting[0], threads=setting[1])
        for count in (COUNTS[number], COUNTS[number - 3]):
            for each in frozen:  # which begins, and ends, between two calls
                net.parameters[each].trainable = False
            losses = graph.predict(net.feed(count))
            check(graph, net.feed(count), expected[:count], losses, dtype)
            for p in net.parameters:
                p.trainable = True
            rows, gradient = (
                graph.per_sample_gradients(net.feed(count)),
                graph.value_and_grad(net.feed(count))[1],
            )
            assert_close(rows.sum(0), gradient, dtype)


LEARNING = [row for row in cases() if row[2].usual and row[2].params]


@pytest.mark.parametrize(("name", "row", "case"), LEARNING, ids=[row[0] for row in LEARNING])
def test_gradients_of_operations_are_those_of_passes_over_nodes(name, row, case):
    number = [row[0] for row in LEARNING].index(name)
    dtype = DTYPES[number % 2]

    def make(net):
        nodes = network_of(row, case, dtype)
        return nodes[-1], [x for x in nodes if not x.backward]

    expected = Net(make, dtype, 5).expected(5)
    for layout in ("samples", "lanes"):
        net = Net(make, dtype, 5)
        graph = net.compile(layout=layout)
        feed = net.feed(5)
        check(graph, feed, expected, graph.predict(feed), dtype)


@every_network
def test_gradients_are_slopes(make):
    net = Net(make, count=9)
    graph = net.compile()
    feed, v, step = net.feed(9), graph.get_vector(), 1e-6
    gradient = graph.value_and_grad(feed)[1]
    rows = graph.per_sample_gradients(feed)
    for number in np.random.default_rng(1).integers(0, v.size, 12):
        losses, values = [], []
        for sign in (1, -1):
            moved = v.copy()
            moved[number] += sign * step
            values.append(graph.value_and_grad(feed, moved)[0])
            losses.append(graph.predict(feed)[:, 0])
            assert_equal(graph.get_vector(), moved)
        slope = (values[0] - values[1]) / (2 * step)
        np.testing.assert_allclose(gradient[number], slope, rtol=1e-5, atol=1e-6)
        np.testing.assert_allclose(
            rows[:, number], (losses[0] - losses[1]) / (2 * step), rtol=1e-5, atol=1e-6
        )


@every_network
@pytest.mark.parametrize("dtype", DTYPES)
def test_the_vector_has_the_parameters_that_learn_in_order(make, dtype):
    net = Net(make, dtype)
    graph = net.compile()
    parameters = graph.parameters
    parameters[1].trainable = False
    order = [p for p in parameters if p.trainable]
    vector = graph.get_vector()
    assert vector.dtype == dtype
    assert_equal(vector, np.concatenate([p.value.ravel() for p in order]))
    frozen = parameters[1].value.copy()
    held = order[0].value  # a look that lives
    numbers = np.arange(vector.size)
    graph.set_vector(numbers.tolist())
    assert_equal(graph.get_vector(), numbers.astype(dtype))
    assert_equal(np.concatenate([p.value.ravel() for p in order]), numbers.astype(dtype))
    assert_equal(held, order[0].value)
    assert_equal(parameters[1].value, frozen)
    held[...] = -1
    assert (graph.get_vector()[: held.size] == -1).all()
    parameters[1].trainable = True
    assert graph.get_vector().size == vector.size + frozen.size
    # A vector that is one of the arrays itself.
    single = CG.Graph(CG.Affine(net.leaf(2), np.arange(6).reshape(3, 2)))
    array = single.parameters[0].value.reshape(-1)
    single.set_vector(array[::-1])
    assert_equal(single.get_vector(), np.arange(6.0)[::-1].astype(dtype))


def test_a_vector_may_hold_anything_real():
    net = Net(dense, "float32")
    graph = net.compile()
    v = np.zeros(graph.get_vector().size)
    v[:3] = np.nan, np.inf, 2**-140
    graph.set_vector(v)
    assert_equal(graph.get_vector()[:4], np.array([np.nan, np.inf, 2**-140, 0], np.float32))
    graph.set_vector(v > 0)
    assert set(graph.get_vector()) == {0, 1}


def test_a_vector_may_share_memory_with_arrays_of_own_nodes():
    x, w = CG.Leaf1(2), np.arange(4.0)
    first, second = Scale(x, [0, 0]), Scale(x, [0, 0])
    first.weight, second.weight = w[:2], w[2:]
    graph = CG.Graph(CG.Dots(first, second))
    graph.set_vector(w[::-1])
    assert_equal(w, np.array([3.0, 2, 1, 0]))


def test_losses_are_summed_up_in_float64():
    x = CG.Leaf1(1, dtype="float32")
    graph = CG.Graph(CG.Sum(x))
    assert graph.value_and_grad({x: [2.0**24, 1, 1]})[0] == 2**24 + 2


@every_network
@every_setting
def test_sums_and_samples_stay_as_they_are(make, setting):
    """An optimiser's update afterwards is that of an equal Graph that has not been asked for gradients."""
    for before, looked_at in ((0, True), (3, False), (3, True)):
        net, twin = Net(make), Net(make)
        for each in (net, twin):
            each.compile(**setting._asdict())
            if before:
                each.graph.accumulate(each.feed(before))
        views = [(p.value, p.grad) for p in net.parameters] if looked_at else []
        copies = [(value.copy(), total.copy()) for value, total in views]
        net.graph.value_and_grad(net.feed(20), net.graph.get_vector())
        net.graph.per_sample_gradients(net.feed(21))
        for pair, kept in zip(views, copies, strict=True):
            for array, copy in zip(pair, kept, strict=True):
                assert_equal(array, copy)
        for p, q in zip(net.parameters, twin.parameters, strict=True):
            assert_equal(p.grad, q.grad)
        for each in (net, twin):
            each.graph.update(CG.SGD(0.5))
            each.graph.step(each.feed(5), CG.SGD(0.5))
        for p, q in zip(net.parameters, twin.parameters, strict=True):
            assert_equal(p.value, q.value)
