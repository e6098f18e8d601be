"""The flat vector of a Graph, and gradients in its order: those of passes over nodes, without a trace in the sums."""

import itertools

import numpy as np
import pytest
from arrays import assert_equal
from batch_settings import every_setting
from interrupts import events, stopped
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


@every_network
@every_setting
def test_no_samples_have_no_gradient(make, setting):
    net = Net(make)
    graph = net.compile(**setting._asdict())
    v = graph.get_vector()
    value, gradient = graph.value_and_grad(net.feed(0), 2 * v)
    assert value == 0
    assert_equal(gradient, np.zeros(v.size))
    assert_equal(graph.get_vector(), 2 * v)
    assert graph.per_sample_gradients(net.feed(0)).shape == (0, v.size)


def test_a_graph_in_which_nothing_learns():
    x = CG.Leaf1(3)
    graph = CG.Graph(CG.Norm2(x))
    feed = {x: np.ones((2, 3))}
    assert graph.get_vector().shape == (0,)
    graph.set_vector([])
    value, gradient = graph.value_and_grad(feed, [])
    assert (value, gradient.shape) == (graph.predict(feed).sum(), (0,))
    assert graph.per_sample_gradients(feed).shape == (2, 0)


def dropping(net):
    x, t = net.leaf(3), net.leaf(2)
    hidden = CG.Dropout(CG.Tanh(net.affine(x, 8)), 0.5, 1)
    return CG.MSE(net.affine(hidden, 2), t), [x, t]


@every_setting
def test_dropout_does_nothing_and_counts_nothing(setting):
    net, twin = Net(dropping), Net(dropping)
    graph = net.compile(**setting._asdict())
    twin.compile(**setting._asdict())
    feed = net.feed(20)
    predicted = graph.predict(feed)
    for _ in range(2):
        value, gradient = graph.value_and_grad(feed)
        np.testing.assert_allclose(value, predicted.sum(), rtol=1e-12)
        graph.sample(3)
        np.testing.assert_allclose(net.loss.data, predicted[3], rtol=1e-12)
        rows = graph.per_sample_gradients(feed)
        np.testing.assert_allclose(rows.sum(0), gradient, rtol=1e-12, atol=1e-12)
    assert_equal(graph.step(feed, 0.1), twin.graph.step(twin.feed(20), 0.1))


@every_setting
def test_a_value_that_is_not_finite_stays_with_its_sample(setting):
    net = Net(dense)
    graph = net.compile(**setting._asdict())
    expected = graph.per_sample_gradients(net.feed(40))
    x = net.leaves[0]
    net.rows[x][[5, 33], 0] = np.nan, np.inf
    rows = graph.per_sample_gradients(net.feed(40))
    finite = np.isfinite(rows).all(1)
    assert np.flatnonzero(~finite).tolist() == [5, 33]
    np.testing.assert_allclose(rows[finite], expected[finite], rtol=1e-12, atol=1e-14)
    assert np.isnan(graph.value_and_grad(net.feed(40))[0])


@every_setting
def test_nodes_show_what_they_show_after_a_batch(setting):
    """The leaves hold the last sample, and `sample` shows each of them."""
    net = Net(dense)
    graph = net.compile(**setting._asdict())
    feed = net.feed(20)
    losses = graph.predict(feed)
    for call in (graph.value_and_grad, graph.per_sample_gradients):
        call(feed)
        for x, rows in feed.items():
            assert_equal(x.data.reshape(-1), rows[-1])
        if setting == ("samples", 1):
            np.testing.assert_allclose(net.loss.data, losses[-1])
            assert net.loss.grad == 1
        else:
            with pytest.raises(RuntimeError, match="grad is not kept for a batch"):
                _ = net.loss.grad
        graph.sample(7)
        np.testing.assert_allclose(net.loss.data, losses[7])


def test_graphs_that_share_parameters_see_the_vector():
    """What one Graph is given as a vector, the other one has; neither sees the sums of gradients that are returned."""
    net = Net(shared)
    graph = net.compile()
    x = net.leaf(3)
    other = CG.Graph(CG.Norm2(net.parameters[0].nodes[0].share(x)))
    v = graph.get_vector()
    size = other.get_vector().size
    value, gradient = graph.value_and_grad(net.feed(20), 2 * v)
    assert_equal(other.get_vector(), 2 * v[:size])
    rows = {x: net.rows[net.leaves[0]][:9]}
    before = other.predict(rows)
    other.set_vector(v[:size])
    assert not np.array_equal(other.predict(rows), before)
    assert_equal(graph.get_vector(), np.concatenate([v[:size], 2 * v[size:]]))
    other.accumulate(rows)
    sums = net.parameters[0].grad.copy()
    graph.per_sample_gradients(net.feed(20))
    other.value_and_grad(rows, 3 * v[:size])
    assert_equal(net.parameters[0].grad, sums)
    found = graph.value_and_grad(net.feed(20), 2 * v)
    assert found[0] == value
    assert_equal(found[1], gradient)


def test_what_is_refused_changes_nothing():
    net = Net(dense)
    graph = net.compile()
    graph.accumulate(net.feed(3))
    before, sums = graph.get_vector(), net.sums()
    size, feed = before.size, net.feed(4)
    wrong = [
        (np.zeros(size + 1), ValueError, f"v must have shape (P,) = ({size},)"),
        (np.zeros((1, size)), ValueError, f"got (1, {size})"),
        (np.zeros(size, complex), TypeError, "v must hold real numbers"),
        ("zeros", TypeError, "v must hold real numbers"),
    ]
    for v, kind, message in wrong:
        for owner, call in (
            ("set_vector", lambda v=v: graph.set_vector(v)),
            ("value_and_grad", lambda v=v: graph.value_and_grad(feed, v)),
        ):
            with pytest.raises(kind) as refused:
                call()
            assert str(refused.value).startswith(f"Graph.{owner}: v")
            assert message in str(refused.value)
    fresh = Net(dense)
    unfed = fresh.compile()
    v = fresh.graph.get_vector()
    for call in (
        lambda: unfed.value_and_grad({fresh.leaves[0]: np.zeros((2, 3))}, v + 1),
        lambda: unfed.per_sample_gradients({fresh.leaves[0]: np.zeros((2, 3))}),
    ):
        with pytest.raises(ValueError, match="must be fed, since it was never given data"):
            call()
    assert_equal(unfed.get_vector(), v)
    several = CG.Graph([net.affine(net.leaf(2), 2), net.affine(net.leaf(1), 1)])
    for call in (several.value_and_grad, several.per_sample_gradients):
        with pytest.raises(ValueError, match="needs one output of one element, got 2 of sizes"):
            call({several.leaves[0]: np.zeros((1, 2))})
    assert several.get_vector().size == 8
    assert_equal(graph.get_vector(), before)
    assert_equal(net.sums(), sums)
    CG.Graph(net.loss)
    for call in (
        graph.get_vector,
        lambda: graph.set_vector(before),
        lambda: graph.value_and_grad(feed),
        lambda: graph.per_sample_gradients(feed),
    ):
        with pytest.raises(RuntimeError, match="its nodes belong to a newer Graph"):
            call()


def test_a_running_graph_is_refused():
    calls = []

    class Nosy(Scale):
        def calcData(self):
            super().calcData()
            for call in calls:
                with pytest.raises(RuntimeError, match="is already running"):
                    call()

    x = CG.Leaf1(2)
    graph = CG.Graph(CG.Norm2(Nosy(x, [1, 2])))
    feed = {x: np.ones((3, 2))}
    calls += [
        graph.get_vector,
        lambda: graph.set_vector([1, 1]),
        lambda: graph.value_and_grad(feed),
        lambda: graph.per_sample_gradients(feed),
    ]
    assert graph.per_sample_gradients(feed).shape == (3, 2)


def test_an_error_of_an_own_node_leaves_all_as_it_was():
    class Failing(Scale):
        fails = False

        def calcPartialDerivative(self):
            super().calcPartialDerivative()
            if self.fails:
                raise ZeroDivisionError

    net = Net(dense)
    x, t = net.leaves
    node = Failing(net.affine(x, 1), [2])
    loss = CG.MSE(node, t)
    graph = CG.Graph(loss)
    graph.accumulate(net.feed(5))
    parameters = CG.parameters(loss)
    sums = [p.grad.copy() for p in parameters]
    node.fails = True
    for call in (graph.value_and_grad, graph.per_sample_gradients):
        with pytest.raises(ZeroDivisionError):
            call(net.feed(4))
        for p, kept in zip(parameters, sums, strict=True):
            assert_equal(p.grad, kept)


def test_an_array_of_an_own_node_may_be_exchanged():
    x = CG.Leaf1(1)
    node = Scale(x, [2.0])
    graph = CG.Graph(CG.Sum(node))
    assert_equal(graph.get_vector(), np.array([2.0]))
    node.weight, node.gradWeight = np.array(3.0), np.array(0.0)
    assert_equal(graph.get_vector(), np.array([3.0]))
    graph.set_vector([4])
    assert node.weight == 4
    node.weight, node.gradWeight = np.array([5.0, 6.0]), np.zeros(2)
    assert_equal(graph.get_vector(), np.array([5.0, 6.0]))
    node.weight = np.array([1, 2])
    with pytest.raises(TypeError, match=r"for a flat vector, got one of dtype int64"):
        graph.get_vector()


@pytest.mark.thread_unsafe(reason="traces")
@pytest.mark.parametrize("threads", [1, 2])
def test_an_exception_at_any_event_over_lanes(threads):
    """The steps over lanes compute gradient sums again in the next call."""

    def call():
        net.graph.per_sample_gradients(net.feed(20))

    def begun():
        net = Net(dense, count=20)
        net.compile(layout="lanes", threads=threads).accumulate(net.feed(20))
        return net

    net = begun()
    call()
    count = events(call)
    for number in range(1, count + 1, 11):
        net = begun()
        sums = net.sums()
        stopped(call, number)
        assert_equal(net.sums(), sums)
        net.graph.accumulate(net.feed(20))
        np.testing.assert_allclose(net.sums(), 2 * sums, rtol=1e-10, atol=1e-12)
