"""Damaged and foreign parameter files raise a ModelFileError without taking much memory."""

import io
import json
import re
import struct
import tracemalloc
import zipfile
import zlib

import numpy as np
import pytest

import cgraph as CG
from cgraph.io import ModelFileError, load_parameters, read_metadata

WEIGHT = "00000.Affine.weight"
HEADER = {"format": "cgraph parameters", "version": 1, "metadata": {"a": 1}}
MiB = 1 << 20


def graph():
    return CG.Affine(CG.Leaf1(2), np.full((3, 2), 7.0))


def npy(array, **options):
    file = io.BytesIO()
    np.lib.format.write_array(file, np.asanyarray(array), **options)
    return file.getvalue()


def npy_header(descr="<f8", shape="(3, 2)", order="False", version=1, length=None):
    """Returns a header alone, with these fields."""
    text = f"{{'descr': {descr!r}, 'fortran_order': {order}, 'shape': {shape}, }}\n".encode()
    form = "<H" if version == 1 else "<I"
    return b"\x93NUMPY" + bytes([version, 0]) + struct.pack(form, length or len(text)) + text


TEXT = npy(np.array(json.dumps(HEADER)))
GOOD = npy(np.arange(6.0).reshape(3, 2))


def archive(*members, method=zipfile.ZIP_STORED):
    """Returns a zip file with these names and contents."""
    file = io.BytesIO()
    with zipfile.ZipFile(file, "w") as archive:
        for name, content in members:
            # An array behind the header, which is checked first.
            archive.writestr(name, content, None if name == "cgraph.npy" else method)
    return file.getvalue()


def with_weight(content, **options):
    return archive(("cgraph.npy", TEXT), (f"{WEIGHT}.npy", content), **options)


def changed(content, *changes):
    """Returns a file with changed bytes in its zip headers: (signature, which of them, offset, bytes)."""
    content = bytearray(content)
    for signature, number, offset, new in changes:
        place = -1
        for _ in range(number + 1):
            place = content.index(signature, place + 1)
        content[place + offset : place + offset + len(new)] = new
    return bytes(content)


LOCAL, CENTRAL = b"PK\3\4", b"PK\1\2"
WHOLE = with_weight(GOOD)
ENCRYPTED = changed(WHOLE, (LOCAL, 1, 6, b"\1"), (CENTRAL, 1, 8, b"\1"))
SIX_NUMBERS = npy_header() + bytes(48)


@pytest.mark.parametrize(
    ("content", "message"),
    [
        (with_weight(b"no array"), "must be an undamaged array"),
        (with_weight(b""), "must be an undamaged array"),
        (with_weight(GOOD[:7]), "must be an undamaged array"),
        (with_weight(GOOD[:40]), "must be an undamaged array"),
        (with_weight(GOOD[:6] + b"\3" + GOOD[7:]), "must be an undamaged array"),
        (with_weight(SIX_NUMBERS.replace(b"descr", b"dtype")), "must be an undamaged array"),
        (with_weight(SIX_NUMBERS.replace(b"}", b"]")), "must be an undamaged array"),
        (with_weight(SIX_NUMBERS.replace(b"<f8", b"<f-")), "must be an undamaged array"),
        (with_weight(npy_header(shape="(-3, -2)") + bytes(48)), "must be an undamaged array"),
        (
            with_weight(npy_header(shape=f"({'9' * 3000}, {'9' * 3000})") + bytes(48)),
            "must be an undamaged array",
        ),
        (with_weight(npy_header(shape="(3.0, 2)") + bytes(48)), "must be an undamaged array"),
        (with_weight(npy_header(shape="[3, 2]") + bytes(48)), "must be an undamaged array"),
        (with_weight(npy_header(shape="3") + bytes(24)), "must be an undamaged array"),
        (with_weight(npy_header(version=2, length=2**32 - 1)), "must be an undamaged array"),
        (with_weight(npy_header(shape=9000 * "(")), "must be an undamaged array"),
        (with_weight(npy(np.array([None] * 6))), r"must be an array of numbers, got dtype \|O"),
        (
            with_weight(npy(np.zeros((3, 2), "f4,i4"))),
            r"must be an array of numbers, got dtype \[\('f0'",
        ),
        (with_weight(npy(np.zeros((3, 2), "U2"))), r"dtype float64, got \(3, 2\) and <U2"),
        (with_weight(npy(np.zeros((3, 2), "S8"))), r"dtype float64, got \(3, 2\) and \|S8"),
        (with_weight(npy(np.zeros((3, 2), "M8[s]"))), r"must be an array of numbers, got dtype <M8\[s\]"),
        (with_weight(npy(np.zeros((3, 2), "f4"))), r"dtype float64, got \(3, 2\) and float32"),
        (with_weight(npy(np.zeros((3, 2), "i8"))), r"dtype float64, got \(3, 2\) and int64"),
        (with_weight(npy(np.zeros(6))), r"shape \(3, 2\) and dtype float64, got \(6,\) and float64"),
        (with_weight(npy(np.zeros((2, 3)))), r"shape \(3, 2\) .*, got \(2, 3\) and float64"),
        (with_weight(GOOD[:-1]), "must have 48 bytes for shape .*, got 47"),
        (with_weight(GOOD + b"x"), "must have 48 bytes for shape .*, got 49"),
        (ENCRYPTED, "must not be encrypted"),
        (with_weight(GOOD, method=zipfile.ZIP_LZMA), "must be stored or deflated, got .* method 14"),
        (
            changed(with_weight(GOOD, method=zipfile.ZIP_LZMA), (CENTRAL, 1, 10, b"\x63")),
            "must be stored or deflated, got compression method 99",
        ),
        (changed(WHOLE, (CENTRAL, 1, 16, b"\0\0\0\0")), "must be an undamaged array"),
        (changed(WHOLE, (LOCAL, 1, 0, b"XX")), "must be an undamaged array"),
        (changed(WHOLE, (LOCAL, 1, 30, b"1")), "must be an undamaged array"),
    ],
    ids=lambda value: value if isinstance(value, str) else "",
)  # fmt: skip
def test_a_member_that_is_not_the_array_is_refused(tmp_path, content, message):
    path, node = tmp_path / "model.npz", graph()
    path.write_bytes(content)
    with pytest.raises(ModelFileError, match=f"^{re.escape(str(path))}: {WEIGHT} .*{message}"):
        load_parameters(path, node)
    assert (node.weight == 7).all()
    assert read_metadata(path) == {"a": 1}, "which does not look at the parameters"


@pytest.mark.parametrize(
    ("content", "message"),
    [
        (archive(("cgraph.npy", TEXT)), "expected 1 parameter arrays for this graph, got 0"),
        (
            archive(("cgraph.npy", TEXT), (f"{WEIGHT}.npy", GOOD), ("more", b"")),
            "expected 1 parameter arrays for this graph, got 2",
        ),
        (
            archive(("cgraph.npy", TEXT), ("another.npy", GOOD)),
            f"expected a parameter {WEIGHT}, got none",
        ),
        (archive(("cgraph.npy", TEXT), (WEIGHT, GOOD)), f"expected an array {WEIGHT}, got none"),
    ],
)
def test_a_missing_and_a_further_member_are_refused(tmp_path, content, message):
    path = tmp_path / "model.npz"
    path.write_bytes(content)
    with pytest.raises(ModelFileError, match=f"^{re.escape(str(path))}: {message}"):
        load_parameters(path, graph())


@pytest.mark.parametrize(
    ("content", "message"),
    [
        (with_weight(GOOD)[:60] + with_weight(GOOD)[80:], "expected members within the file"),
        (
            archive(("cgraph.npy", TEXT), ("cgraph.npx", TEXT)).replace(b"npx", b"npy"),
            "got one name twice",
        ),
        (
            archive(("cgraph.npy", TEXT), (f"{WEIGHT}.npy", GOOD), (f"{WEIGHT}.npx", GOOD)).replace(
                b"npx", b"npy"
            ),
            "got one name twice",
        ),
        (archive((f"{WEIGHT}.npy", GOOD)), "expected an array cgraph, got none"),
        (archive(("cgraph.npy", b"")), "cgraph must be an undamaged array"),
        (archive(("cgraph.npy", npy(np.zeros(3)))), "cgraph must be a text of at most"),
        (archive(("cgraph.npy", npy(np.array(["{}"])))), "cgraph must be a text of at most"),
        (archive(("cgraph.npy", npy(np.array(b"{}")))), "cgraph must be a text of at most"),
        (archive(("cgraph.npy", TEXT[:-4] + b"\xff\xff\xff\xff")), "cgraph"),
        (archive(("cgraph.npy", TEXT[:-4])), "cgraph must have .* bytes"),
        (archive(("cgraph.npy", npy(np.array(100_000 * "[")))), "cgraph is no such text"),
        (changed(WHOLE, (CENTRAL, 0, 16, b"\0\0\0\0")), "cgraph must be an undamaged array"),
        (changed(WHOLE, (CENTRAL, 0, 8, b"\1")), "cgraph must not be encrypted"),
    ],
)
def test_a_header_that_is_none_is_refused(tmp_path, content, message):
    path = tmp_path / "model.npz"
    path.write_bytes(content)
    start = f"^{re.escape(str(path))}: not a cgraph parameter file, or damaged "
    for read in (read_metadata, lambda path: load_parameters(path, graph())):
        with pytest.raises(ModelFileError, match=f"{start}.*{message}"):
            read(path)


def bomb(header, size):
    """Returns a member that unpacks to a header and `size` bytes, and is a thousand times smaller."""
    return header + bytes(size)


SIZE = 16 * MiB
NUMBERS = with_weight(bomb(npy_header(shape=f"({SIZE // 8},)"), SIZE), method=zipfile.ZIP_DEFLATED)
LONG_HEADER = with_weight(
    bomb(npy_header(version=2, length=SIZE), SIZE), method=zipfile.ZIP_DEFLATED
)
LONG_TEXT = archive(
    ("cgraph.npx", bomb(npy_header(f"<U{SIZE // 4}", "()"), SIZE)), method=zipfile.ZIP_DEFLATED
).replace(b"cgraph.npx", b"cgraph.npy")
# The header states six numbers, and the member unpacks to more.
LIAR = changed(
    with_weight(bomb(SIX_NUMBERS, SIZE), method=zipfile.ZIP_DEFLATED),
    *[(kind, 1, at, struct.pack("<I", len(SIX_NUMBERS))) for kind, at in ((LOCAL, 22), (CENTRAL, 24))],
)  # fmt: skip


@pytest.mark.thread_unsafe(reason="watches memory")
@pytest.mark.parametrize(
    ("content", "message"),
    [
        (NUMBERS, r"must have shape \(3, 2\) and dtype float64, got \(2097152,\)"),
        (LONG_HEADER, "must be an undamaged array"),
        (LIAR, "must be an undamaged array"),
        (LONG_TEXT, "cgraph must be a text of at most 1,048,576 bytes, got 16,777,216 bytes"),
    ],
    ids=["numbers", "long header", "liar", "long text"],
)
def test_a_small_file_takes_little_memory(tmp_path, content, message):
    path = tmp_path / "model.npz"
    path.write_bytes(content)
    assert len(content) < SIZE // 500
    tracemalloc.start()
    try:
        with pytest.raises(ModelFileError, match=message):
            load_parameters(path, graph())
        if content is not LONG_TEXT:
            assert read_metadata(path) == {"a": 1}
        peak = tracemalloc.get_traced_memory()[1]
    finally:
        tracemalloc.stop()
    assert peak < MiB


def test_metadata_are_as_long_as_one_likes(tmp_path):
    path, metadata = tmp_path / "model.npz", {"a": MiB * "x"}
    CG.save_parameters(path, graph(), metadata)
    assert read_metadata(path) == metadata


@pytest.mark.thread_unsafe(reason="watches memory")
def test_loading_takes_the_memory_of_the_parameters_once(tmp_path):
    path, node = tmp_path / "model.npz", CG.Affine(CG.Leaf1(999), np.ones((1000, 1000)))
    CG.save_parameters(path, node)
    load_parameters(path, node)  # once, since the first call imports modules
    tracemalloc.start()
    try:
        load_parameters(path, node)
        peak = tracemalloc.get_traced_memory()[1]
    finally:
        tracemalloc.stop()
    # Twice while a buffer that grows moves; and the chunks.
    assert peak < 2.5 * node.weight.nbytes + 2 * MiB


def test_a_check_sum_is_compared(tmp_path):
    path = tmp_path / "model.npz"
    content = bytearray(WHOLE)
    content[content.index(np.float64(5).tobytes()) + 7] ^= 1
    assert zlib.crc32(content) != zlib.crc32(WHOLE)
    path.write_bytes(content)
    with pytest.raises(ModelFileError, match=f"{WEIGHT} must be an undamaged array"):
        load_parameters(path, graph())
