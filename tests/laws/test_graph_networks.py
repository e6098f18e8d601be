"""The nodes that are fused into one step, as `summary` prints them; fused networks have the results of their nodes."""

import re

import numpy as np
import pytest
from amounts import IN_USE, full
from graph_networks import NETWORKS, TABLE, nodes_of
from graph_twins import Twins, assert_same
from lane_arena import widest_far_block

import cgraph as CG
from cgraph import _kernels

pytestmark = pytest.mark.usefixtures("guard_pages")
every_network = pytest.mark.parametrize("network", NETWORKS, ids=lambda network: network.__name__)
# By default other builds than the one in use run each network in one dtype.
IN_KINDS = [
    made if build == IN_USE or k % 2 == turn else full(made)
    for build in _kernels.available()
    for k, network in enumerate(NETWORKS)
    for turn, dtype in enumerate(("float64", "float32"))
    for made in [pytest.param(network, dtype, build, id=f"{network.__name__}-{dtype}-{build}")]
]
STEP = re.compile(r" *\d+  (?:(\d+) × )?(\w+) ")


def steps_of(text):
    """Returns (number of nodes, class) of each line of a summary."""
    found = [STEP.match(line) for line in text.splitlines()]
    return [(int(match[1] or 1), match[2]) for match in found if match]


@every_network
def test_a_network_has_the_steps_that_it_should_have(network, capsys):
    nodes = nodes_of(network, "float32")
    graph = CG.Graph(nodes[-1])
    graph.summary()
    printed = capsys.readouterr().out
    assert steps_of(printed) == NETWORKS[network]
    count = sum(p.value.size for p in CG.parameters(nodes[-1]))
    total = f"{len(NETWORKS[network])} steps for {len(nodes)} nodes, {count:,} parameters, "
    assert printed.splitlines()[-2].startswith(total)
    assert repr(graph) == f"Graph({len(NETWORKS[network])} steps for {len(nodes)} nodes)"
    assert set(graph.nodes) == set(nodes)


def test_the_summary_of_lenet_counts_what_it_says(capsys):
    """The summary counts 400·120 + 120·84 + 84·10 products and the biases, and each map's positions times its taps."""
    nodes = nodes_of(next(n for n in NETWORKS if n.__name__ == "sparse_lenet"), "float32")
    CG.Graph(nodes[-1]).summary()
    lines = capsys.readouterr().out.splitlines()
    taps = sum(map(len, TABLE)) * 25
    assert re.search(
        rf"16 × Convolution2d .* 6 nodes +{taps + 16:,} +{taps * 100:,}  lanes$", lines[4]
    )
    assert re.search(r"Affine .* 1 node +48,120 +48,120  lanes$", lines[8])
    affine = 401 * 120 + 121 * 84 + 85 * 10
    total = affine + 6 * 25 * 784 + taps * 100
    assert lines[-2].endswith(f" bytes, {total:,} multiply-adds")
    assert re.fullmatch(
        rf"batches: up to {widest_far_block('float32')} samples at a time, from \d+ samples on"
        r"( \(\d+ without gradients\))?; [\d,]+ bytes for each thread, [\d,]+ for all",
        lines[-1],
    )
    assert len(lines) == 1 + 14 + 2


@pytest.mark.parametrize(("network", "dtype", "build_name"), IN_KINDS, indirect=["build_name"])
def test_a_network_equals_its_nodes(network, dtype, build_name):
    count = len(nodes_of(network, dtype))
    twins = Twins(lambda: nodes_of(network, dtype), [count - 1])
    rng = np.random.default_rng(1)
    for _ in range(2):
        twins.write(twins.draw(rng))
        twins.graph.forward()
        twins.nodes_forward()
        twins.graph.backward()
        twins.nodes_backward()
        twins.assert_data_are_equal()
        twins.assert_gradients_are_equal()
        twins.graph.update(0.05)
        twins.nodes_update(0.05)
    for batch in (1, 2):
        samples = twins.draw(rng, 3)
        losses = twins.graph.train(twins.feed(samples), 0.02, batch=batch)
        assert_same(losses, twins.nodes_train(samples, 0.02, batch), twins.tolerance, 1.0)
    samples = twins.draw(rng, 2)
    twins.graph.accumulate(twins.feed(samples))
    twins.nodes_train(samples, 0.0, 0)
    twins.assert_equal()
    for k in range(0, count, 3):
        rows = twins.graph.predict(twins.feed(samples), twins.ours[k])
        assert_same(rows, twins.nodes_predict(samples, k), twins.tolerance, 1.0)


def test_a_channel_can_be_an_output_too():
    """A channel that is an output has no consumer, one or several, and its data are a contiguous array in any case."""

    def make():
        image = CG.Leaf2(5, 5)
        rng = np.random.default_rng(0)
        group = [CG.Convolution2d([image], rng.uniform(-1, 1, (1, 2, 2)), 0.1) for _ in range(3)]
        return [image, *group, *map(CG.ReLU, group[:2])]

    twins = Twins(make, [1, 3, 4, 5])
    assert repr(twins.graph) == "Graph(3 steps for 6 nodes)"
    samples = twins.draw(np.random.default_rng(0), 3)
    for k in range(6):
        rows = twins.graph.predict(twins.feed(samples), twins.ours[k])
        assert_same(rows, twins.nodes_predict(samples, k), twins.tolerance)
    twins.assert_data_are_equal()
    channel = twins.ours[2].data
    assert channel.shape == (16,)
    assert channel.strides == (32,)


@pytest.mark.parametrize("links", [10_000, full(20_000)])
def test_a_long_chain_is_built_and_run_without_recursion(links):
    x = node = CG.Leaf1(2)
    for _ in range(links):
        node = CG.ReLU(node)
    graph = CG.Graph(CG.Norm2(node))
    assert graph.accumulate({x: [[3, 4]]}).tolist() == [5]
    np.testing.assert_allclose(x.grad, [0.6, 0.8])


@pytest.mark.parametrize("dtype", ["float64", "float32"])
@pytest.mark.parametrize("count", [2, 4, 7, 9])
@pytest.mark.parametrize("size", range(3, 11))
def test_equal_windows_have_equal_outputs(size, count, dtype, build_name):
    """Equal windows have equal outputs, so that the maxima of a constant area have the ties of the nodes."""
    rng = np.random.default_rng(size)
    image = CG.Leaf2(size, size, dtype=dtype)
    first = [CG.Convolution2d([image], rng.normal(size=(1, 3, 3)), 0.1) for _ in range(count)]
    second = [CG.Convolution2d(first, rng.normal(size=(count, 1, 1)), 0.1) for _ in range(count)]
    image.getInput(np.full((size, size), 0.3))
    CG.Graph(first + second).forward()
    assert all(np.ptp(node.data) == 0 for node in first + second)


@pytest.mark.parametrize("dtype", ["float64", "float32"])
def test_equal_windows_have_equal_outputs_where_panels_are_packed(dtype, build_name):
    """Many channels have several blocks of terms and packed kernels, and tiles of several heights."""
    rng = np.random.default_rng(0)
    images = [CG.Leaf2(16, 16, dtype=dtype) for _ in range(43)]
    nodes = [CG.Convolution2d(images, rng.normal(size=(43, 3, 3)), 0.1) for _ in range(129)]
    for image in images:
        image.getInput(np.full((16, 16), rng.normal()))
    CG.Graph(nodes).forward()
    assert all(np.ptp(node.data) == 0 for node in nodes)


def convolved(image, shape, count=4, *args):
    rng = np.random.default_rng(shape[-1])
    args = args or (0.1,)
    return [CG.Convolution2d([image], rng.uniform(-1, 1, (1, *shape)), *args) for _ in range(count)]


# Networks that resemble one step and are not, or are in another order: from an image to nodes that a loss reads
ALMOST = {
    "two classes": lambda a, _b: [op(x) for op, x in zip([CG.ReLU, CG.Tanh] * 2, a, strict=True)],
    "strides": lambda a, _b: [CG.AveragePooling2d(x, 2, 2, 1 + i % 2) for i, x in enumerate(a)],
    "two groups": lambda a, b: [
        CG.Convolution2d([a[0], b[1]], np.ones((2, 2, 2)), 0.1 * i) for i in (1, 2)
    ],
    "unequal groups": lambda a, b: [CG.Add(x, y) for x, y in zip(a, b[:2] * 2, strict=True)],
    "another order": lambda a, _b: [CG.ReLU(x) for x in a[::-1]],
}


@pytest.mark.parametrize("name", ALMOST)
def test_what_is_almost_a_group_equals_its_nodes(name):
    def make():
        image = CG.Leaf2(5, 5)
        nodes = ALMOST[name](convolved(image, (2, 2)), convolved(image, (2, 2), 5))
        return [image, *nodes, CG.Norm2(CG.Concatenation(nodes))]

    twins = Twins(make, [len(make()) - 1])
    samples = twins.draw(np.random.default_rng(0), 2)
    twins.graph.accumulate(twins.feed(samples))
    twins.nodes_train(samples, 0, 0)
    twins.assert_equal()


def test_leaves_come_in_the_order_of_nodes():
    graph = CG.Graph(CG.Concatenation([CG.Leaf1(1) for _ in range(5)]))
    assert graph.leaves == [node for node in graph.nodes if not node.backward]
