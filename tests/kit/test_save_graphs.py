"""CG.save and CG.load: what comes back, from every operation and network, and what save refuses."""

import copy
import io
import math
import pickle
import subprocess
import sys

import numpy as np
import pytest
from graph_networks import NETWORKS, nodes_of
from interrupts import events, stopped
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


def test_shared_parameters_stand_in_the_file_once():
    nodes = network()
    names = [name for name in np.load(saved(nodes)) if name.endswith("Affine.weight")]
    assert names == ["00000.Affine.weight", "00003.Affine.weight"]
    shared = CG.parameters(again(nodes)["loss"])[0]
    assert [type(node).__name__ for node in shared.nodes] == ["Affine", "Affine"]


def test_a_graph_of_any_depth_comes_back():
    end = CG.Leaf1(2)
    for _ in range(1200):
        end = CG.Scale(end, 1.0, 0.5)
    for loaded in (again(end)["output"], pickle.loads(pickle.dumps(end)), copy.deepcopy(end)):
        assert len(CG.ancestors(loaded)) == 1201


def test_numbers_that_json_does_not_know_come_back():
    x = CG.Leaf2(3, 3)
    x.getInput(np.array([[math.nan, math.inf, -0.0]] * 3))
    pooled = CG.MaxPooling2d(x, 2, 2, 1, 1, 1, 4, 4, pad_value=-math.inf)
    assert everything(again(pooled)["output"]) == everything(pooled)
    assert "Infinity" not in str(np.load(saved(pooled))["cgraph"])


# Classes of users


class Gain(CG.Node):
    """d = w x, with a number and a list that only _config knows."""

    _parameters = (("w", "dw"),)

    def __init__(self, node, powers, label=None):
        super().__init__(node.size, node.height, node.width, [node])
        self.powers, self.label = powers, label
        self.w, self.dw = np.ones(node.size), np.zeros(node.size)

    def _config(self):
        return {"powers": self.powers, "label": self.label}

    def calcData(self):
        self.data = self.w * self.backward[0].data ** sum(self.powers)


class Careless(CG.ReLU):
    def __init__(self, node, limit=6):
        super().__init__(node)


class Objects(CG.ReLU):
    def __init__(self, node, thing):
        super().__init__(node)
        self.thing = thing

    def _config(self):
        return {"thing": self.thing}


def test_own_classes_come_back_by_the_classes_that_the_caller_passes():
    x = CG.Leaf1(2)
    x.getInput([2, 3])
    gain = Gain(x, (1, np.int64(1)), "a")
    gain.w[...] = [5, 7]
    for classes in ([Gain], {Gain}, {"Gain": Gain}, [Gain, Momentum]):
        loaded = again(gain, classes)["output"]
        assert (loaded.powers, loaded.label, loaded.w.tolist()) == ([1, 1], "a", [5, 7])
        assert CG.evaluate(loaded).tolist() == [20, 63]
    renamed = type("Renamed", (Gain,), {})
    assert type(again(gain, {"Gain": renamed})["output"]) is renamed
    for classes in ((), [Careless], {"Other": Gain}):
        with pytest.raises(
            CG.ModelFileError,
            match=r"node 1, Gain: is of the class 'Gain', which is none of cgraph; load it with classes=\[Gain\]",
        ):
            again(gain, classes)


def test_an_own_class_cannot_take_the_place_of_one_of_cgraph():
    own = type("ReLU", (CG.ReLU,), {})
    x = CG.Leaf1(1)
    model = again({"theirs": CG.ReLU(x), "own": own(x)}, [own])
    assert type(model["theirs"]) is CG.ReLU
    assert type(model["own"]) is own


def other_graph():
    nodes = network()
    CG.Graph(nodes["loss"]).train(feed(nodes), adam := CG.Adam())
    return adam


def running():
    x = CG.Leaf1(1)

    class Saving(CG.Sum):
        def calcData(self):
            CG.save(io.BytesIO(), x)

    CG.Graph(Saving(CG.Exp(x))).predict({x: [[1]]})


REFUSED_BY_SAVE = [
    (
        lambda: saved(None),
        TypeError,
        "save: nodes must be a Node or a dict of str to Node, got None",
    ),
    (lambda: saved({}), ValueError, "save: nodes must hold at least 1 node, got none"),
    (lambda: saved({"a": 1}), TypeError, "save: nodes must map str to Nodes, got 'a': 1"),
    (
        lambda: saved(CG.Leaf1(1), optimizer=0.1),
        TypeError,
        "save: optimizer must be an Optimizer or None, got 0.1",
    ),
    (
        lambda: saved(CG.Leaf1(1), optimizer=CG.SGD(math.sqrt)),
        TypeError,
        "save, SGD: lr must be a number or one of CG.schedules to be saved, got <built-in function sqrt>",
    ),
    (
        lambda: saved(CG.Leaf1(1), optimizer=other_graph()),
        ValueError,
        "save, Adam: optimizer must be one of the nodes that are saved, got Parameter(Affine(",
    ),
    (
        lambda: saved(CG.Leaf1(1), metadata=[1]),
        TypeError,
        "save: metadata must be a mapping, got [1]",
    ),
    (
        lambda: saved(Careless(CG.Leaf1(1))),
        TypeError,
        "Careless: cannot be built anew, since _config does not return the argument 'limit'",
    ),
    (
        lambda: saved(Objects(CG.Leaf1(1), object)),
        TypeError,
        "save, Objects: thing must be a number, a text, a bool, None or a list of these to be saved, "
        "got <class 'object'>",
    ),
    (
        lambda: saved({str(n): type("Same", (CG.Exp,), {})(CG.Leaf1(1)) for n in range(2)}),
        ValueError,
        "save: classes must have different names, got two called Same",
    ),
    (running, RuntimeError, "save: nodes must not belong to a Graph that is running"),
    (
        lambda: CG.load(saved(CG.Leaf1(1)), classes=[int]),
        TypeError,
        "load: classes must be a sequence, or a dict by name, of classes of nodes or optimisers, got <class 'int'>",
    ),
    (
        lambda: CG.load(saved(CG.Leaf1(1)), classes=Gain),
        TypeError,
        "load: classes must be a sequence, or a dict by name, of classes of nodes or optimisers, got <class",
    ),
    (
        lambda: CG.load(saved(CG.Leaf1(1)), classes=[Gain, type("Gain", (Gain,), {})]),
        ValueError,
        "load: classes must have different names, got two called Gain",
    ),
    (
        lambda: CG.load(saved(CG.Leaf1(9)), max_elements=8),
        CG.ModelFileError,
        "<BytesIO>: nodes must have at most max_elements=8 elements, got 9",
    ),
]


@pytest.mark.parametrize(("call", "kind", "message"), REFUSED_BY_SAVE, ids=lambda value: str(value))
def test_what_is_refused(call, kind, message):
    with pytest.raises(kind) as refused:
        call()
    assert refused.type is kind
    assert str(refused.value).startswith(message)


@pytest.mark.thread_unsafe(reason="traces calls")
def test_an_interrupted_save_leaves_the_old_file_or_the_new_one(tmp_path):
    path, nodes = tmp_path / "model.npz", network()
    adam = CG.Adam()
    CG.Graph(nodes["loss"]).train(feed(nodes), adam, batch=4)
    CG.save(path, nodes, optimizer=adam, metadata={"number": 0})

    def save(number):
        CG.save(path, nodes, optimizer=adam, metadata={"number": number})

    count = events(lambda: save(0))
    for event in range(1, count, count // 40):
        stopped(lambda number=event: save(number), event)
        model = CG.load(path)
        assert model.metadata["number"] in (0, event)
        assert everything(model["loss"]) == everything(nodes["loss"])
        save(0)
    assert list(tmp_path.iterdir()) == [path]


def test_an_interrupted_load_leaves_nothing_behind():
    file = saved(network())
    count = events(lambda: CG.load(file))
    for event in range(1, count, count // 40):
        file.seek(0)
        assert not stopped(lambda: CG.load(file), event)
    file.seek(0)
    assert len(CG.load(file).nodes) == 4


@pytest.mark.thread_unsafe(reason="starts a process")
def test_a_new_process_loads_the_graph(tmp_path):
    nodes = network()
    CG.save(tmp_path / "model.npz", nodes)
    expected = CG.Graph(nodes["y"]).predict({nodes["x"]: [[1.0, 2.0, 3.0]]})
    code = (
        f"import cgraph as CG; m = CG.load({str(tmp_path / 'model.npz')!r});"
        "print(CG.Graph(m['y']).predict({m['x']: [[1.0, 2.0, 3.0]]}).tolist())"
    )
    run = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert eval(run.stdout) == expected.tolist()
