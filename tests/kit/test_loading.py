"""Loading into a Graph, into another dtype, and by name into a graph with a new head; a file that is opened once."""

import copy
import io
import itertools
import os
import pickle
import re
import tracemalloc
import zipfile
from types import SimpleNamespace

import numpy as np
import pytest
from amounts import full
from interrupts import events, stopped
from model_files import graph_of, save

import cgraph as CG
from cgraph.io import (
    LoadReport,
    ModelFileError,
    load_parameters,
    open_parameters,
    read_metadata,
    save_parameters,
)

LISTING = SimpleNamespace(parameters=[3])
NOTHING = LoadReport((), (), ())
both_ways = pytest.mark.parametrize(
    ("there", "here"), [("float64", "float32"), ("float32", "float64")]
)


def network(seed, classes=3, dtype="float64", depth=1):
    """Returns the body of a network and its head."""
    rng = np.random.default_rng(seed)
    image = CG.Leaf2(4, 4, dtype=dtype)
    body = CG.Convolution2d([image], rng.normal(size=(1, 3, 3)), rng.normal())
    for _ in range(depth):
        body = CG.ReLU(CG.Affine(body, rng.normal(size=(body.size + 1, 4))))
    return body, CG.Affine(body, rng.normal(size=(body.size + 1, classes)))


def file_of(node, metadata=None):
    file = io.BytesIO()
    save_parameters(file, node, metadata)
    file.seek(0)
    return file


def values(*nodes):
    return [p.value.copy() for node in nodes for p in CG.parameters(node)]


def assert_equal(found, expected):
    for a, b in zip(found, expected, strict=True):
        np.testing.assert_array_equal(a, b, strict=True)


class Learner(CG.Node):
    _parameters = (("w", "dw"),)

    def __init__(self, w):
        super().__init__(0, 1, 1)
        self.w, self.dw = w, np.zeros_like(w)


# Graphs


def test_a_file_of_a_graph_is_that_of_its_node():
    _, head = network(1)
    loss = CG.Norm2(head)
    before = file_of(loss).getvalue()
    assert file_of(CG.Graph(loss)).getvalue() == before


@pytest.mark.parametrize("layout", ["lanes", "samples"])
def test_what_is_loaded_into_a_graph_is_what_it_computes_with(layout):
    (_, trained), (_, head) = network(1), network(2)
    images = np.random.default_rng(3).normal(size=(5, 4, 4))
    expected = CG.Graph(trained).predict({CG.ancestors(trained)[0]: images})
    graph = CG.Graph(head, layout=layout)
    feed = {graph.leaves[0]: images}
    graph.predict(feed)
    metadata = load_parameters(file_of(trained, {"a": 1}), graph)
    assert metadata == {"a": 1}
    assert metadata.report == NOTHING
    np.testing.assert_allclose(graph.predict(feed), expected)


def test_a_graph_with_two_outputs_has_all_parameters_of_both():
    def two_heads(seed):
        body, head = network(seed)
        other = CG.Affine(body, np.full((5, 2), float(seed)))
        return CG.Graph([other, head]), (other, head)

    (trained, nodes), (graph, loaded) = two_heads(1), two_heads(2)
    file = file_of(trained)
    assert len(trained.parameters) == 5
    load_parameters(file, graph)
    assert_equal(values(*loaded), values(*nodes))
    with pytest.raises(ModelFileError, match="expected 4 parameter arrays for this graph, got 5"):
        load_parameters(io.BytesIO(file.getvalue()), loaded[1])


@pytest.mark.parametrize("node", [None, 3, CG.Graph, [graph_of(1)], Learner, LISTING])
@pytest.mark.parametrize("function", [save_parameters, load_parameters])
def test_what_has_no_parameters_is_refused_before_the_file_is_touched(tmp_path, function, node):
    message = f"{function.__name__}: node must be a Node or a Graph, got "
    with pytest.raises(TypeError, match=f"^{message}"):
        function(tmp_path / "model.npz", node)
    assert os.listdir(tmp_path) == []


# Another dtype


@both_ways
def test_cast_converts_to_the_dtype_of_the_graph(there, here):
    (_, trained), (_, head) = network(1, dtype=there), network(2, dtype=here)
    trained.weight[0] = [np.inf, np.nan, -0.0]
    load_parameters(file_of(trained), head, cast=True)
    assert_equal(values(head), [value.astype(here) for value in values(trained)])
    assert np.signbit(head.weight[0, 2])


@both_ways
@pytest.mark.parametrize("strict", [True, False])
def test_another_dtype_is_refused_without_cast_and_the_message_says_how(there, here, strict):
    (_, trained), (_, head) = network(1, dtype=there), network(2, dtype=here)
    before = values(head)
    message = (
        f"<BytesIO>: 00000.Convolution2d.kernel must have shape (1, 3, 3) and dtype {here}, "
        f"got (1, 3, 3) and {there}; cast=True converts it"
    )
    with pytest.raises(ModelFileError, match=f"^{re.escape(message)}$"):
        load_parameters(file_of(trained), head, strict=strict)
    assert_equal(values(head), before)


@pytest.mark.parametrize("strict", [True, False])
@pytest.mark.parametrize("number", [1e300, -1e39])
def test_a_number_that_overflows_is_refused_and_changes_nothing(strict, number):
    (_, trained), (_, head) = network(1), network(2, dtype="float32")
    trained.weight[1, 1] = number
    before = values(head)
    message = (
        f"<BytesIO>: 00003.Affine.weight must hold numbers that are finite in float32, got {number}"
    )
    with pytest.raises(ModelFileError, match=f"^{re.escape(message)}$"):
        load_parameters(file_of(trained), head, cast=True, strict=strict)
    assert_equal(values(head), before)


@pytest.mark.parametrize("number", [np.finfo("f4").max, 1e-300])
def test_the_largest_number_and_a_tiny_one_are_converted(number):
    node = Learner(np.zeros(1, "f4"))
    load_parameters(file_of(Learner(np.array([number], "f8"))), node, cast=True)
    assert node.w[0] == np.float32(number)


@pytest.mark.parametrize(
    ("there", "here", "is_cast"),
    [
        ("f2", "f8", True),
        ("f8", "f2", True),
        (">f8", "f4", True),
        ("f8", ">f4", True),
        ("i4", "f8", False),
        ("f8", "i4", False),
        ("i4", "i8", False),
        ("c16", "c8", False),
        ("c8", "f4", False),
        ("?", "f8", False),
    ],
)
def test_only_floating_point_numbers_are_cast(there, here, is_cast):
    node, file = Learner(np.zeros(2, here)), file_of(Learner(np.ones(2, there)))
    if is_cast:
        load_parameters(file, node, cast=True)
        assert node.w.tolist() == [1, 1]
        return
    with pytest.raises(ModelFileError, match=r"00000\.Learner\.w must have .*[^i][^t]$"):
        load_parameters(file, node, cast=True)
    assert node.w.tolist() == [0, 0]


def test_a_parameter_of_the_other_byte_order_is_loaded_without_cast():
    node = Learner(np.zeros(2, ">f8"))
    load_parameters(file_of(Learner(np.ones(2))), node)
    assert node.w.tolist() == [1, 1]


# A new head


def test_a_new_head_keeps_its_values_on_the_trained_body():
    (body, trained), (new_body, head) = network(1, classes=10), network(2, classes=3)
    before = head.weight.copy()
    metadata = load_parameters(file_of(trained, {"a": 1}), head, strict=False)
    assert metadata == {"a": 1}
    assert metadata.report == LoadReport((), ("00003.Affine.weight",), ())
    assert_equal(values(new_body), values(body))
    assert_equal([head.weight], [before])


def test_missing_and_unexpected_arrays_are_reported():
    (_, trained), (_, deeper) = network(1), network(2, depth=2)
    before = values(deeper)
    report = load_parameters(file_of(trained), deeper, strict=False).report
    # The second Affine of the deeper network has the place of the trained head, but another shape.
    assert report == LoadReport(("00004.Affine.weight",), ("00003.Affine.weight",), ())
    assert_equal(values(deeper), [*values(trained)[:3], *before[3:]])
    report = load_parameters(file_of(deeper), trained, strict=False).report
    assert report == LoadReport((), ("00003.Affine.weight",), ("00004.Affine.weight",))


def test_a_body_alone_takes_its_part_of_a_file():
    (body, trained), (new_body, _) = network(1), network(2)
    report = load_parameters(file_of(trained), new_body, strict=False).report
    assert report == LoadReport((), (), ("00003.Affine.weight",))
    assert_equal(values(new_body), values(body))


def test_a_graph_of_the_same_parameters_reports_nothing():
    (_, trained), (_, head) = network(1), network(2)
    assert load_parameters(file_of(trained), head, strict=False).report == NOTHING
    assert_equal(values(head), values(trained))


@pytest.mark.parametrize("node", [Learner(np.ones(3)), CG.Leaf1(1), graph_of(1, size=9)])
def test_a_file_of_which_nothing_fits_is_refused(node):
    before = values(node)
    message = "<BytesIO>: expected at least one array that fits this graph, got none of 4"
    with pytest.raises(ModelFileError, match=f"^{message}$"):
        load_parameters(file_of(network(1)[1]), node, strict=False)
    assert_equal(values(node), before)


def test_a_graph_and_a_file_without_parameters_fit():
    leaf = CG.Leaf1(1)
    assert load_parameters(file_of(leaf), leaf, strict=False).report == NOTHING


@pytest.mark.thread_unsafe(reason="watches memory")
def test_arrays_that_are_not_loaded_are_not_unpacked():
    size = 16 << 20
    whole = io.BytesIO(file_of(graph_of(2)).getvalue())
    file = io.BytesIO()
    with zipfile.ZipFile(whole) as old, zipfile.ZipFile(file, "w", zipfile.ZIP_DEFLATED) as new:
        for name in old.namelist()[:2]:
            new.writestr(name, old.read(name))
        for name in ("00001.Affine.weight.npy", "00002.Affine.weight.npy"):
            bomb = io.BytesIO()
            np.save(bomb, np.zeros((size // 8, 1)))
            new.writestr(name, bomb.getvalue())
    file.seek(0)
    graph = graph_of(1)
    tracemalloc.start()
    try:
        report = load_parameters(file, graph, cast=True, strict=False).report
        peak = tracemalloc.get_traced_memory()[1]
    finally:
        tracemalloc.stop()
    assert report == LoadReport((), ("00001.Affine.weight",), ("00002.Affine.weight",))
    assert [value.max() for value in values(graph)] == [2, 1]
    assert peak < 1 << 20


@pytest.mark.thread_unsafe(reason="traces")
@pytest.mark.filterwarnings("ignore::pytest.PytestUnraisableExceptionWarning")
@pytest.mark.parametrize("every", [5, full(1)])
def test_an_interrupt_at_any_bytecode_loads_all_that_fit_or_nothing(every):
    (_, trained), (_, head) = network(1, classes=10), network(2, dtype="float32")
    content = file_of(trained).getvalue()
    old, new = values(head), [*(v.astype("f4") for v in values(trained)[:3]), values(head)[3]]

    def load():
        load_parameters(io.BytesIO(content), head, cast=True, strict=False)

    events(load, opcodes=True)
    for moment in itertools.count(1, every):
        for p, value in zip(CG.parameters(head), old, strict=True):
            p.value[...] = value
        if stopped(load, moment, opcodes=True):
            break
        is_loaded = bool((head.backward[0].backward[0].weight == new[2]).all())
        assert_equal(values(head), new if is_loaded else old)
    assert_equal(values(head), new)
    assert moment > 200


# One opening


def test_metadata_and_arrays_are_those_of_one_file_while_another_replaces_it(tmp_path):
    path = tmp_path / "model.npz"
    save(path, 1)
    with open_parameters(path) as saved:
        save(path, 2)
        graph = graph_of(0)
        metadata = saved.load(graph)
        assert metadata == saved.metadata == {"value": 1}
        assert metadata.report == NOTHING
    assert {value.max() for value in values(graph)} == {1}
    assert read_metadata(path) == {"value": 2}


def test_a_file_that_is_overwritten_in_place_is_never_mixed(tmp_path):
    path = tmp_path / "model.npz"
    contents = [file_of(graph_of(value, size=50)).getvalue() for value in (1, 2)]
    assert len(contents[0]) == len(contents[1]) > 2 * io.DEFAULT_BUFFER_SIZE
    path.write_bytes(contents[0])
    graph = graph_of(0, size=50)

    def load_while_it_is_overwritten():
        with open_parameters(path) as saved:
            with open(path, "r+b") as file:
                file.write(contents[1])
            saved.load(graph)

    with pytest.raises(ModelFileError, match="must be an undamaged array"):
        load_while_it_is_overwritten()
    assert {value.max() for value in values(graph)} == {0}


def test_one_opening_serves_several_graphs_with_the_rules_of_load_parameters():
    graphs = graph_of(0), graph_of(0)
    with open_parameters(file_of(graph_of(3))) as saved:
        for graph in graphs:
            saved.load(graph)
        message = re.escape("<BytesIO>: expected 1 parameter arrays for this graph, got 2")
        with pytest.raises(TypeError, match=r"^ParameterFile\.load: node must be a Node or a Gra"):
            saved.load(None)
        assert saved.load(graph_of(0), strict=False, cast=True).report == NOTHING
    assert {value.max() for graph in graphs for value in values(graph)} == {3}
    with (
        pytest.raises(ModelFileError, match=f"^{message}$"),
        open_parameters(file_of(graph_of(3))) as saved,
    ):
        saved.load(Learner(np.ones(2)))


def test_a_file_that_has_been_closed_loads_no_more():
    with open_parameters(file_of(graph_of(3), {"a": 1})) as saved:
        pass
    assert saved.metadata == {"a": 1}
    with pytest.raises(
        ValueError, match=r"^ParameterFile\.load: the file must be open, and is clo"
    ):
        saved.load(graph_of(0))


def test_metadata_with_a_report_are_a_dict():
    metadata = load_parameters(file_of(graph_of(3), {"a": [1]}), graph_of(0))
    assert repr(metadata) == "{'a': [1]}"
    for twin in (copy.deepcopy(metadata), pickle.loads(pickle.dumps(metadata))):
        assert twin == metadata
        assert twin.report == NOTHING


def test_a_graph_gives_its_state_and_takes_it_back_in_memory():
    x, t = CG.Leaf2(5, 5), CG.Leaf1(2)
    maps = [CG.Convolution2d([x], np.full((1, 2, 2), k), 0.1) for k in (0.1, 0.2, 0.3)]
    flat = CG.Concatenation(maps)
    loss = CG.MSE(CG.Affine(flat, np.full((flat.size + 1, 2), 0.1)), t)
    graph = CG.Graph(loss)
    feed = {x: np.ones((4, 5, 5)), t: np.ones((4, 2))}
    state = graph.state_dict()
    losses = graph.train(feed, 1e-3)
    changed = graph.state_dict()
    assert not any(np.array_equal(state[name], changed[name]) for name in state)
    assert graph.load_state_dict(state) == ((), (), ())
    np.testing.assert_array_equal(graph.train(feed, 1e-3), losses)
    del state["00006.Affine.weight"]
    with pytest.raises(ValueError, match=r"Graph\.load_state_dict: expected"):
        graph.load_state_dict(state)
    assert graph.load_state_dict(state, strict=False).missing == ("00006.Affine.weight",)
    np.testing.assert_array_equal(graph.parameters[-1].value, changed["00006.Affine.weight"])
