"""Metrics of fit: against NumPy and the formulas of scikit-learn."""

import numpy as np
import pytest
from fitting_networks import Network

import cgraph as CG
from cgraph.fitting import samples
from cgraph.fitting.metrics import R2, Accuracy, MeanError


def measured(metric, *pairs):
    for output, target in pairs:
        metric.add(np.asarray(output), np.asarray(target))
    return metric.result()


def in_chunks(metric, output, target, size):
    parts = [slice(first, first + size) for first in range(0, len(output), size)]
    return measured(metric, *((output[part], target[part]) for part in parts))


@pytest.mark.parametrize("dtype", ["float32", "float64"])
@pytest.mark.parametrize("size", [1, 7, 100])
@pytest.mark.parametrize("offset", [0, 1e4])
def test_sums_over_chunks_are_those_of_all(dtype, size, offset):
    rng = np.random.default_rng(0)
    target = (rng.normal(size=(100, 3)) + offset).astype(dtype)
    output = (target + 0.3 * rng.normal(size=(100, 3))).astype(dtype)
    wide, exact = target.astype(np.float64), output.astype(np.float64)
    ratio = ((wide - exact) ** 2).sum(0) / ((wide - wide.mean(0)) ** 2).sum(0)
    np.testing.assert_allclose(in_chunks(R2(), output, target, size), (1 - ratio).mean(), 1e-6)
    mean = np.abs(output - target).mean(dtype=np.float64)
    np.testing.assert_allclose(in_chunks(MeanError(np.abs), output, target, size), mean, 1e-12)
    squares = np.square(output - target).mean(dtype=np.float64)
    np.testing.assert_allclose(in_chunks(MeanError(np.square), output, target, size), squares, 1e-6)
    right = (output.argmax(1) == target.argmax(1)).mean()
    assert in_chunks(Accuracy(None), output, target, size) == right


def test_metrics_are_those_of_scikit_learn():
    metrics = pytest.importorskip("sklearn.metrics")
    rng = np.random.default_rng(0)
    target = rng.normal(size=(100, 3))
    target[:, 1] = 2.0
    output = target + rng.normal(size=(100, 3))
    np.testing.assert_allclose(in_chunks(R2(), output, target, 9), metrics.r2_score(target, output))
    np.testing.assert_allclose(
        in_chunks(MeanError(np.abs), output, target, 9),
        metrics.mean_absolute_error(target, output),
    )


def test_equal_targets_count_as_one_if_they_are_predicted_exactly_else_as_nothing():
    assert measured(R2(), ([[1.0], [1.0]], [[1.0], [1.0]])) == 1
    assert measured(R2(), ([[1.0], [2.0]], [[1.0], [1.0]])) == 0
    assert measured(R2(), ([[1.0, 1.0]], [[1.0, 2.0]])) == 0.5


def test_ties_are_the_first_class_and_thresholds_are_exclusive():
    assert measured(Accuracy(None), ([[1, 1, 0]], [[1, 0, 0]]), ([[1, 1, 0]], [[0, 1, 0]])) == 0.5
    assert measured(Accuracy(0.5), ([[0.5], [0.51]], [[0.0], [1.0]])) == 1
    assert measured(Accuracy(0.0), ([[0.0, 1e-9]], [[0.0, 1.0]])) == 1


def classifier(kind, size):
    """Returns input, target, scores and the Graph of a classifier that knows the answer, x itself."""
    x, t = CG.Leaf1(size), CG.Leaf1(size)
    scores = CG.Scale(x, 1.0)
    end = {"CEE": lambda: CG.CEE(CG.Softmax(scores), t), "MSE": lambda: CG.MSE(scores, t)}
    losses = {"SoftmaxCEE": CG.SoftmaxCEE, "BCE": CG.BCE}
    loss = end[kind]() if kind in end else losses[kind](scores, t)
    return x, t, scores, CG.Graph(loss)


@pytest.mark.parametrize(
    ("kind", "inputs", "targets", "expected"),
    [
        ("CEE", [[1, 2, 0], [3, 0, 0]], [[0, 1, 0], [0, 0, 1]], 0.5),
        ("SoftmaxCEE", [[1, 2, 0], [3, 0, 0]], [[0, 1, 0], [1, 0, 0]], 1),
        ("BCE", [[0.25], [-0.25]], [[1], [1]], 0.5),
        ("BCE", [[0.25, -1], [0.25, 3]], [[1, 0], [1, 0]], 0.75),
        ("MSE", [[0.25], [0.75], [0.75]], [[1], [1], [0]], 1 / 3),
    ],
)
def test_accuracy_knows_logits_from_probabilities(kind, inputs, targets, expected):
    x, t, _, graph = classifier(kind, len(inputs[0]))
    feed = {x: np.array(inputs, float), t: np.array(targets, float)}
    history = CG.fit(
        *(graph, feed, CG.SGD(lr=0)),
        epochs=1,
        batch=2,
        metrics="accuracy",
        validation=feed,
        progress=False,
    )
    assert history["accuracy"] == history["val_accuracy"] == [expected]


def test_an_output_that_is_not_the_logits_of_the_loss_is_a_probability():
    x, t = CG.Leaf1(1), CG.Leaf1(1)
    probability = CG.Sigmoid(x)
    graph = CG.Graph(CG.BCE(CG.Scale(probability, 4, -2), t))
    feed = {x: [-0.1, 0.1], t: [0.0, 1.0]}
    settings = {"epochs": 1, "batch": 2, "metrics": "accuracy", "progress": False}
    history = CG.fit(graph, feed, CG.SGD(lr=0), output=probability, **settings)
    assert history["accuracy"] == [1]


def test_functions_see_all_samples_of_an_epoch(monkeypatch):
    monkeypatch.setattr(samples, "_CHUNK_SAMPLES", 8)
    network = Network()
    feed = network.feed(30)
    shapes = []

    def worst(output, target):
        shapes.append((output.shape, target.shape))
        return np.abs(output - target).max()

    history = CG.fit(
        *(network.graph, feed, CG.SGD(lr=0)),
        epochs=1,
        batch=8,
        validation=network.feed(20, seed=1),
        metrics=[worst, "mean_absolute_error"],
        progress=False,
    )
    assert shapes == [((30, 2), (30, 2)), ((20, 2), (20, 2))]
    output = network.graph.predict(feed, network.y)
    assert history["worst"] == [np.abs(output - feed[network.t]).max()]
    assert list(history)[:6] == [
        *("loss", "worst", "mean_absolute_error"),
        *("val_loss", "val_worst", "val_mean_absolute_error"),
    ]


def test_the_output_may_be_given_alone_or_with_its_target():
    """A loss with a penalty has other inputs than an output and a target."""
    x, t = CG.Leaf1(2), CG.Leaf1(1)
    y = CG.Affine(x, np.ones((3, 1)))
    graph = CG.Graph(CG.Add(CG.MSE(y, t), CG.Norm2(y)))
    feed = {x: np.zeros((4, 2)), t: np.zeros((4, 1))}
    asked = {"epochs": 1, "batch": 4, "metrics": "mae", "progress": False}
    for output in (y, (y, t)):
        assert CG.fit(graph, feed, CG.SGD(lr=0), output=output, **asked)["mae"] == [1]
    with pytest.raises(ValueError, match="fit: output must be given for metrics"):
        CG.fit(graph, feed, CG.SGD(lr=0), **asked)
    with pytest.raises(ValueError, match="must have the same size"):
        CG.fit(graph, feed, CG.SGD(lr=0), output=(y, x), **asked)


def test_an_autoencoder_compares_its_output_with_its_input():
    x = CG.Leaf1(3)
    y = CG.Affine(x, np.zeros((4, 3)))
    graph = CG.Graph(CG.MSE(y, x))
    history = CG.fit(
        *(graph, {x: np.ones((5, 3))}, CG.SGD(lr=0)),
        epochs=1,
        batch=5,
        metrics="mae",
        progress=False,
    )
    assert history["mae"] == [1]


@pytest.mark.parametrize("metrics", [["r2", "r2"], [max, max]])
def test_two_metrics_of_one_name_are_refused(metrics):
    network = Network()
    with pytest.raises(ValueError, match="fit: metrics must have names of their own"):
        CG.fit(network.graph, network.feed(), CG.SGD(0), epochs=1, batch=8, metrics=metrics)


def test_a_metric_that_is_no_number_is_refused():
    network = Network()
    with pytest.raises(TypeError, match="fit: metric <lambda> must be a real number, got None"):
        CG.fit(
            *(network.graph, network.feed(), CG.SGD(lr=0)),
            epochs=1,
            batch=8,
            metrics=lambda output, target: None,
            progress=False,
        )
