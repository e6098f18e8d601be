"""What a Graph has learnt, in memory: state_dict, load_state_dict and zero_grad."""

import io
import itertools
import pickle
import re

import numpy as np
import pytest
from amounts import full
from interrupts import events, stopped

import cgraph as CG
from cgraph.io import LoadReport, save_parameters

NOTHING = LoadReport((), (), ())
both_layouts = pytest.mark.parametrize("layout", ["lanes", "samples"])


class Learner(CG.Node):
    """The sum of a number and a parameter, computed in Python."""

    _parameters = (("w", "dw"),)

    def __init__(self, node, w=0.5):
        super().__init__(1, 1, 1, [node])
        self.w, self.dw = np.array([w], node.dtype), np.zeros(1, node.dtype)

    def calcData(self):
        self.data[...] = self.backward[0].data + self.w

    def calcPartialDerivative(self):
        self.backward[0].grad[...] += self.grad
        self.dw += self.grad


def graph_of(seed, classes=3, *, dtype="float64", is_own=False, layout="auto"):
    rng = np.random.default_rng(seed)
    image = CG.Leaf2(4, 4, dtype=dtype)
    layer = [CG.Convolution2d([image], rng.normal(size=(1, 3, 3)), rng.normal()) for _ in range(2)]
    body = CG.ReLU(CG.Concatenation(layer))
    loss = CG.Norm2(CG.Affine(body, rng.normal(size=(body.size + 1, classes))))
    return CG.Graph(Learner(loss) if is_own else loss, layout="auto" if is_own else layout)


def feed_of(graph, count=6):
    return {graph.leaves[0]: np.random.default_rng(9).normal(size=(count, 4, 4))}


def values(graph):
    return [p.value.copy() for p in graph.parameters]


def assert_equal(found, expected):
    for a, b in zip(found, expected, strict=True):
        np.testing.assert_array_equal(a, b, strict=True)


# State dicts


def test_a_state_dict_has_the_names_and_arrays_of_a_file():
    graph, file = graph_of(1), io.BytesIO()
    save_parameters(file, graph)
    file.seek(0)
    with np.load(file) as arrays:
        expected = {name: arrays[name] for name in arrays.files if name != "cgraph"}
    state = graph.state_dict()
    assert list(state) == list(expected)
    assert_equal(state.values(), expected.values())
    assert_equal(state.values(), values(graph))


@both_layouts
def test_a_state_dict_is_a_copy_that_training_leaves_alone(layout):
    graph = graph_of(1, layout=layout)
    feed = feed_of(graph)
    state, before = graph.state_dict(), values(graph)
    predicted = graph.predict(feed)
    graph.train(feed, 0.01)
    assert_equal(state.values(), before)
    assert not (values(graph)[0] == before[0]).any()
    assert graph.load_state_dict(state) == NOTHING
    assert_equal(values(graph), before)
    np.testing.assert_array_equal(graph.predict(feed), predicted)
    for array in state.values():
        array[...] = 0
    assert_equal(values(graph), before)


@both_layouts
def test_training_goes_on_from_a_state_as_it_did_before(layout):
    graph, twin = (graph_of(seed, layout=layout) for seed in (1, 2))
    twin.train(feed_of(twin), 0.01)
    twin.zero_grad()
    twin.load_state_dict(graph.state_dict())
    np.testing.assert_array_equal(
        twin.train(feed_of(twin), 0.01), graph.train(feed_of(graph), 0.01)
    )
    assert_equal(values(twin), values(graph))


@pytest.mark.parametrize("way", ["savez", "pickle"])
def test_a_state_dict_survives_other_files(way):
    trained, graph, file = graph_of(1), graph_of(2), io.BytesIO()
    if way == "savez":
        np.savez(file, **trained.state_dict())
        file.seek(0)
        with np.load(file) as state:
            assert graph.load_state_dict(state) == NOTHING
    else:
        pickle.dump(trained.state_dict(), file)
        file.seek(0)
        graph.load_state_dict(pickle.load(file))
    assert_equal(values(graph), values(trained))


def test_gradient_sums_are_kept():
    graph = graph_of(1)
    graph.accumulate(feed_of(graph))
    before = [p.grad.copy() for p in graph.parameters]
    graph.load_state_dict(graph_of(2).state_dict())
    assert_equal([p.grad for p in graph.parameters], before)


def test_parameters_of_own_nodes_are_part_of_the_state():
    trained, graph = graph_of(1, is_own=True), graph_of(2, is_own=True)
    trained.parameters[-1].value[...] = 7
    state = trained.state_dict()
    assert state["00005.Learner.w"].tolist() == [7]
    graph.load_state_dict(state)
    assert_equal(values(graph), values(trained))


def test_a_graph_with_two_outputs_has_one_state():
    leaf = CG.Leaf1(2)
    ends = [CG.Affine(leaf, np.full((3, n), float(n))) for n in (1, 2)]
    state = CG.Graph(ends).state_dict()
    assert {name: array.shape for name, array in state.items()} == {
        "00000.Affine.weight": (3, 1),
        "00001.Affine.weight": (3, 2),
    }


def test_a_state_of_the_live_arrays_exchanges_them():
    ends = [CG.Affine(CG.Leaf1(1), [[value], [value]]) for value in (1.0, 2.0)]
    graph = CG.Graph(ends)
    first, second = (p.value for p in graph.parameters)
    graph.load_state_dict({"00000.Affine.weight": second, "00001.Affine.weight": first})
    assert [value.max() for value in values(graph)] == [2, 1]


@pytest.mark.parametrize(("there", "here"), [("float64", "float32"), ("float32", "float64")])
def test_cast_converts_a_state(there, here):
    trained, graph = graph_of(1, dtype=there), graph_of(2, dtype=here)
    before = values(graph)
    message = (
        f"Graph.load_state_dict: 00000.Convolution2d.kernel must have shape (1, 3, 3) and dtype {here}, "
        f"got (1, 3, 3) and {there}; cast=True converts it"
    )
    with pytest.raises(ValueError, match=f"^{re.escape(message)}$"):
        graph.load_state_dict(trained.state_dict())
    assert_equal(values(graph), before)
    graph.load_state_dict(trained.state_dict(), cast=True)
    assert_equal(values(graph), [value.astype(here) for value in values(trained)])


def test_a_new_head_keeps_its_values():
    trained, graph = graph_of(1, classes=10), graph_of(2)
    before = values(graph)
    report = graph.load_state_dict(trained.state_dict(), strict=False)
    assert report == LoadReport((), ("00004.Affine.weight",), ())
    assert_equal(values(graph), [*values(trained)[:4], before[4]])


NAMES = [
    f"0000{2 * i + j}.Convolution2d.{n}" for i in (0, 1) for j, n in enumerate(["kernel", "bias"])
]
LAST = "00004.Affine.weight"


def without(state, *names):
    return {name: array for name, array in state.items() if name not in names}


@pytest.mark.parametrize(
    ("change", "options", "kind", "message"),
    [
        (lambda state: None, {}, TypeError, "state must be a mapping of names to arrays, got None"),
        (lambda state: [*state], {}, TypeError, "state must be a mapping of names to arrays, got "),
        (lambda state: {**state, 3: 1}, {}, TypeError, "state must have str as keys, got 3"),
        (lambda state: {}, {}, ValueError, "expected 5 parameter arrays for this graph, got 0"),
        (
            lambda state: {**without(state, LAST), "more": np.ones(1)},
            {},
            ValueError,
            f"expected a parameter {LAST}, got none",
        ),
        (
            lambda state: {**state, LAST: np.ones((2, 3))},
            {},
            ValueError,
            f"{LAST} must have shape (9, 3) and dtype float64, got (2, 3) and float64",
        ),
        (
            lambda state: {**state, LAST: np.ones((9, 3), int)},
            {"cast": True, "strict": False},
            ValueError,
            f"{LAST} must have shape (9, 3) and dtype float64, got (9, 3) and int64",
        ),
        (
            lambda state: {**state, LAST: 3.0},
            {"strict": False},
            TypeError,
            f"{LAST} of state must be an array of numbers, got 3.0",
        ),
        (
            lambda state: {**state, LAST: np.array(["a"])},
            {},
            TypeError,
            f"{LAST} of state must be an array of numbers, got ",
        ),
        (
            lambda state: {"more": np.ones(1)},
            {"strict": False},
            ValueError,
            "expected at least one array that fits this graph, got none of 1",
        ),
    ],
)  # fmt: skip
def test_a_state_that_does_not_fit_is_refused_and_changes_nothing(change, options, kind, message):
    graph = graph_of(1)
    before = values(graph)
    with pytest.raises(kind) as refused:
        graph.load_state_dict(change(graph_of(2).state_dict()), **options)
    assert str(refused.value).startswith(f"Graph.load_state_dict: {message}")
    assert type(refused.value) is kind
    assert_equal(values(graph), before)


def test_a_number_that_overflows_is_refused_and_a_read_only_array_too():
    graph, state = graph_of(1, dtype="float32"), graph_of(2).state_dict()
    state[LAST][0, 0] = 1e300
    before = values(graph)
    with pytest.raises(
        ValueError, match=rf"^Graph\.load_state_dict: {LAST} must hold numbers that"
    ):
        graph.load_state_dict(state, cast=True)
    own = graph_of(1, is_own=True)
    own.parameters[-1].value.flags.writeable = False
    state = own.state_dict()
    with pytest.raises(ValueError, match=r"^Graph\.load_state_dict: 00005\.Learner\.w must be wri"):
        own.load_state_dict(state)
    assert_equal(values(graph), before)


@pytest.mark.thread_unsafe(reason="traces")
@pytest.mark.parametrize("every", [5, full(1)])
def test_an_interrupt_at_any_bytecode_loads_all_or_nothing(every):
    graph, state = graph_of(1), graph_of(2).state_dict()
    old, new = graph.state_dict(), list(state.values())
    events(lambda: graph.load_state_dict(state), opcodes=True)
    for moment in itertools.count(1, every):
        graph.load_state_dict(old)
        if stopped(lambda: graph.load_state_dict(state), moment, opcodes=True):
            break
        found = values(graph)
        assert_equal(found, new if (found[0] == new[0]).all() else list(old.values()))
    assert_equal(values(graph), new)
    assert moment > 50


# Gradient sums


@both_layouts
@pytest.mark.parametrize("is_read", [False, True], ids=["not handed out", "handed out"])
@pytest.mark.parametrize("is_own", [False, True], ids=["compiled", "own node"])
def test_zero_grad_sets_all_sums_to_0_and_changes_nothing_else(layout, is_read, is_own):
    graph = graph_of(1, is_own=is_own, layout=layout)
    feed = feed_of(graph)
    handed_out = [p.grad for p in graph.parameters] if is_read else []
    graph.accumulate(feed)
    before = graph.state_dict()
    graph.zero_grad()
    assert not any(sums.any() for sums in handed_out)
    graph.update(1.0)
    assert_equal(graph.state_dict().values(), before.values())
    assert not any(p.grad.any() for p in graph.parameters)
    graph.accumulate(feed)
    sums = [p.grad.copy() for p in graph.parameters]
    assert all(array.any() for array in sums)
    graph.zero_grad()
    graph.zero_grad()
    graph.accumulate(feed)
    assert_equal([p.grad for p in graph.parameters], sums)


def test_zero_grad_of_a_graph_calls_that_of_an_own_node():
    class Counting(Learner):
        calls = 0

        def zero_grad(self):
            self.calls += 1
            super().zero_grad()

    node = Counting(CG.Leaf1(1))
    CG.Graph(node).zero_grad()
    assert node.calls == 1


def test_zero_grad_of_a_graph_whose_nodes_have_a_newer_one_is_refused():
    loss = CG.Norm2(CG.Affine(CG.Leaf1(1), [[1.0], [2.0]]))
    older, newer = CG.Graph(loss), CG.Graph(loss)
    newer.accumulate({newer.leaves[0]: [[1.0]]})
    with pytest.raises(
        RuntimeError, match=r"^Graph\.zero_grad: its nodes belong to a newer Graph; one of "
    ):
        older.zero_grad()
    assert newer.parameters[0].grad.any()
