"""Graphs in files: what is refused, what is interrupted, and what files hold besides nodes."""

import copy
import io
import math
import pickle
import subprocess
import sys

import numpy as np
import pytest
from interrupts import events, stopped
from test_save_graphs import Momentum, again, everything, feed, network, saved

import cgraph as CG


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


@pytest.mark.parametrize(
    ("call", "kind", "message"), REFUSED_BY_SAVE, ids=[row[2] for row in REFUSED_BY_SAVE]
)
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
