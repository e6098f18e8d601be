"""Dropout: the masks, which are the same on every path, the samples that are counted, and where it does nothing."""

import io
import threading
from functools import partial

import numpy as np
import pytest
from amounts import full
from arrays import assert_equal
from batch_settings import SETTINGS
from interrupts import stopped
from op_row import leaf_of
from op_table import DTYPES
from own_nodes import Scale
from reference_dropout import halves, mask_of, philox4x32, rounded

import cgraph as CG

SEED = 0x9B00DBD8_00000001
RATE = 0.3125
ONES, PI = [2**32 - 1] * 4, [0x243F6A88, 0x85A308D3, 0x13198A2E, 0x03707344]
# The known answers of Random123: rounds, counter, key, block.
KNOWN = [
    (7, [0] * 4, (0, 0), "5f6fb709 0d893f64 4f121f81 4f730a48"),
    (7, ONES, (2**32 - 1,) * 2, "5207ddc2 45165e59 4d8ee751 8c52f662"),
    (7, PI, (0xA4093822, 0x299F31D0), "4dfccaba 190a87f0 c47362ba b6b5242a"),
    (10, [0] * 4, (0, 0), "6627e8d5 e169c58d bc57ac4c 9b00dbd8"),
    (10, ONES, (2**32 - 1,) * 2, "408f276d 41c83b0e a20bc7c6 6d5451fd"),
    (10, PI, (0xA4093822, 0x299F31D0), "d16cfe09 94fdcceb 5001e420 24126ea1"),
]


@pytest.mark.parametrize(("rounds", "counter", "key", "block"), KNOWN)
def test_the_reference_gives_the_known_answers(rounds, counter, key, block):
    found = philox4x32(counter, key, rounds)
    assert [f"{int(word):08x}" for word in found] == block.split()


@pytest.mark.parametrize(("seed", "sample"), [(0, 0), (SEED, 2**40 + 9)])
def test_the_half_words_of_the_kernels_are_those_of_the_reference_bit_for_bit(
    seed, sample, build_name
):
    """An element is kept up to the rate half / 2**16, and dropped from the next one on."""
    for i, half in enumerate(halves(19, seed, sample)):
        for rate, kept in ((int(half), 1), (int(half) + 1, 0)):
            x = CG.Leaf1(19)
            x.getInput(np.ones(19))
            node = CG.Dropout(x, rate / 2**16, seed)
            node.samples = sample
            x.forwardPropagation()
            assert (node.data[i] != 0) == kept


class Net:
    """A Dropout of ones between two nodes, so that its data show its mask; `below` lets nodes learn."""

    def __init__(self, size=37, dtype="float64", rate=RATE, seed=SEED, **options):
        self.x = CG.Leaf1(size, dtype=dtype)
        self.node = CG.Dropout(self.x, rate, seed)
        self.y = CG.Affine(self.node, np.full((size + 1, 3), 0.25))
        self.loss = CG.Norm2(self.y)
        self.graph = CG.Graph(self.loss, **options) if options else None

    def feed(self, count):
        return {self.x: np.ones((count, self.x.size), self.x.dtype)}

    def mask(self):
        return self.node.data != 0

    def pass_of_nodes(self):
        self.x.getInput(np.ones(self.x.size))
        self.x.forwardPropagation()


def masks(size, count, first=0, rate=RATE, seed=SEED):
    return np.array([mask_of(size, rate, seed, (first + i) % 2**64) for i in range(count)])


@pytest.mark.usefixtures("eager_threads")
@pytest.mark.parametrize("dtype", DTYPES)
@pytest.mark.parametrize("first", [0, 2**32 - 20, 2**64 - 20])
def test_one_mask_on_every_path(first, dtype, build_name):
    """Samples are counted modulo 2**64, and the lanes of a vector may lie on both sides of 2**32."""
    expected = masks(37, 40, first)
    net = Net(dtype=dtype)
    net.node.samples = first
    for mask in expected:
        net.pass_of_nodes()
        assert_equal(net.mask(), mask)
    for setting in SETTINGS:
        net = Net(dtype=dtype, **setting._asdict())
        for batch in (40, 9, 1):
            net.node.samples = first
            net.graph.train(net.feed(40), 0.0, batch=batch)
            assert net.node.samples == (first + 40) % 2**64
            for i in (0, 19, 20, 39):
                net.graph.sample(i)
                assert_equal(net.mask(), expected[i])
                assert_equal(net.x.grad != 0, expected[i])


@pytest.mark.usefixtures("eager_threads")
@pytest.mark.parametrize("setting", SETTINGS)
def test_the_losses_of_a_batch_are_those_of_its_masks(setting):
    """What a call computes, and not only what `sample` shows."""
    net = Net(**setting._asdict())
    net.graph.accumulate(net.feed(3))
    losses = net.graph.accumulate(net.feed(50))
    kept = masks(37, 50, 3).sum(axis=1)
    expected = np.sqrt(3) * (0.25 * kept / (1 - RATE) + 0.25)
    np.testing.assert_allclose(losses, expected, rtol=1e-12)


@pytest.mark.parametrize("rate", [0.0, 0.01, 0.25, 0.5, 0.9])
@pytest.mark.parametrize("seed", [0, 1, SEED])
def test_the_share_of_kept_elements_is_right(rate, seed):
    """Within four standard deviations: of all samples and elements, and of each tenth of either."""
    net = Net(400, rate=rate, seed=seed)
    table = []
    for _ in range(100):
        net.pass_of_nodes()
        table.append(net.mask())
        kept = net.node.data[net.mask()]
        np.testing.assert_allclose(kept, 1 / (1 - rounded(rate)), rtol=1e-15)
    table = np.array(table)
    tenths = [part for k in range(10) for part in (table[k::10], table[:, k::10])]
    for part in (table, *tenths):
        deviation = 4 * np.sqrt(rate * (1 - rate) / part.size)
        assert abs(part.mean() - (1 - rate)) <= deviation


@pytest.mark.parametrize(("rate", "share"), [(2**-18, 1), (1 - 2**-18, 2**-16)])
def test_a_rate_is_rounded_in_masks_and_values_alike(rate, share):
    net = Net(2000, rate=rate)
    for _ in range(50):
        net.pass_of_nodes()
        assert_equal(net.mask(), mask_of(2000, rate, SEED, net.node.samples - 1))
        assert_equal(net.node.data[net.mask()], 1 / share)


def correlation(one, other):
    """Returns the correlation of two masks of rate ½, in standard deviations."""
    return abs(((2.0 * one - 1) * (2.0 * other - 1)).sum()) / np.sqrt(one.size)


def test_the_masks_of_samples_elements_and_seeds_are_independent():
    table = masks(1000, 64, rate=0.5)
    assert abs(table.mean() - 0.5) < 4 * 0.5 / np.sqrt(table.size)
    for shift in (1, 2, 3, 4, 5, 8, 16, 32):
        assert correlation(table[shift:], table[:-shift]) < 4
        assert correlation(table[:, shift:], table[:, :-shift]) < 4
    for seed in (SEED + 1, SEED + 2**32, SEED ^ 2**63, 0):
        assert correlation(table, masks(1000, 64, rate=0.5, seed=seed)) < 4


def test_nodes_of_one_seed_have_one_mask_and_a_smaller_rate_keeps_more():
    x = leaf_of((8, 8), "float32")
    x.data = np.ones(64)
    few, same, more = CG.Dropout(x, 0.6, 5), CG.Dropout(x, 0.6, 5), CG.Dropout(x, 0.2, 5)
    x.forwardPropagation()
    assert_equal(few.data, same.data)
    assert (more.data[few.data != 0] != 0).all()
    assert (few.height, few.width, few.rate, few.seed) == (8, 8, 0.6, 5)


@pytest.mark.parametrize("layout", ["lanes", "samples"])
def test_predictions_have_no_mask_and_are_not_counted(layout):
    net = Net(layout=layout)
    net.graph.step(net.feed(5), 0.0)
    ones = np.ones((9, 37))
    assert_equal(net.graph.predict(net.feed(9), net.node), ones)
    net.graph.sample(4)
    assert_equal(net.node.data, ones[0])
    assert (net.x.grad != 0).all()
    assert_equal(CG.evaluate(net.node), ones[0])
    assert net.node.samples == 5
    net.graph.forward()
    assert_equal(net.mask(), masks(37, 1, 5)[0])
    assert net.node.samples == 6


def test_a_graph_takes_the_count_over_and_hands_it_back():
    net = Net()
    net.pass_of_nodes()
    graph = CG.Graph(net.loss)
    graph.step(net.feed(4), 0.0)
    net.pass_of_nodes()
    assert_equal(net.mask(), masks(37, 1, 5)[0])
    net.loss.backwardPropagation()
    assert_equal(net.x.grad != 0, net.mask())
    graph.sample(2)
    assert_equal(net.mask(), masks(37, 1, 3)[0])
    net.loss.backwardPropagation()
    assert_equal(net.x.grad != 0, net.mask())
    newer = CG.Graph([net.loss, net.node])
    newer.forward()
    assert_equal(net.mask(), masks(37, 1, 6)[0])
    assert net.node.samples == 7


def test_the_nodes_hold_the_mask_of_the_last_sample():
    """A backward pass over the nodes may follow a call whose samples went through them one by one."""
    net = Net(layout="samples", threads=1)
    net.graph.train(net.feed(4), 0.0)
    assert_equal(net.mask(), masks(37, 1, 3)[0])
    net.loss.backwardPropagation()
    assert_equal(net.x.grad != 0, net.mask())
    net.graph.predict(net.feed(1))
    net.loss.backwardPropagation()
    assert (net.x.grad != 0).all()


def test_setting_the_count_repeats_a_mask_and_leaves_a_backward_pass_alone():
    net = Net()
    net.pass_of_nodes()
    first = net.mask()
    net.node.samples = 77
    net.loss.backwardPropagation()
    assert_equal(net.x.grad != 0, first)
    net.pass_of_nodes()
    assert_equal(net.mask(), masks(37, 1, 77)[0])
    net.node.samples = 0
    net.pass_of_nodes()
    assert_equal(net.mask(), first)


@pytest.mark.parametrize("bad", [-1, 2**64, 1.0, True, "one"])
def test_a_count_that_is_none_is_refused(bad):
    net = Net()
    with pytest.raises((TypeError, ValueError), match="Dropout: samples must be"):
        net.node.samples = bad
    assert net.node.samples == 0


def test_channels_of_a_group_and_python_nodes_have_their_masks():
    """A Dropout reads one channel of sibling convolutions; an own class computes in Python, sample by sample."""

    class Own(CG.Dropout):
        def calcData(self):
            super().calcData()

    image = CG.Leaf2(4, 5)
    kernel = np.ones((1, 1, 1))
    maps = [CG.Convolution2d([image], kernel, 0.0) for _ in range(3)]
    dropped = [CG.Dropout(maps[0], RATE, 1), Own(maps[1], RATE, 2), CG.Dropout(maps[2], RATE, 3)]
    graph = CG.Graph(CG.Norm2(CG.Concatenation(dropped)), layout="lanes")
    losses = graph.accumulate({image: np.ones((12, 20))})
    kept = sum(masks(20, 12, seed=seed).sum(axis=1) for seed in (1, 2, 3))
    np.testing.assert_allclose(losses, np.sqrt(kept) / (1 - RATE), rtol=1e-12)
    graph.sample(7)
    for seed, node in enumerate(dropped, 1):
        assert_equal(node.data != 0, mask_of(20, RATE, seed, 7))
        assert node.samples == 12


def test_gradcheck_holds_the_count_still(gradcheck):
    net = Net(6, layout="auto")
    net.graph.step({net.x: np.random.default_rng(0).uniform(0.5, 1, (5, 6))}, 0.0)
    before = net.node.samples
    gradcheck(net.graph)
    net.x.forwardPropagation()
    assert net.node.samples == before + 1
    gradcheck(net.loss)
    CG.evaluate(net.loss)
    gradcheck(net.loss)
    assert net.node.samples == before + 1
    net.x.forwardPropagation()
    assert net.node.samples == before + 2


def test_a_dropped_element_is_not_read():
    net = Net()
    net.x.data[...] = np.where(masks(37, 1)[0], 1.0, np.nan)
    net.x.forwardPropagation()
    assert np.isfinite(net.node.data).all()
    assert not np.signbit(net.node.data).any()


def test_files_and_state_dicts_keep_the_count():
    net, other, without = Net(), Net(layout="auto"), CG.Leaf1(37)
    net.node.samples = 2**63 + 1
    file = io.BytesIO()
    CG.save_parameters(file, net.loss)
    file.seek(0)
    CG.load_parameters(file, other.graph)
    assert other.node.samples == 2**63 + 1
    state = other.graph.state_dict()
    assert list(state) == ["00000.Affine.weight", "samples.00000.Dropout"]
    plain = CG.Graph(CG.Norm2(CG.Affine(without, np.zeros((38, 3)))))
    plain.load_state_dict(state)
    other.graph.load_state_dict(plain.state_dict())
    assert other.node.samples == 2**63 + 1
    other.graph.load_state_dict(state | {"samples.00000.Dropout": np.array([4], np.uint64)})
    assert other.node.samples == 4


class Failing(CG.Tanh):
    """Raises for its sixth sample."""

    computed = 0

    def calcData(self):
        self.computed += 1
        if self.computed == 6:
            raise ArithmeticError
        super().calcData()


@pytest.mark.parametrize(("batch", "counted"), [(0, 0), (1, 5), (2, 4), (10, 0)])
def test_after_an_exception_the_samples_of_whole_updates_have_been_counted(batch, counted):
    net = Net()
    graph = CG.Graph(CG.Norm2(Failing(net.y)), layout="lanes")
    net.node.samples = 3
    call = partial(graph.train, eta=1e-3, batch=batch) if batch else graph.accumulate
    with pytest.raises(ArithmeticError):
        call(net.feed(10))
    assert net.node.samples == 3 + counted
    graph.accumulate(net.feed(2))
    assert net.node.samples == 5 + counted


def test_threads_with_graphs_of_their_own_do_not_disturb_each_other():
    nets = [Net(layout="lanes", threads=2) for _ in range(2)]

    def run(net):
        for _ in range(20):
            net.graph.accumulate(net.feed(64))

    threads = [threading.Thread(target=run, args=[net]) for net in nets]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert_equal(nets[0].y.gradWeight, nets[1].y.gradWeight)
    assert [net.node.samples for net in nets] == [1280] * 2


@pytest.mark.parametrize("every", [3, full(1)])
def test_an_interrupted_call_has_counted_the_samples_of_its_updates(every):
    """At any moment, or one in `every`, the count fits the parameters: both are those of the last whole batch."""
    rows = np.linspace(-1, 1, 12).reshape(6, 2)

    def network():
        x = CG.Leaf1(2)
        weights = Scale(x, [1.0, 2.0])  # a node in Python, so that calls have moments to stop at
        dropped = CG.Dropout(CG.Affine(weights, [[0.5], [1.0], [0.25]]), 0.5, 3)
        return x, dropped, CG.Graph(CG.Square(dropped))

    x, dropped, graph = network()
    ends = {}
    for first in (0, 2, 4, 6):
        ends[dropped.samples] = [p.value.copy() for p in graph.parameters]
        graph.step({x: rows[first : first + 2]}, 0.1)
    assert [*ends] == [0, 2, 4, 6]
    event, done, found = 1, False, set()
    while not done:
        x, dropped, graph = network()
        done = stopped(partial(graph.train, {x: rows}, CG.SGD(0.2), 2), event)
        values = [p.value for p in graph.parameters]
        assert all(map(np.allclose, values, ends[dropped.samples])), event
        found.add(dropped.samples)
        event += every
    assert found == {0, 2, 4, 6}
