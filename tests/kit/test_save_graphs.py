"""CG.save and CG.load: what comes back, from every operation and network, and what save refuses."""

import copy
import io
import pickle

import numpy as np
import pytest
from graph_networks import NETWORKS, nodes_of
from op_row import build
from op_table import cases
from random_graphs import Recipe

import cgraph as CG


def saved(nodes, **options):
    file = io.BytesIO()
    CG.save(file, nodes, **options)
    file.seek(0)
    return file


def again(nodes, classes=(), **options):
    return CG.load(saved(nodes, **options), classes=classes)


def everything(end):
    """Returns all that a file keeps of a node and its ancestors."""
    order = CG.ancestors(end)
    numbers = {node: number for number, node in enumerate(order)}
    firsts = [numbers.get(p.nodes[0], 0) for p in CG.parameters(end)]
    parameters = [
        (p.name, p.value.tobytes(), p.value.dtype, p.trainable) for p in CG.parameters(end)
    ]
    described = [
        (
            *(type(node), node.dtype, node.height, node.width, node._config(), node._is_given),
            [numbers[x] for x in node.backward],
            sorted(numbers[x] for x in node.forward if x in numbers),
            node._data.tobytes() if not node.backward and node._is_given else None,
            node._sample_counter.array.tobytes() if node._sample_counter else None,
        )
        for node in order
    ]
    return described, parameters, firsts


def own_classes(end):
    return {type(node) for node in CG.ancestors(end) if not type(node).__module__.startswith("cgr")}


@pytest.mark.parametrize("dtype", ["float64", "float32"])
def test_every_case_of_every_operation_comes_back(dtype):
    first = ["float64", "float32"].index(dtype)
    for computing in (True, False):
        for label, row, case in cases(computing)[first::2]:
            end = build(row, case, dtype).node
            loaded = again(end)["output"]
            assert everything(loaded) == everything(end), label
            assert CG.evaluate(loaded).tobytes() == CG.evaluate(end).tobytes(), label
            for copied in (pickle.loads(pickle.dumps(end)), copy.deepcopy(end)):
                assert everything(copied) == everything(end), label


@pytest.mark.parametrize("network", NETWORKS, ids=lambda network: network.__name__)
def test_every_network_comes_back(network):
    end = nodes_of(network, "float32")[-1]
    loaded = again(end, own_classes(end))["output"]
    assert everything(loaded) == everything(end)
    for copied in (pickle.loads(pickle.dumps(end)), copy.deepcopy(end)):
        assert everything(copied) == everything(end)


@pytest.mark.parametrize("seed", range(0, 60, 3))
def test_random_graphs_come_back(seed):
    end = Recipe(seed).nodes("float64")[-1]
    loaded = again(end, own_classes(end))["output"]
    assert everything(loaded) == everything(end)
    assert everything(pickle.loads(pickle.dumps(end))) == everything(end)


def network(dtype="float64"):
    """Returns leaf, target, output and loss of a network with shared and frozen parameters and masks."""
    rng = np.random.default_rng(1)
    x, t = CG.Leaf1(3, dtype=dtype), CG.Leaf1(2, dtype=dtype)
    first = CG.Affine(x, rng.normal(size=(4, 3)))
    second = first.share(CG.Tanh(first))
    y = CG.Affine(CG.LayerNorm(CG.Dropout(second, 0.25, seed=7)), rng.normal(size=(4, 2)))
    CG.parameters(y)[1].trainable = False
    return {"x": x, "t": t, "y": y, "loss": CG.MSE(y, t)}


def feed(nodes, count=11, seed=0):
    rng = np.random.default_rng(seed)
    dtype = nodes["x"].dtype
    return {
        nodes["x"]: rng.normal(size=(count, 3)).astype(dtype),
        nodes["t"]: rng.normal(size=(count, 2)).astype(dtype),
    }


class Momentum(CG.Optimizer):
    """A rule of the user's own with a setting that its constructor calls otherwise."""

    def __init__(self, rate, keep=0.5, groups=None):
        super().__init__(rate, groups=groups)
        self.keep = keep

    def _config(self):
        return {"rate": self.lr, "keep": self.keep}

    def apply(self, values, gradients, samples):
        mean = self.state("mean")
        mean *= self.keep
        mean += gradients
        values -= self.rate * mean


OPTIMIZERS = {
    "SGD": lambda nodes: CG.SGD(0.1, momentum=0.5, nesterov=True, max_grad_norm=1.0),
    "Adam": lambda nodes: CG.Adam(
        CG.schedules.warmup(2, CG.schedules.cosine(0.1, 9)),
        groups={nodes["y"]: {"lr": 0.5}, CG.parameters(nodes["y"])[0]: {"weight_decay": 0.1}},
    ),
    "AdamW": lambda nodes: CG.AdamW(1e-2, nonfinite="skip", decay_bias=False),
    "RMSprop": lambda nodes: CG.RMSprop(1e-2, momentum=0.5),
    "Momentum": lambda nodes: Momentum(0.1, 0.25),
    "group with a schedule": lambda nodes: CG.SGD(
        0.1, groups={nodes["y"]: {"lr": CG.schedules.step(0.1, 0.5, 2)}}
    ),
}


@pytest.mark.parametrize("dtype", ["float64", "float32"])
@pytest.mark.parametrize("layout", ["samples", "lanes"])
@pytest.mark.parametrize("make", OPTIMIZERS.values(), ids=OPTIMIZERS)
def test_learning_goes_on_to_the_bit(make, layout, dtype):
    nodes = network(dtype)
    optimizer = make(nodes)
    graph = CG.Graph(nodes["loss"], layout=layout)
    graph.train(feed(nodes), optimizer, batch=4)
    model = again(nodes, [Momentum], optimizer=optimizer)
    expected = graph.train(feed(nodes, seed=1), optimizer, batch=3)
    theirs = CG.Graph(model["loss"], layout=layout)
    actual = theirs.train(feed(model.nodes, seed=1), model.optimizer, batch=3)
    assert actual.tobytes() == expected.tobytes()
    assert everything(model["loss"])[1:] == everything(nodes["loss"])[1:]
    assert repr(model.optimizer) == repr(optimizer)


def test_an_optimizer_is_saved_before_its_first_update_and_after_its_state_was_loaded():
    nodes = network()
    fresh = again(nodes, optimizer=CG.Adam(0.5)).optimizer
    assert (fresh.updates, fresh.lr) == (0, 0.5)
    CG.Graph(nodes["loss"]).train(feed(nodes), used := CG.Adam(), batch=4)
    waiting = CG.Adam()
    waiting.load_state_dict(used.state_dict())
    loaded = again(nodes, optimizer=waiting).optimizer
    ours, theirs = used.state_dict(), loaded.state_dict()
    assert ours.keys() == theirs.keys()
    assert all(ours[name].tobytes() == theirs[name].tobytes() for name in ours)


SCHEDULES = [
    CG.schedules.constant(0.5),
    CG.schedules.linear(1, 0.1, 7),
    CG.schedules.exponential(1, 0.9),
    CG.schedules.step(1, 0.5, 3),
    CG.schedules.cosine(1, 9, end=0.25),
    CG.schedules.warmup(3, 0.5),
    CG.schedules.warmup(3, CG.schedules.piecewise([2, 5], [3, 2, 1])),
    CG.schedules.one_cycle(1, 9, rise=0.25, start=0.125),
    CG.schedules.piecewise([2, 5], [3, 2, 1]),
]


@pytest.mark.parametrize("schedule", SCHEDULES, ids=repr)
def test_schedules_come_back(schedule):
    rates = [schedule(update) for update in range(12)]
    loaded = again(CG.Leaf1(1), optimizer=CG.SGD(schedule)).optimizer.lr
    for each in (loaded, pickle.loads(pickle.dumps(schedule)), copy.deepcopy(schedule)):
        assert [each(update) for update in range(12)] == rates
        assert repr(each) == repr(schedule)
    assert eval(repr(schedule), {"schedules": CG.schedules})(4) == rates[4]


def test_names_metadata_and_one_graph_of_several_ends():
    nodes = network()
    ends = {"loss": nodes["loss"], "again": nodes["loss"], "x": nodes["x"]}
    model = again(ends, metadata={"a": (1, 2), "b": None})
    assert list(model.nodes) == ["loss", "again", "x"]
    assert model["loss"] is model["again"]
    assert model["x"] in CG.ancestors(model["loss"])
    assert model.metadata == {"a": [1, 2], "b": None}
    assert model.optimizer is None
    with pytest.raises(KeyError, match="Model: nodes are 'loss', 'again', 'x', got 'y'"):
        model["y"]
    assert repr(model).splitlines()[0] == "Model of 9 nodes, 26 parameters"


def test_saving_changes_nothing_and_sees_what_is_written_by_hand(tmp_path):
    nodes = network()
    view = nodes["y"].weight
    graph = CG.Graph(nodes["loss"])
    graph.train(feed(nodes), 0.01, batch=4)
    view[...] = 3
    before = everything(nodes["loss"])
    CG.save(tmp_path / "model.npz", nodes)
    assert everything(nodes["loss"]) == before
    assert (CG.load(tmp_path / "model.npz")["y"].weight == 3).all()
    graph.train(feed(nodes), 0.01)


def test_files_of_graphs_are_files_of_parameters_too(tmp_path):
    path, nodes, other = tmp_path / "model.npz", network(), network()
    CG.Graph(nodes["loss"]).train(feed(nodes), adam := CG.Adam(), batch=4)
    CG.save(path, nodes["loss"], optimizer=adam, metadata={"a": 1})
    assert CG.load_parameters(path, other["loss"]) == {"a": 1}
    assert CG.read_metadata(path) == {"a": 1}
    assert [p.value.tobytes() for p in CG.parameters(other["loss"])] == [
        p.value.tobytes() for p in CG.parameters(nodes["loss"])
    ]
    masks = [x for x in CG.ancestors(other["loss"]) if isinstance(x, CG.Dropout)]
    assert [x.samples for x in masks] == [11]
    CG.save_parameters(path, nodes["loss"])
    with pytest.raises(
        CG.ModelFileError, match="holds parameters without their graph: build it, a"
    ):
        CG.load(path)
