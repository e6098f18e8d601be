"""The networks of cgraph.models: layers, parameters, tables, both paths, learning; and Network itself."""

import copy
from functools import partial

import numpy as np
import pytest
from graph_networks import TABLE
from graph_twins import assert_all_same

import cgraph as CG
from cgraph.models import LENET5_TABLE, Network

M = CG.models
# name: (constructor, names of the layers, sizes of the outputs, number of parameters)
MODELS = {
    "mlp": (partial(M.mlp, 5, [8, 4], 3), "x hidden1 hidden2 output", [3], 48 + 36 + 15),
    "linear": (partial(M.mlp, 5, [], 3), "x output", [3], 18),
    "autoencoder": (
        partial(M.autoencoder, 6, [5, 4], 2),
        "x encoder1 encoder2 code decoder1 decoder2 output",
        [2, 6],
        35 + 24 + 10 + 12 + 25 + 36,
    ),
    "actor_critic": (
        partial(M.actor_critic, 4, 2, [6]),
        "x actor1 policy critic1 value",
        [2, 1],
        30 + 14 + 30 + 7,
    ),
    "actor_critic, shared": (
        partial(M.actor_critic, 4, 2, [6], shared=True),
        "x body1 policy value",
        [2, 1],
        30 + 14 + 7,
    ),
    "lenet5": (
        partial(M.lenet5, 9, 12, 10, activation="tanh"),
        "image c1 s2 c3 s4 c5 f6 output",
        [10],
        156 + 1516 + (16 * 1 + 1) * 120 + 10164 + 850,
    ),
    "vgg": (
        partial(M.vgg, 5, 6, 4, channels=2, blocks=[[3], [4, 2]], hidden=[5]),
        "image conv1_1 pool1 conv2_1 conv2_2 pool2 hidden1 output",
        [4],
        57 + 112 + 74 + (2 * 2 * 2 + 1) * 5 + 24,
    ),
    "residual": (
        partial(M.residual, 5, 6, 4, channels=3, filters=[2, 3], blocks=2),
        "image stem block1 block2 block3 block4 pool output",
        [4],
        56 + 4 * 38 + 9 + 57 + 84 + 2 * 84 + 16,
    ),
}


def loss_of(network):
    """Returns a loss of all outputs of a network."""
    return CG.Mean(CG.Square(CG.Concatenation([*network.outputs.values()])))


def samples_of(network, count):
    """Returns samples of all inputs of a network."""
    rng = np.random.default_rng(3)
    shapes = {
        leaf: (count, leaf.size) if leaf.width == 1 else (count, leaf.height, leaf.width)
        for leaf in network.inputs.values()
    }
    return {leaf: rng.normal(size=shape).astype(leaf.dtype) for leaf, shape in shapes.items()}


@pytest.mark.parametrize("dtype", ["float64", "float32"])
@pytest.mark.parametrize("name", MODELS)
def test_a_model_has_these_layers_outputs_and_parameters(name, dtype):
    make, layers, outputs, count = MODELS[name]
    network = make(rng=0, dtype=dtype)
    assert [*network] == layers.split()
    assert [node.size for node in network.outputs.values()] == outputs
    assert sum(p.value.size for p in network.parameters) == count
    assert {str(p.value.dtype) for p in network.parameters} == {dtype}
    assert {type(leaf).__name__ for leaf in network.inputs.values()} <= {"Leaf1", "Leaf2"}
    assert str(network).splitlines()[-1].endswith(f", {count:,} parameters, {dtype}")


@pytest.mark.parametrize("name", MODELS)
def test_the_same_seed_gives_the_same_model(name):
    bits = [
        [p.value.tobytes() for p in MODELS[name][0](rng=rng).parameters]
        for rng in (4, np.random.default_rng(4), 5, None)
    ]
    assert bits[0] == bits[1]
    assert len({tuple(b) for b in bits}) == 3


@pytest.mark.parametrize("name", MODELS)
def test_the_gradients_of_a_model_are_slopes(name):
    network = MODELS[name][0](rng=0, activation="tanh")
    loss = loss_of(network)
    for leaf, values in samples_of(network, 1).items():
        leaf.getInput(values[0])
        leaf.forwardPropagation()
    CG.gradcheck(loss, mode="projection", rng=0)


@pytest.mark.parametrize("dtype", ["float64", "float32"])
@pytest.mark.parametrize("name", MODELS)
def test_a_graph_computes_a_model_as_the_nodes_do(name, dtype):
    network = MODELS[name][0](rng=0, dtype=dtype)
    feed = samples_of(network, 11)
    loss = loss_of(network)
    losses = []
    for sample in range(11):
        for leaf, values in feed.items():
            leaf.getInput(values[sample])
            leaf.forwardPropagation()
        losses.append(loss.data[0])
        loss.backwardPropagation()
    expected = [np.array(losses), *(p.grad for p in network.parameters)]
    for options in ({"layout": "lanes"}, {"layout": "samples"}, {"threads": 2}):
        again = MODELS[name][0](rng=0, dtype=dtype)
        graph = CG.Graph(loss_of(again), **options)
        actual = [graph.accumulate(samples_of(again, 11)), *(p.grad for p in again.parameters)]
        assert_all_same(actual, expected, 1e-11 if dtype == "float64" else 1e-4)


@pytest.mark.parametrize("name", MODELS)
def test_nothing_of_a_model_is_computed_in_python(name, capsys):
    CG.Graph(loss_of(MODELS[name][0](rng=0))).summary()
    assert "Python" not in capsys.readouterr().out


# Single models


def test_the_activations_of_an_mlp_are_where_they_are_said_to_be():
    network = M.mlp(3, [4, 4], 2, activation="relu", output_activation="softmax", rng=0)
    kinds = [type(network[name]).__name__ for name in ("hidden1", "hidden2", "output")]
    assert kinds == ["ReLU", "ReLU", "Softmax"]
    assert M.autoencoder(3, [2], 1, output_activation=CG.Sigmoid).output.backward[0].size == 3


def test_an_mlp_learns_the_sine():
    network, t = M.mlp(1, [16, 16], 1, rng=0), CG.Leaf1(1)
    graph = CG.Graph(CG.MSE(network.output, t))
    x = np.random.default_rng(0).uniform(-3, 3, 64)
    optimizer = CG.Adam(lr=0.01)
    for _ in range(100):
        losses = graph.train({network.x: x, t: np.sin(x)}, optimizer, batch=8)
    assert losses.mean() < 0.02 * np.sin(x).var()


def test_the_target_of_an_autoencoder_is_its_input():
    network = M.autoencoder(8, [6], 2, rng=0)
    graph = CG.Graph(CG.MSE(network.output, network.x))
    plane = np.random.default_rng(0).normal(size=(64, 2)) @ np.random.default_rng(1).normal(
        size=(2, 8)
    )
    feed, optimizer = {network.x: plane}, CG.Adam(lr=0.01)
    first = graph.step(feed, optimizer).mean()
    for _ in range(150):
        losses = graph.train(feed, optimizer, batch=8)
    assert losses.mean() < 0.05 * first
    assert graph.predict(feed, network.code).shape == (64, 2)


def test_the_first_policy_hardly_depends_on_the_observation():
    network = M.actor_critic(4, 3, [32, 32], rng=0)
    policy, value = (node.weight[:-1] for node in network.outputs.values())
    np.testing.assert_allclose(policy.T @ policy, 1e-4 * np.eye(3), atol=1e-17)
    np.testing.assert_allclose(np.linalg.norm(value), 1)
    hidden = network.actor2.backward[0].weight[:-1]
    np.testing.assert_allclose(hidden.T @ hidden, 2 * np.eye(32), atol=1e-13)
    assert network.actor1 is not network.critic1


def test_the_table_of_lenet5_is_that_of_the_paper():
    assert [set(row) for row in LENET5_TABLE] == [set(row) for row in TABLE]
    network = M.lenet5(rng=0)
    read = [[network.s2.index(node) for node in relu.backward[0].backward] for relu in network.c3]
    assert [tuple(row) for row in read] == list(LENET5_TABLE)
    assert sum(p.value.size for p in network.parameters) == 60_806
    dense = M.lenet5(table=None, rng=0)
    assert sum(p.value.size for p in dense.parameters) == 61_706
    assert dense.c3[0].backward[0].backward == list(dense.s2)


def test_a_residual_block_begins_as_the_activation_of_its_input():
    network = M.residual(6, 6, 3, filters=[4, 4], rng=0)
    network.image.getInput(np.random.default_rng(0).normal(size=(6, 6)))
    for inner, outer in zip(network.stem, network.block1, strict=True):
        np.testing.assert_array_equal(CG.evaluate(outer), CG.evaluate(inner))
    for node in network.block2:  # the projection alone
        (total,) = node.backward
        np.testing.assert_array_equal(CG.evaluate(total), CG.evaluate(total.backward[0]))
    assert {p.kheight for p in (node.backward[0].backward[0] for node in network.block2)} == {1}


def test_blocks_of_one_stage_have_no_projections():
    kinds = [type(node).__name__ for node in CG.ancestors(M.residual(6, 6, 3, filters=[4]).output)]
    assert kinds.count("Convolution2d") == 4 * 3


@pytest.mark.parametrize("size", [(1, 1), (2, 3), (7, 5), (8, 8)])
@pytest.mark.parametrize("make", [M.vgg, M.residual])
def test_images_may_have_any_size(make, size):
    network = make(*size, 3, rng=0)
    network.image.getInput(np.ones(size))
    assert np.isfinite(CG.evaluate(network.output)).all()


def test_a_small_vgg_learns_where_a_square_is():
    rng = np.random.default_rng(2)
    labels, images = rng.integers(4, size=128), rng.normal(0, 0.1, (128, 8, 8))
    for label, image in zip(labels, images, strict=True):
        image[4 * (label // 2) :, 4 * (label % 2) :][:3, :3] += 1
    network, t = M.vgg(8, 8, 4, blocks=[[4], [4]], hidden=[8], rng=0), CG.Leaf1(4)
    graph = CG.Graph(CG.SoftmaxCEE(network.output, t))
    feed = {network.image: images, t: CG.one_hot(labels, 4)}
    optimizer = CG.Adam(lr=0.01)
    for _ in range(10):
        graph.train(feed, optimizer, batch=16)
    assert (graph.predict(feed, network.output).argmax(axis=1) == labels).mean() > 0.95


# Network


def test_layers_are_attributes_items_and_values():
    x, image = CG.Leaf1(2), [CG.Leaf2(2, 2), CG.Leaf2(2, 2)]
    network = Network({"x": x, "image": image}, inputs=["x", "image"], outputs=["x"])
    assert network.x is network["x"] is x
    assert network.image == network["image"] == tuple(image)
    assert dict(network) == {"x": x, "image": tuple(image)}
    assert network.layers == {"x": (x,), "image": tuple(image)}
    assert network.nodes == network.inputs == {"x": x, "image[0]": image[0], "image[1]": image[1]}
    assert network.outputs == {"x": x}
    assert {"x", "image", "nodes"} <= set(dir(network))
    assert len(network) == 2
    assert "y" not in network
    assert not hasattr(network, "y")
    with pytest.raises(KeyError):
        network["y"]
    assert repr(network) == "Network(layers=['x', 'image'], parameters=0)"
    assert copy.copy(network).x is x


def test_a_parameter_is_counted_once_in_the_layer_where_it_first_is():
    x, y = CG.Leaf1(2), CG.Leaf1(2)
    first = CG.layers.dense(x, 3, rng=0)
    second = first.share(y)
    joined = CG.layers.flatten([first, second])
    network = Network(
        {"x": x, "y": y, "first": first, "second": second, "joined": joined},
        inputs=["x", "y"],
        outputs=["joined"],
    )
    assert [line.split()[-1] for line in str(network).splitlines()[1:-1]] == list("00900")
    assert str(network).splitlines()[-1] == "5 nodes, 9 parameters, float64"
    assert [p.value.size for p in network.parameters] == [9]


def test_the_summary_is_the_table(capsys):
    network = M.mlp(3, [1200], 1, rng=0, dtype="float32")
    network.summary()
    table = str(network)
    assert capsys.readouterr().out == table + "\n"
    assert table.splitlines() == [
        "layer    nodes            shape  parameters",
        "x        Leaf1            3 × 1           0",
        "hidden1  Affine, Tanh  1200 × 1       4,800",
        "output   Affine           1 × 1       1,201",
        "4 nodes, 6,001 parameters, float32",
    ]


def test_looking_at_the_table_lends_no_parameter():
    network = M.mlp(3, [4], 1, rng=0)
    graph = CG.Graph(CG.MSE(network.output, CG.Leaf1(1)))
    str(network), repr(network), network.nodes
    assert graph._executable.residency.lent_arrays == []
