"""Saving and loading parameters."""

import io
import json
import os
import re
import zipfile

import numpy as np
import pytest

import cgraph as CG
from cgraph.io import ModelFileError, load_parameters, read_metadata, save_parameters

METADATA = {"seed": 3, "channels": [8, 16], "data": "Ziffern ü", "nothing": None}


def small_graph(seed, *, dtype="float64", outputs=2):
    """A graph with both kinds of parameters, one of them shared."""
    rng = np.random.default_rng(seed)
    image = CG.Leaf2(4, 4, dtype=dtype)
    layer = [CG.Convolution2d([image], rng.normal(size=(1, 3, 3)), rng.normal()) for _ in range(2)]
    joined = CG.Concatenation(layer)
    affine = CG.Affine(joined, rng.normal(size=(joined.size + 1, outputs)))
    return CG.Norm2(CG.Add(affine, affine))


def parameter_arrays(node):
    return [item.value.copy() for item in CG.parameters(node)]


def assert_same(node, expected):
    for found, value in zip(parameter_arrays(node), expected, strict=True):
        np.testing.assert_array_equal(found, value, strict=True)


@pytest.mark.parametrize("dtype", ["float64", "float32"])
def test_a_round_trip_gives_back_every_bit_and_the_metadata(tmp_path, dtype):
    path = tmp_path / "model.npz"
    saved, loaded = small_graph(1, dtype=dtype), small_graph(2, dtype=dtype)
    expected = parameter_arrays(saved)
    expected[0][...] = CG.parameters(saved)[0].value[...] = [[np.nan, -0.0, np.inf]] * 3
    save_parameters(path, saved, METADATA)
    assert load_parameters(path, loaded) == METADATA == read_metadata(path)
    assert_same(loaded, expected)


def test_the_loaded_graph_computes_what_the_saved_one_did(tmp_path):
    saved, loaded = small_graph(1), small_graph(2)
    save_parameters(tmp_path / "model.npz", saved)
    load_parameters(tmp_path / "model.npz", loaded)
    for loss in (saved, loaded):
        leaf = loss.backward[0].backward[0].backward[0].backward[0].backward[0]
        leaf.getInput(np.arange(16.0))
        leaf.forwardPropagation()
    assert loaded.data[0] == saved.data[0] > 0


def test_numpy_reads_the_file_without_pickle(tmp_path):
    path = tmp_path / "model.npz"
    graph = small_graph(1)
    save_parameters(path, graph)
    with np.load(path, allow_pickle=False) as arrays:
        names = [name for name in arrays.files if name != "cgraph"]
        assert [name.partition(".")[2] for name in names] == [
            "Convolution2d.kernel",
            "Convolution2d.bias",
            "Convolution2d.kernel",
            "Convolution2d.bias",
            "Affine.weight",
        ]
        assert_same(graph, [arrays[name] for name in names])


def test_a_graph_without_parameters_round_trips(tmp_path):
    node = CG.Norm2(CG.Leaf1(3))
    save_parameters(tmp_path / "none.npz", node, {"a": 1})
    assert load_parameters(tmp_path / "none.npz", node) == {"a": 1}


@pytest.mark.parametrize(
    ("graph", "message"),
    [
        (small_graph(2, outputs=3), r"Affine.weight must have shape \(9, 3\) .*, got \(9, 2\)"),
        (small_graph(2, dtype="float32"), "dtype float32, got .* float64"),
        (CG.Norm2(CG.Leaf1(3)), "expected 0 parameter arrays for this graph, got 5"),
        (
            CG.Norm2(
                CG.Concatenation(
                    [CG.Affine(CG.Leaf1(8), np.ones((9, 2))) for _ in range(5)],
                )
            ),
            "expected a parameter 00000.Affine.weight, got none",
        ),
    ],
)
def test_a_file_of_another_graph_is_refused_and_changes_nothing(tmp_path, graph, message):
    path = tmp_path / "model.npz"
    save_parameters(path, small_graph(1))
    before = parameter_arrays(graph)
    with pytest.raises(ModelFileError, match=f"^{re.escape(str(path))}: .*{message}"):
        load_parameters(path, graph)
    assert_same(graph, before)


def archive(**arrays):
    file = io.BytesIO()
    np.savez(file, **arrays)
    return file.getvalue()


def header(**changes):
    content = {"format": "cgraph parameters", "version": 1, "metadata": {}, **changes}
    return archive(cgraph=np.array(json.dumps(content)))


def single_array():
    file = io.BytesIO()
    np.save(file, np.arange(3))
    return file.getvalue()


def empty_zip():
    file = io.BytesIO()
    zipfile.ZipFile(file, "w").close()
    return file.getvalue()


@pytest.mark.parametrize(
    ("content", "message"),
    [
        (b"", "not a cgraph parameter file, or damaged"),
        (b"hello", "not a cgraph parameter file, or damaged"),
        (single_array(), "not a cgraph parameter file, or damaged"),
        (empty_zip(), "not a cgraph parameter file, or damaged"),
        (archive(a=np.arange(3)), "not a cgraph parameter file, or damaged"),
        (archive(cgraph=np.array({"a": 1}, dtype=object)), "not a cgraph parameter file, or"),
        (archive(cgraph=np.array("[]")), "not a cgraph parameter file, or damaged"),
        (archive(cgraph=np.array("{")), "not a cgraph parameter file, or damaged"),
        (header(format="another"), "not a cgraph parameter file$"),
        (header(metadata=[]), "not a cgraph parameter file$"),
        (header(version=2), "expected format version 1, got 2"),
    ],
)
def test_strange_files_are_refused_with_their_name(tmp_path, content, message):
    path = tmp_path / "model.npz"
    path.write_bytes(content)
    with pytest.raises(ModelFileError, match=f"^{re.escape(str(path))}: {message}"):
        read_metadata(path)


@pytest.mark.filterwarnings("ignore")  # NumPy and zipfile may warn about what they see
def test_damage_anywhere_gives_the_same_values_or_a_model_file_error(tmp_path):
    path = tmp_path / "model.npz"
    graph = small_graph(1)
    save_parameters(path, graph, METADATA)
    content = path.read_bytes()
    expected = parameter_arrays(graph)
    rng = np.random.default_rng(5)
    refused = 0
    for place in rng.choice(len(content), 300, replace=False):
        flipped = bytearray(content)
        flipped[place] ^= rng.integers(1, 256)
        for damaged in (content[:place], bytes(flipped)):
            path.write_bytes(damaged)
            try:
                load_parameters(path, graph)
            except ModelFileError:
                refused += 1
            assert_same(graph, expected)
    assert refused > 400


class Trap:
    """Unpickling this makes a file."""

    def __init__(self, path):
        self.path = path

    def __reduce__(self):
        return open, (str(self.path), "w")


def test_no_pickle_of_a_strange_file_is_run(tmp_path):
    path, proof = tmp_path / "model.npz", tmp_path / "proof"
    path.write_bytes(archive(cgraph=np.array([Trap(proof)], dtype=object)))
    with pytest.raises(ModelFileError):
        read_metadata(path)
    assert not proof.exists()


def test_an_absent_file_is_an_os_error_that_names_it(tmp_path):
    with pytest.raises(FileNotFoundError, match=r"absent\.npz"):
        load_parameters(tmp_path / "absent.npz", small_graph(1))


def test_a_failed_write_leaves_the_old_file_and_no_other(tmp_path, monkeypatch):
    path = tmp_path / "model.npz"
    save_parameters(path, small_graph(1))
    before = path.read_bytes()

    def fail(*_):
        raise OSError("disk full")

    monkeypatch.setattr(os, "replace", fail)
    with pytest.raises(OSError, match="disk full"):
        save_parameters(path, small_graph(2))
    assert path.read_bytes() == before
    assert os.listdir(tmp_path) == ["model.npz"]


def circle():
    metadata = {}
    metadata["a"] = [metadata]
    return metadata


def deep():
    metadata = []
    for _ in range(100_000):
        metadata = [metadata]
    return {"a": metadata}


@pytest.mark.parametrize(
    ("metadata", "kind", "message"),
    [
        ([("a", 1)], TypeError, "be a mapping, got [('a', 1)]"),
        ("text", TypeError, "be a mapping, got 'text'"),
        (0, TypeError, "be a mapping, got 0"),
        ({"a": object()}, TypeError, "hold what JSON can, got <object"),
        ({"a": [b"1"]}, TypeError, "hold what JSON can, got b'1'"),
        ({"a": {1, 2}}, TypeError, "hold what JSON can, got {1, 2}"),
        ({"a": np.int64(1)}, TypeError, "hold what JSON can, got "),
        ({"a": np.ones(2)}, TypeError, "hold what JSON can, got array([1., 1.])"),
        ({1: "a"}, TypeError, "have str as keys, got 1"),
        ({"a": [{None: 1}]}, TypeError, "have str as keys, got None"),
        ({"a": {(1, 2): 1}}, TypeError, "have str as keys, got (1, 2)"),
        ({"a": float("nan")}, ValueError, "hold finite numbers, got nan"),
        ({"a": [(float("-inf"),)]}, ValueError, "hold finite numbers, got -inf"),
        (circle(), ValueError, "be JSON: "),
        (deep(), ValueError, "be JSON: "),
        ({"a": 10**5000}, ValueError, "be JSON: "),
    ],
    ids=lambda value: value if isinstance(value, str) else "",
)
def test_metadata_that_are_not_json_are_refused_before_writing(tmp_path, metadata, kind, message):
    with pytest.raises(kind) as refused:
        save_parameters(tmp_path / "model.npz", small_graph(1), metadata)
    assert str(refused.value).startswith(f"save_parameters: metadata must {message}")
    assert os.listdir(tmp_path) == []


def test_metadata_that_hold_one_list_twice_are_json(tmp_path):
    twice = [1, {"a": True}]
    save_parameters(tmp_path / "model.npz", small_graph(1), {"b": twice, "c": (twice, twice)})
    assert read_metadata(tmp_path / "model.npz") == {"b": twice, "c": [twice, twice]}


@pytest.mark.parametrize("file", [3, None, 0.5, ["model.npz"]])
@pytest.mark.parametrize("function", [save_parameters, load_parameters, read_metadata])
def test_what_is_no_file_is_refused(file, function):
    rest = [small_graph(1)] * (function is not read_metadata)
    message = f"{function.__name__}: file must be a path or a binary file object, got {file!r}"
    with pytest.raises(TypeError, match=f"^{re.escape(message)}$"):
        function(file, *rest)


class Learner(CG.Node):
    _parameters = (("w", "dw"),)

    def __init__(self, w):
        super().__init__(0, 1, 1)
        self.w, self.dw = w, np.zeros(np.shape(w))


@pytest.mark.parametrize(
    "w", [[1.0, 2.0], 0.5, None, np.array([None]), np.array(["a"]), np.zeros(2, "M8[s]")]
)
def test_a_parameter_that_is_no_array_of_numbers_is_neither_saved_nor_loaded(tmp_path, w):
    path = tmp_path / "model.npz"
    with pytest.raises(TypeError, match="save_parameters: w of Learner must be an array of num"):
        save_parameters(path, Learner(w))
    assert os.listdir(tmp_path) == []
    save_parameters(path, small_graph(1))
    with pytest.raises(TypeError, match="load_parameters: w of Learner must be an array of num"):
        load_parameters(path, Learner(w))


def test_a_read_only_parameter_is_refused_before_another_is_loaded(tmp_path):
    path = tmp_path / "model.npz"
    first, second = Learner(np.ones(2)), Learner(np.ones(2))
    both = CG.Concatenation([first, second])
    save_parameters(path, both)
    first.w[...] = 7
    second.w.flags.writeable = False
    with pytest.raises(ValueError, match=r"load_parameters: 00001\.Learner\.w must be writable"):
        load_parameters(path, both)
    assert first.w.tolist() == [7, 7]


@pytest.mark.parametrize(
    "w",
    [
        np.arange(6.0).reshape(2, 3).T,
        np.arange(6, dtype=">i4"),
        np.array(3.5),
        np.zeros((0, 3)),
        np.array([1 + 2j]),
        np.array([True]),
    ],
    ids=["fortran", "big-endian", "no dimension", "empty", "complex", "bool"],
)
@pytest.mark.parametrize("save", [np.savez, np.savez_compressed])
def test_every_array_of_numbers_that_numpy_writes_is_read(tmp_path, monkeypatch, save, w):
    monkeypatch.setattr(np, "savez", save)
    path, node = tmp_path / "model.npz", Learner(w.astype(w.dtype.newbyteorder("=")))
    save_parameters(path, Learner(w))
    node.w[...] = 0
    load_parameters(path, node)
    np.testing.assert_array_equal(node.w, w)


@pytest.mark.skipif(os.name != "posix", reason="umask is a matter of POSIX")
def test_the_file_obeys_the_umask(tmp_path):
    save_parameters(tmp_path / "model.npz", small_graph(1))
    (tmp_path / "plain").touch()
    modes = {(tmp_path / name).stat().st_mode for name in ("model.npz", "plain")}
    assert len(modes) == 1
