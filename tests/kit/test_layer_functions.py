"""The functions of cgraph.layers: shapes, parameters, activations, tables, seeds, both paths, gradients."""

import math
import re
from functools import partial
from pathlib import Path

import numpy as np
import pytest
from graph_twins import assert_all_same
from layer_table import LAYERS, built, images

import cgraph as CG

L = CG.layers
TOLERANCE = {"float64": 1e-12, "float32": 1e-5}
DTYPES = tuple(TOLERANCE)


# Every row of the table


@pytest.mark.parametrize("dtype", DTYPES)
@pytest.mark.parametrize("name", LAYERS)
def test_a_layer_has_its_shape_and_the_dtype_of_its_input(name, dtype):
    _, nodes, _ = built(name, dtype)
    _, count, height, width = LAYERS[name]
    assert [(node.height, node.width) for node in nodes] == [(height, width)] * count
    assert {str(node.dtype) for node in CG.ancestors(nodes[-1])} == {dtype}
    assert {str(p.value.dtype) for p in CG.parameters(nodes[-1])} <= {dtype}


@pytest.mark.parametrize("name", LAYERS)
def test_the_gradients_of_a_layer_are_slopes(name):
    x, _, loss = built(name)
    for leaf, image in zip(x, images(1), strict=True):
        leaf.getInput(image[0])
        leaf.forwardPropagation()
    CG.gradcheck(loss)


@pytest.mark.parametrize("name", LAYERS)
def test_the_clone_of_a_layer_computes_the_same(name):
    x, nodes, _ = built(name)
    for leaf, image in zip(x, images(1), strict=True):
        leaf.getInput(image[0])
    twins = CG.clone(nodes)
    for node in nodes:
        np.testing.assert_array_equal(CG.evaluate(twins[node]), CG.evaluate(node))


def over_nodes(name, dtype, samples):
    """Returns losses, outputs and gradient sums of a layer, one sample after another, node by node."""
    x, nodes, loss = built(name, dtype)
    losses, outputs = [], []
    for sample in range(samples.shape[1]):
        for leaf, image in zip(x, samples, strict=True):
            leaf.getInput(image[sample])
            leaf.forwardPropagation()
        losses.append(loss.data[0])
        loss.backwardPropagation()
        outputs.append(CG.evaluate(nodes[-1]))
    sums = [p.grad for p in CG.parameters(loss)]
    return np.array(losses), np.array(outputs).reshape(-1, nodes[-1].size), sums


@pytest.mark.parametrize("dtype", DTYPES)
@pytest.mark.parametrize("name", LAYERS)
def test_a_graph_computes_a_layer_as_the_nodes_do(name, dtype):
    settings = [
        ("samples", 1, 5),
        ("lanes", 1, 1),
        ("lanes", 1, 35),
        ("auto", 2, 35),
        ("auto", 1, 0),
    ]
    for layout, threads, count in settings:
        samples = images(count)
        losses, outputs, sums = over_nodes(name, dtype, samples)
        x, nodes, loss = built(name, dtype)
        graph = CG.Graph(loss, layout=layout, threads=threads)
        feed = dict(zip(x, samples.astype(dtype), strict=True))
        actual = [graph.accumulate(feed), graph.predict(feed, nodes[-1])]
        actual += [p.grad for p in CG.parameters(loss)]
        assert_all_same(actual, [losses, outputs, *sums], TOLERANCE[dtype] * 10)


@pytest.mark.parametrize("name", LAYERS)
def test_one_seed_gives_the_same_bits_and_another_one_others(name):
    first, again, other = (
        [
            *(p.value.tobytes() for p in CG.parameters(built(name, seed=seed)[2])),
            *(n.seed for n in CG.ancestors(built(name, seed=seed)[2]) if hasattr(n, "seed")),
        ]
        for seed in (1, 1, 2)
    )
    assert first == again
    random = set(first) != {p.value.tobytes() for p in CG.parameters(built("layer_norm")[2])}
    assert (first != other) == (random and first != [])


# dense, flatten, layer_norm, dropout


def test_the_weights_of_dense_are_those_of_its_initialiser_and_its_biases_are_0():
    x = CG.Leaf2(2, 3)
    node = L.dense(x, 4, rng=3)
    assert isinstance(node, CG.Affine)
    assert node.backward == [x]
    np.testing.assert_array_equal(node.weight[:-1], CG.init.glorot_uniform((6, 4), 3))
    assert not node.weight[-1].any()


def erf(x):
    return np.vectorize(math.erf)(x)


FORMULAS = {
    "elu": lambda x: np.where(x > 0, x, np.expm1(x)),
    "gelu": lambda x: x * (1 + erf(x / math.sqrt(2))) / 2,
    "leaky_relu": lambda x: np.where(x > 0, x, 0.01 * x),
    "log_softmax": lambda x: x - np.log(np.exp(x).sum()),
    "relu": lambda x: np.maximum(x, 0),
    "sigmoid": lambda x: 1 / (1 + np.exp(-x)),
    "silu": lambda x: x / (1 + np.exp(-x)),
    "softmax": lambda x: np.exp(x) / np.exp(x).sum(),
    "softplus": lambda x: np.log1p(np.exp(x)),
    "tanh": np.tanh,
}


@pytest.mark.parametrize("name", L.ACTIVATIONS)
def test_an_activation_by_name_has_its_formula(name):
    x = CG.Leaf1(3)
    x.getInput([-2, 0.5, 3])
    node = L.dense(x, 20, name, rng=1)
    (affine,) = node.backward
    np.testing.assert_allclose(CG.evaluate(node), FORMULAS[name](CG.evaluate(affine)), rtol=1e-12)
    if name not in ("softmax", "log_softmax"):
        (channel,) = L.conv2d(CG.Leaf2(3, 3), 1, 2, activation=name, rng=1)
        assert type(channel) is type(node)


def test_every_activation_of_the_package_has_a_name():
    readme = (Path(__file__).parents[2] / "README.md").read_text(encoding="utf-8")
    (row,) = re.findall(r"^\| activations \|(.*)\|$", readme, re.MULTILINE)
    assert {cls.__name__ for cls in L.ACTIVATIONS.values()} == set(re.findall(r"\w+", row))
    page = (Path(__file__).parents[2] / "docs/learn/layers.md").read_text(encoding="utf-8")
    assert [name for name in L.ACTIVATIONS if f'`"{name}"`' not in page] == []


def test_a_function_is_an_activation_too():
    x = CG.Leaf1(2)
    x.getInput([-1, 1])
    node = L.dense(x, 2, lambda node: 2 * CG.LeakyReLU(node, 0.5), initializer="ones")
    np.testing.assert_array_equal(CG.evaluate(node), [0, 0])
    assert isinstance(node, CG.Scale)
    channels = L.conv2d(CG.Leaf2(2, 2), 3, 1, activation=CG.Exp, rng=0)
    assert [type(channel) for channel in channels] == [CG.Exp] * 3


def test_a_function_is_an_initialiser_too():
    asked = []

    def noted(shape, rng, fans):
        asked.append((shape, fans))
        return np.ones(shape, int)

    x = [CG.Leaf2(4, 4) for _ in range(3)]
    assert L.dense(x[0], 5, initializer=noted).weight.sum() == 80
    assert L.conv2d(x, 6, (2, 3), initializer=noted)[5].kernel.sum() == 18
    L.conv2d(x, 2, 2, table=[(0,), (1, 2)], initializer=noted)
    assert asked == [
        ((16, 5), (16, 5)),
        ((6, 3, 2, 3), (18, 36)),
        ((1, 1, 2, 2), (4, 4)),
        ((1, 2, 2, 2), (8, 4)),
    ]
    small = L.dense(x[0], 5, initializer=partial(CG.init.orthogonal, gain=0.01), rng=0).weight[:-1]
    np.testing.assert_allclose(small.T @ small, 1e-4 * np.eye(5), atol=1e-18)


def test_flatten_goes_channel_by_channel_and_leaves_a_vector_as_it_is():
    x = [CG.Leaf2(1, 2), CG.Leaf2(2, 1)]
    for k, leaf in enumerate(x):
        leaf.getInput([2 * k, 2 * k + 1])
    np.testing.assert_array_equal(CG.evaluate(L.flatten(x)), [0, 1, 2, 3])
    assert L.flatten(x[1]) is L.flatten([x[1]]) is x[1]
    matrix = L.flatten(x[0])
    assert (matrix.height, matrix.width, matrix.backward) == (2, 1, [x[0]])


def test_layer_norm_has_the_epsilon_that_it_is_given():
    x = CG.Leaf1(2)
    assert L.layer_norm(x).eps == CG.LayerNorm(x).eps
    assert L.layer_norm(x, epsilon=0.25).eps == 0.25


def test_each_dropout_draws_a_seed_of_its_own():
    x, rng = CG.Leaf1(2), np.random.default_rng(0)
    seeds = [L.dropout(x, 0.5, rng).seed for _ in range(50)]
    assert len(set(seeds)) == 50
    assert max(seeds) > 2**63  # all 64 bits
    assert L.dropout(x, 0.5, 0).seed == seeds[0]
    assert L.dropout(x, 0.5).seed != L.dropout(x, 0.5).seed


# Channels


def test_the_kernels_of_conv2d_are_those_of_its_initialiser_and_its_biases_are_0():
    x = [CG.Leaf2(5, 5) for _ in range(2)]
    channels = L.conv2d(x, 4, (3, 2), initializer="he_normal", rng=3)
    kernels = CG.init.he_normal((4, 2, 3, 2), 3)
    for channel, kernel in zip(channels, kernels, strict=True):
        assert channel.backward == x
        assert channel.bias == 0
        np.testing.assert_array_equal(channel.kernel, kernel)


def test_a_table_says_which_channels_each_filter_reads():
    x = [CG.Leaf2(3, 3) for _ in range(4)]
    table = [(2, 0), [3], np.array([1, 2, 3])]
    channels = L.conv2d(x, 3, 2, table=iter(table), rng=0)
    for channel, row in zip(channels, table, strict=True):
        assert channel.backward == [x[k] for k in row]
        assert channel.kernel.shape == (len(row), 2, 2)


@pytest.mark.parametrize("name", ["glorot_uniform", "glorot_normal", "he_uniform", "lecun_normal"])
def test_a_table_of_all_channels_gives_the_same_bits_as_none(name):
    x = [CG.Leaf2(3, 3) for _ in range(3)]
    both = [
        [node.kernel.tobytes() for node in L.conv2d(x, 5, 2, table=table, initializer=name, rng=4)]
        for table in (None, [range(3)] * 5)
    ]
    assert both[0] == both[1]


def test_the_scale_of_kernels_follows_the_channels_that_are_read():
    x = [CG.Leaf2(1, 1) for _ in range(300)]
    narrow, wide = L.conv2d(x, 2, 1, table=[range(3), range(300)], initializer="he_uniform", rng=0)
    assert 1 < np.abs(narrow.kernel).max() < math.sqrt(2)
    assert np.abs(wide.kernel).max() < math.sqrt(6 / 300)


def test_a_single_node_is_a_list_of_one():
    x = CG.Leaf2(4, 4)
    for layer in (partial(L.conv2d, filters=1, kernel_size=2), L.max_pool2d, L.average_pool2d):
        for given in (x, [x], (x,), iter([x])):
            (channel,) = layer(given)
            assert channel.backward == [x]


def test_sizes_are_one_number_or_two():
    x = CG.Leaf2(8, 8)
    (one,), (two,) = L.conv2d(x, 1, 3, 2), L.conv2d(x, 1, [3, 3], (2, 2))
    assert one._config() == two._config()
    (window,) = L.max_pool2d(x, (np.int32(2), 4), np.int64(3))
    assert (window.kheight, window.kwidth, window.sw) == (2, 4, 3)


def test_the_numbers_of_a_generator_go_on_from_layer_to_layer():
    x, rng = CG.Leaf1(3), np.random.default_rng(7)
    first, second = (L.dense(x, 3, rng=rng).weight for _ in range(2))
    assert (first[:-1] != second[:-1]).all()
    assert (L.dense(x, 3, rng=7).weight == first).all()
    assert (L.dense(x, 3, rng=np.int16(7)).weight == first).all()
    assert (L.dense(x, 3).weight != L.dense(x, 3).weight)[:-1].all()


class Cube(CG.Node):
    def __init__(self, node):
        super().__init__(node.size, node.height, node.width, [node])

    def calcData(self):
        self.data = self.backward[0].data ** 3

    def calcPartialDerivative(self):
        self.backward[0].grad += 3 * self.backward[0].data ** 2 * self.grad


def test_own_nodes_mix_with_layers():
    x, values = CG.Leaf2(4, 4), np.random.default_rng(0).normal(size=(3, 4, 4))
    channels = [Cube(channel) for channel in L.conv2d(x, 2, 2, activation=Cube, rng=0)]
    y = L.dense(L.flatten(L.max_pool2d(channels, 3)), 2, rng=1)
    loss = CG.Norm2(y)
    expected = []
    for value in values:
        x.getInput(value)
        x.forwardPropagation()
        expected.append(y.data.copy())
    CG.gradcheck(loss)
    np.testing.assert_allclose(CG.Graph(loss).predict({x: values}, y), expected, rtol=1e-12)


# Layers that fail


def failing(error):
    def activation(node):
        CG.Tanh(CG.Mul(node, node))
        raise error

    return activation


@pytest.mark.parametrize("error", [ValueError("no"), KeyboardInterrupt()])
def test_a_layer_that_fails_leaves_nothing_at_its_inputs(error):
    x, image = CG.Leaf1(3), CG.Leaf2(4, 4)
    before, shown = L.dense(x, 2), L.max_pool2d(image)
    with pytest.raises(type(error)):
        L.dense(x, 2, failing(error))
    with pytest.raises(type(error)):
        L.conv2d([image, image], 3, 2, activation=failing(error))
    with pytest.raises(TypeError, match="activation must return a Node"):
        L.conv2d(image, 3, 2, activation=lambda node: None)
    assert (x.forward, image.forward) == ([before], shown)
    loss = CG.Norm2(before)
    x.forwardPropagation()
    loss.backwardPropagation()
    assert x.f_count == 0


def test_an_activation_that_fails_for_a_later_channel_takes_the_first_ones_along():
    image, calls = CG.Leaf2(3, 3), iter([CG.Tanh, CG.ReLU])
    with pytest.raises(StopIteration):
        L.conv2d(image, 3, 2, activation=lambda node: next(calls)(node))
    assert image.forward == []
