"""Layers give what PyTorch's give with the same parameters."""

import itertools

import numpy as np
import pytest

import cgraph as CG

torch = pytest.importorskip("torch", reason="compares with PyTorch")
F = torch.nn.functional
L = CG.layers
pytestmark = pytest.mark.thread_unsafe(reason="PyTorch has threads of its own")

ACTIVATIONS = {
    "elu": F.elu,
    "gelu": F.gelu,
    "leaky_relu": F.leaky_relu,
    "log_softmax": lambda x: F.log_softmax(x, 0),
    "relu": F.relu,
    "sigmoid": torch.sigmoid,
    "silu": F.silu,
    "softmax": lambda x: F.softmax(x, 0),
    "softplus": F.softplus,
    "tanh": torch.tanh,
}


def channels_of(rng, count, height, width):
    """Returns leaves with random data, and their data as a tensor of one sample."""
    x = [CG.Leaf2(height, width) for _ in range(count)]
    values = rng.normal(size=(count, height, width))
    for leaf, value in zip(x, values, strict=True):
        leaf.getInput(value)
    return x, torch.tensor(values[None])


def assert_same(nodes, tensor):
    actual = [CG.evaluate(node).reshape(node.height, node.width) for node in nodes]
    np.testing.assert_allclose(actual, tensor[0].numpy(), rtol=1e-11, atol=1e-11)


def parameters_of(nodes):
    return tuple(
        torch.tensor(np.array([getattr(node, name) for node in nodes]))
        for name in ("kernel", "bias")
    )


def test_every_activation_is_compared():
    assert set(ACTIVATIONS) == set(L.ACTIVATIONS)


@pytest.mark.parametrize("name", ACTIVATIONS)
def test_dense_is_linear_and_the_activation(name):
    rng = np.random.default_rng(0)
    x = CG.Leaf1(6)
    x.getInput(rng.normal(size=6))
    node = L.dense(x, 9, name, rng=rng)
    weight = node.backward[0].weight
    result = ACTIVATIONS[name](F.linear(torch.tensor(x.data), torch.tensor(weight[:-1].T)))
    np.testing.assert_allclose(CG.evaluate(node), result.numpy(), rtol=1e-12)


@pytest.mark.filterwarnings("ignore:Using padding='same' with even kernel:UserWarning")
@pytest.mark.parametrize("k", [(1, 1), (2, 2), (3, 3), (4, 4), (5, 2)])
def test_same_with_a_stride_of_1_is_that_of_pytorch(k):
    rng = np.random.default_rng(1)
    x, tensor = channels_of(rng, 3, 6, 7)
    nodes = L.conv2d(x, 4, k, padding="same", rng=rng)
    kernel, bias = parameters_of(nodes)
    assert_same(nodes, F.conv2d(tensor, kernel, bias, padding="same"))


@pytest.mark.parametrize(("k", "s"), [*itertools.product([1, 2, 3], repeat=2)])
def test_valid_is_the_default_of_pytorch(k, s):
    rng = np.random.default_rng(2)
    x, tensor = channels_of(rng, 2, 8, 7)
    nodes = L.conv2d(x, 3, k, s, rng=rng)
    kernel, bias = parameters_of(nodes)
    assert_same(nodes, F.conv2d(tensor, kernel, bias, s))
    assert_same(L.max_pool2d(x, k, s), F.max_pool2d(tensor, k, s))
    assert_same(L.average_pool2d(x, k, s), F.avg_pool2d(tensor, k, s))


@pytest.mark.parametrize(("m", "k", "s"), [(7, 3, 2), (6, 3, 1), (9, 5, 2), (10, 3, 3)])
def test_same_with_even_padding_is_that_of_pytorch(m, k, s):
    rng = np.random.default_rng(3)
    x, tensor = channels_of(rng, 2, m, m)
    nodes = L.conv2d(x, 3, k, s, "same", rng=rng)
    kernel, bias = parameters_of(nodes)
    assert_same(nodes, F.conv2d(tensor, kernel, bias, s, k // 2))
    assert_same(L.max_pool2d(x, k, s, "same"), F.max_pool2d(tensor, k, s, k // 2))
    averages = F.avg_pool2d(tensor, k, s, k // 2, count_include_pad=False)
    assert_same(L.average_pool2d(x, k, s, "same"), averages)


def test_the_recipe_of_the_page_for_strides_of_2_is_pytorch():
    rng = np.random.default_rng(4)
    x, tensor = channels_of(rng, 2, 8, 6)
    kernel = rng.normal(size=(2, 3, 3))
    node = CG.Convolution2d(x, kernel, 0.5, 2, 1, 1, 4, 3)
    half = torch.tensor([0.5], dtype=torch.float64)
    assert_same([node], F.conv2d(tensor, torch.tensor(kernel[None]), half, 2, 1))


def test_a_table_is_a_kernel_with_zeros():
    rng = np.random.default_rng(5)
    x, tensor = channels_of(rng, 3, 5, 5)
    table = [(0, 2), (1,), (2, 1, 0)]
    nodes = L.conv2d(x, 3, 3, table=table, activation="relu", rng=rng)
    kernel = np.zeros((3, 3, 3, 3))
    for filters, (row, node) in zip(kernel, zip(table, nodes, strict=True), strict=True):
        filters[list(row)] = node.backward[0].kernel
    assert_same(nodes, F.relu(F.conv2d(tensor, torch.tensor(kernel))))


def test_flatten_and_layer_norm_are_those_of_pytorch():
    rng = np.random.default_rng(6)
    x, tensor = channels_of(rng, 3, 4, 5)
    flat = tensor.flatten()
    np.testing.assert_array_equal(CG.evaluate(L.flatten(x)), flat.numpy())
    normalised = CG.evaluate(L.layer_norm(L.flatten(x), 1e-3))
    np.testing.assert_allclose(normalised, F.layer_norm(flat, (60,), eps=1e-3).numpy(), rtol=1e-12)


@pytest.mark.parametrize(
    "name", ["xavier_uniform", "xavier_normal", "kaiming_uniform", "kaiming_normal"]
)
def test_the_scale_of_initial_parameters_is_that_of_pytorch(name):
    ours = name.replace("xavier", "glorot").replace("kaiming", "he")
    torch.manual_seed(0)
    for shape in ((300, 200), (40, 30, 5, 5)):
        tensor = torch.empty(shape if len(shape) == 4 else shape[::-1], dtype=torch.float64)
        options = {"nonlinearity": "relu"} if ours.startswith("he") else {}
        getattr(torch.nn.init, f"{name}_")(tensor, **options)
        drawn = getattr(CG.init, ours)(shape, 0)
        assert drawn.std() == pytest.approx(float(tensor.std()), rel=0.02)
        if name.endswith("uniform"):
            assert np.abs(drawn).max() == pytest.approx(float(tensor.abs().max()), rel=1e-3)
