"""fit: the loop, compared to the bit with loops by hand."""

import numpy as np
import pytest
from fitting_networks import Network, bits

import cgraph as CG
from cgraph.fitting import samples


def by_hand(network, feed, optimizer, epochs, batch, rng):
    """Trains with the loop that `fit` stands for; returns the mean loss of each epoch."""
    count = len(next(iter(feed.values())))
    means = []
    for _ in range(epochs):
        order = rng.permutation(count)
        losses = network.graph.train({k: v[order] for k, v in feed.items()}, optimizer, batch)
        means.append(losses.mean(dtype=np.float64))
    return means


def stepwise(network, feed, optimizer, epochs, batch, rng):
    """Trains with one call for each batch."""
    count = len(next(iter(feed.values())))
    for _ in range(epochs):
        order = rng.permutation(count)
        for first in range(0, count, batch):
            part = order[first : first + batch]
            network.graph.step({k: v[part] for k, v in feed.items()}, optimizer)


@pytest.mark.parametrize("dtype", ["float32", "float64"])
@pytest.mark.parametrize("layout", ["samples", "lanes"])
@pytest.mark.parametrize(("count", "batch"), [(50, 1), (50, 7), (50, 50), (33, 64), (1, 4)])
def test_fit_is_the_loop_by_hand(dtype, layout, count, batch):
    fitted, expected = (Network(dtype, dropout=True, layout=layout) for _ in range(2))
    feed = fitted.feed(count)
    history = CG.fit(
        fitted.graph, feed, CG.Adam(lr=0.01), epochs=3, batch=batch, rng=5, progress=False
    )
    other = dict(zip((expected.x, expected.t), feed.values(), strict=True))
    means = by_hand(expected, other, CG.Adam(lr=0.01), 3, batch, np.random.default_rng(5))
    assert fitted.bits() == expected.bits()
    np.testing.assert_allclose(history["loss"], means, rtol=1e-14)
    assert list(history) == ["loss", "lr", "seconds"]
    assert history.best_epoch is None
    assert not history.stopped


@pytest.mark.parametrize("threads", [1, 2])
@pytest.mark.parametrize("hears", [True, False])
def test_chunks_callbacks_and_metrics_leave_no_trace_in_the_parameters(monkeypatch, threads, hears):
    """The last batch of an epoch has the samples that are left, wherever chunks end."""
    monkeypatch.setattr(samples, "_CHUNK_SAMPLES", 20)
    fitted, expected = (Network("float32", dropout=True, threads=threads) for _ in range(2))
    sizes = []

    class Heard(CG.Callback):
        def on_batch_end(self, run, losses):
            sizes.append(len(losses))

    settings = {"metrics": "r2", "callbacks": [Heard()]} if hears else {}
    sgd = CG.SGD(lr=0.05, momentum=0.9)
    CG.fit(fitted.graph, fitted.feed(), sgd, epochs=2, batch=8, rng=5, progress=False, **settings)
    rng = np.random.default_rng(5)
    stepwise(expected, expected.feed(), CG.SGD(lr=0.05, momentum=0.9), 2, 8, rng)
    assert fitted.bits() == expected.bits()
    assert sizes == ([8, 8, 8, 8, 8, 8, 2] * 2 if hears else [])


def test_a_seed_says_all():
    runs = []
    for seed in (1, 1, 2):
        network = Network()
        history = CG.fit(
            *(network.graph, network.feed(), CG.Adam()),
            epochs=2,
            batch=8,
            validation=0.3,
            rng=seed,
            progress=False,
        )
        runs.append((network.bits(), bits(history)))
    assert runs[0] == runs[1]
    assert runs[0] != runs[2]
    network = Network()
    CG.fit(network.graph, network.feed(), CG.Adam(), epochs=1, batch=8, progress=False)
    assert network.bits() != Network().bits()


def test_the_history_has_the_rate_of_the_first_update_of_each_epoch():
    network = Network()
    adam = CG.Adam(lr=CG.schedules.linear(0.1, 0, 20))
    history = CG.fit(network.graph, network.feed(40), adam, epochs=3, batch=8, progress=False)
    np.testing.assert_allclose(history["lr"], [0.1, 0.075, 0.05])
    assert (history["seconds"] > 0).all()
    assert repr(history).startswith("History(3 epochs, loss=")


def losses_of(network, feed):
    return network.graph.predict(feed).ravel()


@pytest.mark.parametrize("fraction", [1e-9, 0.2, 1 - 1e-9])
def test_a_part_is_held_out(fraction):
    """No held-out sample is ever trained on, and all others are in each epoch."""
    network = Network()
    feed = network.feed(20)
    seen = []

    class Watch(CG.Callback):
        def on_epoch_end(self, run):
            seen.append(np.sort(run.samples.indices))

    history = CG.fit(
        *(network.graph, feed, CG.SGD(lr=0)),
        epochs=2,
        batch=3,
        validation=fraction,
        callbacks=Watch(),
        progress=False,
    )
    out = np.setdiff1d(np.arange(20), seen[0])
    assert len(out) == min(max(round(20 * fraction), 1), 19)
    assert (seen[0] == seen[1]).all()
    losses = losses_of(network, feed)
    np.testing.assert_allclose(history["val_loss"], losses[out].mean())
    np.testing.assert_allclose(history["loss"], losses[seen[0]].mean())


def test_validation_is_a_prediction_for_a_feed():
    network = Network(dropout=True)
    other = network.feed(30, seed=9)
    history = CG.fit(
        *(network.graph, network.feed(), CG.Adam(lr=0.01)),
        epochs=2,
        batch=8,
        validation=other,
        metrics="mae",
        progress=False,
    )
    assert history["val_loss"][-1] == losses_of(network, other).mean()
    output = network.graph.predict(other, network.y)
    np.testing.assert_allclose(history["val_mae"][-1], np.abs(output - other[network.t]).mean())


class Setter(CG.Callback):
    """Sets a parameter of one element at the beginning of each epoch, so that losses are known."""

    def __init__(self, parameter, values):
        self.parameter, self.values = parameter, values

    def on_epoch_begin(self, run):
        self.parameter.value = np.full(self.parameter.shape, self.values[run.epoch - 1])


@pytest.mark.parametrize(
    ("values", "patience", "epochs", "best"),
    [
        ([3, 2, 1, 2, 2, 0], 2, 5, 3),
        ([3, 2, 2, 2, 0, 5], 3, 6, 5),
        ([1, 1, 1, 1, 1, 1], 1, 2, 1),
        ([3, 2, 1, 4, 5, 0.5], 6, 6, 6),
        ([np.nan, 2, np.nan, 1, 4, 4], 2, 6, 4),
        ([np.nan] * 6, 2, 2, None),
        ([np.inf] * 6, 3, 3, None),
    ],
)
@pytest.mark.parametrize("validates", [True, False])
def test_patience_ends_the_training_and_restores_the_best_weights(
    values, patience, epochs, best, validates
):
    x, t = CG.Leaf1(1), CG.Leaf1(1)
    y = CG.Convolution2d([x], [[[1.0]]], 0.0)
    graph = CG.Graph(CG.MSE(y, t))
    kernel, bias = graph.parameters
    bias.trainable = False
    feed = {x: [1.0], t: [0.0]}
    history = CG.fit(
        *(graph, feed, CG.SGD(lr=0)),
        epochs=len(values),
        batch=1,
        validation=feed if validates else None,
        patience=patience,
        callbacks=Setter(kernel, values),
        progress=False,
    )
    assert len(history["loss"]) == epochs
    assert history.best_epoch == best
    assert history.stopped == (epochs < len(values) or (best or 0) + patience <= epochs)
    assert best is None or kernel.value.item() == values[best - 1]


def test_masks_go_on_after_the_best_weights_are_restored():
    network = Network(dropout=True)
    CG.fit(
        *(network.graph, network.feed(), CG.SGD(lr=100.0, nonfinite="skip")),
        epochs=4,
        batch=50,
        patience=3,
        progress=False,
    )
    dropout = next(node for node in network.graph.nodes if isinstance(node, CG.Dropout))
    assert dropout.samples == 4 * 50
