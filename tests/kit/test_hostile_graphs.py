"""Damaged and forged files of graphs raise a ModelFileError, take little memory, and call nothing but known classes."""

import copy
import io
import json
import re
import tracemalloc
import zipfile
from functools import cache

import numpy as np
import pytest
from forged_arrays import changed_arrays
from forged_graphs import model, mutated, opened, written

import cgraph as CG
from cgraph.nodes.leaf import Leaf2

MiB = 1 << 20


@cache
def original():
    file = model()
    return (file.getvalue(), *opened(file))


def outcome(file):
    """Returns whether a file is loaded or refused; any other exception is an error of the test."""
    tracemalloc.start()
    try:
        CG.load(file)
    except CG.ModelFileError:
        return "refused"
    else:
        return "loaded"
    finally:
        peak = tracemalloc.get_traced_memory()[1]
        tracemalloc.stop()
        assert peak < 4 * MiB


@pytest.mark.thread_unsafe(reason="measures memory")
@pytest.mark.parametrize("seed", range(2))
def test_changed_bytes_and_lost_ends_are_refused(seed):
    content, _, _ = original()
    rng = np.random.default_rng(seed)
    for _ in range(20):
        damaged = bytearray(content)
        for place in rng.integers(len(content), size=int(rng.integers(1, 5))):
            damaged[place] ^= int(rng.integers(1, 256))
        # What zipfile does not read may change: dates, the local headers' sizes.
        outcome(io.BytesIO(bytes(damaged)))
        assert outcome(io.BytesIO(content[: int(rng.integers(len(content)))])) == "refused"


@pytest.mark.thread_unsafe(reason="measures memory")
@pytest.mark.parametrize(
    "seed", [*range(4), *[pytest.param(seed, marks=pytest.mark.full) for seed in range(4, 40)]]
)
def test_forged_entries_and_arrays_are_refused_or_make_a_graph(seed):
    _, header, arrays = original()
    rng = np.random.default_rng(seed)
    found = {outcome(written(mutated(header, rng), arrays)) for _ in range(12)}
    found |= {outcome(written(header, changed_arrays(arrays, rng))) for _ in range(6)}
    assert "refused" in found


class Own(CG.Affine):
    """An own class, whose constructor gets the values of parameters that it is to share."""


def with_twins(cls, count):
    """Returns a file with many records of nodes that share the 80,000 bytes of parameters of one node."""
    y = cls(CG.Leaf1(99), np.ones((100, 100)))
    file = io.BytesIO()
    CG.save(file, {"y": y, "twin": y.share(CG.Leaf1(99))})
    header, arrays = opened(io.BytesIO(file.getvalue()))
    header["nodes"] += [dict(header["nodes"][-1]) for _ in range(count)]
    return written(header, arrays)


def test_nodes_that_share_parameters_do_not_copy_them(monkeypatch):
    held = []
    hold = CG.Affine._hold

    def noting(node, parameters):
        held.append(parameters.strides != (0,) or parameters.flags.writeable)
        hold(node, parameters)

    monkeypatch.setattr(CG.Affine, "_hold", noting)
    y = CG.load(with_twins(CG.Affine, 50))["y"]
    assert sum(held) == 2  # the one of which the file was made, and the first of those loaded
    assert len(y._sharing.nodes) == 52
    y.weight = np.arange(1e4).reshape(100, 100)
    assert y.share(CG.Leaf1(99)).weight[-1, -1] == 9999
    assert y.gradWeight.flags.writeable


def test_parameters_that_own_classes_copy_and_share_are_counted():
    limit = "nodes must have at most max_elements=30,000 elements, got 35,398"
    with pytest.raises(CG.ModelFileError, match=limit):
        CG.load(with_twins(Own, 50), classes=[Own], max_elements=30_000)
    CG.load(with_twins(Own, 1), classes=[Own], max_elements=30_000)


def changed(**entries):
    """Returns a file whose entries differ: of the header, or of node N where the name is nodeN."""
    _, header, arrays = original()
    header = copy.deepcopy(header)
    for name, value in entries.items():
        if name.startswith("node") and name != "nodes":
            header["nodes"][int(name[4:])] |= value
        else:
            header[name] = value
    return written(header, arrays)


def number_of(cls):
    return [record["class"] for record in original()[1]["nodes"]].index(cls)


def with_arrays(change):
    """Returns a file with other arrays and the right digest."""
    _, header, arrays = original()
    arrays = dict(arrays)
    change(arrays)
    return written(header, arrays)


def compressed():
    content = dict(np.load(model()))
    file = io.BytesIO()
    np.savez_compressed(file, **content)
    file.seek(0)
    return file


def overlapping():
    """A zip whose directory names one large member many times."""
    file, rows = io.BytesIO(), np.zeros(MiB // 8)
    with zipfile.ZipFile(file, "w") as archive:
        for name, array in opened_with_digest().items():
            with archive.open(f"{name}.npy", "w", force_zip64=True) as member:
                np.lib.format.write_array(member, array)
        with archive.open("first.npy", "w", force_zip64=True) as member:
            np.lib.format.write_array(member, rows)
        first = archive.infolist()[-1]
        for number in range(40):
            info = copy.copy(first)
            info.filename = f"more{number}.npy"
            archive.filelist.append(info)
            archive.NameToInfo[info.filename] = info
    file.seek(0)
    return file


def opened_with_digest():
    return dict(np.load(io.BytesIO(original()[0])))


def nested(levels):
    _, header, arrays = original()
    text = json.dumps(header).replace('"rate": 0.5', f'"rate": {"[" * levels}{"]" * levels}')
    return written(text, arrays)


FORGED = {
    "a class of another module": (
        lambda: changed(node0={"class": "os.system"}),
        "node 0, os.system: class must be one of cgraph, got 'os.system'",
    ),
    "a class that is no node": (
        lambda: changed(node0={"class": "Graph"}),
        "node 0, Graph: class must be one of cgraph, got 'Graph'",
    ),
    "an own class": (
        lambda: changed(node0={"own class": "Leaf1"}),
        "node 0, Leaf1: is of the class 'Leaf1', which is none of cgraph; load it with classes=[Leaf1]",
    ),
    "an input behind the node": (
        lambda: changed(node1={"inputs": [1]}),
        "node 1, Affine: inputs must be in [0, 1), got 1",
    ),
    "a leaf of another size": (
        lambda: changed(node0={"config": {"size": 2**31 - 1}}),
        "node 0, Leaf1: size must be 3, got 2147483647",
    ),
    "a huge leaf": (
        lambda: changed(node0={"config": {"size": 2**31 - 1}, "shape": [2**31 - 1, 1]}),
        "nodes must have at most max_elements=268,435,456 elements, got 2,147,4",
    ),
    "many leaves": (
        lambda: changed(nodes=[{"class": "Leaf1", "shape": [2**20, 1], "dtype": "float64"}] * 257),
        "nodes must have at most max_elements=268,435,456 elements, got 269,484,032",
    ),
    "parameters of a class without any": (
        lambda: changed(node0={"values": {"_data": "00000.Affine.weight"}}),
        "node 0, Leaf1: values must be those of [], got ['_data']",
    ),
    "parameters of another class": (
        lambda: changed(**{f"node{number_of('LayerNorm')}": {"shares with": 1, "values": {}}}),
        "node 11, LayerNorm: shares parameters with a node of another class, or none",
    ),
    "one array for two nodes": (
        lambda: changed(node3={"shares with": None, "values": {"weight": "00000.Affine.weight"}}),
        "node 3, Affine: expected an array '00000.Affine.weight' of its own, got none",
    ),
    "a text for an array": (
        lambda: with_arrays(lambda a: a.update({"00000.Affine.weight": np.array("a")})),
        "node 1, Affine: weight must be float64, got <U1",
    ),
    "a parameter of another dtype": (
        lambda: with_arrays(lambda a: a.update({"00000.Affine.weight": np.ones((4, 3), "f4")})),
        "node 1, Affine: weight must be float64, got float32",
    ),
    "a parameter of another shape": (
        lambda: with_arrays(lambda a: a.update({"00000.Affine.weight": np.ones((5, 3))})),
        "node 1, Affine: Affine: cannot be built anew, since the constructor refuses",
    ),
    "data of another shape": (
        lambda: with_arrays(lambda a: a.update({"graph.00000.data": np.ones(4)})),
        "node 0, Leaf1: data must be 3 elements of float64 of a node without inputs, got (4,) and",
    ),
    "samples of another dtype": (
        lambda: with_arrays(lambda a: a.update({"samples.00000.Dropout": np.ones(1)})),
        "node 4, Dropout: samples must be one uint64, got float64",
    ),
    "one array more": (
        lambda: with_arrays(lambda a: a.update(more=np.ones(1))),
        "expected arrays of its nodes alone, got 'more', too",
    ),
    "objects": (
        lambda: with_arrays(lambda a: a.update(more=np.array([None]))),
        "more must be an array of numbers, got dtype |O",
    ),
    "times": (
        lambda: with_arrays(lambda a: a.update({"00000.Affine.weight": np.ones((4, 3), "m8[s]")})),
        "00000.Affine.weight must be an array of numbers, got dtype <m8[s]",
    ),
    "no array": (
        lambda: with_arrays(lambda a: a.pop("graph.00000.data")),
        "node 0, Leaf1: expected an array 'graph.00000.data' of its own, got none",
    ),
    "a name without a node": (lambda: changed(names={"y": 99}), "names: y must be in [0, "),
    "no names": (lambda: changed(names=[]), "cgraph: names must be an object, got []"),
    "another version": (lambda: changed(version=2), "expected format version 1, got 2"),
    "another format": (lambda: changed(format="x"), "not a cgraph parameter file"),
    "an optimiser of another module": (
        lambda: changed(optimizer={"class": "Exp"}),
        "optimizer: class must be one of cgraph, got 'Exp'",
    ),
    "a schedule of another module": (
        lambda: changed(
            optimizer=original()[1]["optimizer"]
            | {"config": {"lr": {"schedule": "__import__", "arguments": {"name": "os"}}}}
        ),
        "optimizer, Adam: schedules: name must be one of constant, cosine",
    ),
    "compressed members": (compressed, "cgraph must be stored, got compression method 8"),
    "overlapping members": (overlapping, "members must have at most "),
    "many levels": (
        lambda: nested(100_000),
        "not a cgraph parameter file, or damaged (cgraph is no",
    ),
    "some levels": (lambda: nested(400), "node 4, Dropout: Dropout: cannot be built anew"),
    "a number of many digits": (
        lambda: written('{"format": ' + "9" * 5000 + "}", {}),
        "not a cgraph parameter file, or damaged (cgraph is no such text, ValueError)",
    ),
}


@pytest.mark.thread_unsafe(reason="measures memory")
@pytest.mark.parametrize(("make", "message"), FORGED.values(), ids=FORGED)
def test_a_forged_file_is_refused(make, message):
    file = make()
    tracemalloc.start()
    try:
        with pytest.raises(CG.ModelFileError, match=f"^<BytesIO>: {re.escape(message)}"):
            CG.load(file)
        peak = tracemalloc.get_traced_memory()[1]
    finally:
        tracemalloc.stop()
    assert peak < 8 * MiB


def test_the_digest_finds_what_checksums_of_members_do_not():
    content = opened_with_digest()
    content["00000.Affine.weight"] = content["00000.Affine.weight"] + 1
    file = io.BytesIO()
    np.savez(file, **content)
    file.seek(0)
    with pytest.raises(CG.ModelFileError, match="must have the content that its digest tells"):
        CG.load(file)


def test_a_file_of_another_byte_order_is_loaded():
    _, header, arrays = original()
    arrays = {name: x.astype(x.dtype.newbyteorder(">")) for name, x in arrays.items()}
    ours, theirs = CG.load(written(header, arrays)), CG.load(io.BytesIO(original()[0]))
    for a, b in zip(CG.parameters(ours["loss"]), CG.parameters(theirs["loss"]), strict=True):
        assert a.value.tobytes() == b.value.tobytes()


def test_nothing_is_called_but_constructors_of_known_classes(monkeypatch):
    called = []

    class Noting(Leaf2):
        def __init__(self, *args, **named):
            called.append(named)
            super().__init__(*args, **named)

    with pytest.raises(CG.ModelFileError):
        CG.load(changed(node5={"class": "Noting"}))
    assert called == []
    record = dict(original()[1]["nodes"][5])
    del record["class"]
    header = copy.deepcopy(original()[1])
    header["nodes"][5] = record | {"own class": "Noting"}
    CG.load(written(header, original()[2]), classes=[Noting])
    assert called == [{"height": 4, "width": 4, "dtype": "float64"}]


@pytest.mark.parametrize("error", [ValueError, ZeroDivisionError, KeyError])
def test_an_error_of_an_own_constructor_is_one_of_the_file(error):
    class Fussy(CG.Exp):
        fails = False

        def __init__(self, node):
            if self.fails:
                raise error("no")
            super().__init__(node)

    file = io.BytesIO()
    CG.save(file, Fussy(CG.Leaf1(1)))
    file.seek(0)
    Fussy.fails = True
    with pytest.raises(CG.ModelFileError, match="node 1, Fussy: Fussy: cannot be built anew"):
        CG.load(file, classes=[Fussy])
