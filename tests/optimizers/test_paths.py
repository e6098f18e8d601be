"""Optimisers on both paths: nodes and Graphs, layouts, threads, own nodes, own rules, and state that goes on."""

import numpy as np
import pytest
from numpy.testing import assert_allclose
from optimizer_reference import NAMES, RULES, Reference
from own_nodes import Recorder, Scale

import cgraph as CG


class Task:
    """A small network with data; `own` puts a node of a user's class with parameters into it."""

    def __init__(self, own=False, dtype="float64", samples=50):
        rng = np.random.default_rng(7)
        self.x, self.t = CG.Leaf1(6, dtype=dtype), CG.Leaf1(3, dtype=dtype)
        hidden = CG.Affine(self.x, rng.normal(0, 0.4, (7, 5)))
        if own:
            hidden = Scale(hidden, rng.normal(1, 0.1, 5))
        hidden = CG.LayerNorm(CG.Tanh(hidden))
        self.y = CG.Affine(hidden, rng.normal(0, 0.4, (6, 3)))
        self.loss = CG.MSE(self.y, self.t)
        self.inputs = rng.normal(size=(samples, 6)).astype(dtype)
        self.targets = np.tanh(self.inputs[:, :3])
        self.feed = {self.x: self.inputs, self.t: self.targets}
        self.parameters = CG.parameters(self.loss)

    def values(self):
        return [p.value.copy() for p in self.parameters]

    def over_nodes(self, optimizer, batch):
        """Trains over nodes, and returns the losses."""
        losses = []
        for number, (x, t) in enumerate(zip(self.inputs, self.targets, strict=True), 1):
            self.x.getInput(x)
            self.t.getInput(t)
            self.x.forwardPropagation()
            self.t.forwardPropagation()
            losses.append(self.loss.data[0])
            self.loss.backwardPropagation()
            if number % batch == 0 or number == len(self.inputs):
                optimizer.update(self.loss)
        return np.array(losses)


def agree(one, other, rtol=1e-9):
    for x, y in zip(one.values(), other.values(), strict=True):
        assert_allclose(x, y, rtol=rtol, atol=rtol)


@pytest.mark.parametrize("own", [False, True], ids=["compiled", "own"])
@pytest.mark.parametrize("batch", [1, 8, 64])
@pytest.mark.parametrize(("name", "options"), RULES, ids=NAMES)
def test_graph_and_nodes_agree(name, options, batch, own):
    """The last batch is smaller, and divides by its own number of samples."""
    nodes, graph = Task(own), Task(own)
    rules = [getattr(CG, name)(**options, max_grad_norm=0.3) for _ in range(2)]
    expected = nodes.over_nodes(rules[0], batch)
    found = CG.Graph(graph.loss).train(graph.feed, rules[1], batch)
    assert_allclose(found, expected, rtol=1e-9)
    agree(nodes, graph)
    assert rules[0].updates == rules[1].updates == -(-50 // batch)


@pytest.mark.usefixtures("eager_threads")
@pytest.mark.parametrize("layout", ["samples", "lanes"])
@pytest.mark.parametrize("threads", [1, 2])
@pytest.mark.parametrize("dtype", ["float64", "float32"])
def test_layouts_and_threads_agree(layout, threads, dtype):
    usual, other = Task(dtype=dtype), Task(dtype=dtype)
    CG.Graph(usual.loss, threads=1).train(usual.feed, CG.SGD(0.1, momentum=0.9), 20)
    graph = CG.Graph(other.loss, threads=threads, layout=layout)
    graph.train(other.feed, CG.SGD(0.1, momentum=0.9), 20)
    agree(usual, other, 1e-9 if dtype == "float64" else 1e-4)


def test_accumulated_samples_count():
    """Calls that accumulate add up, and those of another Graph, of `predict` and `sample` do not count."""
    usual, other = Task(samples=6), Task(samples=6)
    CG.Graph(usual.loss).step(usual.feed, CG.Adam(0.1))
    graph, optimizer = CG.Graph(other.loss), CG.Adam(0.1)
    graph.accumulate({other.x: other.inputs[:2], other.t: other.targets[:2]})
    graph.predict({other.x: other.inputs, other.t: other.targets}, other.y)
    graph.accumulate({other.x: other.inputs[2:5], other.t: other.targets[2:5]})
    graph.sample(1)
    other.x.data, other.t.data = other.inputs[5], other.targets[5]
    graph.forward()
    graph.backward()
    graph.update(optimizer)
    agree(usual, other, 1e-12)
    graph.update(optimizer)  # no sample since, and sums of 0: nothing happens
    assert optimizer.updates == 1
    graph.accumulate(other.feed)
    graph.zero_grad()
    graph.update(optimizer)
    assert optimizer.updates == 1


def test_an_update_by_eta_forgets_samples():
    task = Task(samples=4)
    graph = CG.Graph(task.loss)
    graph.accumulate(task.feed)
    graph.update(0.0)
    graph.accumulate({task.x: task.inputs[:1], task.t: task.targets[:1]})
    gradients = [p.grad.copy() for p in task.parameters]
    before = task.values()
    graph.update(CG.SGD(1.0))
    for value, old, gradient in zip(task.values(), before, gradients, strict=True):
        assert_allclose(value, old - gradient, rtol=1e-13, atol=1e-15)


@pytest.mark.parametrize("own", [False, True], ids=["compiled", "own"])
@pytest.mark.parametrize("which", [0, 1, -1])
def test_frozen_parameters_keep_values_sums_and_state(own, which):
    """A parameter that learns again goes on with its own count, as in PyTorch."""
    task, optimizer = Task(own), CG.Adam(0.1)
    graph = CG.Graph(task.loss)
    graph.step(task.feed, optimizer)
    frozen = task.parameters[which]
    frozen.trainable = False
    frozen.grad = np.ones(frozen.shape)
    before = task.values()
    graph.step(task.feed, optimizer)
    assert (frozen.grad == 1).all()
    for p, old, new in zip(task.parameters, before, task.values(), strict=True):
        assert np.array_equal(old, new) is (p is frozen)
    frozen.trainable = True
    frozen.grad = 0 * frozen.grad
    graph.step(task.feed, optimizer)
    state = optimizer.state_dict()
    updates = [int(state[f"{k:05d}.updates"]) for k in range(len(task.parameters))]
    assert updates == [2 if p is frozen else 3 for p in task.parameters]


def test_state_is_loaded_for_given_parameters_and_into_one_that_has_learnt():
    task, optimizer = Task(), CG.Adam(0.1)
    graph = CG.Graph(task.loss)
    graph.train(task.feed, optimizer, 10)
    state, values = optimizer.state_dict(), task.values()
    kept = {name: array.copy() for name, array in state.items()}
    graph.train(task.feed, optimizer, 10)
    assert all(np.array_equal(state[name], kept[name]) for name in state)
    expected = task.values()
    fresh = CG.Adam(0.1)
    fresh.load_state_dict(state, graph.parameters)
    optimizer.load_state_dict(state)
    for each in (fresh, optimizer):
        assert each.updates == 5
        for p, value in zip(task.parameters, values, strict=True):
            p.value = value
        graph.train(task.feed, each, 10)
        assert all(map(np.array_equal, expected, task.values()))


@pytest.mark.parametrize("own", [False, True], ids=["compiled", "own"])
@pytest.mark.parametrize(("name", "options"), RULES, ids=NAMES)
def test_state_goes_on_to_the_same_bits(name, options, own, tmp_path):
    single, whole, parted = Task(own), Task(own), Task(own)
    make = getattr(CG, name)
    graph, only = CG.Graph(single.loss), make(**options, max_grad_norm=0.2)
    graph.train(single.feed, only, 5)
    graph.train(single.feed, only, 5)
    one = make(**options, max_grad_norm=0.2)
    CG.Graph(whole.loss).train(whole.feed, one, 5)
    CG.Graph(whole.loss).train(whole.feed, one, 5)  # a newer Graph
    assert all(map(np.array_equal, single.values(), whole.values()))

    first = make(**options, max_grad_norm=0.2)
    CG.Graph(parted.loss).train(parted.feed, first, 5)
    np.savez(tmp_path / "state.npz", **first.state_dict())
    values = parted.values()

    resumed = Task(own)
    for p, value in zip(resumed.parameters, values, strict=True):
        p.value = value
    second = make(**options, max_grad_norm=0.2)
    with np.load(tmp_path / "state.npz") as state:
        second.load_state_dict(state)
    assert second.updates == 10
    CG.Graph(resumed.loss).train(resumed.feed, second, 5)
    assert all(map(np.array_equal, whole.values(), resumed.values()))
    ours, theirs = one.state_dict(), second.state_dict()
    assert ours.keys() == theirs.keys()
    assert all(np.array_equal(ours[key], theirs[key]) for key in ours)


def test_state_follows_parameters_from_path_to_path():
    task, usual = Task(), Task()
    optimizer, reference = CG.Adam(0.01), CG.Adam(0.01)
    task.over_nodes(optimizer, 10)
    CG.Graph(task.loss).train(task.feed, optimizer, 10)
    task.over_nodes(optimizer, 10)
    CG.Graph(task.loss, layout="samples").train(task.feed, optimizer, 10)
    for _ in range(4):
        usual.over_nodes(reference, 10)
    agree(task, usual, 1e-8)
    assert optimizer.updates == 20


class Traces(CG.Optimizer):
    def apply(self, values, gradients, samples):
        trace = self.state("trace")
        trace *= 0.9
        trace += gradients
        values -= self.rate * trace


@pytest.mark.parametrize("own", [False, True], ids=["compiled", "own"])
@pytest.mark.parametrize("path", ["graph", "nodes"])
def test_an_own_rule_equals_the_compiled_one(own, path):
    """Traces are momentum; schedule, clipping, decay and state are those of the base class."""
    usual, other = Task(own), Task(own)
    options = {
        "lr": CG.schedules.linear(0.2, 0.1, 10),
        "weight_decay": 0.01,
        "max_grad_norm": 0.5,
        "decay_bias": False,
    }
    CG.Graph(usual.loss).train(usual.feed, CG.SGD(momentum=0.9, **options), 5)
    traces = Traces(**options)
    if path == "graph":
        CG.Graph(other.loss).train(other.feed, traces, 5)
    else:
        other.over_nodes(traces, 5)
    agree(usual, other, 1e-9)
    sizes = sum(p.value.size for p in other.parameters)
    state = traces.state_dict()
    assert sum(x.size for name, x in state.items() if name.endswith(".trace")) == sizes
    assert traces.updates == 10


class Fails(Traces):
    """Traces, which raise when everything has been changed, in their third update."""

    def apply(self, values, gradients, samples):
        super().apply(values, gradients, samples)
        self.state("made now")[...] = 1
        if self.updates == 3:
            raise ZeroDivisionError("in apply")
        self.state("made now")[...] = 0


@pytest.mark.parametrize("path", ["graph", "nodes"])
def test_an_own_rule_that_raises_changes_nothing(path):
    """Parameters, state and counts are those of the last whole batch, and the rule goes on from there."""
    task, usual = Task(samples=9), Task(samples=6)
    optimizer, other = Fails(0.1), Fails(0.1)
    train = (
        (lambda task, rule: CG.Graph(task.loss).train(task.feed, rule, 3))
        if path == "graph"
        else (lambda task, rule: task.over_nodes(rule, 3))
    )
    with pytest.raises(ZeroDivisionError):
        train(task, optimizer)
    train(usual, other)
    assert optimizer.updates == 2
    assert all(map(np.array_equal, usual.values(), task.values()))
    ours, theirs = optimizer.state_dict(), other.state_dict()
    assert ours.keys() == theirs.keys()
    assert all(np.array_equal(ours[name], theirs[name]) for name in ours)
    assert not any(p.grad.any() for p in task.parameters)
    with pytest.raises(RuntimeError, match="rate is known in apply alone"):
        _ = optimizer.rate


def test_raise_in_the_middle_of_a_call_keeps_whole_batches():
    """Parameters are those before the batch whose gradient is not finite."""
    whole, broken = Task(samples=12), Task(samples=12)
    CG.Graph(whole.loss).train(
        {whole.x: whole.inputs[:8], whole.t: whole.targets[:8]}, CG.Adam(), 4
    )
    broken.inputs[9, 2] = np.nan
    optimizer = CG.Adam(nonfinite="raise")
    with pytest.raises(FloatingPointError):
        CG.Graph(broken.loss).train(broken.feed, optimizer, 4)
    assert all(map(np.array_equal, whole.values(), broken.values()))
    assert optimizer.updates == 2


def test_schedules_are_asked_before_the_call():
    asked = []

    def schedule(update):
        asked.append(update)
        return 0.1 / (1 + update)

    usual, other = Task(samples=10), Task(samples=10)
    optimizer = CG.SGD(schedule)
    CG.Graph(other.loss).train(other.feed, optimizer, 4)
    assert asked == [0, 1, 2]
    graph = CG.Graph(usual.loss)
    for number, first in enumerate((0, 4, 8)):
        part = slice(first, first + 4)
        rate = 0.1 / (1 + number) / len(usual.inputs[part])
        graph.step({usual.x: usual.inputs[part], usual.t: usual.targets[part]}, rate)
    agree(usual, other, 1e-12)
    assert optimizer.updates == 3


def test_a_node_that_updates_itself_is_refused():
    x = CG.Leaf1(1)
    loss = CG.Sum(Recorder([CG.Affine(x, [[1.0], [0.0]])], []))
    for call in (
        lambda: CG.Graph(loss).step({x: [[1.0]]}, CG.Adam()),
        lambda: CG.Adam().update(loss),
    ):
        with pytest.raises(TypeError, match="Recorder: an optimiser would not call its update"):
            call()


def test_several_ends_divide_by_the_largest_number_of_passes():
    tasks = [Task(samples=3), Task(samples=1)]
    for task in tasks:
        task.over_nodes(CG.SGD(0.0), 9)  # which leaves no sums
        for sample, target in zip(task.inputs, task.targets, strict=True):
            for leaf, value in ((task.x, sample), (task.t, target)):
                leaf.getInput(value)
                leaf.forwardPropagation()
            task.loss.backwardPropagation()
    parameters = [p for task in tasks for p in task.parameters]
    gradients, before = [p.grad.copy() for p in parameters], [p.value.copy() for p in parameters]
    CG.SGD(0.5).update([task.loss for task in tasks])
    for p, old, gradient in zip(parameters, before, gradients, strict=True):
        assert_allclose(p.value, old - 0.5 * gradient / 3, rtol=1e-13, atol=1e-15)
        assert not p.grad.any()


@pytest.mark.parametrize("looks", [False, True])
@pytest.mark.parametrize("update", [CG.SGD(0.0).update, lambda loss: loss.update(0.0)])
def test_an_update_over_nodes_uses_up_the_samples_of_a_graph(update, looks):
    """Also where nobody has looked at a gradient sum."""
    task, other = Task(samples=4), Task(samples=4)
    graph, usual = CG.Graph(task.loss), CG.Graph(other.loss)
    graph.accumulate(task.feed)
    if looks:
        assert all(p.grad.any() for p in task.parameters)
    update(task.loss)
    graph.accumulate({task.x: task.inputs[:1], task.t: task.targets[:1]})
    graph.update(CG.SGD(1.0))
    usual.step({other.x: other.inputs[:1], other.t: other.targets[:1]}, 1.0)
    agree(task, other, 1e-13)


@pytest.mark.parametrize("path", ["graph", "nodes"])
def test_a_gradient_that_is_skipped_reaches_no_rule_in_python(path):
    task, optimizer = Task(samples=3), Fails(0.1, nonfinite="skip")
    task.inputs[1] = np.nan
    before = task.values()
    if path == "graph":
        CG.Graph(task.loss).step(task.feed, optimizer)
    else:
        task.over_nodes(optimizer, 3)
    assert optimizer.updates == 0
    assert all(map(np.array_equal, before, task.values()))
    assert not any(name.endswith("trace") for name in optimizer.state_dict())
    assert not any(p.grad.any() for p in task.parameters)


@pytest.mark.usefixtures("eager_threads", "guard_pages")
@pytest.mark.parametrize("dtype", ["float64", "float32"])
@pytest.mark.parametrize("layout", ["samples", "lanes"])
def test_images_of_real_size(layout, dtype):
    """28 × 28 pixels, 32 channels, 100 samples, two threads, against updates by NumPy with the Graph's gradients."""
    rng = np.random.default_rng(4)
    x, t = CG.Leaf2(28, 28, dtype=dtype), CG.Leaf1(10, dtype=dtype)
    maps = [
        CG.Convolution2d([x], rng.normal(0, 0.2, (1, 5, 5)), 0.1, 3, crop=True) for _ in range(32)
    ]
    flat = CG.Concatenation([CG.MaxPooling2d(CG.ReLU(each), 2, 2, 2) for each in maps])
    loss = CG.SoftmaxCEE(CG.Affine(flat, rng.normal(0, 0.05, (flat.size + 1, 10))), t)
    parameters = CG.parameters(loss)
    graph = CG.Graph(loss, layout=layout, threads=2)
    feed = {x: rng.random((100, 784)), t: CG.one_hot(rng.integers(0, 10, 100), 10)}
    reference = Reference("AdamW", lr=1e-3)
    optimizer = CG.AdamW(1e-3, max_grad_norm=0.5)
    expected = [p.value.astype(float) for p in parameters]
    for _ in range(3):
        graph.accumulate(feed)
        gradients = [p.grad.astype(float) / 100 for p in parameters]
        norm = np.sqrt(sum((g**2).sum() for g in gradients))
        assert norm > 0.5
        for k, gradient in enumerate(gradients):
            expected[k] = reference(k, expected[k], gradient * (0.5 / (norm + 1e-6)))
        graph.update(optimizer)
        for p, right in zip(parameters, expected, strict=True):
            assert_allclose(p.value, right, rtol=1e-9 if dtype == "float64" else 1e-4, atol=1e-6)
    assert optimizer.updates == 3


def test_convolutions_of_one_group_learn_alike():
    """Packed kernels have state at scattered places; padding of channels takes no part."""

    def network():
        rng = np.random.default_rng(2)
        x = CG.Leaf2(9, 9)
        maps = [CG.Tanh(CG.Convolution2d([x], rng.normal(size=(1, 3, 3)), 0.1)) for _ in range(3)]
        flat = CG.Concatenation([CG.MaxPooling2d(m, 2, 2, 2, crop=True) for m in maps])
        return x, CG.Sum(CG.Affine(flat, rng.normal(size=(flat.size + 1, 2))))

    (x, loss), (other_x, other) = network(), network()
    samples = np.random.default_rng(0).normal(size=(12, 81))
    nodes, graph = CG.AdamW(0.05, max_grad_norm=1), CG.AdamW(0.05, max_grad_norm=1)
    for first in range(0, 12, 4):
        for sample in samples[first : first + 4]:
            x.getInput(sample.reshape(9, 9))
            x.forwardPropagation()
            loss.backwardPropagation()
        nodes.update(loss)
    CG.Graph(other).train({other_x: samples}, graph, 4)
    for p, q in zip(CG.parameters(loss), CG.parameters(other), strict=True):
        assert_allclose(p.value, q.value, rtol=1e-8, atol=1e-10)
    ours, theirs = nodes.state_dict(), graph.state_dict()
    assert ours.keys() == theirs.keys()
    for name in ours:
        assert_allclose(ours[name], theirs[name], rtol=1e-7, atol=1e-10)
