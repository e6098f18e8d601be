"""The data of fit: arrays of any kind, memory maps, feeds that come one after the other."""

import tracemalloc

import numpy as np
import pytest
from fitting_networks import Network, bits

import cgraph as CG


def fitted(network, feed, epochs=2, **settings):
    settings = {"batch": 8, "rng": 3, "progress": False} | settings
    history = CG.fit(network.graph, feed, CG.Adam(lr=0.01), epochs=epochs, **settings)
    return network.bits(), bits(history)


def test_lists_and_other_dtypes_are_fed_as_their_values():
    plain, listed, narrow = Network(), Network(), Network()
    feed = plain.feed()
    feed = {leaf: array.astype(np.float16) for leaf, array in feed.items()}
    expected = fitted(plain, {leaf: a.astype(np.float64) for leaf, a in feed.items()})
    x, t = feed.values()
    assert fitted(narrow, {narrow.x: x, narrow.t: np.asfortranarray(t)}) == expected
    assert fitted(listed, {listed.x: x.tolist(), listed.t: t.tolist()}) == expected


def test_a_leaf_of_one_element_takes_rows_without_a_second_axis():
    x, t = CG.Leaf1(1), CG.Leaf1(1)
    y = CG.Affine(x, np.zeros((2, 1)))
    graph = CG.Graph(CG.MSE(y, t))
    values = np.linspace(0, 1, 20)
    history = CG.fit(
        *(graph, {x: values, t: 2 * values}, CG.Adam(lr=0.1)),
        epochs=200,
        batch=5,
        metrics=["mae", "r2"],
        progress=False,
    )
    assert history["mae"][-1] < 1e-3
    assert history["r2"][-1] > 0.999


@pytest.mark.parametrize("validation", [None, 0.25])
def test_memory_maps_are_not_copied_whole(tmp_path, validation):
    """The memory of a training grows with the number of samples by their indices alone."""
    count, size = 40_000, 256
    path = tmp_path / "inputs.dat"
    inputs = np.memmap(path, np.float32, "w+", shape=(count, size))
    inputs[:, 0] = np.arange(count)
    inputs.flush()
    x, t = CG.Leaf1(size, dtype="float32"), CG.Leaf1(1, dtype="float32")
    y = CG.Affine(x, np.zeros((size + 1, 1)))
    graph = CG.Graph(CG.MSE(y, t), threads=1)
    feed = {x: np.memmap(path, np.float32, "r", shape=(count, size)), t: np.zeros(count, np.int8)}
    tracemalloc.start()
    try:
        CG.fit(
            *(graph, feed, CG.SGD(lr=0)),
            epochs=2,
            batch=32,
            validation=validation,
            metrics=["mae", "r2"],
            progress=False,
        )
        _, peak = tracemalloc.get_traced_memory()
    finally:
        tracemalloc.stop()
    assert inputs.nbytes == 40_960_000
    assert peak < 12e6


def test_feeds_come_in_their_order_and_batches_do_not_reach_across_them():
    network, expected = Network(), Network()
    first, second = network.feed(11), network.feed(5, seed=1)
    result = fitted(network, [first, second], batch=4)
    adam = CG.Adam(lr=0.01)
    for _ in range(2):
        for count, seed in ((11, 0), (5, 1)):
            expected.graph.train(expected.feed(count, seed), adam, 4)
    assert result[0] == expected.bits()


def test_a_function_makes_the_feeds_of_each_epoch_with_the_generator():
    network, expected = Network(), Network()
    given = []

    def noisy(rng):
        given.append(rng)
        for seed in range(3):
            feed = network.feed(8, seed)
            yield {**feed, network.x: feed[network.x] + rng.normal(size=(8, 3))}

    rng = np.random.default_rng(4)
    result = fitted(network, noisy, rng=rng, metrics="mae")
    assert given == [rng, rng]
    again, adam = np.random.default_rng(4), CG.Adam(lr=0.01)
    for seed in (0, 1, 2, 0, 1, 2):
        feed = expected.feed(8, seed)
        feed[expected.x] = feed[expected.x] + again.normal(size=(8, 3))
        expected.graph.train(feed, adam, 8)
    assert result[0] == expected.bits()
    assert list(result[1]) == ["loss", "mae", "lr"]


def test_an_iterator_lasts_for_one_epoch():
    network, expected = Network(), Network()
    result = fitted(network, iter([network.feed()]), epochs=1)
    assert result == fitted(expected, [expected.feed()], epochs=1)
    with pytest.raises(TypeError, match="got an iterator, which ends after one"):
        fitted(network, iter([network.feed()]), epochs=2)


class Loader:
    """Yields the same feeds each time that it is asked for, as a loader of data in the background does."""

    def __init__(self, network):
        self.network, self.begun = network, 0

    def __iter__(self):
        self.begun += 1
        return iter([self.network.feed(8, seed) for seed in range(3)])


def test_what_can_be_iterated_again_serves_all_epochs_and_is_asked_once_for_each():
    listed, loaded, called = Network(), Network(), Network()
    expected = fitted(listed, [*Loader(listed)], epochs=3)
    loader = Loader(loaded)
    assert fitted(loaded, loader, epochs=3) == expected
    assert loader.begun == 3
    assert fitted(called, lambda: iter(Loader(called)), epochs=3) == expected


def test_feeds_are_checked_when_they_come():
    network = Network()
    good, other = network.feed(8), {network.x: np.zeros((8, 3))}
    with pytest.raises(ValueError, match="feed and validation must have the same leaves"):
        fitted(network, [good, other], validation=good)
    with pytest.raises(TypeError, match="fit: feed must map leaves to arrays, got 3"):
        fitted(network, [good, 3])
    with pytest.raises(TypeError, match="fit: feed must return an iterable of feeds, got None"):
        fitted(network, lambda rng: None)
    before = network.bits()
    with pytest.raises(ValueError, match="fit: feed must yield at least one sample in an epoch"):
        fitted(network, [])
    assert network.bits() == before
    fitted(network, [good])
