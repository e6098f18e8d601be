"""The options of learning calls: weights, gradients of outputs, data of nodes, and the check of losses."""

import tracemalloc

import numpy as np
import pytest
from batch_settings import every_setting
from seed_twins import of_losses

import cgraph as CG

ROWS = np.random.default_rng(0).uniform(-1, 1, (40, 3))
TARGETS = np.random.default_rng(1).uniform(-1, 1, (40, 2))
CALLS = {
    "accumulate": lambda graph, feed, **options: graph.accumulate(feed, **options),
    "step": lambda graph, feed, **options: graph.step(feed, 0.1, **options),
    "train": lambda graph, feed, **options: graph.train(feed, 0.1, 4, **options),
}
every_call = pytest.mark.parametrize("call", CALLS)


class Net:
    """A small network with a loss."""

    def __init__(self, dtype="float64", **options):
        self.x, self.t = CG.Leaf1(3, dtype=dtype), CG.Leaf1(2, dtype=dtype)
        self.hidden = CG.Tanh(CG.Affine(self.x, np.linspace(-1, 1, 16).reshape(4, 4)))
        self.y = CG.Affine(self.hidden, np.linspace(-1, 1, 10).reshape(5, 2))
        self.loss = CG.MSE(self.y, self.t)
        self.graph = CG.Graph(self.loss, **options)
        self.feed = {self.x: ROWS.astype(dtype), self.t: TARGETS.astype(dtype)}

    def state(self):
        found = CG.parameters(self.loss)
        return [a.copy() for p in found for a in (p.value, p.grad)]


def actor_and_critic(**options):
    nodes, outputs = of_losses("float64")
    return nodes[0], nodes[2], nodes[3], CG.Graph([nodes[k] for k in outputs], **options)


# outputs


@every_call
@every_setting
@pytest.mark.usefixtures("eager_threads")
def test_outputs_are_the_data_before_the_update(call, setting):
    net = Net(**setting._asdict())
    if call == "train":
        net.feed = {leaf: rows[:4] for leaf, rows in net.feed.items()}
    expected = [net.graph.predict(net.feed, node) for node in (net.y, net.hidden, net.x)]
    losses, rows = CALLS[call](net.graph, net.feed, outputs=[net.y, net.hidden, net.x])
    assert losses.shape == (len(rows[0]),)
    assert type(rows) is tuple
    for ours, theirs in zip(rows, expected, strict=True):
        np.testing.assert_allclose(ours, theirs, rtol=1e-13, atol=1e-15)


@every_setting
def test_outputs_change_nothing_else(setting):
    one, other = Net(**setting._asdict()), Net(**setting._asdict())
    losses, rows = one.graph.train(one.feed, 0.1, 8, outputs=one.y)
    np.testing.assert_array_equal(losses, other.graph.train(other.feed, 0.1, 8))
    assert rows.shape == (40, 2)
    for ours, theirs in zip(one.state(), other.state(), strict=True):
        np.testing.assert_array_equal(ours, theirs)


def test_a_relu_that_a_pooling_absorbs_is_an_output_like_any_other():
    rng = np.random.default_rng(0)
    x = CG.Leaf2(6, 6)
    maps = [CG.Convolution2d([x], rng.uniform(-1, 1, (1, 3, 3)), 0.0) for _ in range(3)]
    rectified = [CG.ReLU(a) for a in maps]
    pooled = [CG.MaxPooling2d(a, 2, 2, 2) for a in rectified]
    loss = CG.Norm2(CG.Concatenation(pooled))
    graph = CG.Graph(loss, layout="lanes")
    feed = {x: rng.uniform(-1, 1, (20, 36))}
    expected = graph.predict(feed, rectified[1])
    _, rows = graph.step(feed, 0.01, outputs=rectified[1])
    np.testing.assert_allclose(rows, expected, rtol=1e-12)


# grads


def test_an_optimiser_divides_by_the_samples_and_a_rate_does_not():
    rng = np.random.default_rng(2)
    weights = rng.uniform(0, 3, 40)
    nets = [Net(), Net()]
    nets[0].graph.step(nets[0].feed, CG.SGD(0.4), weights=weights)
    nets[1].graph.step(nets[1].feed, 0.01, weights=weights)
    for ours, theirs in zip(nets[0].state(), nets[1].state(), strict=True):
        np.testing.assert_allclose(ours, theirs, rtol=1e-12, atol=1e-15)
    x, actor, _critic, graph = actor_and_critic()
    feed, grads = {x: rng.uniform(-1, 1, (8, 4))}, {actor: rng.uniform(-1, 1, (8, 3))}
    before = graph.state_dict()
    graph.step(feed, CG.SGD(0.8), grads=grads)
    by_optimizer = graph.state_dict()
    graph.load_state_dict(before)
    graph.step(feed, 0.1, grads=grads)
    for name, value in graph.state_dict().items():
        np.testing.assert_allclose(value, by_optimizer[name], rtol=1e-12, atol=1e-15)


def test_grads_of_one_node_give_an_array_and_of_several_a_tuple():
    x, actor, critic, graph = actor_and_critic()
    feed = {x: ROWS[:, [0, 1, 2, 0]]}
    expected = graph.predict(feed, actor), graph.predict(feed, critic)
    g, h = np.zeros((40, 3)), np.zeros(40)
    np.testing.assert_allclose(graph.step(feed, 0.1, grads={actor: g}), expected[0], rtol=1e-13)
    rows = graph.step(feed, 0.1, grads={critic: h, actor: g})
    assert [a.shape for a in rows] == [(40, 1), (40, 3)]
    rows, (again,) = graph.accumulate(feed, grads={critic: h}, outputs=[actor])
    np.testing.assert_allclose(rows, expected[1], rtol=1e-13)
    np.testing.assert_allclose(again, expected[0], rtol=1e-13)


def test_gradients_of_zero_teach_nothing_and_those_of_one_what_a_loss_does():
    net, other = Net(), Net()
    before = net.graph.state_dict()
    rows = net.graph.step(net.feed, 0.1, grads={net.loss: np.zeros(40)})
    for name, value in net.graph.state_dict().items():
        np.testing.assert_array_equal(value, before[name])
    losses = other.graph.step(other.feed, 0.1)
    np.testing.assert_array_equal(rows[:, 0], losses)
    net.graph.step(net.feed, 0.1, grads={net.loss: np.ones((40, 1))})
    for ours, theirs in zip(net.state(), other.state(), strict=True):
        np.testing.assert_allclose(ours, theirs, rtol=1e-12, atol=1e-15)


def test_a_sample_of_a_call_shows_its_data_and_the_gradients_of_a_loss():
    x, actor, _critic, graph = actor_and_critic()
    feed = {x: ROWS[:, [0, 1, 2, 0]]}
    rows = graph.accumulate(feed, grads={actor: np.ones((40, 3))})
    graph.sample(7)
    np.testing.assert_allclose(actor.data, rows[7], rtol=1e-13)
    net = Net()
    losses = net.graph.accumulate(net.feed, weights=np.full(40, 2.0))
    net.graph.sample(7)
    assert (net.loss.data[0], net.loss.grad[0]) == (pytest.approx(losses[7], rel=1e-13), 1)


def test_one_sample_shows_the_gradients_that_it_was_given():
    x, actor, critic, graph = actor_and_critic()
    g = np.array([[1.0, -2.0, 3.0]])
    graph.accumulate({x: ROWS[:1, [0, 1, 2, 0]]}, grads={actor: g})
    assert (actor.grad.tolist(), critic.grad.tolist()) == (g[0].tolist(), [0])
    assert x.grad.any()


def test_gradients_may_be_what_the_call_writes_to():
    x, actor, _critic, graph = actor_and_critic()
    feed = {x: ROWS[:1, [0, 1, 2, 0]]}
    graph.accumulate(feed, grads={actor: np.ones((1, 3))})
    graph.zero_grad()
    graph.accumulate(feed, grads={actor: actor.grad[None]})
    assert actor.grad.tolist() == [1, 1, 1]


# check_loss


@every_call
@every_setting
@pytest.mark.parametrize("dtype", ["float64", "float32"])
@pytest.mark.usefixtures("eager_threads")
def test_the_first_loss_that_is_not_finite_is_named(call, setting, dtype):
    for bad in ([5], [38], [13, 12, 30], [0, 39]):
        net, whole = Net(dtype, **setting._asdict()), Net(dtype, **setting._asdict())
        rows = net.feed[net.x] = net.feed[net.x].copy()
        rows[bad, 1] = np.nan
        net.graph.accumulate({net.x: ROWS[:3], net.t: TARGETS[:3]})
        whole.graph.accumulate({whole.x: ROWS[:3], whole.t: TARGETS[:3]})
        first = min(bad)
        if call == "train" and first >= 4:
            done = first // 4 * 4
            whole.graph.train({k: rows[:done] for k, rows in whole.feed.items()}, 0.1, 4)
        net.feed[net.t][bad[0], 0] = np.inf
        with pytest.raises(FloatingPointError, match=f"^Graph.{call}: the loss of sample {first} "):
            CALLS[call](net.graph, net.feed, check_loss=True)
        for ours, theirs in zip(net.state(), whole.state(), strict=True):
            np.testing.assert_array_equal(ours, theirs)


@every_call
@every_setting
def test_a_check_of_finite_losses_changes_nothing(call, setting):
    net, other = Net(**setting._asdict()), Net(**setting._asdict())
    losses = CALLS[call](net.graph, net.feed, check_loss=True)
    np.testing.assert_array_equal(losses, CALLS[call](other.graph, other.feed))
    for ours, theirs in zip(net.state(), other.state(), strict=True):
        np.testing.assert_array_equal(ours, theirs)


# What is refused


@every_call
@pytest.mark.parametrize(
    ("options", "error", "message"),
    [
        ({"weights": np.ones(39)}, ValueError, r"weights must have shape \(B,\) = \(40,\), got \(39,\)"),
        ({"weights": np.full(40, np.nan)}, ValueError, "weights must be finite numbers in float64"),
        ({"weights": ["a"] * 40}, TypeError, "weights must hold real numbers"),
        ({"grads": 1}, TypeError, "grads must map outputs to arrays, got 1"),
        ({"grads": {}}, ValueError, "grads must hold at least one output, got none"),
        ({"grads": {"a": 1}}, TypeError, "grads must be a Node, got 'a'"),
        ({"grads": {"y": np.ones((40, 2))}}, ValueError, "grads must map outputs of this graph, got Affine"),
        ({"grads": {"loss": np.ones((40, 2))}}, ValueError, r"grads of MSE.* must have shape \(B, 1\) with B = 40"),
        ({"grads": {"loss": np.ones(40)}, "weights": np.ones(40)}, ValueError, "weights needs a loss"),
        ({"grads": {"loss": np.ones(40)}, "check_loss": True}, ValueError, "check_loss needs a loss"),
        ({"outputs": 3}, TypeError, "outputs must be a sequence of Nodes, got 3"),
        ({"outputs": []}, ValueError, "outputs must hold at least 1 node, got none"),
        ({"outputs": CG.Leaf1(2)}, ValueError, "outputs must be nodes of this graph, got Leaf1"),
    ],
)  # fmt: skip
def test_wrong_options_are_refused_and_change_nothing(call, options, error, message):
    net = Net()
    net.graph.accumulate(net.feed)
    before = net.state()
    grads = options.get("grads")
    if isinstance(grads, dict):
        options = options | {"grads": {vars(net).get(k, k): g for k, g in grads.items()}}
    with pytest.raises(error, match=f"^Graph.{call}: {message}"):
        CALLS[call](net.graph, net.feed, **options)
    for ours, theirs in zip(net.state(), before, strict=True):
        np.testing.assert_array_equal(ours, theirs)


@every_call
def test_several_outputs_need_grads(call):
    x, _actor, _critic, graph = actor_and_critic()
    with pytest.raises(ValueError, match="needs one output of one element, got 2 of sizes"):
        CALLS[call](graph, {x: np.ones((2, 4))}, weights=[1, 1])


# Memory


@every_setting
@pytest.mark.parametrize("count", [1, 300])
@pytest.mark.usefixtures("eager_threads")
def test_calls_allocate_what_they_return_and_nothing_else(setting, count):
    net = Net(**setting._asdict())
    feed = {net.x: np.resize(ROWS, (count, 3)), net.t: np.resize(TARGETS, (count, 2))}
    weights, optimizer = np.ones(count), CG.Adam()
    calls = [
        lambda: net.graph.step(feed, 0.1),
        lambda: net.graph.step(feed, optimizer),
        lambda: net.graph.train(feed, 0.1, 50),
        lambda: net.graph.predict(feed, net.y),
        lambda: net.graph.step(feed, 0.1, weights=weights, outputs=net.y),
        lambda: net.graph.step(feed, 0.1, check_loss=True),
    ]
    for call in calls:
        for _ in range(3):
            call()
        tracemalloc.start()
        try:
            before = tracemalloc.get_traced_memory()[0]
            tracemalloc.reset_peak()
            result = call()
            now, peak = (size - before for size in tracemalloc.get_traced_memory())
        finally:
            tracemalloc.stop()
        arrays = result if isinstance(result, tuple) else (result,)
        returned = sum(array.nbytes for array in arrays)
        assert now <= returned + 1000
        assert peak <= returned + 16_000
