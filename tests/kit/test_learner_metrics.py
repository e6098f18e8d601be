"""The running metrics of a Learner, against NumPy."""

import numpy as np
import pytest
from streams import Net, samples

import cgraph as CG
from cgraph.streaming.metrics import METRICS


def largest(output, target):
    return abs(output - target).max()


@pytest.mark.parametrize("fading", [1.0, 0.9, 0.5])
@pytest.mark.parametrize("dtype", ["float64", "float32"])
def test_metrics_are_weighted_means_of_what_was_predicted_before(dtype, fading):
    net = Net(dtype=dtype)
    learner = net.learner(0.05, metrics=["accuracy", "mae", "mse", largest], fading=fading)
    losses, predictions, targets = [], [], []
    for number, (x, y) in enumerate(samples(20, dtype=dtype)):
        predictions.append(learner.predict_one(x))
        targets.append(y)
        if number % 2:
            learner.step_one(x, y)
            losses.append(float(np.mean((predictions[-1] - y) ** 2, dtype=dtype)))
        else:
            losses.append(learner.learn_one(x, y))
        weights = fading ** np.arange(number, -1, -1)
        p, t = np.array(predictions), np.array(targets)
        expected = {
            "loss": losses,
            "accuracy": p.argmax(1) == t.argmax(1),
            "mae": np.abs(p - t).mean(1, dtype=float),
            "mse": np.square(p - t).mean(1, dtype=float),
            "largest": np.abs(p - t).max(1),
        }
        assert list(learner.metrics) == list(expected)
        for name, values in expected.items():
            wanted = np.average(np.array(values, float), weights=weights)
            np.testing.assert_allclose(learner.metrics[name], wanted, rtol=1e-6)
    assert learner.metrics.samples == 20


def test_accuracy_of_one_element_is_that_of_its_side_of_a_half():
    x, t = CG.Leaf1(1), CG.Leaf1(1)
    y = CG.Affine(x, [[1.0], [0.0]])
    learner = CG.Learner(CG.Graph(CG.MSE(y, t)), x, t, y, 0.0, metrics="accuracy")
    for value, target, right in ((0.7, 1, 1), (0.3, 1, 0), (0.3, 0, 1), (0.5, 0, 1), (0.5, 1, 0)):
        learner.metrics.reset()
        learner.learn_one(value, target)
        assert learner.metrics["accuracy"] == right


@pytest.mark.parametrize("dtype", ["float64", "float32"])
@pytest.mark.parametrize("size", [1, 3])
@pytest.mark.parametrize("loss", [CG.BCE, CG.MSE, CG.SoftmaxCEE])
def test_metrics_are_those_of_fit(loss, size, dtype):
    rng = np.random.default_rng(0)
    inputs, targets = rng.normal(0.3, 1, (40, 2)), (rng.random((40, size)) > 0.5).astype(dtype)
    x, t = CG.Leaf1(2, dtype=dtype), CG.Leaf1(size, dtype=dtype)
    y = CG.layers.dense(x, size, initializer="lecun_normal", rng=0)
    graph = CG.Graph(loss(y, t))
    learner = CG.Learner(graph, x, t, y, 0.0, metrics=METRICS)
    for sample, target in zip(inputs, targets, strict=True):
        learner.learn_one(sample, target)
    feed = {x: inputs, t: targets}
    history = CG.fit(graph, feed, CG.SGD(0.0), epochs=1, batch=8, metrics=METRICS)
    for name in ("loss", *METRICS):
        assert learner.metrics[name] == pytest.approx(history[name][0], rel=1e-6)


def test_metrics_are_a_mapping_that_can_be_reset():
    learner = Net().learner(0.05, metrics=["mae"])
    metrics = learner.metrics
    assert len(metrics) == 2
    assert all(np.isnan(value) for value in metrics.values())
    assert repr(metrics) == "<0 samples: loss=nan, mae=nan>"
    for x, y in samples(3):
        learner.learn_one(x, y)
    learner.predict_one(x)
    assert metrics is learner.metrics
    assert metrics.samples == 3
    assert dict(metrics) == {name: metrics[name] for name in ("loss", "mae")}
    with pytest.raises(KeyError):
        metrics["accuracy"]
    metrics.reset()
    assert metrics.samples == 0
    assert np.isnan(metrics["loss"])
    loss = learner.learn_one(x, y)
    assert metrics["loss"] == loss


def test_a_value_that_is_not_finite_makes_its_mean_so_until_reset():
    learner = Net().learner(CG.SGD(0.1, nonfinite="skip"))
    x, y = next(samples(1))
    learner.learn_one([np.nan, 0, 0], y)
    learner.learn_one(x, y)
    assert np.isnan(learner.metrics["loss"])
    learner.metrics.reset()
    learner.learn_one(x, y)
    assert np.isfinite(learner.metrics["loss"])


def test_a_metric_that_raises_is_counted_in_none():
    calls = []

    def unsteady(output, target):
        calls.append(1)
        if len(calls) in (2, 4):
            raise LookupError("no")
        return 1.0 if len(calls) != 6 else "one"

    net, twin = Net(), Net()
    learner = net.learner(0.05, metrics=["mae", unsteady])
    counted = 0
    for number, (x, y) in enumerate(samples(7), 1):
        twin.graph.step(twin.feed(x, y), 0.05)
        if number in (2, 4, 6):
            with pytest.raises(LookupError if number < 6 else TypeError):
                learner.learn_one(x, y)
        else:
            learner.learn_one(x, y)
            counted += 1
        assert net.state() == twin.state()  # it has learnt all the same
        assert learner.metrics.samples == counted
    assert learner.metrics["unsteady"] == 1.0


def test_metrics_cannot_write_into_the_sample():
    def writes(output, target):
        output[...] = 5
        return 0.0

    learner = Net().learner(0.05, metrics=[writes])
    x, y = next(samples(1))
    for _ in range(2):
        with pytest.raises(ValueError, match="read-only"):
            learner.learn_one(x, y)
